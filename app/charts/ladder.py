"""Steps of a search for the best experiment in, the error of each with its interval out. Errors are in the unit of the label."""

import altair as alt
import pandas as pd

from app.charts.marks import ACCENT, QUIET, SECOND, Layers, figure_tooltip, names_axis, value_range

KEPT, NOT_KEPT = "kept", "not kept"


def ladder(table: pd.DataFrame, ceiling: float | None) -> Layers:
    """RMSE of each step, in the order in which they were tried.

    Parameters
    ----------
    table : pd.DataFrame with ``step``, ``rmse``, ``low``, ``high``, ``state``
    ceiling : RMSE that the raters' disagreement allows, or None
    """
    ends = pd.concat([table["low"], table["high"], pd.Series([] if ceiling is None else [ceiling], dtype=float)])
    low, high = value_range(ends.to_numpy(float))
    x = alt.Scale(domain=[low, high], nice=False)
    base = alt.Chart(table).encode(
        names_axis("step"),
        color=alt.Color("state:N", scale=alt.Scale(domain=[KEPT, NOT_KEPT], range=[ACCENT, QUIET]), legend=None),
        tooltip=["step:N", "state:N", *(figure_tooltip(name, table) for name in ("rmse", "low", "high"))],
    )
    rules = base.mark_rule(strokeWidth=3).encode(alt.X("low:Q", scale=x, title="Out-of-fold RMSE"), alt.X2("high"))
    points = base.mark_point(size=110, filled=True, opacity=1).encode(alt.X("rmse:Q", scale=x))
    layers = [rules, points]
    if ceiling is not None:
        line = alt.Chart(pd.DataFrame({"ceiling": [ceiling]})).mark_rule(color=SECOND, strokeDash=[4, 4])
        layers.insert(0, line.encode(alt.X("ceiling:Q", scale=x)))
    return alt.layer(*layers, height=36 * len(table) + 60)
