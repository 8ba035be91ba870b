"""An explanation looked at: which columns matter, what one of them does, what makes one clip's prediction."""

from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st

from app import session
from app.charts import explain
from app.charts.marks import sensible
from app.words import count, errors_in_words, plain
from core.extraction.export import definitions
from core.features import Column
from core.insight.explain import CHECKED_COLUMNS, Explanation, family_shares
from core.runs import Run
from core.scoring.associations import average_ranks

BLEND = "Blend"
_VIEWS = ("Columns", "One column", "One clip")
_STEPS = 12
_HALF = 0.5
_LOOKED_AT = 10  # columns that move most, whose rise is told where it is none
Kind = Literal["csv", "parquet"]
_KINDS: tuple[tuple[Kind, str, str], ...] = (
    ("csv", "CSV", "text/csv"),
    ("parquet", "Parquet", "application/vnd.apache.parquet"),
)
_CONFIG = {"displayModeBar": False}


@st.fragment
@errors_in_words()
def look(run: Run, found: Explanation) -> None:
    """Three looks at an explanation."""
    known = definitions(run.record["settings"]["extract"]["features"])
    st.markdown(plain(summary(found)))
    views = st.tabs(list(_VIEWS), key="explain_view", on_change="rerun", bind="query-params")
    if views[0].open:
        with views[0]:
            columns(found, known)
    elif views[1].open:
        with views[1]:
            one_column(run, found, known)
    elif views[2].open:
        with views[2]:
            one_clip(run, found, known)
    downloads(run, found)


def summary(found: Explanation) -> str:
    """What matters, in a sentence.

    Half of the movement is counted over columns in the order of their mean change.
    """
    importance = np.sort(found.importance)[::-1]
    whole = float(importance.sum())
    if whole == 0:
        return "No column moves any prediction: the models say the same of every clip."
    half = int(np.searchsorted(np.cumsum(importance) / whole, _HALF) + 1)
    shares = family_shares(found)
    family, share = next(iter(shares.items()))
    first = found.columns[int(np.argmax(found.importance))]
    return (
        f"Half of all movement comes from {count(half, 'column')} of {len(found.columns)}, most of all {first}; the family "
        f"{family} makes {share:.0%}."
    )


def agreement(found: Explanation) -> str:
    """How far shuffling agrees with the mean change, over the columns that were shuffled.

    Named are columns among the ten that move most whose rise is below twice its spread over the shuffles: others say the same.
    """
    checked = np.flatnonzero(np.isfinite(found.permutation))
    moved, rise = found.importance[checked], found.permutation[checked]
    if len(checked) < 2 or np.ptp(moved) == 0 or np.ptp(rise) == 0:
        return ""
    r = float(np.corrcoef(average_ranks(moved), average_ranks(rise))[0, 1])
    top = checked[np.argsort(-moved, kind="stable")[:_LOOKED_AT]]
    idle = [found.columns[place] for place in top if found.permutation[place] < 2 * found.permutation_std[place]]
    said = f"The ranks of both, over {count(len(checked), 'column')}, have a Spearman correlation of {r:.2f}."
    if idle:
        said += f" Much moved, yet hardly missed, as others say the same: {', '.join(idle)}."
    return said


def columns(found: Explanation, known: dict[str, Column]) -> None:
    """All clips: the columns that move most, their families, and shuffling as a check."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        who = st.selectbox("Of", [BLEND, *found.members], key="explain_member", persist_state="session", width=260)
        top = st.segmented_control(
            "Columns", [10, 20, 40], default=20, required=True, key="explain_top", persist_state="session", width="content"
        )
    contributions = found.contributions if who == BLEND else found.members[who]
    importance = np.abs(contributions).mean(axis=0)
    order = np.argsort(-importance, kind="stable")[: int(top or 20)]
    order = order[importance[order] > 0]
    if len(order) == 0:
        st.caption("No column moves what it says.")
        return
    names = [found.columns[place] for place in order]
    st.markdown("**What each column does to each prediction**")
    st.caption("One point a clip. Right of the line the column raises the prediction. Click a point to open its clip.")
    st.plotly_chart(
        explain.beeswarm(contributions[:, order], found.values[:, order], names, found.filenames),
        key="explain_swarm",
        on_select=_open_point,
        selection_mode="points",
        alt=f"Change of each prediction by column, largest for {names[0]}",
        config=_CONFIG,
    )
    table = pd.DataFrame(
        {
            "column": names,
            "family": [found.families[place] for place in order],
            "change": importance[order],
            "shuffled": found.permutation[order],
            "spread": found.permutation_std[order],
            "definition": [_about(name, known) for name in names],
            "unit": [known[name].unit if name in known else "" for name in names],
        }
    )
    with st.grid(2, min_column_width=360):
        with st.container():
            st.markdown("**Mean change by column**")
            st.altair_chart(explain.importance_bars(table), key="explain_bars", alt="Mean change by column")
        with st.container():
            st.markdown("**Shuffled, as a check**")
            st.altair_chart(
                explain.shuffled_points(table), key="explain_shuffled", alt="Rise of the RMSE where a column is shuffled"
            )
            st.caption(
                f"The whole blend predicts held-out clips again with one column shuffled; done for the {CHECKED_COLUMNS} columns "
                f"that move most. {plain(agreement(found))}"
            )
        with st.container():
            st.markdown("**By family**")
            shares = family_shares(replace(found, contributions=contributions))
            st.altair_chart(explain.family_bars(shares), key="explain_families", alt="Share of all movement by family")
    equal = {name: found.equal[name] for name in names if name in found.equal}
    if equal:
        with st.expander(f"{count(len(equal), 'column')} here stand for others with the same values", icon=":material/equal:"):
            st.dataframe(
                pd.DataFrame([(name, ", ".join(others)) for name, others in equal.items()], columns=["Column", "The same values"]),
                hide_index=True,
                key="explain_equal",
                alt="Columns with equal values",
            )


def one_column(run: Run, found: Explanation, known: dict[str, Column]) -> None:
    """What a column does by its value."""
    ordered = [found.columns[place] for place in np.argsort(-found.importance, kind="stable")]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Column", ordered, key="explain_column", persist_state="session", bind="query-params", width=360)
        place = found.columns.index(name)
        default = interacts_most(found, place)
        others = [found.columns[default], *(one for one in ordered if one not in (name, found.columns[default]))]
        other = st.selectbox(
            "Coloured by",
            others,
            key=f"explain_other_{place}",
            persist_state="session",
            width=360,
            help="At first the column that goes most with what is left of the change once the value's own part is taken away.",
        )
    st.caption(plain(_about(name, known)))
    if name in found.equal:
        st.caption(plain(f"It stands for others with the same values: {', '.join(found.equal[name])}."))
    second = found.columns.index(other)
    frame = pd.DataFrame(
        {
            "clip": found.filenames,
            "value": found.values[:, place].astype(float),
            "change": found.contributions[:, place].astype(float),
            "other": found.values[:, second].astype(float),
        }
    )
    there = frame.dropna(subset="value")
    st.plotly_chart(
        explain.dependence(there, _title(name, known), other),
        key="explain_dependence",
        on_select="rerun",
        selection_mode="points",
        alt=f"Change of the prediction by the value of {name}, coloured by {other}",
        config=_CONFIG,
    )
    missing = len(frame) - len(there)
    st.caption("Click a point to hear its clip." + (f" {count(missing, 'clip')} without a value." if missing else ""))
    points = session.picked("explain_dependence")["points"]
    if points and (clip := points[0]["customdata"][0]) in found.filenames:
        row = found.filenames.index(clip)
        with st.container(border=True):
            st.markdown(f"**{plain(clip)}** · label {found.labels[row]:.10g} · out of fold {found.oof_prediction[row]:.3f}")
            _player(run, clip)
            st.button(
                "Open this clip", icon=":material/arrow_forward:", key="explain_open", on_click=session.explain_clip, args=(clip,)
            )


def one_clip(run: Run, found: Explanation, known: dict[str, Column]) -> None:
    """What makes the prediction of a clip."""
    clip = session.explained_clip(found.filenames)
    st.selectbox("Clip", found.filenames, key=session.EXPLAINED_CLIP, persist_state="session", width=420)
    row = found.filenames.index(clip)
    label, scored = float(found.labels[row]), float(found.oof_prediction[row])
    with st.grid(4, min_column_width=170):
        st.metric("Label", f"{label:.10g}", border=True)
        st.metric("Prediction out of fold", f"{scored:.3f}", border=True, help="By models that did not train on this clip.")
        st.metric("Error", f"{scored - label:+.3f}", border=True)
        st.metric("Base", f"{found.base[row]:.3f}", border=True, help="What these models say on average.")
    _player(run, clip)
    moved = found.contributions[row].astype(float)
    order = np.argsort(-np.abs(moved), kind="stable")
    steps = pd.DataFrame(_steps(found, row, order, known), columns=["step", "from", "to", "kind", "note"])
    st.altair_chart(explain.waterfall(steps), key="explain_waterfall", alt=f"From the base value to the prediction of {clip}")
    st.caption("Orange raises the prediction, green lowers it; the diamonds are the base and what all of it sums to.")
    if abs(found.prediction[row] - scored) > 1e-3:
        st.caption(
            f"The sum is {found.prediction[row]:.3f}. What the run says, {scored:.3f}, is inside the range of the labels: each "
            "member is brought into it, and copies of the clip, where there are any, are averaged."
        )
    ranks = [explain.value_ranks(found.values[:, place])[row] for place in order[:_STEPS]]
    table = pd.DataFrame(
        [
            (
                found.columns[place],
                moved[place],
                float(found.values[row, place]),
                100 * rank,
                known[found.columns[place]].unit.replace("1", "") if found.columns[place] in known else "",
                _about(found.columns[place], known),
            )
            for place, rank in zip(order[:_STEPS], ranks, strict=True)
        ],
        columns=["column", "change", "value", "percentile", "unit", "definition"],
    )
    st.dataframe(
        table,
        hide_index=True,
        key="explain_table",
        alt="Columns that move this prediction most, with their values",
        column_config={
            "column": st.column_config.TextColumn("Column", pinned=True),
            "change": st.column_config.NumberColumn("Change", format="%+.4f"),
            "value": st.column_config.NumberColumn("Value", format="%.5g"),
            "percentile": st.column_config.NumberColumn("Percentile", format="%.0f", help="Where the value is among all clips"),
            "unit": "Unit",
            "definition": st.column_config.TextColumn("Definition", width="large"),
        },
    )


def interacts_most(found: Explanation, place: int) -> int:
    """The column whose value goes most with what is left of a column's change when its own value's part is taken away.

    What is left is the change minus its running mean along the value; the measure is the absolute rank correlation.
    """
    value, change = found.values[:, place].astype(float), found.contributions[:, place].astype(float)
    there = np.isfinite(value)
    if not there.any():
        return (place + 1) % len(found.columns)
    order = np.argsort(value[there], kind="stable")
    ordered = change[there][order]
    width = max(5, len(ordered) // 15)
    kernel = np.ones(width)
    smooth = np.convolve(ordered, kernel, "same") / np.convolve(np.ones(len(ordered)), kernel, "same")
    left = average_ranks(ordered - smooth)
    best, most = (place + 1) % len(found.columns), -1.0
    for other in np.argsort(-found.importance, kind="stable")[:60].tolist():
        values = found.values[there, other][order].astype(float)
        if other == place or not np.isfinite(values).all() or np.ptp(values) == 0 or np.ptp(left) == 0:
            continue
        r = abs(float(np.corrcoef(left, average_ranks(values))[0, 1]))
        if r > most:
            best, most = other, r
    return best


def downloads(run: Run, found: Explanation) -> None:
    """All contributions to take away."""

    with st.container(horizontal=True):
        for kind, label, mime in _KINDS:
            st.download_button(
                f"Contributions, {label}",
                partial(contribution_table, found, kind),
                f"contributions_{run.id}.{kind}",
                mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"download_contributions_{kind}",
                help="One row a clip: base and contributions sum to the prediction, before it is kept inside the labels.",
            )
    st.caption("Contributions say what these models do with a column. They do not say that the column causes the label.")


def contribution_table(found: Explanation, kind: Kind) -> bytes:
    """Filename, label, prediction out of fold, base, then the contribution of each column, a row a clip."""
    about = {
        "filename": [name.encode(errors="backslashreplace").decode() for name in found.filenames],
        "label": found.labels,
        "oof_prediction": found.oof_prediction,
        "base": found.base,
    }
    table = pd.concat([pd.DataFrame(about), pd.DataFrame(found.contributions, columns=list(found.columns))], axis=1)
    if kind == "csv":
        return table.to_csv(index=False).encode()
    file = BytesIO()
    table.to_parquet(file, index=False)
    return file.getvalue()


def _steps(found: Explanation, row: int, order: np.ndarray, known: dict[str, Column]) -> list[tuple[Any, ...]]:
    """Bars of the waterfall: the base, the largest changes, all others, the sum."""
    moved = found.contributions[row].astype(float)
    at = float(found.base[row])
    steps: list[tuple[Any, ...]] = [("base", at, at, "end", "")]
    rest = float(moved[order[_STEPS:]].sum())
    changes = [(found.columns[place], float(moved[place]), _value(found, row, int(place), known)) for place in order[:_STEPS]]
    if len(order) > _STEPS:
        changes.append((f"{len(order) - _STEPS} other columns", rest, ""))
    for name, change, note in changes:
        steps.append((f"{name} = {note}" if note else name, at, at + change, "up" if change > 0 else "down", note))
        at += change
    return [*steps, ("prediction", at, at, "end", "")]


def _value(found: Explanation, row: int, place: int, known: dict[str, Column]) -> str:
    value, name = float(found.values[row, place]), found.columns[place]
    if value != value:
        return "undefined"
    unit = known[name].unit if name in known else "1"
    return sensible(value) if unit == "1" else f"{sensible(value)} {unit}"


def _player(run: Run, clip: str) -> None:
    path: Path | None = session.clips_of(run).get(clip)
    if path is None or not path.is_file():
        where = run.record["dataset"].get("path") or run.record["dataset"]["name"]
        st.caption(f"The clip is not to be heard: it is not, or not any more, in the data set {plain(str(where))}.")
    else:
        st.audio(str(path))


def _open_point() -> None:
    points = session.picked("explain_swarm")["points"]
    if points:
        session.explain_clip(points[0]["customdata"][0])


def _about(name: str, known: dict[str, Column]) -> str:
    if name not in known:
        return "column of the table"
    column = known[name]
    return (
        f"{column.definition[:1].upper()}{column.definition[1:]}; {'without unit' if column.unit == '1' else f'in {column.unit}'}."
    )


def _title(name: str, known: dict[str, Column]) -> str:
    return name if name not in known or known[name].unit == "1" else f"{name} ({known[name].unit})"
