"""Train: choose, start, watch the errors draw themselves, take the submission away."""

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from app import ui_charts, ui_forms, ui_live, ui_resources, ui_state
from app.ui_words import NOTHING, changed_since, count, duration, errors_in_words, plain
from core import commands, jobs
from core.dataset import why_not_trainable
from core.ensemble import EnsembleSettings
from core.errors import JobError, RunError
from core.events import FitFinished, FoldScored, Recorded, TrainingStarted
from core.extract import ExtractSettings
from core.runs import Run, read_run

ws = ui_state.workspace()


def train(extraction: ExtractSettings, ensemble: EnsembleSettings) -> None:
    """Start the job."""
    with errors_in_words():
        jobs.submit("train", ui_state.request(extract=extraction, ensemble=ensemble), ws.jobs)


def draw_training(recorded: list[Recorded]) -> None:
    """Errors as they come: each model on each fold, and all that is fitted so far against the constant."""
    fits = [one.event for one in recorded if isinstance(one.event, FitFinished)]
    total = next((one.event.fits for one in recorded if isinstance(one.event, TrainingStarted)), 0)
    if not total:
        return
    plan = job.request["ensemble"]
    scored = sum(isinstance(one.event, FoldScored) for one in recorded)
    last = fits[-1] if fits else None
    with st.grid(3, min_column_width=140):
        st.metric("RMSE out of fold, so far", f"{last.oof_rmse:.4f}" if last else NOTHING, border=True)
        st.metric("Constant predictor", f"{last.constant_rmse:.4f}" if last else NOTHING, border=True, help="On the same clips.")
        st.metric("Folds complete", f"{scored} of {plan['folds']}", border=True)
    if not fits:
        st.caption("The first fits are under way ...")
        return
    with st.grid(2, min_column_width=320):
        st.altair_chart(ui_charts.fold_scores(fits, plan["models"], plan["folds"]), key="fold_scores", alt="RMSE by model and fold")
        st.altair_chart(ui_charts.running_error(fits, total), key="running_error", alt="RMSE so far and the constant's")


def show_run(run: Run) -> None:
    """Scores, table, scatter and downloads of a finished run."""
    scores, settings = run.scores, run.record["settings"]["ensemble"]
    groups = f"grouped by {settings['groups']}" if settings["groups"] else "without groups"
    st.subheader("Result")
    st.caption(
        f"{plain(run.id)} · {count(run.record['dataset']['train_clips'], 'clip')} · {settings['folds']} folds {plain(groups)} · "
        f"{settings['preset']} · {duration(run.record['seconds'])}"
    )
    repeating = [] if settings["groups"] else ui_forms.repeating_columns(dataset)
    if repeating:
        st.warning(
            f"Trained without groups, although several clips share a {plain(' or a '.join(repeating[:3]))}: where new clips come "
            "from others, expect a larger error than this.",
            icon=":material/groups:",
        )
    gain = 1 - scores["oof_rmse"] / scores["constant_rmse"]
    if gain <= 0:
        st.warning("This is no better than always saying the mean label: nothing was learned.", icon=":material/trending_flat:")
    against = f"{abs(gain):.0%} {'below' if gain > 0 else 'above'} the constant"
    heard_not = f"Each clip is scored by models that have not seen it. The error is {against}."
    mean_label = "The error of always saying the mean label of the other folds."
    pearson = "undefined" if scores["oof_pearson"] is None else f"{scores['oof_pearson']:.4f}"
    with st.grid(4, min_column_width=170):
        st.metric("RMSE out of fold", f"{scores['oof_rmse']:.4f}", border=True, help=heard_not)
        st.metric("Constant predictor", f"{scores['constant_rmse']:.4f}", border=True, help=mean_label)
        st.metric("MAE", f"{scores['oof_mae']:.4f}", border=True)
        st.metric("Pearson", pearson, border=True)
    side_by_side = st.container(horizontal=True)
    with side_by_side.container(width=590):
        st.markdown("**RMSE by fold**")
        rows = {**scores["models"], "ensemble": scores}
        folds = [f"fold {number + 1}" for number in range(len(scores["fold_rmse"]))]
        frame = pd.DataFrame(
            [[name, one["oof_rmse"], *one["fold_rmse"], one["fold_rmse_mean"], one["fold_rmse_std"]] for name, one in rows.items()],
            columns=["model", "all", *folds, "mean", "std"],
        )
        formats = {name: st.column_config.NumberColumn(format="%.4f") for name in frame.columns[1:]}
        formats["model"] = st.column_config.TextColumn(pinned=True)
        st.dataframe(frame, hide_index=True, column_config=formats, key="result_table", alt="RMSE by model and fold")
        downloads(run)
    with side_by_side.container(width=370):
        st.markdown("**Prediction by label**")
        st.altair_chart(ui_charts.oof_scatter(ui_resources.oof(run)), key="oof_scatter", alt="Out-of-fold prediction by label")
    aside = run.record["set_aside"]
    if aside:
        with st.expander(f"{count(len(aside), 'clip')} set aside", icon=":material/warning:"):
            st.dataframe(pd.DataFrame(aside), hide_index=True, key="run_set_aside", alt="Clips that were set aside")
    filled = (run.record["test"] or {}).get("filled_with_training_median")
    if filled:
        st.warning(
            f"{count(len(filled), 'test clip')} cannot be read and got the training median: {plain(', '.join(filled[:20]))}",
            icon=":material/warning:",
        )
    if st.button("Score new clips", type="primary", icon=":material/arrow_forward:", key="next_step"):
        st.switch_page(ui_state.PAGES["predict"])


def downloads(run: Run) -> None:
    """The files to take away."""
    files = {"Submission": run.record["submission"], "Out-of-fold predictions": str(run.folder / "oof.csv")}
    with st.container(horizontal=True):
        for label, file in files.items():
            if file and Path(file).is_file():
                path = Path(file)
                name = path.name if label == "Submission" else f"oof_{run.id}.csv"
                st.download_button(
                    label,
                    path.read_bytes(),
                    name,
                    "text/csv",
                    icon=":material/download:",
                    on_click="ignore",
                    key=f"download_{label}",
                )
    if not files["Submission"]:
        st.caption("This data set has no test table, so there is no submission.")


st.title("Train")
dataset = ui_state.require_dataset()
chosen = ui_state.choice()
st.caption(f"{plain(chosen.name)} · its tables name {count(len(dataset.train), 'clip')} to train on, {len(dataset.test):,} to test")

job = ui_state.newest_job("train")
active = job is not None and jobs.status(job) in jobs.ACTIVE
with st.container(border=True):
    ensemble = ui_forms.ensemble_settings(dataset, ui_state.usual(job, EnsembleSettings, "ensemble"))
    with st.expander("Features", icon=":material/graphic_eq:"):
        extraction = ui_forms.extract_settings(ui_state.usual(ui_state.newest_job("extract") or job, ExtractSettings, "extract"))
    if why_not := why_not_trainable(np.array([row.label for row in dataset.train])):
        st.error(plain(f"Training is not possible: {why_not}."), icon=":material/error:")
    possible = ensemble is not None and extraction is not None and why_not is None
    st.button(
        "Train",
        type="primary",
        icon=":material/play_arrow:",
        key="train",
        on_click=train,
        args=(extraction, ensemble),
        disabled=not possible or active,
    )
if ensemble is not None and extraction is not None:
    ui_forms.command(commands.train_command(chosen.path, chosen.layout, extraction, ensemble, ws.root))

if job is not None and active:
    ui_live.show_job(job, draw_training)
elif job is not None and not ui_live.show_end(job):
    try:
        if ui_resources.result(job)["stamp"] != dataset.stamp():
            changed_since("this was trained")
        show_run(read_run(job.folder))
    except (RunError, JobError) as error:
        st.error(plain(str(error)), icon=":material/error:")
elif job is None:
    st.caption("Nothing is fitted on clips that it is scored on. Features that are not there yet are extracted first.")
