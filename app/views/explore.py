"""Features on the page: each against the label, missing values, which are alike. Redraws itself alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from app import resources, session
from app.charts import features as features_charts
from app.resources import Features, Kind, Split
from app.views.player import play
from app.words import count, errors_in_words, plain
from core.extraction.matrix import Matrix
from core.features import Column
from core.scoring.associations import alike

_COLUMNS = {
    "column": st.column_config.TextColumn("Feature", pinned=True),
    "spearman": st.column_config.NumberColumn("Spearman", format="%.3f", width=80, help="Correlation of the ranks"),
    "pearson": st.column_config.NumberColumn("Pearson", format="%.3f", width=75, help="Correlation of the values"),
    "clips": st.column_config.NumberColumn("Clips", width=60, help="With a value and a label"),
    "unit": st.column_config.TextColumn("Unit", width=60),
    "definition": st.column_config.TextColumn("Definition", width="large"),
}
_TOP = 12
_PAIRS = 500
_TALL_ROWS = 16
_EQUAL = 1 - 1e-9  # what rounding leaves of a correlation of 1
_KINDS: tuple[tuple[Kind, str, str], ...] = (
    ("npz", "NumPy", "application/octet-stream"),
    ("parquet", "Parquet", "application/vnd.apache.parquet"),
)


def downloads(features: Features, name: str) -> None:
    """Buttons for the matrices; a file is made when it is asked for."""
    splits: tuple[Split, ...] = ("train", "test")
    with st.container(horizontal=True):
        for split in splits:
            matrix = features.train if split == "train" else features.test
            if matrix is None:
                continue
            for kind, label, mime in _KINDS:
                st.download_button(
                    f"{split.capitalize()}, {label}",
                    partial(resources.export_bytes, features, split, kind),
                    f"{name}_{split}_features.{kind}",
                    mime,
                    icon=":material/download:",
                    on_click="ignore",
                    key=f"download_{split}_{kind}",
                    help=f"{count(len(matrix.filenames), 'clip')}, {count(len(matrix.names), 'feature')}"
                    + (", with the label" if split == "train" else ""),
                )


@st.fragment
@errors_in_words()
def explore(features: Features, clips: dict[str, Path]) -> None:
    """Three looks at the matrices.

    Parameters
    ----------
    features : Features
    clips : training clips by name, to listen to
    """
    views = st.tabs(["Against the label", "Missing values", "Alike"], key="view", on_change="rerun", bind="query-params")
    looks: list[Callable[[Features], None]] = [partial(against_label, clips=clips), missing, alike_columns]
    for view, look in zip(views, looks, strict=True):
        if view.open:
            with view:
                look(features)


def against_label(features: Features, *, clips: dict[str, Path]) -> None:
    """The features that correlate most with the label, and any one of them clip by clip."""
    table = resources.label_table(features)
    known = features.definitions
    names = table["column"].tolist()
    chosen = session.column(names)
    with st.grid(2, min_column_width=440):
        with st.container():
            top = table.dropna(subset="spearman").head(_TOP)
            if len(top):
                st.markdown("**Most correlated with the label**")
                st.altair_chart(
                    features_charts.strongest_columns(top, chosen),
                    key="features_top",
                    on_select=_look_at_bar,
                    alt=f"Correlation with the label, strongest for {top['column'].iloc[0]}",
                )
            else:
                st.caption("No feature correlates with the labels: there are too few labels, or they are all equal.")
            spread(features, chosen, known[chosen])
        with st.container():
            st.selectbox(
                "Feature",
                names,
                key=session.COLUMN,
                help=plain(_about(known[chosen])),
                persist_state="session",
                bind="query-params",
            )
            st.caption(plain(_about(known[chosen])))
            one_column(features, chosen, known[chosen], clips)
    st.markdown("**All features**")
    st.caption("Click a cell to look at its feature, a heading to sort.")
    st.dataframe(
        table.assign(unit=table["unit"].replace("1", "")),
        hide_index=True,
        height=330,
        column_config=_COLUMNS,
        on_select=partial(_look_at_row, names),
        selection_mode="single-cell",
        key="features_columns",
        alt="Features with their correlation with the label, unit and definition",
    )


def one_column(features: Features, name: str, about: Column, clips: dict[str, Path]) -> None:
    """A column clip by clip against the label."""
    title = _title(name, about)
    if features.train is not None:
        frame = pd.DataFrame({"clip": features.train.filenames, "label": features.train.y, "value": _values(features.train, name)})
        there = frame.dropna()
        st.altair_chart(
            features_charts.column_by_label(there, title),
            key="features_scatter",
            on_select="rerun",
            alt=f"{name} by label, one point per clip",
        )
        missing_here = int(frame["value"].isna().sum())
        st.caption(
            "Click a point to listen to the clip." + (f" {count(missing_here, 'clip')} without a value." if missing_here else "")
        )
        picked = [point.get("clip") for point in session.picked("features_scatter").get("clip", [])]
        if picked and picked[0] in clips:
            st.markdown(f"**{plain(picked[0])}**")
            play(clips[picked[0]], features.treatment)


def spread(features: Features, name: str, about: Column) -> None:
    """How the values of a column are spread in both tables."""
    both = {split: _values(one, name) for split, one in (("train", features.train), ("test", features.test)) if one is not None}
    if not any(np.isfinite(values).any() for values in both.values()):
        st.caption(f"No clip has a value of {plain(name)}: {plain(about.nan_when)}.")
        return
    chart = features_charts.column_histogram(both, _title(name, about))
    st.altair_chart(chart, key="features_spread", alt=f"{name} over the clips of each table")


def missing(features: Features) -> None:
    """Which columns have no value in which share of the clips."""
    known = features.definitions
    tables = [(split, one) for split, one in (("train", features.train), ("test", features.test)) if one is not None]
    holes = {split: np.isnan(matrix.X) for split, matrix in tables}
    some = np.any([hole.any(axis=0) for hole in holes.values()], axis=0)
    names = np.array(features.whole.names)
    if not some.any():
        st.success(f"Nothing is missing: all {len(names):,} features have a value in every clip.", icon=":material/check_circle:")
        return
    rows = [
        (name, split, hole[:, place].mean(), int(hole[:, place].sum()), known[name].nan_when, known[name].definition)
        for place, name in enumerate(names)
        if some[place]
        for split, hole in holes.items()
    ]
    frame = pd.DataFrame(rows, columns=["column", "table", "share", "clips", "nan_when", "definition"])
    frame["most"] = frame.groupby("column")["share"].transform("max")
    frame = frame.sort_values(["most"], ascending=False, kind="stable").drop(columns="most")
    st.caption(
        f"Clips without a value: in {int(some.sum()):,} of {len(names):,} features. The others are complete. "
        "Hover over a bar for the reason."
    )
    with st.container(height=460 if some.sum() > _TALL_ROWS else "content", border=False):
        st.altair_chart(
            features_charts.missing_values(frame), key="features_missing", alt="Share of clips without a value, by feature"
        )
    per_clip = pd.DataFrame(
        [
            (name, split, int(number))
            for split, matrix in tables
            for name, number in zip(matrix.filenames, holes[split].sum(axis=1), strict=True)
            if number
        ],
        columns=["clip", "table", "columns without a value"],
    ).sort_values("columns without a value", ascending=False, kind="stable")
    with st.expander(f"{count(len(per_clip), 'clip')} with missing values", icon=":material/list:"):
        st.dataframe(
            per_clip,
            hide_index=True,
            height=260,
            key="features_gaps",
            alt="Clips with missing values",
        )


def alike_columns(features: Features) -> None:
    """Pairs of features that carry nearly the same information."""
    known = features.definitions
    r, clips = resources.column_correlations(features)
    at_least = st.slider(
        "Correlation of at least",
        0.80,
        1.0,
        0.98,
        0.01,
        key="features_alike",
        persist_state="session",
        width=320,
        help="Either sign",
    )
    pairs = alike(r, at_least=min(at_least, _EQUAL))
    if not pairs:
        st.success(f"No two features have |r| of {at_least:.2f} or more.", icon=":material/check_circle:")
        return
    names = features.whole.names
    table = pd.DataFrame(
        [(names[one], names[other], r[one, other], clips[one, other]) for one, other in pairs[:_PAIRS]],
        columns=["column", "other", "r", "clips"],
    )
    involved = len({place for pair in pairs for place in pair})
    st.caption(
        f"{count(len(pairs), 'pair')} among {involved:,} of {len(names):,} features"
        + (f"; the {_PAIRS} closest are listed" if len(pairs) > _PAIRS else "")
        + ". Of two that are alike one can be left out. Click a cell to see the pair."
    )
    side_by_side = st.container(horizontal=True)
    with side_by_side.container(width=520):
        event = st.dataframe(
            table,
            hide_index=True,
            height=380,
            column_config={
                "column": "Feature",
                "other": "Other feature",
                "r": st.column_config.NumberColumn("Pearson", format="%.4f"),
                "clips": st.column_config.NumberColumn("Clips", help="Of both tables, with both values"),
            },
            on_select="rerun",
            selection_mode="single-cell",
            key="features_pairs",
            alt="Pairs of features that are alike",
        )
    rows = [row for row, _ in event.selection.cells if row < len(table)]
    x, y = table.loc[rows[0] if rows else 0, ["column", "other"]]
    with side_by_side.container(width=440):
        matrix = features.whole
        frame = pd.DataFrame({"clip": matrix.filenames, "x": _values(matrix, x), "y": _values(matrix, y)}).dropna()
        st.altair_chart(
            features_charts.column_by_column(frame, _title(x, known[x]), _title(y, known[y])),
            key="features_pair",
            alt=f"{y} against {x}, one point per clip",
        )
        for name in (x, y):
            st.caption(plain(f"{name}: {_about(known[name])}"))


def _look_at_bar() -> None:
    points = session.picked("features_top").get("column", [])
    if points:
        session.look_at_column(points[0]["column"])


def _look_at_row(names: list[str]) -> None:
    cells = session.picked("features_columns")["cells"]
    if cells and cells[0][0] < len(names):
        session.look_at_column(names[cells[0][0]])


def _values(matrix: Matrix, name: str) -> np.ndarray:
    return matrix.X[:, matrix.names.index(name)].astype(float)


def _title(name: str, about: Column) -> str:
    return name if about.unit == "1" else f"{name} ({about.unit})"


def _about(column: Column) -> str:
    unit = "without unit" if column.unit == "1" else f"in {column.unit}"
    return f"{column.definition[:1].upper()}{column.definition[1:]}; {unit}."
