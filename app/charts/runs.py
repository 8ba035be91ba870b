"""Runs in, figures out: their folds over each other, what differs between two. Errors are in the unit of the label."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from app.charts.marks import ACCENT, QUIET, SECOND, TALL, Layers, clip_points, figure_tooltip, legend, names_axis, value_range


def folds_overlaid(table: pd.DataFrame, runs: Sequence[str], places: Sequence[str]) -> alt.Chart:
    """RMSE of each run on each fold.

    Parameters
    ----------
    table : pd.DataFrame with ``run``, ``place``, ``rmse``
    runs : names in the order of their colours
    places : folds in order
    """
    return (
        alt.Chart(table, height=TALL)
        .mark_line(point=alt.OverlayMarkDef(size=70, filled=True), strokeWidth=1.8)
        .encode(
            alt.X("place:O", scale=alt.Scale(domain=list(places)), title="Fold", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            alt.Y("rmse:Q", title="RMSE", scale=alt.Scale(zero=False)),
            alt.Color("run:N", scale=alt.Scale(domain=list(runs)), title=None, legend=legend(runs)),
            tooltip=["run:N", alt.Tooltip("place:O", title="Fold"), figure_tooltip("rmse", table)],
        )
    )


def differences(table: pd.DataFrame) -> Layers:
    """Change of the RMSE by run, with its interval; left of zero is better.

    Parameters
    ----------
    table : pd.DataFrame with ``run``, ``difference``, ``low``, ``high``, ``verdict``
    """
    low, high = value_range(pd.concat([table["low"], table["high"], pd.Series([0.0])]).to_numpy(float))
    x = alt.Scale(domain=[low, high], nice=False)
    colours = alt.Scale(domain=["helps", "cannot tell", "hurts"], range=[ACCENT, QUIET, SECOND])
    base = alt.Chart(table).encode(
        names_axis("run"),
        color=alt.Color("verdict:N", scale=colours, legend=None),
        tooltip=["run:N", "verdict:N", *(figure_tooltip(name, table, sign="+") for name in ("difference", "low", "high"))],
    )
    title = "Change of the out-of-fold RMSE"
    ends = base.mark_rule(strokeWidth=3).encode(
        alt.X("low:Q", scale=x, title=title, axis=alt.Axis(format="+~g", tickCount=5)), alt.X2("high")
    )
    points = base.mark_point(size=110, filled=True, opacity=1).encode(alt.X("difference:Q", scale=x))
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=QUIET, strokeDash=[4, 4]).encode(alt.X("zero:Q", scale=x))
    return alt.layer(zero, ends, points, height=36 * len(table) + 60)


def errors_against(frame: pd.DataFrame, first: str, second: str) -> Layers:
    """Distance from the label of each clip by two runs; below the diagonal the second is nearer. A click picks ``clip``.

    Parameters
    ----------
    frame : pd.DataFrame with ``clip``, ``label``, ``first``, ``second``
    first, second : names of the runs
    """
    high = value_range(frame[["first", "second"]].to_numpy(float).ravel())[1]
    scale = alt.Scale(domain=[0, high], nice=False)
    points = clip_points(
        frame,
        alt.X("first:Q", title=f"Distance, {first[:28]}", scale=scale),
        alt.Y("second:Q", title=f"Distance, {second[:28]}", scale=scale),
    )
    ends = alt.Chart(pd.DataFrame({"first": [0, high], "second": [0, high]}))
    return alt.layer(ends.mark_line(color=QUIET, strokeDash=[4, 4]).encode(x="first:Q", y="second:Q"), points)
