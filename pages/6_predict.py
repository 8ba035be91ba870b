"""Predict: choose a run, bring clips, see where they stand among the labels that were trained on."""

import pandas as pd
import streamlit as st

from app import ui_charts, ui_forms, ui_live, ui_resources, ui_state
from app.ui_words import count, errors_in_words, plain
from core import commands, jobs
from core.runs import Run, best_run

ws = ui_state.workspace()


def score(run_id: str, clips: list[str]) -> None:
    """Start the job."""
    with errors_in_words():
        ui_state.watch(jobs.submit("predict", {"run": run_id, "clips": clips}, ws.jobs))


def run_label(run: Run) -> str:
    """A run by its error, its data set, its folds and its time."""
    mark = " · best here" if run == best else ""
    settings = run.record["settings"]["ensemble"]
    folds = f"{settings['folds']} folds" + (f" by {settings['groups']}" if settings["groups"] else "")
    return f"RMSE {run.scores['oof_rmse']:.4f} · {run.record['dataset']['name']} · {folds} · {run.id}{mark}"


def show_predictions(run: Run, predictions: list[dict[str, object]]) -> None:
    """Each prediction on the distribution of the training labels, and the table to take away."""
    frame = pd.DataFrame(
        [(one["file"].rsplit("/", 1)[-1], one["prediction"], "; ".join(one["warnings"])) for one in predictions],
        columns=["file", "prediction", "note"],
    )
    scored = frame.dropna(subset="prediction")
    st.subheader("Result")
    rmse = run.scores["oof_rmse"]
    st.caption(f"Scored by run {plain(run.id)} on {plain(run.record['dataset']['name'])}, whose error out of fold is {rmse:.4f}.")
    for row in frame[frame["prediction"].isna()].itertuples():
        st.error(f"{plain(row.file)}: {plain(row.note)}", icon=":material/volume_off:")
    if len(scored) == 1:
        st.metric(plain(scored["file"].iloc[0]), f"{scored['prediction'].iloc[0]:.3f}", border=True, width=260)
    if len(scored):
        st.altair_chart(
            ui_charts.predictions_on_labels(ui_resources.training_labels(run), scored[["file", "prediction"]]),
            key="predictions",
            alt="Predictions among the training labels",
        )
        st.caption("Grey: labels of the training clips. Each line is a clip that was scored.")
    st.dataframe(
        frame,
        hide_index=True,
        key="prediction_table",
        alt="Predictions by clip",
        column_config={
            "file": st.column_config.TextColumn("Clip", pinned=True),
            "prediction": st.column_config.NumberColumn("Prediction", format="%.4f", help=f"Give or take about {rmse:.2g}"),
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
    st.button(
        f"Score {count(len(clips), 'clip')}" if clips else "Score",
        type="primary",
        icon=":material/play_arrow:",
        key="score",
        on_click=score,
        args=(run.id, clips),
        disabled=not clips,
    )
if clips:
    ui_forms.command(commands.predict_command(run.id, clips, ws.root))

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
