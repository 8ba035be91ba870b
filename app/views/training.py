"""A training drawn while it is at work: its errors as they come. Errors are in the unit of the label."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app.charts import training
from app.views import live
from app.words import LITTLE, NOTHING, decimals, group_noun, plain
from core.events import FitFinished, FoldScored, LeakGapFound, Recorded, RoundsScored, TrainingStarted, Warned
from core.scoring.figures import text


def draw_training(recorded: list[Recorded], plan: dict[str, Any], best: float | None) -> None:
    """Errors as they come: each member on each fold, the members so far against the baseline, and rounds of boosting.

    Parameters
    ----------
    recorded : events of the job so far
    plan : the ensemble's settings, as the job's request has them
    best : RMSE of the best run before that can be compared, or None
    """
    for one in recorded:
        if isinstance(one.event, Warned):
            st.warning(plain(one.event.text), icon=":material/warning:")
    ours = [one.event for one in live.of_ensemble(recorded)]
    leak = next((event for event in ours if isinstance(event, LeakGapFound)), None)
    if leak is not None:
        leak_words(leak.random_rmse, leak.grouped_rmse, leak.groups, chosen=plan.get("group_by") is not None)
    total = next((event.fits for event in ours if isinstance(event, TrainingStarted)), 0)
    if not total:
        return
    fits = [event for event in ours if isinstance(event, FitFinished)]
    scored = sum(isinstance(event, FoldScored) for event in ours)
    folds, repeats = plan["folds"], plan.get("repeats", 1)
    last = fits[-1] if fits else None
    with st.grid(4, min_column_width=190):
        st.metric(
            "Out-of-fold RMSE so far",
            text(last.oof_rmse, like=last.constant_rmse) if last else NOTHING,
            border=True,
            help="Mean of the members.",
        )
        st.metric(
            "Baseline RMSE",
            text(last.constant_rmse) if last else NOTHING,
            border=True,
            help="Predicts the mean of the training labels, on the same clips.",
        )
        st.metric(
            "Best run before",
            NOTHING if best is None else text(best, like=last.constant_rmse if last else None),
            border=True,
            help="On this data set, with these groups.",
        )
        st.metric("Folds complete", f"{scored} of {folds * repeats}", border=True)
    if (beside := live.progress_of(recorded).stage) is not None:
        st.caption(f"The ensemble is fitted. Now: {plain(beside)}. The charts show the ensemble only.")
    if not fits:
        st.caption("The first fits are running ...")
    else:
        with st.grid(2, min_column_width=320):
            table, shape = training.fold_table(fits, repeats), (tuple(plan["members"]), folds, repeats)
            live.draw_chart(table, training.fold_chart, *shape, key="fold_scores", what="RMSE by member and fold")
            live.draw_chart(
                training.running_table(fits, total, best),
                training.running_chart,
                total,
                best is not None,
                key="running_error",
                what="RMSE so far, beside the baseline's and the best run's",
                zooms=True,
            )
        st.caption("Ctrl and the wheel zoom errors and rounds; drag to move, double click to reset.")
    if any(isinstance(event, RoundsScored) for event in ours):
        st.markdown("**Rounds of boosting**")
        draw_rounds(ours, plan["members"], folds, ticks=True)


def draw_rounds(events: Sequence[object], members: Sequence[str], folds: int, *, ticks: bool = False) -> None:
    """A small chart for each boosted member: its error by round, a line a fold; ``ticks`` where more rounds are to come."""
    rounds = [event for event in events if isinstance(event, RoundsScored)]
    told = {event.model for event in rounds}
    st.caption(
        "RMSE on the early-stopping rows: training rows, not the fold's score; with a label transform, of the transformed labels."
    )
    with st.grid(min(3, len(told)), min_column_width=260):
        for number, member in enumerate(members):
            if member in told:
                with st.container():
                    st.caption(plain(member))
                    table = training.round_table([one for one in rounds if one.model == member])
                    what = f"RMSE of {member} by round, on the early-stopping rows"
                    key = f"rounds_{number}"
                    live.draw_chart(table, training.round_chart, folds, key=key, what=what, zooms=True, ticks=ticks)


def leak_words(random_rmse: float, grouped_rmse: float, groups: str, *, chosen: bool) -> None:
    """The leak gap, measured with a quick model before the training."""
    name = group_noun(groups)
    with st.container(border=True):
        st.markdown(
            f"**Leak gap {text(grouped_rmse - random_rmse, like=grouped_rmse, decimals=3, sign='+')}**, measured with a quick model"
        )
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.metric("Random folds", text(random_rmse, like=grouped_rmse, decimals=3), width="content")
            st.metric(plain(f"Grouped by {name}"), text(grouped_rmse, decimals=3), width="content")
            st.markdown(plain(leak_sentence(random_rmse, grouped_rmse, groups, chosen=chosen)), width="content")


def leak_sentence(random_rmse: float, grouped_rmse: float, groups: str, *, chosen: bool) -> str:
    """What the two RMSE of a quick model mean for new clips.

    Examples
    --------
    >>> leak_sentence(0.61, 0.79, "speaker", chosen=True)
    'Random folds would report 0.61. For a new speaker expect 0.79.'
    >>> leak_sentence(0.61, 0.79, "speaker, which was not chosen", chosen=False)
    'These folds are random and report 0.61. For a new speaker expect 0.79.'
    >>> leak_sentence(0.61, 0.615, "room", chosen=True)
    'It makes little difference whether the room is known.'
    """
    name = group_noun(groups)
    if grouped_rmse - random_rmse < LITTLE * random_rmse:
        return f"It makes little difference whether the {name} is known."
    folds = "Random folds would report" if chosen else "These folds are random and report"
    places = decimals(grouped_rmse) if grouped_rmse < 0.1 else 2
    return f"{folds} {random_rmse:.{places}f}. For a new {name} expect {grouped_rmse:.{places}f}."
