"""Scores and predictions in, charts out: folds, rounds, members, out-of-fold errors. Errors are in the unit of the label."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from app.charts.marks import (
    ACCENT,
    QUIET,
    SECOND,
    TALL,
    Layers,
    around,
    clip_points,
    figure_tooltip,
    fold_colour,
    legend,
    names_axis,
    value_range,
    zoom,
)
from core.events import FitFinished, RoundsScored

_ROUNDS_DRAWN = 60  # of a curve
_RUNNING = ("oof_rmse", "constant_rmse")
_LINES = ("members so far", "baseline (mean of the training labels)", "best run before")


def fold_table(fits: Sequence[FitFinished], repeats: int) -> pd.DataFrame:
    """Rows of ``fold_chart``: one for each fit."""
    rows = [(place(fit.repeat, fit.fold, repeats), fit.repeat + 1, fit.rmse, fit.model) for fit in fits]
    return pd.DataFrame(rows, columns=["fold", "repeat", "rmse", "member"])


def fold_chart(table: pd.DataFrame, members: tuple[str, ...], folds: int, repeats: int) -> alt.Chart:
    """RMSE by fold and member, repeat after repeat; the axes keep their range while the chart fills."""
    places = [place(repeat, fold, repeats) for repeat in range(repeats) for fold in range(folds)]
    title = "Fold" if repeats == 1 else "Repeat and fold"
    return (
        alt.Chart(table, height=TALL)
        .mark_line(point=alt.OverlayMarkDef(size=70 if len(places) <= 10 else 35, filled=True), strokeWidth=1.5)
        .encode(
            alt.X("fold:O", scale=alt.Scale(domain=places), title=title, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            alt.Y("rmse:Q", scale=alt.Scale(zero=False, nice=True), title="RMSE on the fold", axis=alt.Axis(format=".4~r")),
            alt.Color("member:N", scale=alt.Scale(domain=list(members)), title=None, legend=legend(members)),
            alt.Detail("repeat:O"),
            tooltip=["member:N", "fold:O", figure_tooltip("rmse", table)],
        )
    )


def running_table(fits: Sequence[FitFinished], total: int, best: float | None) -> pd.DataFrame:
    """Rows of ``running_chart``: one for each fit and line.

    Parameters
    ----------
    fits : sequence of FitFinished
    total : int, fits in the end
    best : float, RMSE of the best run so far, drawn as a rule
    """
    rows = [
        (number + 1, name, getattr(fit, key))
        for number, fit in enumerate(fits)
        for key, name in zip(_RUNNING, _LINES, strict=False)
    ]
    if best is not None:
        rows += [(at, _LINES[-1], best) for at in (1, max(2, total))]
    return pd.DataFrame(rows, columns=["fits", "what", "rmse"])


def running_chart(table: pd.DataFrame, total: int, with_best: bool) -> Layers:
    """Out-of-fold RMSE of all members so far by the number of fits, beside the baseline's on the same rows."""
    marks = _LINES if with_best else _LINES[:-1]
    colours = alt.Scale(domain=list(marks), range=[ACCENT, QUIET, SECOND][: len(marks)])
    ends = alt.Scale(domain=[1, max(2, total)])
    base = alt.Chart(table).encode(
        alt.X("fits:Q", scale=ends, title="Fits finished", axis=alt.Axis(tickMinStep=1, format="d")),
        alt.Y("rmse:Q", scale=alt.Scale(zero=False, nice=True), title="Out-of-fold RMSE"),
        alt.Color("what:N", scale=colours, title=None, legend=legend(marks)),
        tooltip=["what:N", "fits:Q", figure_tooltip("rmse", table)],
    )
    points = base.transform_filter(alt.datum.what != _LINES[-1]).mark_point(size=25, filled=True)
    return alt.layer(base.mark_line(strokeWidth=2).add_params(zoom()), points, height=TALL)


def round_table(rounds: Sequence[RoundsScored]) -> pd.DataFrame:
    """Rows of ``round_chart``: one for each point, at most about 60 a curve."""
    curves: dict[tuple[int, int], dict[int, float]] = {}
    for scored in rounds:  # a fit that starts over reports its rounds again
        curves.setdefault((scored.repeat + 1, scored.fold + 1), {})[scored.rounds] = scored.rmse
    rows = [(*fold, number, rmse) for fold, curve in curves.items() for number, rmse in _thinned(sorted(curve.items()))]
    return pd.DataFrame(rows, columns=["repeat", "fold", "rounds", "rmse"])


def round_chart(table: pd.DataFrame, folds: int) -> alt.Chart:
    """RMSE of a boosted member on its early-stopping rows by round, a line for each fold of each repeat."""
    return (
        alt.Chart(table, height=300)
        .mark_line(strokeWidth=1.5, opacity=0.85)
        .encode(
            alt.X("rounds:Q", title="Round", axis=alt.Axis(tickMinStep=1, tickCount=5, format="d")),
            alt.Y("rmse:Q", scale=alt.Scale(zero=False, nice=True), title="RMSE, early-stopping rows"),
            fold_colour(folds),
            alt.Detail("repeat:O"),
            tooltip=["repeat:O", "fold:O", "rounds:Q", figure_tooltip("rmse", table)],
        )
        .add_params(zoom())
    )


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most about 60 of the points, the first and the last among them."""
    step = max(1, len(points) // _ROUNDS_DRAWN)
    return [*points[:-1:step], points[-1]]


def member_weights(table: pd.DataFrame) -> alt.Chart:
    """Share of each member in the blend.

    Parameters
    ----------
    table : pd.DataFrame with ``member``, ``weight``, ``oof_rmse``
    """
    highest = max(0.01, float(table["weight"].max()))
    return (
        alt.Chart(table, height=28 * len(table) + 80)
        .mark_bar(color=ACCENT, height={"band": 0.72})
        .encode(
            alt.X(
                "weight:Q",
                title="Weight, mean over all folds",
                scale=alt.Scale(domain=[0, highest]),
                axis=alt.Axis(format=".2f", tickCount=5),
            ),
            names_axis("member"),
            tooltip=[
                alt.Tooltip("member:N", title="Member"),
                alt.Tooltip("weight:Q", format=".3f"),
                figure_tooltip("oof_rmse", table),
            ],
        )
    )


def verdicts(table: pd.DataFrame) -> Layers:
    """Change of the RMSE by each switch, with its interval; left of the line the switch helps.

    Parameters
    ----------
    table : pd.DataFrame with ``switch``, ``difference``, ``low``, ``high``, ``verdict``
    """
    reach = 1.1 * float(np.abs(table[["low", "high", "difference"]].to_numpy(float)).max()) or 0.01
    x = alt.Scale(domain=[-reach, reach], nice=False)
    colours = alt.Scale(domain=["helps", "cannot tell", "hurts"], range=[ACCENT, QUIET, SECOND])
    tooltip: list[Any] = [
        "switch:N",
        "verdict:N",
        *(figure_tooltip(name, table, sign="+") for name in ("difference", "low", "high")),
    ]
    base = alt.Chart(table).encode(
        names_axis("switch"),
        color=alt.Color("verdict:N", scale=colours, legend=None),
        tooltip=tooltip,
    )
    ends = base.mark_rule(strokeWidth=3).encode(
        alt.X("low:Q", scale=x, title="Change of the out-of-fold RMSE", axis=alt.Axis(format="+~g", tickCount=5)), alt.X2("high")
    )
    points = base.mark_point(size=110, filled=True, opacity=1).encode(alt.X("difference:Q", scale=x))
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=QUIET, strokeDash=[4, 4]).encode(alt.X("zero:Q", scale=x))
    return alt.layer(zero, ends, points, height=32 * len(table) + 90)


def oof_scatter(oof: pd.DataFrame) -> Layers:
    """Out-of-fold prediction by label; on the diagonal the two are equal. A click picks the point ``clip`` by its ``clip``."""
    low, high = value_range(np.concatenate([oof["label"], oof["oof_prediction"]]))
    scale = alt.Scale(domain=[low, high], nice=False)
    x = alt.X("label:Q", scale=scale, title="Label", axis=alt.Axis(tickCount=6))
    y = alt.Y("oof_prediction:Q", scale=scale, title="Out-of-fold prediction", axis=alt.Axis(tickCount=6))
    ends = pd.DataFrame({"label": [low, high], "oof_prediction": [low, high]})
    diagonal = alt.Chart(ends).mark_line(color=QUIET, strokeDash=[4, 4]).encode(x, y)
    shown = [name for name in ("label", "oof_prediction", "low", "high", "fold") if name in oof]
    return alt.layer(diagonal, clip_points(oof[shown].assign(clip=oof["filename"]), x, y))


def error_by_label(oof: pd.DataFrame, means: pd.DataFrame) -> Layers:
    """Prediction minus label, one point per clip, with the mean of each bin.

    Parameters
    ----------
    oof : pd.DataFrame with ``filename``, ``label``, ``oof_prediction``
    means : pd.DataFrame with ``label``, ``error``, ``clips``
    """
    frame = pd.DataFrame({"clip": oof["filename"], "label": oof["label"], "error": oof["oof_prediction"] - oof["label"]})
    most = float(frame["error"].abs().max()) * 1.05 or 1.0
    x = alt.X("label:Q", title="Label", scale=around(frame["label"]), axis=alt.Axis(tickCount=6))
    y = alt.Y("error:Q", title="Prediction minus label", scale=alt.Scale(domain=[-most, most]), axis=alt.Axis(tickCount=6))
    tooltip = [alt.Tooltip("clip:N"), alt.Tooltip("label:Q"), figure_tooltip("error", frame, sign="+")]
    points = alt.Chart(frame, height=300).mark_circle(size=30, opacity=0.35, color=ACCENT).encode(x, y, tooltip=tooltip)
    zero = alt.Chart(pd.DataFrame({"error": [0.0]})).mark_rule(color=QUIET, strokeDash=[4, 4]).encode(y="error:Q")
    of_bin = [figure_tooltip("error", means, sign="+", title="Mean error"), alt.Tooltip("clips:Q", title="Clips")]
    line = alt.Chart(means).mark_line(color=SECOND, point={"color": SECOND, "size": 60}, strokeWidth=2.5)
    return alt.layer(zero, points, line.encode(x="label:Q", y="error:Q", tooltip=of_bin))


def coverage_by_label(table: pd.DataFrame, level: float) -> Layers:
    """Interval coverage by label, beside the level that was asked for.

    Parameters
    ----------
    table : pd.DataFrame with ``label``, ``share``, ``clips``
    level : float, the share that was asked for
    """
    bars = (
        alt.Chart(table, height=26 * len(table) + 50)
        .mark_bar(color=ACCENT, height={"band": 0.7})
        .encode(
            names_axis("label"),
            alt.X("share:Q", title="Interval coverage", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)),
            tooltip=["label:N", alt.Tooltip("share:Q", format=".1%"), "clips:Q"],
        )
    )
    asked = alt.Chart(pd.DataFrame({"share": [level]})).mark_rule(color=SECOND, strokeWidth=2).encode(x="share:Q")
    return alt.layer(bars, asked)


def errors_by_group(table: pd.DataFrame) -> Layers:
    """RMSE by group as a bar, its mean error as a point: far from 0 where a whole group is misjudged.

    Parameters
    ----------
    table : pd.DataFrame with ``group``, ``rmse``, ``mean_error``, ``clips``
    """
    tooltip = [
        alt.Tooltip("group:N", title="Group"),
        figure_tooltip("rmse", table, title="RMSE"),
        figure_tooltip("mean_error", table, sign="+", title="Mean error"),
        alt.Tooltip("clips:Q", title="Clips"),
    ]
    title = "RMSE (bar) and mean error (point)"
    base = alt.Chart(table).encode(names_axis("group"), tooltip=tooltip)
    bars = base.mark_bar(color=ACCENT, height={"band": 0.7}, opacity=0.75).encode(alt.X("rmse:Q", title=title))
    points = base.mark_point(color=SECOND, filled=True, size=70, opacity=1).encode(alt.X("mean_error:Q"))
    return alt.layer(bars, points, height=22 * len(table) + 60)


def place(repeat: int, fold: int, repeats: int) -> str:
    """A fold on an axis: its number, after that of its repeat where there are several."""
    return str(fold + 1) if repeats == 1 else f"{repeat + 1}.{fold + 1}"
