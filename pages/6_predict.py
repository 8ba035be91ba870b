"""Predict: choose a run, bring clips, see where they stand among the labels that were trained on."""

import numpy as np
import pandas as pd
import streamlit as st

from app import ui_charts_predict, ui_forms, ui_live, ui_resources, ui_state
from app.ui_words import SWITCHES, count, errors_in_words, fold_plan, plain
from core import commands, jobs
from core.runs import Run, best_run

ws = ui_state.workspace()


def score(run_id: str, clips: list[str], tta: int | None) -> None:
    """Start the job."""
    with errors_in_words():
        altered = {} if tta is None else {"tta": tta}
        ui_state.watch(jobs.submit("predict", {"run": run_id, "clips": clips, **altered}, ws.jobs))


def run_label(run: Run) -> str:
    """A run by its error, its data set, its folds and its time."""
    mark = " · best here" if run == best else ""
    folds = fold_plan(run.record["settings"]["ensemble"])
    return f"RMSE {run.scores['oof_rmse']:.4f} · {run.record['dataset']['name']} · {folds} · {run.id}{mark}"


def show_predictions(run: Run, predictions: list[dict[str, object]]) -> None:
    """Each prediction on the distribution of the training labels, and the table to take away."""
    frame = pd.DataFrame(
        [
            (one["file"].rsplit("/", 1)[-1], one["prediction"], one.get("low"), one.get("high"), "; ".join(one["warnings"]))
            for one in predictions
        ],
        columns=["file", "prediction", "low", "high", "note"],
    ).astype(dict.fromkeys(("prediction", "low", "high"), float))
    scored = frame.dropna(subset="prediction")
    st.subheader("Result")
    rmse, level = run.scores["oof_rmse"], run.scores["interval"]["level"]
    st.caption(f"Scored by run {plain(run.id)} on {plain(run.record['dataset']['name'])}, whose error out of fold is {rmse:.4f}.")
    for row in frame[frame["prediction"].isna()].itertuples():
        st.error(f"{plain(row.file)}: {plain(row.note)}", icon=":material/volume_off:")
    if len(scored) == 1:
        only = scored.iloc[0]
        with st.container(border=True, width=320):
            st.metric(plain(only["file"]), f"{only['prediction']:.3f}")
            if np.isfinite(only["low"]):
                st.caption(f"{only['low']:.3f} to {only['high']:.3f} in {level:.0%} of cases")
    if len(scored):
        st.altair_chart(
            ui_charts_predict.predictions_on_labels(ui_resources.training_labels(run), scored),
            key="predictions",
            alt="Predictions with their intervals, among the training labels",
        )
        st.caption(
            f"Grey: labels of the training clips. Each point is a clip that was scored, its line the interval that is to hold "
            f"{level:.0%} of labels."
        )
    st.dataframe(
        frame,
        hide_index=True,
        key="prediction_table",
        alt="Predictions by clip",
        column_config={
            "file": st.column_config.TextColumn("Clip", pinned=True),
            "prediction": st.column_config.NumberColumn("Prediction", format="%.4f", help=f"Give or take about {rmse:.2g}"),
            "low": st.column_config.NumberColumn("Low", format="%.4f", help=f"The interval is to hold {level:.0%} of labels"),
            "high": st.column_config.NumberColumn("High", format="%.4f", help=f"The interval is to hold {level:.0%} of labels"),
            "note": "Note",
        },
    )
    st.download_button(
        "Table",
        frame.to_csv(index=False).encode(),
        "predictions.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        key="download_predictions",
    )


st.title("Predict")
runs = ui_resources.runs(ws.jobs)
if not runs:
    st.caption("There is no trained ensemble yet.")
    if st.button("Train one", type="primary", icon=":material/arrow_forward:", key="next_step"):
        st.switch_page(ui_state.PAGES["train"])
    st.stop()

here = ui_state.runs_here()
best = best_run(here) if here else None
with st.container(border=True):
    by_id = {one.id: one for one in [*([best] if best else []), *reversed(runs)]}
    chosen = st.selectbox(
        "Run", list(by_id), format_func=lambda one: run_label(by_id[one]), key="predict_run", persist_state="session"
    )
    run = by_id[chosen]
    if best is None:
        st.caption(f":orange[No run on {plain(ui_state.choice().name)} yet: these are of other data sets.]")
    left, right = st.columns([3, 2])
    with left:
        files = st.file_uploader("Clips", accept_multiple_files=True, key="predict_files", help="WAV, FLAC, OGG or MP3, by content")
    with right:
        recording = st.audio_input("Or record one", sample_rate=44100, key="predict_recording")
        st.caption("Browsers clean up what they record; that changes the sound.")
    uploads = [*(files or []), *([recording] if recording else [])]
    clips = list(dict.fromkeys(str(ui_resources.kept(upload, ws.root / "uploads")) for upload in uploads))
    own = int(run.record["settings"]["ensemble"].get("tta", 0))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        copies = st.number_input(
            SWITCHES["tta"],
            0,
            20,
            own,
            key=f"predict_tta_{own}",
            width=210,
            help=f"Altered copies of each clip, whose predictions are averaged with its own. The run was judged with {own}.",
        )
        tta = None if copies == own else int(copies)
        st.button(
            f"Score {count(len(clips), 'clip')}" if clips else "Score",
            type="primary",
            icon=":material/play_arrow:",
            key="score",
            on_click=score,
            args=(run.id, clips, tta),
            disabled=not clips,
        )
if clips:
    ui_forms.command(commands.predict_command(run.id, clips, ws.root, tta=tta))

job = ui_state.watched()
if job is not None and jobs.status(job) in jobs.ACTIVE:
    ui_live.show_job(job)
elif job is not None and not ui_live.show_end(job):
    done = ui_resources.result(job)
    of = next((one for one in runs if one.id == done["run_id"]), None)
    if of is not None:
        show_predictions(of, done["predictions"])
elif job is None and not clips:
    st.caption("Bring a clip to hear what the ensemble says of it.")
