"""Predictions in, figures out. Values are in the unit of the label."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from app.ui_marks import ACCENT, HEIGHT, QUIET, Layers, bars, clips_axis, figure_tooltip, value_range


def predictions_on_labels(labels: Sequence[float], predictions: pd.DataFrame) -> Layers:
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
    tooltip: list[Any] = ["file:N", figure_tooltip("prediction"), figure_tooltip("low"), figure_tooltip("high")]
    base = alt.Chart(ordered).encode(rows, tooltip=tooltip)
    intervals = (
        base.transform_filter("isValid(datum.low)")
        .mark_rule(color=ACCENT, strokeWidth=2.5, opacity=1)
        .encode(alt.X("low:Q", scale=x), alt.X2("high"))
    )
    points = base.mark_point(color=ACCENT, filled=True, size=110, opacity=1).encode(alt.X("prediction:Q", scale=x))
    height = max(HEIGHT, min(4 * HEIGHT, 14 * len(ordered)))
    return alt.layer(histogram, alt.layer(intervals, points), height=height).resolve_scale(y="independent")
