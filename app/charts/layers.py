"""Scores of an encoder's layers in, a heat map out. RMSE in the unit of the label. No Streamlit here."""

import altair as alt
import numpy as np
import pandas as pd

from app.charts.marks import SECOND, Layers, figure_tooltip
from core.insight.layers import Band, LayerScores
from core.scoring.figures import number_format

_ROW = 44  # pixels of a head
_AROUND = 165  # pixels of the axis and of the legend
_UPRIGHT = 7  # layers whose scores stand side by side on a narrow page; more of them are turned
_FEW = 16  # layers whose scores can be written into the cells


def layer_heatmap(scores: LayerScores, band: Band) -> Layers:
    """RMSE by layer and head, dark where it is low; the proposed band has a frame."""
    frame = layer_table(scores)
    x = alt.X("layer:O", title="Layer (0 is what enters the first one)", axis=alt.Axis(labelAngle=0))
    y = alt.Y("head:N", title=None, sort=list(scores.heads))
    domain = [float(frame["rmse"].min()), float(max(frame["rmse"].max(), scores.constant_rmse))]
    colour = alt.Color(
        "rmse:Q", title="RMSE", scale=alt.Scale(scheme="teals", domain=domain, reverse=True), legend=alt.Legend(orient="bottom")
    )
    base = alt.Chart(frame)
    tooltip = [
        alt.Tooltip("layer:O", title="Layer"),
        alt.Tooltip("head:N", title="Head"),
        figure_tooltip("rmse", frame, title="Out-of-fold RMSE"),
        figure_tooltip("low", frame, title="Best fold"),
        figure_tooltip("high", frame, title="Worst fold"),
        figure_tooltip("constant", frame, title="Baseline"),
    ]
    drawn = [base.mark_rect().encode(x, y, colour, tooltip=tooltip)]
    if len(scores.oof_rmse) <= _FEW:
        middle = (domain[0] + domain[1]) / 2
        ink = alt.condition(alt.datum.rmse < middle, alt.value("white"), alt.value("#123"))
        drawn.append(
            base.mark_text(fontSize=11, angle=270 if len(scores.oof_rmse) > _UPRIGHT else 0).encode(
                x, y, text=alt.Text("rmse:Q", format=number_format(scores.constant_rmse, decimals=3)), color=ink, tooltip=tooltip
            )
        )
    if band.first is not None and band.last is not None:
        inside = frame[(frame["layer"] >= band.first) & (frame["layer"] <= band.last)]
        drawn.append(alt.Chart(inside).mark_rect(filled=False, stroke=SECOND, strokeWidth=2).encode(x, y))
    return alt.layer(*drawn).properties(height=_ROW * len(scores.heads) + _AROUND)


def layer_table(scores: LayerScores) -> pd.DataFrame:
    """One row a layer and head: ``layer``, ``head``, ``rmse``, ``low``, ``high``, ``constant``."""
    layers, heads = np.meshgrid(np.arange(len(scores.oof_rmse)), np.arange(len(scores.heads)), indexing="ij")
    return pd.DataFrame(
        {
            "layer": layers.ravel(),
            "head": [scores.heads[head] for head in heads.ravel()],
            "rmse": scores.oof_rmse.ravel(),
            "low": scores.fold_rmse.min(axis=2).ravel(),
            "high": scores.fold_rmse.max(axis=2).ravel(),
            "constant": scores.constant_rmse,
        }
    )
