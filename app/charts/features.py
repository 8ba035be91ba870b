"""Columns in, figures out: how they go with the label, how they are spread, what is missing."""

import altair as alt
import numpy as np
import pandas as pd

from app.charts.marks import ACCENT, QUIET, around, clip_points, names_axis, table_colour, value_axis


def strongest_columns(table: pd.DataFrame, chosen: str) -> alt.Chart:
    """Correlation of columns with the label, in the order of the table; a click picks the point ``column`` by its ``column``.

    Parameters
    ----------
    table : pd.DataFrame with ``column``, ``pearson``, ``spearman``, ``clips``, ``unit``, ``definition``
    chosen : name of the column that stands out
    """
    frame = table.assign(chosen=table["column"] == chosen)
    pick = alt.selection_point(name="column", fields=["column"], empty=False)
    colour = alt.Color("chosen:N", scale=alt.Scale(domain=[True, False], range=[ACCENT, QUIET]), legend=None)
    return (
        alt.Chart(frame, height=24 * len(frame) + 45)
        .mark_bar(cursor="pointer", height={"band": 0.72})
        .encode(
            alt.X(
                "spearman:Q",
                title="Spearman correlation with the label",
                scale=alt.Scale(domain=[-1, 1]),
                axis=alt.Axis(values=[-1, -0.5, 0, 0.5, 1], format="~g"),
            ),
            names_axis("column"),
            colour,
            opacity=alt.condition("datum.chosen", alt.value(1), alt.value(0.6)),
            tooltip=[
                alt.Tooltip("column:N", title="Column"),
                alt.Tooltip("definition:N", title="Definition"),
                alt.Tooltip("unit:N", title="Unit"),
                alt.Tooltip("spearman:Q", title="Spearman", format=".3f"),
                alt.Tooltip("pearson:Q", title="Pearson", format=".3f"),
                alt.Tooltip("clips:Q", title="Clips"),
            ],
        )
        .add_params(pick)
    )


def column_by_label(frame: pd.DataFrame, title: str) -> alt.Chart:
    """Value of a column by label, one point a clip; a click picks the point ``clip`` by its ``clip``.

    Parameters
    ----------
    frame : pd.DataFrame with ``clip``, ``label``, ``value``
    title : what the column is, with its unit
    """
    return clip_points(frame, alt.X("label:Q", title="Label", scale=around(frame["label"])), value_axis("value", frame, title))


def column_by_column(frame: pd.DataFrame, x_title: str, y_title: str) -> alt.Chart:
    """Two columns against each other, one point a clip: ``clip``, ``x``, ``y``."""
    return clip_points(frame, alt.X("x:Q", title=x_title, scale=around(frame["x"])), value_axis("y", frame, y_title))


def column_histogram(values: dict[str, np.ndarray], title: str) -> alt.Chart:
    """How a column is spread over the clips of each table, as shares of them, in up to 40 common bins.

    Parameters
    ----------
    values : of the tables "train" and "test"; NaN is left out
    title : what the column is, with its unit
    """
    there = {table: np.asarray(some, float)[np.isfinite(some)] for table, some in values.items()}
    together = np.concatenate(list(there.values()))
    edges = np.histogram_bin_edges(together, bins=max(5, min(40, round(2 * len(together) ** 0.5)))) if len(together) else [0, 1]
    rows = [
        (table, low, high, number, number / len(some))
        for table, some in there.items()
        if len(some)
        for low, high, number in zip(edges[:-1], edges[1:], np.histogram(some, edges)[0].tolist(), strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["table", "from", "to", "clips", "share"]).astype({"from": float, "to": float})
    return (
        alt.Chart(frame, height=290)
        .mark_bar(opacity=0.55, binSpacing=0)
        .encode(
            alt.X("from:Q", title=title, scale=alt.Scale(domain=[float(edges[0]), float(edges[-1])], nice=False)),
            alt.X2("to"),
            alt.Y("share:Q", title="Share of clips", stack=None, axis=alt.Axis(format="%", tickCount=4)),
            table_colour(),
            y2=alt.datum(0),
            tooltip=[
                "table:N",
                alt.Tooltip("from:Q", format=".4~g"),
                alt.Tooltip("to:Q", format=".4~g"),
                "clips:Q",
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )


def missing_values(table: pd.DataFrame) -> alt.Chart:
    """Share of clips without a value, by column and table.

    Parameters
    ----------
    table : pd.DataFrame with ``column``, ``table``, ``share``, ``clips``, ``nan_when``, ``definition``
    """
    names = table["column"].unique()
    both = table["table"].nunique()
    return (
        alt.Chart(table, height=int((8 + 9 * both) * len(names) + 170))
        .mark_bar()
        .encode(
            alt.X(
                "share:Q",
                title="Share of clips without a value",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
            ),
            names_axis("column"),
            table_colour(),
            yOffset=alt.YOffset("table:N", sort=["train", "test"]),
            tooltip=[
                alt.Tooltip("column:N", title="Column"),
                alt.Tooltip("definition:N", title="Definition"),
                alt.Tooltip("nan_when:N", title="No value where"),
                alt.Tooltip("table:N", title="Table"),
                alt.Tooltip("clips:Q", title="Clips without it"),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
            ],
        )
    )
