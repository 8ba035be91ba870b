"""Fine-tune: an audio and a text encoder, trained together on the folds of an ensemble. Choose, start, watch, take away."""

from functools import partial

import numpy as np
import streamlit as st

from app import forms, resources, session
from app.views import epochs, finetune as finetune_view, live, result
from app.words import count, errors_in_words, plain
from core import jobs
from core.cli import as_command
from core.data.dataset import why_not_trainable
from core.extraction.config import ExtractSettings
from core.multimodal.config import FinetuneSettings
from core.runs import best_run, read_run
from core.runtime.device import CPU, has_torch

ws = session.workspace()


def finetune(extraction: ExtractSettings, settings: FinetuneSettings) -> None:
    """Start the job."""
    with errors_in_words():
        jobs.submit("finetune", session.request(extract=extraction, finetune=settings), ws.jobs)


def form(job: jobs.Job | None, active: bool) -> None:
    """Encoders, text, folds and rates, how long that takes, and the button."""
    usual, treatment = session.usual(job, FinetuneSettings, "finetune"), session.treatment()
    heard = ExtractSettings(channel=treatment.channel, slow_down=treatment.slow_down)  # as clips were extracted, the first time
    heard = heard if job is None else session.usual(job, ExtractSettings, "extract")
    with st.container(border=True):
        extraction, settings = finetune_view.finetune_settings(dataset, usual, heard)
        if why_not := why_not_trainable(np.array([row.label for row in dataset.train])):
            st.error(plain(f"Training is not possible: {why_not}."), icon=":material/error:")
        models = [] if settings is None else finetune_view.models_of(settings)
        possible = settings is not None and why_not is None and all(model.can_be_had for model in models)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Fine-tune",
                type="primary",
                icon=":material/play_arrow:",
                key="finetune",
                on_click=finetune,
                args=(extraction, settings),
                disabled=not possible or active,
            )
            finetune_view.classic_button(settings)
            if settings is not None and possible and not active:
                with errors_in_words():  # the cache may be damaged
                    st.caption(plain(finetune_view.work_ahead(settings, extraction, dataset, models)), width="content")
    if settings is not None:
        finetune_view.show_models(models, settings, unfolded=job is None)
        finetune_view.show_texts(dataset, settings, extraction, ws, unfolded=job is None)
        forms.command(as_command.finetune_command(chosen.path, chosen.layout, extraction, settings, ws.root))


st.title("Fine-tune")
dataset = session.require_dataset()
chosen = session.choice()
st.caption(f"{plain(chosen.name)} · its tables name {count(len(dataset.train), 'clip')} to train on, {len(dataset.test):,} to test")

job = session.newest_job("finetune")
active = job is not None and jobs.status(job) in jobs.ACTIVE
if has_torch():
    form(job, active)
else:
    finetune_view.without_torch()

if job is not None and active:
    asked = session.usual(job, FinetuneSettings, "finetune")
    runs = session.runs_like(asked.group_by)
    best = best_run(runs).scores.oof_rmse if runs else None
    device = finetune_view.device_of(asked) or CPU
    live.show_job(job, partial(epochs.draw_finetuning, settings=job.request["finetune"], best=best, device=device))
else:
    if job is not None and live.show_end(job):
        told = [one.event for one in resources.events(job.events)]
        epochs.draw_curves(told, job.request["finetune"], of="job")
    elif job is not None:
        with errors_in_words():
            read_run(job.folder)  # what is damaged is not among the runs
    here = session.results_here("finetune")
    if here:
        result.show_results(here, dataset)
    elif job is None and has_torch():
        st.caption(
            "Encoders take the audio and the text of each clip; small adapters in them are trained, fold by fold. A fold is scored "
            "by a network that has not seen its rows. An ensemble with the same groups and seed has the same folds, so the two can "
            "be compared."
        )
