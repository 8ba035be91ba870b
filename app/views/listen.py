"""Clips to listen to: their problems, duplicates, a table and a map to choose from, and the chosen clip."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import clip_urls, resources, session
from app.charts import clips as clips_charts
from app.charts.marks import sensible
from app.resources import CheckedDataset, Features, Key
from app.views.player import play
from app.words import NOTHING, count, errors_in_words, plain
from core.data.audio import Clip
from core.data.duplicates import COPY_NAME, SAME_AUDIO, Twins
from core.data.treatment import Treatment
from core.errors import AudioError, DataError, EarmarkError, JobError
from core.extraction.config import ExtractSettings
from core.extraction.extract import definitions_of
from core.features import Column
from core.scoring.associations import below
from core.settings import build

_TOP = 8
_P95 = 1.645  # distance of the 95th percentile
_FEW = 2000  # clips that are compared with each other at once, without being asked for it
_COLUMNS = {
    "play": st.column_config.AudioColumn("Play", help="Double click to listen here", width=70),
    "file": st.column_config.TextColumn("Clip", pinned=True),
    "split": st.column_config.TextColumn("Table", width=65),
    "label": st.column_config.NumberColumn("Label", format="%.10g", width=75),
    "seconds": st.column_config.NumberColumn("Seconds", format="%.2f", width=80),
    "sample_rate_hz": st.column_config.NumberColumn("Rate (Hz)", format="%d", width=85),
    "channels": st.column_config.NumberColumn("Channels", format="%d", width=80),
    "peak_dbfs": st.column_config.NumberColumn("Peak (dBFS)", format="%.1f", width=95),
    "rms_dbfs": st.column_config.NumberColumn("RMS (dBFS)", format="%.1f", width=95),
    "problem": st.column_config.TextColumn("Problem"),
}


def newest_features(looked: CheckedDataset) -> Features | None:
    """What the last extraction on the chosen data set exported; None where there is none, or none that is still readable."""
    job = session.newest_done("extract")
    if job is None:
        return None
    try:
        done, of = resources.result(job), job.request["extract"]
        settings = build(ExtractSettings, of)
        if done.get("definitions") != definitions_of(settings):
            return None
        folder = session.workspace().features
        files = [str(folder / Path(file).parent.name / Path(file).name) for file in done["files"]]
        return resources.features(files, of["features"], looked.dataset, settings.treatment)
    except (JobError, DataError):  # the Features page says what is wrong with it
        return None


@st.fragment
@errors_in_words()
def problems(looked: CheckedDataset) -> None:
    """Problems by file, of the chosen kinds."""
    table = looked.problems
    aside = int((table["level"] == "error").sum())
    title = f"{count(len(table), 'problem')}: {aside:,} set aside, {len(table) - aside:,} kept"
    with st.expander(title, icon=":material/warning:", key="dataset_problems_box"):
        kinds = table["kind"].value_counts()
        chosen = st.pills(
            "Kind",
            kinds.index.tolist(),
            selection_mode="multi",
            format_func=lambda kind: f"{kind} ({kinds.get(kind, 0):,})",
            label_visibility="collapsed",
            key="dataset_kinds",
            persist_state="session",
        )
        some = table[table["kind"].isin(chosen)] if set(chosen) & set(kinds.index) else table
        some = some.assign(level=some["level"].map({"error": "set aside", "warning": "kept"}))
        columns = {
            "file": st.column_config.TextColumn("File", width="medium"),
            "table": st.column_config.TextColumn("Table", width=65),
            "kind": st.column_config.TextColumn("Kind", width=110),
            "level": st.column_config.TextColumn("Clip is", width=85),
            "reason": st.column_config.TextColumn("Reason", width="large"),
        }
        st.dataframe(
            some,
            hide_index=True,
            height=min(340, 38 + 35 * len(some)),
            column_config=columns,
            key="dataset_problems",
            alt="Problems by file, with their kind and reason",
        )


@st.fragment
@errors_in_words()
def twins(looked: CheckedDataset, features: Features | None) -> None:
    """Clips that are one recording, or nearly, side by side with their labels; contradictions stand first."""
    pairs = list(looked.twins)
    clips = len(looked.rows)
    far = features is not None and clips > _FEW and not st.session_state.get("dataset_near", False)
    if features is not None and not far:
        told = {frozenset([(one.split, one.file), (one.other_split, one.other_file)]) for one in pairs if one.kind != COPY_NAME}
        near = resources.near_twins(features)
        pairs += [one for one in near if frozenset([(one.split, one.file), (one.other_split, one.other_file)]) not in told]
    pairs = [one for one in pairs if (one.split, one.file) in looked.rows and (one.other_split, one.other_file) in looked.rows]
    if not pairs and not far:
        return
    table = twins_table(looked, pairs)
    against = table[table["difference"] > 0]
    same_against = int((against["kind"] == SAME_AUDIO).sum())
    title = f"{count(len(table), 'pair')} of clips that say the same" + (
        f": {len(against):,} with different labels" if len(against) else ""
    )
    with st.expander(title, icon=":material/content_copy:", key="dataset_twins_box"):
        if same_against:
            st.error(
                f"{count(same_against, 'pair')} with the same audio "
                f"{'has' if same_against == 1 else 'have'} different labels: at most one of the two can be right.",
                icon=":material/compare_arrows:",
            )
        if features is not None and clips > _FEW:
            st.toggle(
                "Look for clips that are nearly the same, too",
                key="dataset_near",
                persist_state="session",
                help="Compares the features of each clip with all others: seconds for 10,000 clips",
            )
        if len(table):
            _twins_seen(looked, table)


def _twins_seen(looked: CheckedDataset, table: pd.DataFrame) -> None:
    st.caption("Training keeps clips with the same audio in one fold. Click a row to listen to both.")
    event = st.dataframe(
        table,
        hide_index=True,
        height=min(300, 38 + 35 * len(table)),
        column_config={
            "kind": st.column_config.TextColumn("Kind", width=140),
            "file": "Clip",
            "split": st.column_config.TextColumn("Table", width=65),
            "label": st.column_config.NumberColumn("Label", format="%.10g", width=75),
            "other_file": "Twin",
            "other_split": st.column_config.TextColumn("Its table", width=75),
            "other_label": st.column_config.NumberColumn("Its label", format="%.10g", width=80),
            "difference": st.column_config.NumberColumn("Difference of labels", format="%.10g"),
        },
        on_select="rerun",
        selection_mode="single-cell",
        key="dataset_twins",
        placeholder=NOTHING,
        alt="Pairs of clips that say the same, with both labels and their difference",
    )
    picked = [row for row, _ in event.selection.cells if row < len(table)]
    pair = table.iloc[picked[0] if picked else 0]
    with st.grid(2, min_column_width=300):
        for split, file, label in (
            (pair["split"], pair["file"], pair["label"]),
            (pair["other_split"], pair["other_file"], pair["other_label"]),
        ):
            with st.container():
                st.markdown(f"**{plain(file)}**" + (f" · label {label:.10g}" if label == label else " · no label"))
                play(looked.rows[split, file].path, session.treatment())


def twins_table(looked: CheckedDataset, pairs: Sequence[Twins]) -> pd.DataFrame:
    """Pairs with both labels and their difference, the largest first; NaN where a clip has no label."""
    rows = []
    for one in pairs:
        label, other = looked.rows[one.split, one.file].label, looked.rows[one.other_split, one.other_file].label
        rows.append((one.kind, one.file, one.split, label, one.other_file, one.other_split, other, abs(label - other)))
    names = ["kind", "file", "split", "label", "other_file", "other_split", "other_label", "difference"]
    return pd.DataFrame(rows, columns=names).sort_values("difference", ascending=False, kind="stable", na_position="last")


@st.fragment
@errors_in_words()
def clips(looked: CheckedDataset, features: Features | None) -> None:
    """All clips, as a table or on a map; the chosen one is played and drawn below."""
    if not looked.rows:
        return
    st.subheader("Clips")
    chosen = session.listened(looked.rows) or next(iter(looked.rows))
    views = st.tabs(["Table", "Map"], key="dataset_view", on_change="rerun", bind="query-params")
    if views[0].open:
        with views[0]:
            clip_table(looked)
    if views[1].open:
        with views[1]:
            clip_map(features, chosen)
    show_clip(looked, features, chosen)


def clip_table(looked: CheckedDataset) -> None:
    """The clips that pass the filters."""
    table = looked.table
    labels = table["label"].dropna()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.text_input(
            "Search",
            key="dataset_search",
            placeholder="part of a name",
            persist_state="session",
            width=220,
            icon=":material/search:",
        )
        of = "All"
        if table["split"].nunique() > 1:
            of = st.segmented_control(
                "Table", ["All", "Train", "Test"], default="All", required=True, key="dataset_table", persist_state="session"
            )
        low = high = None
        if len(labels) and labels.min() < labels.max():
            least, most = float(labels.min()), float(labels.max())
            low, high = st.slider(
                "Label",
                least,
                most,
                (least, most),
                key=f"dataset_labels_{session.choice().mark}",
                persist_state="session",
                width=240,
            )
            if (low, high) == (least, most):
                low = high = None
        odd = (
            st.toggle("With problems only", key="dataset_odd", persist_state="session") if (table["problem"] != "").any() else False
        )
    take = chosen_rows(table, wanted=wanted, of=of.lower(), low=low, high=high, odd=odd)
    some = table if take.all() else table[take]
    if not (table["problem"] != "").any():
        some = some.drop(columns="problem")
    treatment = session.treatment()
    if len(some) == 0:
        st.caption("No clip passes these filters.")
        return
    keys = list(zip(some["split"], some["file"], strict=True))
    if clip_urls.routed():
        some = some.copy()
        some.insert(0, "play", [clip_urls.address(looked.rows[key].path, treatment) for key in keys])
    st.caption(f"{len(some):,} of {count(len(table), 'clip')}. Click a row to listen to the clip.{_as_recorded(treatment)}")
    st.dataframe(
        some,
        hide_index=True,
        height=320,
        column_config=_COLUMNS,
        on_select=partial(_pick_row, keys),
        selection_mode="single-cell",
        key="dataset_clips",
        placeholder=NOTHING,
        alt="Clips with label, length, rate and levels",
    )


def _as_recorded(treatment: Treatment) -> str:
    return (
        "" if treatment.is_plain else f" Lengths, rates and levels are those of the files; played as analysed: {treatment.words}."
    )


def chosen_rows(table: pd.DataFrame, *, wanted: str, of: str, low: float | None, high: float | None, odd: bool) -> np.ndarray:
    """Which rows pass: part of the name, "all", "train" or "test", labels from low to high, those with problems only.

    Returns
    -------
    take : np.ndarray [shape=(n,)], bool
    """
    take = np.ones(len(table), bool)
    if wanted.strip():
        take &= table["file"].str.contains(wanted.strip(), case=False, regex=False).to_numpy()
    if of != "all":
        take &= (table["split"] == of).to_numpy()
    if low is not None and high is not None:
        take &= table["label"].between(low, high).to_numpy()
    if odd:
        take &= (table["problem"] != "").to_numpy()
    return take


def clip_map(features: Features | None, chosen: Key) -> None:
    """The clips on the two directions along which they differ most."""
    if features is None:
        st.info("The map lays clips out by their features. They are not extracted yet.", icon=":material/scatter_plot:")
        st.page_link(session.PAGES["features"], label="Extract features", icon=":material/arrow_forward:")
        return
    of = None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(features.sets) > 1:
            names = ["all", *features.sets]
            one = st.segmented_control(
                "Features", names, default="all", required=True, key="dataset_map_of", persist_state="session"
            )
            of = None if one not in names or one == "all" else one
    found = resources.clip_map(features, of)
    if found.columns == 0:
        st.caption("All clips have the same values of these features: there is nothing to lay out.")
        return
    st.caption(
        f"Principal components of {count(found.columns, 'feature')}, each on a robust scale. Near points sound alike to these "
        "features. Click to listen to the nearest clip." + (" Grey: without a label." if found.points["label"].isna().any() else "")
    )
    points = found.points
    st.altair_chart(
        clips_charts.clip_map(points, found.shares, chosen),
        key="dataset_map",
        on_select=_pick_point,
        alt=f"{count(len(points), 'clip')} on the first two principal components of their features, coloured by label",
    )


def _pick_row(shown: Sequence[Key]) -> None:
    cells = session.picked("dataset_clips")["cells"]
    if cells and cells[0][0] < len(shown):
        session.listen_to(*shown[cells[0][0]])


def _pick_point() -> None:
    points = session.picked("dataset_map").get("clip", [])
    if points and {"table", "clip"} <= set(points[0]):
        session.listen_to(str(points[0]["table"]), str(points[0]["clip"]))


def show_clip(looked: CheckedDataset, features: Features | None, key: Key) -> None:
    """Player, waveform and spectrogram of a clip, and the features in which it is unlike the others."""
    row, treatment = looked.rows[key], session.treatment()
    with st.container(border=True, key="dataset_clip"):
        st.markdown(
            f"**{plain(row.name)}**"
            + (f" · label {row.label:.10g}" if row.label == row.label else "")
            + (" · test table" if key[0] == "test" else "")
        )
        try:
            clip = resources.clip(row.path, treatment)
        except AudioError as error:
            st.error(plain(error.reason), icon=":material/volume_off:")
            return
        play(row.path, treatment)
        if features is None:
            seen, unlike = st.container(), None
        else:
            grid = st.grid(2, min_column_width=440)
            seen, unlike = grid.cell(), grid.cell()
        if unlike is not None and features is not None:
            with unlike:
                unusual(features, key)
        with seen:
            over_time(clip, row.path, row.name)


def over_time(clip: Clip, path: Path, name: str) -> None:
    """Waveform with its pauses, spectrogram with its pitch. Both are drawn at once where those take seconds to come."""
    wave, working, levels, legend = st.empty(), st.empty(), st.empty(), st.empty()
    plotly: dict[str, Any] = {"config": {"displayModeBar": False}}
    if not resources.can_trace():
        wave.altair_chart(clips_charts.waveform(clip), key="waveform_first", alt=f"Waveform of {name}")
        levels.plotly_chart(clips_charts.spectrogram(clip), key="spectrogram_first", alt=f"Spectrogram of {name}", **plotly)
    try:
        with working, st.spinner("Following pauses and pitch; the first time takes some seconds ..."):
            trace = resources.trace(path, clip.treatment)
    except EarmarkError as error:
        legend.caption(plain(f"Pauses and pitch could not be followed: {error}"))
        pauses_s = pitch = None
    else:
        pauses_s, pitch = trace.pauses_s, (trace.pitch_times_s, trace.f0_hz)
        voiced = float(np.isfinite(trace.f0_hz).mean()) if len(trace.f0_hz) else 0.0
        told = "no pause of 0.2 s or more" if len(pauses_s) == 0 else f"{count(len(pauses_s), 'pause')} of 0.2 s or more (shaded)"
        followed = f"F0 over the spectrogram where it is voiced ({voiced:.0%} of the time)" if voiced else "nothing voiced"
        legend.caption(f"{told[:1].upper()}{told[1:]}; {followed}. The same thresholds as in the features.")
    working.empty()
    wave.altair_chart(clips_charts.waveform(clip, pauses_s), key="waveform", alt=f"Waveform of {name}, pauses shaded")
    levels.plotly_chart(
        clips_charts.spectrogram(clip, pitch), key="spectrogram", alt=f"Spectrogram of {name} with its pitch", **plotly
    )


def unusual(features: Features, key: Key) -> None:
    """The features in which a clip is furthest from the others."""
    matrix = features.train if key[0] == "train" else features.test
    if matrix is None or key[1] not in matrix.filenames:
        st.caption("The last extraction has no features of this clip.")
        return
    values = matrix.X[matrix.filenames.index(key[1])].astype(float)
    table = against_others(features, values)
    there = table.dropna(subset="z")
    if len(there) == 0:
        st.caption("No column varies: there is nothing to compare this clip by.")
        return
    top = there.head(_TOP)
    others = count(len(features.whole.filenames), "clip")
    whom = "to train on" if features.train is not None else "to test"
    st.markdown("**Most unusual columns**")
    st.caption(f"Against the {others} {whom}: the dot is this clip, the bars hold the middle half and 90 % of the clips.")
    st.altair_chart(
        clips_charts.unusual_columns(top.assign(column=top["column"] + " " + top["share"])),
        key="unusual",
        alt=f"{key[1]} against the other clips, furthest in {top['column'].iloc[0]}",
    )
    with st.expander(f"All {count(len(table), 'column')}", icon=":material/list:"):
        st.dataframe(
            table[["column", "value", "unit", "median", "z", "below", "definition"]],
            hide_index=True,
            height=300,
            column_config={
                "column": st.column_config.TextColumn("Feature", pinned=True),
                "value": st.column_config.NumberColumn("This clip", format="%.5g", width=85),
                "unit": st.column_config.TextColumn("Unit", width=60),
                "median": st.column_config.NumberColumn("Median", format="%.5g", width=80),
                "z": st.column_config.NumberColumn(
                    "Distance", format="%+.1f", width=75, help="From the median; 1.645 is the 95th percentile, -1.645 the 5th"
                ),
                "below": st.column_config.NumberColumn("Clips below", format="percent", width=90),
                "definition": st.column_config.TextColumn("Definition", width="large"),
            },
            key="unusual_table",
            alt=f"Columns of {key[1]} against the other clips",
        )


def against_others(features: Features, values: np.ndarray) -> pd.DataFrame:
    """Where a clip stands in each column, the most unusual first; what is undefined, or does not vary, stands last.

    Parameters
    ----------
    features : Features
    values : np.ndarray [shape=(d,)], of the clip

    Returns
    -------
    table : pd.DataFrame with ``column``, ``value``, ``unit``, ``median``, ``z`` (as ``Usual.distance``), ``p5``, ``p25``, ``p75``,
        ``p95`` of the other clips as z, ``below`` (share of clips), ``definition``, and in words ``shown``, ``typical``, ``share``
    """
    most, whole, known = resources.typical(features), features.whole, features.definitions
    z = most.distance(values)
    quarters = {"p5": -_P95, "p25": most.distance(most.p25), "p75": most.distance(most.p75), "p95": _P95}
    order = np.argsort(-np.nan_to_num(np.abs(z), nan=-1.0), kind="stable")
    table = pd.DataFrame({"column": whole.names, "value": values, "median": most.median, "z": z, **quarters}).iloc[order]
    table = table.reset_index(drop=True)
    about = [known[name] for name in table["column"]]
    table["below"] = [below(whole.X[:, place].astype(float), float(values[place])) for place in order]
    table["unit"] = ["" if one.unit == "1" else one.unit for one in about]
    table["definition"] = [one.definition for one in about]
    for name, of in (("shown", "value"), ("typical", "median")):
        table[name] = [_with_unit(value, one) for value, one in zip(table[of], about, strict=True)]
    table["share"] = [_percentile(share) for share in table["below"]]
    return table


def _with_unit(value: float, about: Column) -> str:
    return "undefined" if value != value else f"{sensible(value)}{'' if about.unit == '1' else f' {about.unit}'}"


def _percentile(share: float) -> str:
    if share != share:
        return ""
    side, of = ("above", share) if share >= 0.5 else ("below", 1 - share)
    return f"({side} {of:.0%})" if of < 0.985 else f"({side} {min(of, 0.999):.1%})"
