"""The learning curve of a run in, its chart out. Errors are in the unit of the label. No Streamlit here."""

import altair as alt
import numpy as np
import pandas as pd

from app.charts.marks import ACCENT, QUIET, SECOND, TALL, Layers, figure_tooltip, value_range
from core.scoring.learning_curve import LearningCurve

MEASURED, TODAY = "fewer clips", "today"


def learning_curve(curve: LearningCurve, counted: str) -> Layers:
    """RMSE by the size of the data set: measured points with intervals, the law to twice the size with its band, the ceiling.

    Parameters
    ----------
    curve : LearningCurve
    counted : str, title of the axis of sizes
    """
    points, law = curve_points(curve), curve_law(curve)
    ceiling = [] if curve.ceiling is None else [curve.ceiling]
    ends = np.concatenate([points[["low", "high"]].to_numpy().ravel(), law[["low", "high"]].to_numpy().ravel(), ceiling])
    y = alt.Scale(domain=list(value_range(ends)), nice=False)
    x = alt.X("size:Q", title=counted, scale=alt.Scale(domain=[0, curve.at[-1]], nice=False), axis=alt.Axis(tickMinStep=1))
    title = "Out-of-fold RMSE"
    figures = [alt.Tooltip("size:Q", title=counted, format=".0f"), alt.Tooltip("clips:Q", title="Clips", format=".0f")]
    figures += [figure_tooltip(name, points) for name in ("rmse", "low", "high")]
    base = alt.Chart(law).encode(x)
    band = base.mark_area(color=ACCENT, opacity=0.15).encode(alt.Y("low:Q", scale=y, title=title), alt.Y2("high"))
    line = base.mark_line(color=ACCENT).encode(alt.Y("rmse:Q", scale=y, title=title), tooltip=figures)
    colour = alt.Color("point:N", scale=alt.Scale(domain=[MEASURED, TODAY], range=[ACCENT, SECOND]), title=None)
    measured = alt.Chart(points).encode(x, tooltip=figures)
    rules = measured.mark_rule(strokeWidth=2, color=ACCENT).encode(alt.Y("low:Q", scale=y, title=title), alt.Y2("high"))
    dots = measured.mark_point(size=110, filled=True, opacity=1).encode(
        alt.Y("rmse:Q", scale=y, title=title), colour.legend(orient="top")
    )
    layers = [band, line, rules, dots]
    if ceiling:
        allowed = alt.Chart(pd.DataFrame({"ceiling": ceiling}))
        layers.insert(0, allowed.mark_rule(color=QUIET, strokeDash=[4, 4]).encode(alt.Y("ceiling:Q", scale=y, title=title)))
    return alt.layer(*layers, height=TALL)


def curve_points(curve: LearningCurve) -> pd.DataFrame:
    """One row for each size that was measured: ``size``, ``clips``, ``rmse``, ``low``, ``high``, ``point``."""
    rows = [
        (size, clips, error.rmse, error.low, error.high)
        for size, clips, error in zip(curve.sizes, curve.clips, curve.errors, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["size", "clips", "rmse", "low", "high"])
    return frame.assign(point=[MEASURED] * (len(rows) - 1) + [TODAY])


def curve_law(curve: LearningCurve) -> pd.DataFrame:
    """The law from the smallest size to twice today's: ``size``, ``clips``, ``rmse``, ``low``, ``high``."""
    share = curve.clips[-1] / curve.sizes[-1]
    rows = [(size, share * size, one.rmse, one.low, one.high) for size, one in zip(curve.at, curve.law, strict=True)]
    return pd.DataFrame(rows, columns=["size", "clips", "rmse", "low", "high"])
