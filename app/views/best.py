"""Find the best: a search that tries what is at hand, step by step, and the ladder that it climbs. Errors in the label's unit."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import streamlit as st

from app import fields, forms, resources, session
from app.charts.ladder import KEPT, NOT_KEPT, ladder
from app.views import live
from app.words import NOTHING, about, count, duration, errors_in_words, plain
from core import jobs
from core.cli import as_command
from core.ensemble import EnsembleSettings
from core.ensemble.auto import AutoSettings
from core.errors import EarmarkError
from core.events import LadderPlanned, LadderStepDone, Recorded
from core.extraction.config import ExtractSettings
from core.runs import Run
from core.runs.schema import LadderRecord
from core.runtime.weights import is_here
from core.scoring.figures import text
from core.scoring.metrics import METRICS
from core.tasks.ladder import missing_models

KIND = "auto"
_SHARED = ("folds", "group_by", "stratified", "seed", "level", "metric", "workers")  # settings that are those of the training


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
            "Tries the encoders on this machine, texts, columns of the table, more members and augmentation, one step at a time. "
            "A step is kept only where the improvement is beyond chance. The score at the end is of folds that no step has used."
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            usual = session.usual(job, AutoSettings, KIND)
            minutes = fields.number(KIND, usual, "minutes", step=15.0, width=180)
            plan = {name: getattr(ensemble, name) for name in _SHARED}
            settings = usual.replace(**plan, minutes=minutes, models=_models(usual))
        settings = settings.replace(models=tuple(dict.fromkeys([*settings.models, *_fetched()])))
        st.button(
            "Find the best",
            icon=":material/trophy:",
            key="find_best",
            on_click=_start,
            args=(extraction, settings),
            disabled=not possible or active,
        )
        chosen = session.choice()
        forms.command(as_command.auto_command(chosen.path, chosen.layout, extraction, settings, session.workspace().root))
        if job is not None and active:
            live.show_job(job, _draw)
        else:
            if job is not None:
                live.show_end(job)
            _show_plan(extraction, settings)


def _show_plan(extraction: ExtractSettings, settings: AutoSettings) -> None:
    """What the search would try, in its order."""
    with st.expander("What it tries", icon=":material/stairs:", expanded=session.asked_for_best()):
        try:
            steps = resources.planned_steps(session.require_dataset(), extraction, settings.group_by, settings.models)
        except EarmarkError as error:
            st.warning(plain(str(error)), icon=":material/warning:")
            return
        st.markdown("\n".join(f"{number}. {plain(title)}" for number, title in enumerate(steps, start=1)))
        if to_fetch := [model for model in settings.models if not is_here(model)]:
            st.caption(plain(f"The steps of what is fetched first join them: {', '.join(to_fetch)}."))
        st.caption(
            f"The search times each step before it begins, and ends after {count(settings.patience, 'step')} in a row that "
            "cannot be told from noise."
        )


def _fetched() -> list[str]:
    """Models that are fetched from the hub for the search: none unless it is ticked."""
    return [
        one.model
        for one in missing_models()
        if st.checkbox(plain(f"Fetch {one.line()}"), key=f"fetch_{one.model}", persist_state="session")
    ]


def show_ladder(run: Run) -> None:
    """The steps that led to a run; nothing where it is of no search."""
    steps = run.record.ladder
    if not steps:
        return
    st.markdown("**The steps that led here**")
    ceiling = None if run.scores.ceiling is None or steps[0].metric != "rmse" else run.scores.ceiling.rmse
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
    # A search that went on tells its plan and its first steps again.
    planned = {one.event.name: one.event for one in recorded if isinstance(one.event, LadderPlanned)}
    done = {one.event.name: one.event for one in recorded if isinstance(one.event, LadderStepDone)}
    _chart(list(done.values()), next((event.ceiling for event in done.values() if event.ceiling is not None), None))
    if planned:
        st.dataframe(
            plan_table(planned.values(), done),
            hide_index=True,
            height="content",
            key="ladder_plan",
            alt="Steps of the search with their times",
        )


def plan_table(planned: Iterable[LadderPlanned], done: Mapping[str, LadderStepDone]) -> pd.DataFrame:
    """Each step of the plan: about how long it takes, how long it took, and how it ended."""
    rows = []
    for step in planned:
        end = done.get(step.name)
        ahead = about(step.seconds) if step.seconds == step.seconds else NOTHING
        if end is None:
            rows.append((step.title, ahead, "", step.reason))
        else:
            state = KEPT if end.kept else NOT_KEPT if end.score == end.score else "passed over"
            rows.append((end.title, ahead, duration(end.seconds) if end.seconds else "", f"{state}: {end.reason}".rstrip(": ")))
    return pd.DataFrame(rows, columns=["Step", "Forecast", "Took", "Outcome"])


def _chart(steps: Sequence[LadderRecord | LadderStepDone], ceiling: float | None) -> None:
    rows = [
        (step.title, step.score, step.low, step.high, KEPT if step.kept else NOT_KEPT)
        for step in steps
        if step.score is not None and step.score == step.score
    ]
    if rows:
        metric = METRICS[steps[0].metric].label
        table = pd.DataFrame(rows, columns=["step", "score", "low", "high", "state"])
        st.altair_chart(ladder(table, ceiling, metric), key="ladder", alt=f"{metric} of each step with its 95 % interval")
        if ceiling is not None:
            st.caption(f"Dashed: RMSE {text(ceiling, decimals=3)}, which the raters' disagreement allows at best.")
