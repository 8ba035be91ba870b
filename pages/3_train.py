"""Train: choose, start, watch the errors draw themselves, take the submission away."""

import numpy as np
import streamlit as st

from app import ui_forms, ui_live, ui_resources, ui_result, ui_state, ui_training
from app.ui_words import changed_since, count, errors_in_words, plain
from core import commands, jobs
from core.dataset import why_not_trainable
from core.ensemble import EnsembleSettings, with_sets_of
from core.errors import JobError, RunError
from core.events import Recorded
from core.extract import ExtractSettings
from core.runs import best_run, read_run

ws = ui_state.workspace()


def train(extraction: ExtractSettings, ensemble: EnsembleSettings) -> None:
    """Start the job."""
    with errors_in_words():
        jobs.submit("train", ui_state.request(extract=extraction, ensemble=ensemble), ws.jobs)


def time_ahead(ensemble: EnsembleSettings, extraction: ExtractSettings) -> str:
    """How long the training will take, and the extraction before it, in words."""
    ahead = ui_forms.time_ahead(ensemble, extraction, len(dataset.train), ui_resources.known_fits(ws.jobs))
    missing = ui_resources.without_features(dataset, with_sets_of(extraction, ensemble), ws.cache)
    return ui_forms.work_ahead(ensemble, ahead, max(0, missing - ui_state.unreadable()), ui_state.known_speed(extraction))


def draw_training(recorded: list[Recorded]) -> None:
    """The job so far, beside the best run that it can be compared with."""
    ui_training.draw_training(recorded, plan, best.scores["oof_rmse"] if best else None)


st.title("Train")
dataset = ui_state.require_dataset()
chosen = ui_state.choice()
st.caption(f"{plain(chosen.name)} · its tables name {count(len(dataset.train), 'clip')} to train on, {len(dataset.test):,} to test")

job = ui_state.newest_job("train")
active = job is not None and jobs.status(job) in jobs.ACTIVE
with st.container(border=True):
    ensemble = ui_forms.ensemble_settings(dataset, ui_state.usual(job, EnsembleSettings, "ensemble"))
    with st.expander("Features", icon=":material/graphic_eq:"):
        usual = ui_state.usual(ui_state.newest_job("extract") or job, ExtractSettings, "extract")
        extraction = ui_forms.extract_settings(dataset, usual)
    if why_not := why_not_trainable(np.array([row.label for row in dataset.train])):
        st.error(plain(f"Training is not possible: {why_not}."), icon=":material/error:")
    possible = ensemble is not None and extraction is not None and why_not is None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Train",
            type="primary",
            icon=":material/play_arrow:",
            key="train",
            on_click=train,
            args=(extraction, ensemble),
            disabled=not possible or active,
        )
        if ensemble is not None and extraction is not None and possible and not active:
            with errors_in_words():  # the cache may be damaged
                st.caption(time_ahead(ensemble, extraction), width="content")
if ensemble is not None and extraction is not None:
    ui_forms.command(commands.train_command(chosen.path, chosen.layout, extraction, ensemble, ws.root))

if job is not None and active:
    plan = job.request["ensemble"]
    runs = ui_state.runs_like(plan.get("groups"))
    best = best_run(runs) if runs else None
    asked = ui_state.usual(job, EnsembleSettings, "ensemble"), ui_state.usual(job, ExtractSettings, "extract")
    then_s = ui_forms.time_ahead(*asked, len(dataset.train), ui_resources.known_fits(ws.jobs)).seconds
    ui_live.show_job(job, draw_training, then_s=then_s)
else:
    if job is not None and not ui_live.show_end(job):
        with errors_in_words():
            read_run(job.folder)  # what is damaged is not among the runs
    here = [run for run in ui_state.runs_here() if not run.is_finetuned]  # those have a page of their own
    if here:
        try:
            run = ui_forms.choose_result(here)
            if ui_state.stamp_of(run) not in (None, dataset.stamp()):
                changed_since("this was trained")
            ui_result.show_run(run, ui_forms.repeating_columns(dataset))
        except (RunError, JobError) as error:
            st.error(plain(str(error)), icon=":material/error:")
    elif job is None:
        st.caption("Nothing is fitted on clips that it is scored on. Features that are not there yet are extracted first.")
