"""Find the best: a search that tries what is at hand, step by step, and the ladder that it climbs. Errors in the label's unit."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import fields, forms, session
from app.charts.ladder import KEPT, NOT_KEPT, ladder
from app.views import live
from app.words import errors_in_words, plain
from core import jobs
from core.cli import as_command
from core.ensemble import EnsembleSettings
from core.ensemble.auto import AutoSettings
from core.events import LadderStepDone, Recorded
from core.extraction.config import ExtractSettings
from core.runs import Run
from core.runs.schema import LadderRecord
from core.tasks.ladder import missing_models

KIND = "auto"


def show(ensemble: EnsembleSettings, extraction: ExtractSettings, *, possible: bool) -> None:
    """The button that starts the search, the search while it is at work, and how it ended where that was not well.

    Parameters
    ----------
    ensemble : EnsembleSettings, of which the search takes the folds and the groups
    extraction : ExtractSettings, of which it takes how clips are read
    possible : bool, there is something to train on and nothing else at work
    """
    job = session.newest_job(KIND)
    active = job is not None and jobs.status(job) in jobs.ACTIVE
    with st.container(border=True):
        st.markdown("**Find the best**")
        st.caption(
            "Tries the encoders on this machine, the text that was read, further members and augmentation, one step at a time. "
            "A step is kept only where it helps for sure. The score at the end is of folds that no step has used."
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            usual = session.usual(job, AutoSettings, KIND)
            minutes = fields.number(KIND, usual, "minutes", step=15.0, width=180)
            plan = {name: getattr(ensemble, name) for name in ("folds", "group_by", "stratified", "seed", "level", "workers")}
            settings = usual.replace(**plan, minutes=minutes, models=_models(usual))
            st.button(
                "Find the best",
                icon=":material/trophy:",
                key="find_best",
                on_click=_start,
                args=(extraction, settings),
                disabled=not possible or active,
            )
        for line in missing_models():
            st.caption(plain(f"{line[:1].upper()}{line[1:]}. Its name under Models fetches it."))
        chosen = session.choice()
        forms.command(as_command.auto_command(chosen.path, chosen.layout, extraction, settings, session.workspace().root))
        if job is not None and active:
            live.show_job(job, _draw)
        elif job is not None:
            live.show_end(job)


def show_ladder(run: Run) -> None:
    """The steps that led to a run; nothing where it is of no search."""
    steps = run.record.ladder
    if not steps:
        return
    st.markdown("**The steps that led here**")
    ceiling = None if run.scores.ceiling is None else run.scores.ceiling.rmse
    _chart(steps, ceiling)
    st.caption("Scores of the steps are of the folds that they were chosen on; the score of the run is of fresh folds.")
    for step in steps:
        if step.reason:
            st.caption(plain(f"{step.title}: {step.reason}"))


def _models(usual: AutoSettings) -> tuple[str, ...]:
    """Audio models that are tried besides those on this machine; folders and hub ids can be typed."""
    setting = usual.describe()["models"]
    names = list(usual.models)
    chosen = st.multiselect(
        setting.label,
        names,
        names,
        accept_new_options=True,
        key="auto_models",
        persist_state="session",
        width=360,
        help=setting.help,
    )
    return tuple(dict.fromkeys(session.model_folder(name.strip()) for name in chosen if name.strip()))


def _start(extraction: ExtractSettings, settings: AutoSettings) -> None:
    with errors_in_words():
        jobs.submit(KIND, session.request(extract=extraction, auto=settings), session.workspace().jobs)


def _draw(recorded: list[Recorded]) -> None:
    """The ladder so far."""
    done = [one.event for one in recorded if isinstance(one.event, LadderStepDone)]
    latest = {event.name: event for event in done}.values()  # a search that went on tells its first steps again
    _chart(list(latest), None)


def _chart(steps: Sequence[LadderRecord | LadderStepDone], ceiling: float | None) -> None:
    rows = [
        (step.title, step.rmse, step.low, step.high, KEPT if step.kept else NOT_KEPT)
        for step in steps
        if step.rmse is not None and step.rmse == step.rmse
    ]
    if rows:
        table = pd.DataFrame(rows, columns=["step", "rmse", "low", "high", "state"])
        st.altair_chart(ladder(table, ceiling), key="ladder", alt="Error of each step with its 95 % interval")
