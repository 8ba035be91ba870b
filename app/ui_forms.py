"""Widgets that return a settings object of the library. What is chosen stays chosen while one looks at other pages."""

import streamlit as st

from app.ui_words import count, plain
from core.dataset import Dataset
from core.ensemble import EnsembleSettings
from core.errors import DataError, ParameterError
from core.extract import FEATURE_SETS, ExtractSettings
from core.features import columns
from core.matrix import group_labels
from core.models import CATALOGUE, PRESETS

_SETS = {
    "ultra": "energy, pauses, spectrum, voice, rhythm, harmony, quality",
    "mfcc": "20 cepstral coefficients with their changes",
    "metadata": "length, rate, channels and size of the file",
}
_PRESETS = {"fast": "Fast", "classic": "Classic"}


def set_label(name: str) -> str:
    """A feature set with its number of columns."""
    return f"{name} · {len(columns(name))}"


def extract_settings(usual: ExtractSettings) -> ExtractSettings | None:
    """Feature sets and length of analysis, ``usual`` at first, or None where they make no sense: then the page has said why."""
    sets = st.pills(
        "Feature sets",
        FEATURE_SETS,
        selection_mode="multi",
        default=usual.features,
        format_func=set_label,
        key="extract_features",
        persist_state="session",
        help="  \n".join(f"**{name}**: {_SETS[name]}" for name in FEATURE_SETS),
    )
    seconds = st.number_input(
        "Seconds analysed",
        min_value=1.0,
        value=usual.max_seconds,
        step=5.0,
        key="extract_max_seconds",
        persist_state="session",
        help="Only the start of a longer clip is analysed.",
        width=180,
    )
    try:
        return ExtractSettings(features=tuple(name for name in FEATURE_SETS if name in (sets or ())), max_seconds=float(seconds))
    except ParameterError:
        st.caption(":orange[Choose at least one feature set.]")
        return None


def ensemble_settings(dataset: Dataset, usual: EnsembleSettings) -> EnsembleSettings | None:
    """Members, folds and groups, ``usual`` at first, or None where they make no sense: then the page has said why."""
    columns_there = [None, *_columns(dataset)]
    models = st.pills(
        "Models",
        list(CATALOGUE),
        selection_mode="multi",
        default=usual.models,
        key="train_models",
        persist_state="session",
        help="Members of the ensemble; its prediction is their mean.",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        preset = st.segmented_control(
            "Preset",
            PRESETS,
            default=usual.preset,
            required=True,
            format_func=lambda name: _PRESETS.get(name, name),
            key="train_preset",
            persist_state="session",
            help="Fast: coarse histogram bins, a share of the columns, up to 600 trees. "
            "Classic: the libraries' usual bins, up to 2000 rounds; several times slower.",
        )
        folds = st.number_input("Folds", 2, 50, usual.folds, key="train_folds", persist_state="session", width=150)
        groups = st.selectbox(
            "Groups",
            columns_there,
            index=columns_there.index(usual.groups) if usual.groups in columns_there else 0,
            format_func=lambda name: "No groups" if name is None else _group_label(dataset, name),
            key="train_groups",
            persist_state="session",
            width=280,
            help="All clips of one speaker, room or instrument stay in one fold, "
            "and the score is the one that a new speaker will get. Without groups it flatters.",
        )
        seed = st.number_input("Seed", 0, 2**31 - 1, usual.seed, key="train_seed", persist_state="session", width=170)
    if groups is None and (repeating := repeating_columns(dataset)):
        what = plain(" or ".join(repeating[:3]))
        st.caption(f"Does one {what} have several clips? Then choose it under Groups, or the score will flatter.")
    try:
        settings = EnsembleSettings(
            models=tuple(name for name in CATALOGUE if name in (models or ())),
            preset=str(preset),
            folds=int(folds),
            groups=groups,
            seed=int(seed),
        )
    except ParameterError:
        st.caption(":orange[Choose at least one model.]")
        return None
    try:
        units, what = (
            (len(set(group_labels(dataset.train, groups))), "groups") if groups else (len(dataset.train), "labelled clips")
        )
    except DataError as error:
        st.caption(f":orange[{plain(str(error))}]")
        return None
    if units < settings.folds:
        st.caption(f":orange[{settings.folds} folds need at least as many {what}; there are {units}.]")
        return None
    return settings


def repeating_columns(dataset: Dataset) -> list[str]:
    """Columns of the training table with at most half as many values as clips: speakers, rooms, notes."""
    return [name for name in _columns(dataset) if 1 < _different(dataset, name) <= len(dataset.train) / 2]


def command(line: str) -> None:
    """The line that does the same, to be copied."""
    with st.expander("Copy as command", icon=":material/terminal:"):
        st.code(line, language="bash", wrap_lines=True)


def _columns(dataset: Dataset) -> list[str]:
    return list(dataset.train[0].columns) if dataset.train else []


def _different(dataset: Dataset, name: str) -> int:
    return len({row.columns.get(name, "").strip() for row in dataset.train} - {""})


def _group_label(dataset: Dataset, name: str) -> str:
    return f"{name} · {count(_different(dataset, name), 'group')}"
