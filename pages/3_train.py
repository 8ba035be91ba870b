"""Train: choose, start, watch the errors draw themselves, take the submission away."""

import numpy as np
import streamlit as st

from app import forms, resources, session
from app.views import best as best_view, labels as labels_view, live, result, training
from app.words import count, errors_in_words, plain
from core import jobs
from core.cli import as_command
from core.data.dataset import why_not_trainable
from core.ensemble import EnsembleSettings, with_sets_of
from core.events import Recorded
from core.extraction.config import ExtractSettings
from core.runs import best_run, read_run

ws = session.workspace()


def train(extraction: ExtractSettings, ensemble: EnsembleSettings, labels: tuple[str, ...]) -> None:
    """Start the job, for one label or for several."""
    with errors_in_words():
        if len(labels) > 1:
            request = session.request(extract=extraction, ensemble=ensemble, labels=labels)
            jobs.submit(session.LABELS, request, ws.jobs)
            return
        if labels != dataset.labels[:1]:
            session.choose_label(labels[0])
        jobs.submit("train", session.request(extract=extraction, ensemble=ensemble), ws.jobs)


def time_ahead(ensemble: EnsembleSettings, extraction: ExtractSettings) -> str:
    """How long the training will take, and the extraction before it, in words."""
    ahead = forms.time_ahead(ensemble, extraction, len(dataset.train), resources.known_fits(ws.jobs))
    missing = resources.without_features(dataset, with_sets_of(extraction, ensemble), ws.cache)
    words = forms.work_ahead(ensemble, ahead, max(0, missing - session.unreadable()), session.known_speed(extraction))
    return words if len(labels) < 2 else f"for each of {len(labels)} labels: {words}"


def draw_training(recorded: list[Recorded]) -> None:
    """The job so far, beside the best run that it can be compared with."""
    training.draw_training(recorded, plan, best.scores.oof_rmse if best else None)


st.title("Train")
dataset = session.require_dataset()
chosen = session.choice()
st.caption(f"{plain(chosen.name)} · its tables name {count(len(dataset.train), 'clip')} to train on, {len(dataset.test):,} to test")

several, job = session.newest_labels(), session.newest_training()
active = job is not None and jobs.status(job) in jobs.ACTIVE
with st.container(border=True):
    labels = forms.choose_labels(dataset)
    ensemble = forms.ensemble_settings(dataset, session.usual(job, EnsembleSettings, "ensemble"))
    with st.expander("Features", icon=":material/graphic_eq:"):
        usual = session.usual(session.newest_job("extract") or job, ExtractSettings, "extract")
        extraction = forms.extract_settings(dataset, usual)
    if why_not := why_not_trainable(np.array([row.label for row in dataset.train])):
        st.error(plain(f"Training is not possible: {why_not}."), icon=":material/error:")
    has_label = bool(labels) or not dataset.labels  # the mean of ratings is in no column
    possible = ensemble is not None and extraction is not None and why_not is None and has_label
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Train",
            type="primary",
            icon=":material/play_arrow:",
            key="train",
            on_click=train,
            args=(extraction, ensemble, labels),
            disabled=not possible or active,
        )
        if ensemble is not None and extraction is not None and possible and not active:
            with errors_in_words():  # the cache may be damaged
                st.caption(time_ahead(ensemble, extraction), width="content")
if ensemble is not None and extraction is not None:
    named = labels if len(labels) > 1 else ()
    forms.command(as_command.train_command(chosen.path, chosen.layout, extraction, ensemble, ws.root, labels=named))

    if not active and (line := resources.unused(dataset, with_sets_of(extraction, ensemble).features)) is not None:
        said = line.replace("earmark auto tries", "Find the best tries")
        st.caption(plain(f"{said[:1].upper()}{said[1:]}."))
    best_view.show(ensemble, extraction, possible=possible and len(labels) < 2 and not active)

if job is not None and active:
    plan = job.request["ensemble"]
    runs = session.runs_like(plan.get("group_by"))
    best = best_run(runs) if runs and job.kind == "train" else None  # the runs are of one label
    asked = session.usual(job, EnsembleSettings, "ensemble"), session.usual(job, ExtractSettings, "extract")
    then_s = forms.time_ahead(*asked, len(dataset.train), resources.known_fits(ws.jobs)).seconds
    live.show_job(job, draw_training, then_s=then_s)
else:
    if job is not None and not live.show_end(job) and job is not several:
        with errors_in_words():
            read_run(job.folder)  # what is damaged is not among the runs
    if several is not None:
        labels_view.show(several)
    here = session.results_here("train")
    if here:
        result.show_results(here, dataset)
    elif job is None:
        st.caption("Nothing is fitted on clips that it is scored on. Features that are not there yet are extracted first.")
