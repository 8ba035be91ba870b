"""An explanation in, charts out: which features move predictions, how, and what makes up one. In the unit of the label.

What has many points is drawn with Plotly; it stands still until another feature or clip is chosen.
"""

import html
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.marks import ACCENT, QUIET, SECOND, Layers, names_axis, sensible, value_range

FEW, MANY = "#3f8fd6", "#e0733d"  # a low value of a column, a high one: readable on light and on dark
_SCALE = [[0.0, FEW], [0.5, QUIET], [1.0, MANY]]
_SPREAD = 0.38  # of a row, that points may go up or down
_BINS = 90
_POINTS_OF_A_ROW = 600
_TOOLTIP = [
    alt.Tooltip("column:N", title="Feature"),
    alt.Tooltip("definition:N", title="Definition"),
    alt.Tooltip("unit:N", title="Unit"),
    alt.Tooltip("family:N", title="Family"),
    alt.Tooltip("change:Q", title="Mean change", format=".4f"),
    alt.Tooltip("shuffled:Q", title="RMSE when shuffled", format="+.4f"),
]


def value_ranks(values: np.ndarray) -> np.ndarray:
    """Place of each value among those of its column, 0 the lowest and 1 the highest; NaN stays NaN.

    Examples
    --------
    >>> value_ranks(np.array([3.0, 1.0, np.nan, 3.0])).tolist()
    [0.75, 0.0, nan, 0.75]
    """
    there = np.isfinite(values)
    ranks = np.full(values.shape, np.nan)
    if there.any():
        ordered = np.sort(values[there])
        first, last = np.searchsorted(ordered, values[there], "left"), np.searchsorted(ordered, values[there], "right") - 1
        ranks[there] = (first + last) / 2 / max(1, len(ordered) - 1)
    return ranks


def beeswarm(contributions: np.ndarray, values: np.ndarray, columns: Sequence[str], clips: Sequence[str]) -> go.Figure:
    """SHAP values: one row per feature, one dot per clip, coloured by how high the value of the feature is.

    Parameters
    ----------
    contributions, values : np.ndarray [shape=(n, k)]
    columns : sequence of str [k], the first at the top
    clips : sequence of str [n]; a point's ``customdata`` begins with its clip
    """
    shown = np.arange(len(clips))
    if len(clips) > _POINTS_OF_A_ROW:
        shown = np.sort(np.random.default_rng(0).choice(len(clips), _POINTS_OF_A_ROW, replace=False))
    x, y, colour, custom = [], [], [], []
    for place, column in enumerate(columns):
        moved = contributions[shown, place]
        ranks = value_ranks(values[:, place])[shown]
        x.append(moved)
        y.append(len(columns) - 1 - place + swarm(moved))
        colour.append(np.where(np.isfinite(ranks), ranks, 0.5))
        name = _text(column)
        custom += [(clips[row], f"{_text(clips[row])}</b><br>{name} = {_number(values[row, place])}") for row in shown.tolist()]
    figure = go.Figure(
        go.Scattergl(
            x=np.concatenate(x).astype(np.float32),
            y=np.concatenate(y).astype(np.float32),
            mode="markers",
            customdata=np.array(custom, dtype=object),  # a list is looked through entry by entry
            marker={
                "size": 5,
                "opacity": 0.75,
                "color": np.concatenate(colour).astype(np.float32),
                "colorscale": _SCALE,
                "cmin": 0,
                "cmax": 1,
                "colorbar": {
                    "title": {"text": "Value"},
                    "tickvals": [0, 1],
                    "ticktext": ["low", "high"],
                    "thickness": 8,
                    "len": 0.5,
                    "outlinewidth": 0,
                },
            },
            hovertemplate="<b>%{customdata[1]}<br>moves the prediction by %{x:+.4f}<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": QUIET, "width": 1})
    figure.update_xaxes(title="Change of the prediction", zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(columns))), ticktext=[_text(one) for one in reversed(columns)], range=[-0.6, len(columns) - 0.4]
    )
    figure.update_layout(height=26 * len(columns) + 90, margin={"l": 10, "r": 10, "t": 10, "b": 10}, dragmode=False)
    return figure


def swarm(values: np.ndarray) -> np.ndarray:
    """How far up or down each point goes so that those of nearly the same value lie beside each other [shape=(n,)]."""
    if len(values) == 0:
        return np.zeros(0)
    low, high = float(values.min()), float(values.max())
    bins = np.zeros(len(values), int) if high == low else ((values - low) / (high - low) * (_BINS - 1)).astype(int)
    away = np.zeros(len(values))
    for number in np.unique(bins):
        members = np.flatnonzero(bins == number)
        steps = np.arange(len(members))
        away[members] = np.where(steps % 2, 1, -1) * ((steps + 1) // 2)
    most = float(np.abs(away).max())
    return away * (min(0.06, _SPREAD / most) if most else 0.0)


def importance_bars(table: pd.DataFrame) -> alt.Chart:
    """Mean change of the prediction by feature, in the order of the table.

    Parameters
    ----------
    table : pd.DataFrame with ``column``, ``family``, ``change``, ``shuffled``, ``spread``, ``definition``, ``unit``
    """
    return (
        alt.Chart(table, height=24 * len(table) + 50)
        .mark_bar(height={"band": 0.7}, color=ACCENT)
        .encode(
            names_axis("column"),
            alt.X("change:Q", title="Mean change of the prediction", axis=alt.Axis(tickCount=5, format="~g")),
            tooltip=_TOOLTIP,
        )
    )


def shuffled_points(table: pd.DataFrame) -> Layers:
    """Rise of the RMSE where a feature is shuffled, with its spread over the shuffles; table as ``importance_bars``."""
    y = names_axis("column")
    scale = alt.Scale(zero=True)
    base = alt.Chart(table).encode(y, tooltip=_TOOLTIP)
    ends = (
        base.transform_filter("isValid(datum.shuffled)")
        .transform_calculate(low="datum.shuffled - datum.spread", high="datum.shuffled + datum.spread")
        .mark_rule(color=SECOND, strokeWidth=2)
        .encode(alt.X("low:Q", scale=scale, title="Rise of the RMSE", axis=alt.Axis(tickCount=5, format="~g")), alt.X2("high:Q"))
    )
    points = base.mark_point(filled=True, size=70, opacity=1, color=SECOND).encode(alt.X("shuffled:Q", scale=scale))
    return alt.layer(ends, points, height=24 * len(table) + 50)


def family_bars(shares: dict[str, float]) -> alt.Chart:
    """Share of the total effect by family of features."""
    frame = pd.DataFrame({"family": list(shares), "share": list(shares.values())})
    return (
        alt.Chart(frame, height=22 * len(frame) + 50)
        .mark_bar(height={"band": 0.7}, color=ACCENT)
        .encode(
            names_axis("family"),
            alt.X("share:Q", title="Share of the total effect", axis=alt.Axis(format="%", tickCount=5)),
            tooltip=[alt.Tooltip("family:N", title="Family"), alt.Tooltip("share:Q", title="Share", format=".1%")],
        )
    )


def dependence(frame: pd.DataFrame, title: str, other: str) -> go.Figure:
    """SHAP values of a feature by its value, one dot per clip, coloured by how high another feature is there.

    Parameters
    ----------
    frame : pd.DataFrame with ``clip``, ``value``, ``change``, ``other``; a point's ``customdata`` is its clip
    title : name of the feature, with its unit
    other : name of the feature that colours
    """
    ranks = value_ranks(frame["other"].to_numpy(float))
    figure = go.Figure(
        go.Scattergl(
            x=frame["value"],
            y=frame["change"],
            mode="markers",
            customdata=[(clip, _text(clip), _number(value)) for clip, value in zip(frame["clip"], frame["other"], strict=True)],
            marker={
                "size": 7,
                "opacity": 0.8,
                "color": np.where(np.isfinite(ranks), ranks, 0.5),
                "colorscale": _SCALE,
                "cmin": 0,
                "cmax": 1,
                "colorbar": {
                    "title": {"text": _text(other), "side": "right"},
                    "tickvals": [0, 1],
                    "ticktext": ["low", "high"],
                    "thickness": 8,
                    "outlinewidth": 0,
                },
            },
            hovertemplate="<b>%{customdata[1]}</b><br>%{x:.5g} moves the prediction by %{y:+.4f}<br>"
            f"{_text(other)} = %{{customdata[2]}}<extra></extra>",
        )
    )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    figure.update_xaxes(title=_text(title), zeroline=False)
    figure.update_yaxes(title="Change of the prediction", zeroline=False)
    figure.update_layout(height=380, margin={"l": 10, "r": 10, "t": 10, "b": 10}, dragmode=False)
    return figure


def waterfall(steps: pd.DataFrame) -> Layers:
    """From the base value to the prediction, a bar a step, from top to bottom.

    Parameters
    ----------
    steps : pd.DataFrame with ``step``, ``from``, ``to``, ``kind`` ("end", "up" or "down"), ``note``
    """
    low, high = value_range(np.concatenate([steps.loc[steps["kind"] != "end", ["from", "to"]].to_numpy().ravel(), steps["to"]]))
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    colour = alt.Color("kind:N", scale=alt.Scale(domain=["end", "up", "down"], range=[QUIET, SECOND, ACCENT]), legend=None)
    frame = steps.assign(change=steps["to"] - steps["from"])
    rows = names_axis("step", frame["step"].tolist())
    base = alt.Chart(frame).encode(
        rows,
        tooltip=[
            alt.Tooltip("step:N", title="Step"),
            alt.Tooltip("note:N", title="Value"),
            alt.Tooltip("change:Q", title="Change", format="+.4f"),
            alt.Tooltip("to:Q", title="Then", format=".4f"),
        ],
    )
    moved = base.transform_filter("datum.kind != 'end'")
    bars = moved.mark_bar(height={"band": 0.7}).encode(
        alt.X("from:Q", scale=scale, title="Prediction", axis=alt.Axis(tickCount=6)), alt.X2("to"), colour
    )
    ends = base.transform_filter("datum.kind == 'end'").mark_point(filled=True, size=120, opacity=1, shape="diamond")
    return alt.layer(bars, ends.encode(alt.X("to:Q", scale=scale), colour), height=25 * len(steps) + 50)


def _text(name: str) -> str:
    """A name as Plotly is to write it, who else reads tags in it."""
    return html.escape(name, quote=False)


def _number(value: float) -> str:
    return "undefined" if value != value else sensible(value)
