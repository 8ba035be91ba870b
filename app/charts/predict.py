"""Predictions in, figures out. Values are in the unit of the label."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from app.charts.marks import (
    ACCENT,
    HEIGHT,
    MANY_POINTS,
    MAX_BARS,
    QUIET,
    TALL,
    Layers,
    bars,
    clips_axis,
    figure_tooltip,
    value_range,
)


def predictions_on_labels(labels: np.ndarray | Sequence[float], predictions: pd.DataFrame) -> Layers:
    """Where predictions stand among the labels that were trained on: each a point with its interval, the lowest at the bottom.

    Parameters
    ----------
    labels : of the training clips
    predictions : pd.DataFrame with ``file``, ``prediction``, ``low``, ``high``; the ends may be NaN
    """
    values = np.asarray(labels, float)
    frame = bars(values)
    ends = predictions[["prediction", "low", "high"]].to_numpy(float)
    low, high = value_range(np.concatenate([frame["from"], frame["to"], ends[np.isfinite(ends)]]))
    x = alt.Scale(domain=[low, high], nice=False)
    histogram = (
        alt.Chart(frame)
        .mark_bar(color=QUIET, opacity=0.3)
        .encode(
            alt.X("from:Q", scale=x, title="Label", axis=alt.Axis(tickCount=10)),
            alt.X2("to"),
            clips_axis("Training clips"),
            y2=alt.datum(0),
            tooltip=["from:Q", "to:Q", "clips:Q"],
        )
    )
    ordered = predictions.sort_values("prediction").assign(row=np.arange(len(predictions)) + 0.5)
    rows = alt.Y("row:Q", scale=alt.Scale(domain=[0, len(ordered)], nice=False), axis=None)
    tooltip: list[Any] = ["file:N", *(figure_tooltip(name, predictions) for name in ("prediction", "low", "high"))]
    base = alt.Chart(ordered).encode(rows, tooltip=tooltip)
    intervals = (
        base.transform_filter("isValid(datum.low)")
        .mark_rule(color=ACCENT, strokeWidth=2.5, opacity=1)
        .encode(alt.X("low:Q", scale=x), alt.X2("high"))
    )
    points = base.mark_point(color=ACCENT, filled=True, size=110, opacity=1).encode(alt.X("prediction:Q", scale=x))
    height = max(HEIGHT, min(4 * HEIGHT, 14 * len(ordered)))
    return alt.layer(histogram, alt.layer(intervals, points), height=height).resolve_scale(y="independent")


def predictions_beside_labels(labels: np.ndarray | Sequence[float], predictions: np.ndarray) -> Layers:
    """How many predictions fall where, before the labels that were trained on, each as a share of its own clips.

    Parameters
    ----------
    labels : of the training clips
    predictions : np.ndarray [shape=(n,)]
    """
    values = np.asarray(labels, float)
    low, high = value_range(np.concatenate([values, predictions]))
    edges = np.linspace(low, high, MAX_BARS + 1)
    x = alt.Scale(domain=[low, high], nice=False)
    layers = []
    for some, colour, opacity in ((values, QUIET, 0.35), (predictions, ACCENT, 0.6)):
        counts, _ = np.histogram(some, bins=edges)
        frame = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "share": counts / len(some), "clips": counts})
        layers.append(
            alt.Chart(frame)
            .mark_bar(color=colour, opacity=opacity, binSpacing=1)
            .encode(
                alt.X("from:Q", scale=x, title="Label", axis=alt.Axis(tickCount=10)),
                alt.X2("to"),
                alt.Y("share:Q", title="Share of clips", axis=alt.Axis(format="%")),
                y2=alt.datum(0),
                tooltip=[figure_tooltip("from", frame), figure_tooltip("to", frame), "clips:Q"],
            )
        )
    return alt.layer(*layers, height=HEIGHT)


def predictions_by_label(frame: pd.DataFrame) -> Layers:
    """Prediction against label with its interval, and the line where both are equal.

    Parameters
    ----------
    frame : pd.DataFrame with ``clip``, ``label``, ``prediction``, ``low``, ``high``
    """
    low, high = value_range(frame[["label", "prediction", "low", "high"]].to_numpy(float).ravel())
    scale = alt.Scale(domain=[low, high], nice=False)
    x = alt.X("label:Q", title="Label", scale=scale, axis=alt.Axis(tickCount=10))
    line = (
        alt.Chart(pd.DataFrame({"label": [low, high], "prediction": [low, high]}))
        .mark_line(color=QUIET, strokeDash=[5, 5])
        .encode(x, alt.Y("prediction:Q", title="Prediction", scale=scale))
    )
    tooltip: list[Any] = ["clip:N", *(figure_tooltip(name, frame) for name in ("label", "prediction", "low", "high"))]
    base = alt.Chart(frame).encode(x, tooltip=tooltip)
    many = len(frame) > MANY_POINTS
    points = base.mark_circle(color=ACCENT, size=14 if many else 60, opacity=0.3 if many else 0.8).encode(
        alt.Y("prediction:Q", scale=scale)
    )
    if many:
        return alt.layer(line, points, height=TALL)
    ends = base.mark_rule(color=ACCENT, opacity=0.25).encode(alt.Y("low:Q", scale=scale), alt.Y2("high"))
    return alt.layer(line, ends, points, height=TALL)
