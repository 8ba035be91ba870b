"""Steps of a search for the best experiment in, the score of each with its interval out. Errors are in the unit of the label."""

import altair as alt
import pandas as pd

from app.charts.marks import ACCENT, QUIET, SECOND, Layers, figure_tooltip, names_axis, value_range

KEPT, NOT_KEPT = "kept", "not kept"


def ladder(table: pd.DataFrame, ceiling: float | None, metric: str = "RMSE") -> Layers:
    """Score of each step, in the order in which they were tried.

    Parameters
    ----------
    table : pd.DataFrame with ``step``, ``score``, ``low``, ``high``, ``state``
    ceiling : RMSE that the raters' disagreement allows, or None
    metric : str, what the score is, for people
    """
    ends = pd.concat([table["low"], table["high"], pd.Series([] if ceiling is None else [ceiling], dtype=float)])
    low, high = value_range(ends.to_numpy(float))
    x = alt.Scale(domain=[low, high], nice=False)
    base = alt.Chart(table).encode(
        names_axis("step"),
        color=alt.Color("state:N", scale=alt.Scale(domain=[KEPT, NOT_KEPT], range=[ACCENT, QUIET]), legend=None),
        tooltip=["step:N", "state:N", *(figure_tooltip(name, table) for name in ("score", "low", "high"))],
    )
    rules = base.mark_rule(strokeWidth=3).encode(alt.X("low:Q", scale=x, title=f"Out-of-fold {metric}"), alt.X2("high"))
    points = base.mark_point(size=110, filled=True, opacity=1).encode(alt.X("score:Q", scale=x))
    layers = [rules, points]
    if ceiling is not None:
        limit = pd.DataFrame({"ceiling": [ceiling], "what": ["raters' disagreement allows"]})
        line = alt.Chart(limit).mark_rule(color=SECOND, strokeDash=[4, 4], strokeWidth=2)
        tooltip = [alt.Tooltip("what:N", title="Ceiling"), figure_tooltip("ceiling", limit)]
        layers.insert(0, line.encode(alt.X("ceiling:Q", scale=x), tooltip=tooltip))
    return alt.layer(*layers, height=36 * len(table) + 60)
