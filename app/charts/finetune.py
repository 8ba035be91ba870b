"""Steps and epochs of a fine-tuning in, figures out: losses, errors on the validation rows, learning rate, by fold from 1 on."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import altair as alt
import pandas as pd

from app.charts.marks import ACCENT, Layers, figure_tooltip, fold_colour, zoom
from core.events import EpochScored, StepDone

_HEIGHT = 340
_RATE = "datum.value === 0 ? '0' : format(datum.value, '~e')"
_NAMES = {"huber": "Huber", "mse": "squared error"}

Told = TypeVar("Told", StepDone, EpochScored)


def step_table(told: Sequence[StepDone]) -> pd.DataFrame:
    """What ``loss_chart`` and ``rate_chart`` draw: a row for each step that was told of."""
    steps = _as_it_stands(told, lambda one: one.step)
    rows = [(one.fold + 1, one.step, one.epoch, one.loss, one.learning_rate) for one in steps]
    return pd.DataFrame(rows, columns=["fold", "step", "epoch", "loss", "rate"])


def epoch_table(told: Sequence[EpochScored]) -> pd.DataFrame:
    """What ``epoch_chart`` draws: a row for each epoch of a fold; ``best`` has the lowest error of its fold so far."""
    epochs = _as_it_stands(told, lambda one: one.epoch)
    frame = pd.DataFrame(
        [(one.fold + 1, one.epoch, one.rmse, one.loss) for one in epochs], columns=["fold", "epoch", "rmse", "loss"]
    )
    lowest = frame.groupby("fold")["rmse"].transform("idxmin") if len(frame) else []
    return frame.assign(best=frame.index == lowest)


def loss_chart(table: pd.DataFrame, folds: int, steps: int, loss: str) -> alt.Chart:
    """Loss by step, a line per fold; it has no unit, as labels have mean 0 and variance 1 there.

    Parameters
    ----------
    table : as ``step_table``
    folds, steps : int, of the whole, so that the axes stand still while it fills
    loss : str, huber or mse
    """
    return (
        alt.Chart(table, height=_HEIGHT)
        .mark_line(strokeWidth=1.5, opacity=0.85)
        .encode(
            _by_step(steps),
            alt.Y("loss:Q", scale=alt.Scale(zero=True), title=f"Loss ({_NAMES.get(loss, loss)})"),
            fold_colour(folds),
            tooltip=["fold:O", "step:Q", alt.Tooltip("epoch:Q", format=".1f"), figure_tooltip("loss", table)],
        )
        .add_params(zoom())
    )


def epoch_chart(table: pd.DataFrame, folds: int, epochs: int) -> Layers:
    """RMSE by epoch on the validation rows, a line per fold; a large point is the best epoch of its fold so far.

    Parameters
    ----------
    table : as ``epoch_table``
    folds, epochs : int, of the whole
    """
    base = alt.Chart(table).encode(
        alt.X(
            "epoch:Q",
            scale=alt.Scale(domain=[0.5, epochs + 0.5], nice=False),
            title="Epoch",
            axis=alt.Axis(tickMinStep=1, tickCount=min(epochs, 10), format="d"),
        ),
        alt.Y("rmse:Q", scale=alt.Scale(zero=False, padding=10), title="RMSE, validation rows"),
        fold_colour(folds),
        tooltip=["fold:O", "epoch:Q", figure_tooltip("rmse", table), figure_tooltip("loss", table)],
    )
    points = base.mark_point(filled=True, opacity=1).encode(size=alt.condition(alt.datum.best, alt.value(130), alt.value(25)))
    return alt.layer(base.mark_line(strokeWidth=1.5, opacity=0.85).add_params(zoom()), points, height=_HEIGHT)


def rate_chart(table: pd.DataFrame, steps: int) -> alt.Chart:
    """Learning rate by step of one fold.

    Parameters
    ----------
    table : as ``step_table``, of one fold
    steps : int, of the whole fold
    """
    return (
        alt.Chart(table, height=_HEIGHT)
        .mark_line(strokeWidth=2, color=ACCENT, point=alt.OverlayMarkDef(size=20, filled=True, color=ACCENT))
        .encode(
            _by_step(steps),
            alt.Y("rate:Q", scale=alt.Scale(zero=True), title="Learning rate", axis=alt.Axis(labelExpr=_RATE, tickCount=5)),
            tooltip=["step:Q", alt.Tooltip("rate:Q", title="learning rate", format=".3~e")],
        )
    )


def _by_step(steps: int) -> alt.X:
    scale = alt.Scale(domain=[0, max(1, steps)], nice=False)
    return alt.X("step:Q", scale=scale, title="Step of the fold", axis=alt.Axis(tickMinStep=1, tickCount=6, format="d"))


def _as_it_stands(told: Sequence[Told], at: Callable[[Told], int]) -> list[Told]:
    """Events in order of fold; where a fold went back, to its last checkpoint or its beginning, what came later then is void."""
    of_fold: dict[int, list[Told]] = {}
    for one in told:
        earlier = of_fold.setdefault(one.fold, [])
        while earlier and at(earlier[-1]) >= at(one):
            earlier.pop()
        earlier.append(one)
    return [one for fold in sorted(of_fold) for one in of_fold[fold]]
