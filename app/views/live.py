"""The one ticking fragment: a job redrawn from its events while it is at work, and the page once more when it has ended."""

import time
from collections.abc import Callable, Hashable, Sequence
from copy import deepcopy
from typing import Any

import pandas as pd
import streamlit as st

from app import resources
from app.charts.marks import ZOOM, ticking_spec
from app.words import about, count, duration, errors_in_words, plain
from core import jobs
from core.ensemble import EnsembleSettings
from core.errors import EarmarkError
from core.events import (
    ClipChecked,
    ClipExtracted,
    ClipSetAside,
    ExtractionStarted,
    FitFinished,
    JobStarted,
    LabelStarted,
    LayerScored,
    PartExplained,
    Recorded,
    StageStarted,
)
from core.jobs import ACTIVE, CANCELLED, EVENTS, FAILED, LOST, QUEUED, Job
from core.progress import Progress, measure_progress
from core.settings import build
from core.tasks.forecast import all_fits, epoch_seconds
from core.tasks.kinds import job_kind

TICK_S = 1.0
_ENDS = {
    CANCELLED: "It was cancelled. Finished work is kept.",
    LOST: "Its process ended without reporting: it was killed, or the machine went down. Finished work is kept.",
}
_RATE_OVER_S = {"clip": 20.0, "fit": 120.0, "part": 120.0}
_KINDS = {
    "clip": (ClipChecked, ClipExtracted, ClipSetAside),
    "fit": (FitFinished,),
    "part": (PartExplained, LayerScored),
}  # what counts one


def show_job(job: Job, draw: Callable[[list[Recorded]], None] | None = None, *, then_s: float = 0.0) -> None:
    """Progress of a job with its cancel button; what else is to be seen of its events, ``draw`` draws.

    Parameters
    ----------
    job : Job
    draw : called with the events so far, inside the fragment
    then_s : about how long a training takes after its clips are extracted; 0 where that is not known
    """
    active = jobs.status(job) in ACTIVE

    def panel() -> None:
        with errors_in_words():
            state = jobs.status(job)
            if state in ACTIVE:
                recorded = resources.events(job.events)
                _show_progress(job, state, recorded, then_s)
                if draw is not None:
                    draw(of_label(job, recorded))
            elif active:
                st.rerun()

    st.fragment(panel, run_every=TICK_S if active else None)()


def show_end(job: Job) -> bool:
    """Say how a job ended that did not end well, with a button to go on; whether it was so."""
    state = jobs.status(job)
    if state == FAILED:
        st.error(plain(jobs.why_failed(job)), icon=":material/error:")
    elif state in _ENDS:
        st.warning(_ENDS[state], icon=":material/pause_circle:")
    else:
        return False
    resume_button(job)
    return True


def resume_button(job: Job) -> None:
    """A button that goes on with a job that did not end well."""
    label = "Try again" if jobs.status(job) == FAILED else "Resume"
    st.button(label, icon=":material/resume:", key=f"resume_{job.id}", on_click=_resume, args=(job,))


def draw_chart(
    table: pd.DataFrame, chart: Callable[..., Any], *shape: Hashable, key: str, what: str, zooms: bool = False, ticks: bool = True
) -> None:
    """A chart that ticks: what it looks like is built once, only the table is new.

    Parameters
    ----------
    table : pd.DataFrame
    chart : function of the table and of ``shape``
    shape : what else the chart depends on
    key, what : of the element, and what it shows, in words
    zooms : bool, whether one can look closer
    ticks : bool, whether more is to come
    """
    spec = deepcopy(ticking_spec(chart, *shape))
    if zooms and ticks:  # a closer look outlasts the next table where it counts as selected
        st.vega_lite_chart(table, spec, key=key, alt=what, on_select="rerun", selection_mode=ZOOM)
    else:
        st.vega_lite_chart(table, spec, key=key, alt=what)


def rate_per_s(recorded: Sequence[Recorded], kinds: type | tuple[type, ...], *, over_s: float = 20.0) -> float | None:
    """Events of these kinds per second over the last stretch of work, or None before there are two."""
    at = [one.at for one in recorded if isinstance(one.event, kinds)]
    recent = [one for one in at if one >= at[-1] - over_s]
    if len(recent) < 2 or recent[-1] <= recent[0]:
        return None
    return (len(recent) - 1) / (recent[-1] - recent[0])


def label_of(recorded: Sequence[Recorded]) -> LabelStarted | None:
    """The label that a training on several labels is at; None of any other job."""
    return next((one.event for one in reversed(recorded) if isinstance(one.event, LabelStarted)), None)


def of_label(job: Job, recorded: list[Recorded]) -> list[Recorded]:
    """What the training on the label tells that a training on several labels is at; of any other job all that it tells."""
    label = label_of(recorded)
    return recorded if label is None else resources.events(job.folder.parent / label.job / EVENTS)


def progress_of(recorded: Sequence[Recorded]) -> Progress:
    """How far a job is."""
    return measure_progress(one.event for one in recorded)


def of_ensemble(recorded: Sequence[Recorded]) -> list[Recorded]:
    """What was told of the ensemble itself: what follows the start of a stage is of trainings beside it."""
    end = next((place for place, one in enumerate(recorded) if isinstance(one.event, StageStarted)), len(recorded))
    return list(recorded[:end])


def device_in_words(progress: Progress) -> str:
    """Where PyTorch computes, with the batch that memory allows; empty where it has nothing to compute."""
    device = f"PyTorch on {progress.device}" if progress.device else None
    return "; ".join(part for part in (device, progress.memory) if part)


def fits_beside(job: Job, recorded: Sequence[Recorded]) -> int:
    """Fits of a training that come after the ones that are counted now: without a switch, or on permuted labels."""
    if "ensemble" not in job.request:
        return 0
    progress, finished = progress_of(recorded), sum(isinstance(one.event, FitFinished) for one in recorded)
    left_now = progress.total - int(progress.done) if progress.unit == "fit" else 0
    try:
        settings = build(EnsembleSettings, job.request["ensemble"])
    except (EarmarkError, KeyError, TypeError):  # of another version
        return 0
    return max(0, all_fits(settings) - finished - left_now)


def _show_progress(job: Job, state: str, recorded: list[Recorded], then_s: float) -> None:
    spent_s = time.time() - next((one.at for one in recorded if isinstance(one.event, JobStarted)), time.time())
    label, recorded = label_of(recorded), of_label(job, recorded)
    progress = progress_of(recorded)
    kind, stage = job_kind(job.kind), progress.stage
    verb = kind.verb
    if stage is not None:
        verb = stage[:1].upper() + stage[1:]
    extracted = progress.unit == "clip" and progress.done == progress.total
    share = min(1.0, progress.done / progress.total) if progress.total else 0.0
    if stage is not None and stage.startswith("waiting"):
        text, share = f"{verb} ...", 0.0
    elif state == QUEUED or not progress.unit:
        text, share = f"{verb}: getting ready ...", 0.0
    elif kind.after_clips and extracted:
        text = f"{verb}: {kind.after_clips} ..."
    elif progress.unit == "epoch":
        text = _epochs_in_words(verb, recorded, progress, spent_s)
    else:
        text = _steps_in_words(job, verb, recorded, progress, spent_s, then_s)
    if label is not None:
        text = f"Label {label.number} of {label.labels}, {plain(label.label)} · {text}"
    asked = job.cancel.exists()
    if asked:
        jobs.escalate_cancel(job)
    with st.container(horizontal=True, vertical_alignment="center", key=f"job_{job.kind}"):
        st.progress(share, text="Stopping ..." if asked else text)
        st.button("Cancel", icon=":material/stop_circle:", key=f"cancel_{job.id}", on_click=_cancel, args=(job,), disabled=asked)


def _steps_in_words(job: Job, verb: str, recorded: list[Recorded], progress: Progress, spent_s: float, then_s: float) -> str:
    """Progress of a job that counts clips, fits or parts."""
    unit, done, total = progress.unit, int(progress.done), progress.total
    rate = rate_per_s(recorded, _KINDS[unit], over_s=_RATE_OVER_S[unit])
    if unit == "clip" and job_kind(job.kind).trains:  # what is missing is extracted first, then encoded
        verb = job_kind("extract").verb if sum(isinstance(one.event, ExtractionStarted) for one in recorded) < 2 else "Encoding"
    parts = [f"{verb}: {done:,} of {count(total, unit)}"]
    if done == 0 and progress.compiling:
        parts.append("compiling for this machine, once, for about half a minute")
    elif done == 0 and unit == "clip":
        parts.append("starting the workers")
    if unit == "clip" and (device := device_in_words(progress)):
        parts.append(device)
    if rate is not None and unit == "clip":
        parts.append(f"{rate:.1f} clips per second" if rate >= 0.1 else f"{60 * rate:.1f} clips per minute")
    if rate is not None and done < total:
        parts.append(f"about {duration((total - done) / rate)} left")
        if unit == "fit" and (later := fits_beside(job, recorded)):
            parts[-1] += f", {about((total - done + later) / rate)} with what comes after"
    if unit == "clip" and then_s and done < total:
        parts.append(f"then {about(then_s)} of training")
    parts.append(f"{duration(spent_s)} so far")
    return " · ".join(parts)


def _epochs_in_words(verb: str, recorded: list[Recorded], progress: Progress, spent_s: float) -> str:
    """Progress of a fine-tuning."""
    done, total = progress.done, progress.total
    parts = [f"{verb}: {int(done):,} of {count(total, 'epoch')}"]
    if device := device_in_words(progress):
        parts.append(device)
    if (seconds := epoch_seconds(recorded)) is not None and done < total:
        parts.append(f"at most {about((total - done) * seconds)} left, less where folds stop early")
    parts.append(f"{duration(spent_s)} so far")
    return " · ".join(parts)


def _cancel(job: Job) -> None:
    with errors_in_words():
        jobs.cancel(job)


def _resume(job: Job) -> None:
    with errors_in_words():
        jobs.submit(job.kind, job.request, job.folder.parent)
