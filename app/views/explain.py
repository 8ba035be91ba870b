"""An explanation on the page: which features matter, what one of them does, what makes up the prediction of a clip."""

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
from app.views.player import play
from app.words import count, errors_in_words, plain
from core.extraction.export import definitions
from core.features import Column
from core.insight.explain import CHECKED_COLUMNS, Explanation, family_shares
from core.insight.importance import features_for_share, shuffle_agreement, strongest_interaction
from core.runs import Run
from core.scoring.figures import number_format, text

BLEND = "Blend"
_VIEWS = ("Features", "One feature", "One clip")
_STEPS = 12
Kind = Literal["csv", "parquet"]
_KINDS: tuple[tuple[Kind, str, str], ...] = (
    ("csv", "CSV", "text/csv"),
    ("parquet", "Parquet", "application/vnd.apache.parquet"),
)
_CONFIG = {"displayModeBar": False}


@st.fragment
@errors_in_words()
def look(run: Run, found: Explanation) -> None:
    """Three views of an explanation: all features, one feature, one clip."""
    extract = run.record.settings.extract
    known = definitions(extract.features, extract.treatment)
    st.markdown(plain(summary(found)))
    views = st.tabs(list(_VIEWS), key="explain_view", on_change="rerun", bind="query-params")
    if views[0].open:
        with views[0]:
            all_features(found, known)
    elif views[1].open:
        with views[1]:
            one_feature(run, found, known)
    elif views[2].open:
        with views[2]:
            one_clip(run, found, known)
    downloads(run, found)


def summary(found: Explanation) -> str:
    """What matters, in a sentence.

    Half of the movement is counted over features in the order of their mean change.
    """
    half = features_for_share(found, share=0.5)
    if half == 0:
        return "No feature changes any prediction: the models predict the same value for every clip."
    family, share = next(iter(family_shares(found).items()))
    first = found.columns[int(np.argmax(found.importance))]
    return (
        f"Half of the total effect comes from {count(half, 'feature')} of {len(found.columns)}, most of all {first}; the family "
        f"{family} contributes {share:.0%}."
    )


def agreement(found: Explanation) -> str:
    """How far shuffling agrees with the mean change, in a sentence or two; empty where nothing can be said."""
    agreed = shuffle_agreement(found)
    if agreed is None:
        return ""
    words = f"Over {count(agreed.features, 'feature')}, the ranks of both have a Spearman correlation of {agreed.spearman:.2f}."
    if agreed.redundant:
        words += (
            " These move predictions but are hardly missed, as other features carry the same information: "
            f"{', '.join(agreed.redundant)}."
        )
    return words


def all_features(found: Explanation, known: dict[str, Column]) -> None:
    """Over all clips: the features that move predictions most, their families, and shuffling as a check."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        who = st.selectbox("Model", [BLEND, *found.members], key="explain_member", persist_state="session", width=260)
        top = st.segmented_control(
            "Features", [10, 20, 40], default=20, required=True, key="explain_top", persist_state="session", width="content"
        )
    contributions = found.contributions if who == BLEND else found.members[who]
    importance = np.abs(contributions).mean(axis=0)
    order = np.argsort(-importance, kind="stable")[: int(top or 20)]
    order = order[importance[order] > 0]
    if len(order) == 0:
        st.caption("No feature moves its predictions.")
        return
    names = [found.columns[index] for index in order]
    _swarm(found, contributions, order)
    table = pd.DataFrame(
        {
            "column": names,
            "family": [found.families[index] for index in order],
            "change": importance[order],
            "shuffled": found.permutation[order],
            "spread": found.permutation_std[order],
            "definition": [_about(name, known) for name in names],
            "unit": [known[name].unit if name in known else "" for name in names],
        }
    )
    _importance(found, table, family_shares(replace(found, contributions=contributions)))
    equal = {name: found.equal[name] for name in names if name in found.equal}
    if equal:
        with st.expander(f"{count(len(equal), 'feature')} here stand for others with the same values", icon=":material/equal:"):
            st.dataframe(
                pd.DataFrame([(name, ", ".join(others)) for name, others in equal.items()], columns=["Feature", "Same values"]),
                hide_index=True,
                key="explain_equal",
                alt="Features with equal values",
            )


def _swarm(found: Explanation, contributions: np.ndarray, order: np.ndarray) -> None:
    names = [found.columns[index] for index in order]
    st.markdown("**SHAP values by feature**")
    st.caption("One dot per clip. Right of the line the feature raises the prediction. Click a dot to open its clip.")
    st.plotly_chart(
        explain.beeswarm(contributions[:, order], found.values[:, order], names, found.filenames),
        key="explain_swarm",
        on_select=_open_point,
        selection_mode="points",
        alt=f"SHAP values by feature, largest for {names[0]}",
        config=_CONFIG,
    )


def _importance(found: Explanation, table: pd.DataFrame, shares: dict[str, float]) -> None:
    with st.grid(2, min_column_width=360):
        with st.container():
            st.markdown("**Mean change by feature**")
            st.altair_chart(explain.importance_bars(table), key="explain_bars", alt="Mean change of the prediction by feature")
        with st.container():
            st.markdown("**Permutation importance, as a check**")
            st.altair_chart(
                explain.shuffled_points(table), key="explain_shuffled", alt="Rise of the RMSE where a feature is shuffled"
            )
            st.caption(
                f"The whole blend predicts the held-out clips again with one feature shuffled, for the {CHECKED_COLUMNS} features "
                f"that move most. {plain(agreement(found))}"
            )
        with st.container():
            st.markdown("**By family**")
            st.altair_chart(explain.family_bars(shares), key="explain_families", alt="Share of the total effect by family")


def one_feature(run: Run, found: Explanation, known: dict[str, Column]) -> None:
    """SHAP values of a feature by its value."""
    ordered = [found.columns[index] for index in np.argsort(-found.importance, kind="stable")]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Feature", ordered, key="explain_column", persist_state="session", bind="query-params", width=360)
        place = found.columns.index(name)
        default = strongest_interaction(found, place)
        others = [found.columns[default], *(other for other in ordered if other not in (name, found.columns[default]))]
        other = st.selectbox(
            "Coloured by",
            others,
            key=f"explain_other_{place}",
            persist_state="session",
            width=360,
            help="First choice: the feature with the strongest interaction, by rank correlation with what the value alone leaves.",
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
    present = frame.dropna(subset="value")
    st.plotly_chart(
        explain.dependence(present, _title(name, known), other),
        key="explain_dependence",
        on_select="rerun",
        selection_mode="points",
        alt=f"SHAP values by the value of {name}, coloured by {other}",
        config=_CONFIG,
    )
    missing = len(frame) - len(present)
    st.caption("Click a dot to listen to its clip." + (f" {count(missing, 'clip')} without a value." if missing else ""))
    points = session.picked("explain_dependence")["points"]
    if points and (clip := points[0]["customdata"][0]) in found.filenames:
        row = found.filenames.index(clip)
        with st.container(border=True):
            st.markdown(
                f"**{plain(clip)}** · label {found.labels[row]:.10g} · "
                f"out-of-fold prediction {text(found.oof_prediction[row], like=run.scores.constant_rmse, decimals=3)}"
            )
            _player(run, clip)
            st.button(
                "Open this clip", icon=":material/arrow_forward:", key="explain_open", on_click=session.explain_clip, args=(clip,)
            )


def one_clip(run: Run, found: Explanation, known: dict[str, Column]) -> None:
    """How the features make up the prediction of a clip."""
    clip = session.explained_clip(found.filenames)
    st.selectbox("Clip", found.filenames, key=session.EXPLAINED_CLIP, persist_state="session", width=420)
    row = found.filenames.index(clip)
    label, scored = float(found.labels[row]), float(found.oof_prediction[row])
    unit = run.scores.constant_rmse
    figure = partial(text, like=unit, decimals=3)
    with st.grid(4, min_column_width=170):
        st.metric("Label", f"{label:.10g}", border=True)
        st.metric("Out-of-fold prediction", figure(scored), border=True, help="By models that were not trained on this clip.")
        st.metric("Error", figure(scored - label, sign="+"), border=True)
        st.metric("Base", figure(float(found.base[row])), border=True, help="The mean prediction of these models.")
    _player(run, clip)
    moved = found.contributions[row].astype(float)
    order = np.argsort(-np.abs(moved), kind="stable")
    steps = pd.DataFrame(_steps(found, row, order, known), columns=["step", "from", "to", "kind", "note"])
    st.altair_chart(explain.waterfall(steps), key="explain_waterfall", alt=f"From the base value to the prediction of {clip}")
    st.caption("Orange raises the prediction, green lowers it; the diamonds are the base and the sum.")
    if abs(found.prediction[row] - scored) > 1e-3 * unit:
        st.caption(
            f"The sum is {figure(float(found.prediction[row]))}, the run predicts {figure(scored)}: "
            "it clips each member to the range of the "
            "labels and averages over augmented copies of the clip, if any."
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
        alt="Features that move this prediction most, with their values",
        column_config={
            "column": st.column_config.TextColumn("Feature", pinned=True),
            "change": st.column_config.NumberColumn("Change", format=f"%+{number_format(unit)}"),
            "value": st.column_config.NumberColumn("Value", format="%.5g"),
            "percentile": st.column_config.NumberColumn("Percentile", format="%.0f", help="Rank of the value among all clips"),
            "unit": "Unit",
            "definition": st.column_config.TextColumn("Definition", width="large"),
        },
    )


def downloads(run: Run, found: Explanation) -> None:
    """Buttons for all contributions as a table."""
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
                help="One row per clip: base and contributions sum to the prediction, before it is clipped to the label range.",
            )
    st.caption("SHAP values describe how these models use a feature. They do not show that the feature causes the label.")


def contribution_table(found: Explanation, kind: Kind) -> bytes:
    """Filename, label, out-of-fold prediction, base, then the contribution of each feature, one row per clip."""
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
        changes.append((f"{len(order) - _STEPS} other features", rest, ""))
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
        name = run.record.dataset.path or run.record.dataset.name
        st.caption(f"Audio unavailable: the clip is no longer in the data set {plain(str(name))}.")
    else:
        play(path, run.record.settings.extract.treatment)


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
