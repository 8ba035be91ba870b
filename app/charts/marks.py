"""What all charts share: colours, axes, tooltips, and how values are put into bars. No Streamlit here."""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from core.scoring.figures import number_format

Layers = alt.LayerChart | alt.FacetChart  # what alt.layer gives

HEIGHT, TALL = 260, 380
MAX_BARS = 32
MANY_POINTS = 1500
ZOOM = "zoom"
COLOURS_OF_THEME = 7
ACCENT, QUIET, SECOND = "#0f9488", "#8d9a98", "#e0733d"
_TABLES = alt.Scale(domain=["train", "test"], range=[ACCENT, SECOND])


def histogram(values: np.ndarray, title: str) -> alt.Chart:
    """How many clips have a value in each of up to 32 bars."""
    frame = bars(values)
    low, high = value_range(np.concatenate([frame["from"], frame["to"]]))
    x = alt.X("from:Q", title=title, scale=alt.Scale(domain=[low, high], nice=False))
    mark = alt.Chart(frame, height=HEIGHT).mark_bar(color=ACCENT, binSpacing=1)
    return mark.encode(x, alt.X2("to"), clips_axis(), y2=alt.datum(0), tooltip=["from:Q", "to:Q", "clips:Q"])


def bars(values: np.ndarray) -> pd.DataFrame:
    """Columns ``from``, ``to``, ``clips``: a bar around each value where there are few, else 24 bins."""
    at, counts = np.unique(values, return_counts=True)
    if len(at) <= MAX_BARS:
        step = float(np.diff(at).min()) if len(at) > 1 else 0.1 * abs(float(at[0])) or 0.1
        return pd.DataFrame({"from": at - 0.45 * step, "to": at + 0.45 * step, "clips": counts})
    counts, edges = np.histogram(values, bins=24)
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], "clips": counts})


def clip_points(frame: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    """One point a clip; a click picks the point ``clip`` by its ``clip``. The other columns stand in the tooltip."""
    pick = alt.selection_point(name="clip", fields=["clip"], empty=False)
    others = [name for name in frame.columns if name != "clip"]
    many = len(frame) > MANY_POINTS
    return (
        alt.Chart(frame, height=300)
        .mark_circle(cursor="pointer")
        .encode(
            x,
            y,
            color=alt.condition(pick, alt.value(SECOND), alt.value(ACCENT)),
            opacity=alt.condition(pick, alt.value(1), alt.value(0.25 if many else 0.55)),
            size=alt.condition(pick, alt.value(180), alt.value(14 if many else 45)),
            tooltip=["clip:N", *(alt.Tooltip(f"{name}:Q", format=".5~g") for name in others)],
        )
        .add_params(pick)
    )


def zoom() -> alt.Parameter:
    """Ctrl with the wheel looks closer, dragging moves, a double click shows all; the wheel alone scrolls the page."""
    return alt.selection_interval(name=ZOOM, bind="scales", zoom="wheel![event.ctrlKey]")


def value_axis(name: str, frame: pd.DataFrame, title: str) -> alt.Y:
    """A vertical axis that reaches a little beyond the values."""
    return alt.Y(f"{name}:Q", title=title, scale=around(frame[name]))


def around(values: pd.Series) -> alt.Scale:
    """A scale that reaches a little beyond the values."""
    low, high = value_range(values.to_numpy(float)) if len(values) else (0.0, 1.0)
    return alt.Scale(domain=[low, high], nice=False)


def names_axis(column: str, order: list[str] | None = None) -> alt.Y:
    """A vertical axis of names in this order, else in that of the table."""
    return alt.Y(
        f"{column}:N", sort=order, title=None, axis=alt.Axis(labelLimit=240, labelOverlap=False, ticks=False, domain=False)
    )


def legend(names: Sequence[object]) -> alt.Legend:
    """A legend below a chart, in as many columns as the names leave room for."""
    longest = max((len(str(name)) for name in names), default=0)
    return alt.Legend(orient="bottom", columns=10 if longest <= 3 else 3 if longest <= 22 else 1, labelLimit=320)


def fold_colour(folds: int) -> alt.Color:
    """A colour for each fold; many folds go through shades."""
    numbers = list(range(1, folds + 1))
    scale = alt.Scale(domain=numbers)
    if folds > COLOURS_OF_THEME:
        scale = alt.Scale(domain=numbers, scheme=alt.SchemeParams(name="viridis", extent=[0.3, 0.85]))
    return alt.Color("fold:N", scale=scale, title="Fold", legend=legend(numbers))


def table_colour() -> alt.Color:
    """One colour for the training table, one for the test table."""
    return alt.Color("table:N", scale=_TABLES, title=None, legend=alt.Legend(orient="top"))


def figure_tooltip(name: str, table: pd.DataFrame, *, sign: Literal["", "+"] = "", **options: Any) -> alt.Tooltip:
    """A figure of a column, in the format of its largest value; of a table to come, in four digits."""
    if not len(table):
        return alt.Tooltip(f"{name}:Q", format=f"{sign}.4~g", **options)
    largest = float(pd.to_numeric(table[name]).abs().max())
    return alt.Tooltip(f"{name}:Q", format=sign + number_format(largest), **options)


def clips_axis(title: str = "Clips") -> alt.Y:
    """A vertical axis that counts clips."""
    return alt.Y("clips:Q", title=title, axis=alt.Axis(tickMinStep=1, format="d"))


@lru_cache(maxsize=64)
def ticking_spec(chart: Callable[..., alt.Chart | Layers], *shape: Hashable) -> dict[str, Any]:
    """A chart without its data, as Vega-Lite: to build and check one is most of what drawing costs, and only the data tick.

    Parameters
    ----------
    chart : function of a table and of ``shape``
    shape : what else the chart depends on
    """
    drawn = chart(pd.DataFrame(), *shape).to_dict()
    return {name: part for name, part in drawn.items() if name not in ("data", "datasets")}


def sensible(value: float) -> str:
    """A value with four digits, large ones whole.

    Examples
    --------
    >>> sensible(109812.4), sensible(-15.3442), sensible(0.00613124)
    ('109,812', '-15.34', '0.006131')
    """
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def value_range(values: np.ndarray) -> tuple[float, float]:
    """The range of values [shape=(n,)], n >= 1, with a margin."""
    low, high = float(np.min(values)), float(np.max(values))
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin
