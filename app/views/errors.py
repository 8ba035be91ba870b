"""Errors of a run: by label, by group, and the largest ones to listen to. In the unit of the label."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import clip_urls, resources, session
from app.charts import training
from app.views.player import play
from app.words import errors_in_words, plain
from core.data.rows import Row
from core.data.treatment import Treatment
from core.runs import Run
from core.scoring.figures import interval_text, number_format, text
from core.scoring.residuals import coverage_bins, error_bins, errors_by_group

_WORST = 50
_MOST_GROUPS = 30


@st.fragment
@errors_in_words()
def clip_by_clip(run: Run, rows: Sequence[Row], repeating: Sequence[str]) -> None:
    """Predictions and errors of each clip, to listen to; errors by label and by group.

    Parameters
    ----------
    run : Run
    rows : of the training table, as it is now
    repeating : columns of the table whose values several clips share
    """
    oof, clips = resources.oof(run), {row.name: row.path for row in rows}
    treatment = run.record.settings.extract.treatment
    with st.grid(2, min_column_width=340):
        with st.container():
            st.markdown("**Prediction by label**")
            st.altair_chart(training.oof_scatter(oof), key="oof_scatter", on_select="rerun", alt="Out-of-fold prediction by label")
            st.caption("Click a point to listen to its clip.")
        with st.container():
            st.markdown("**Error by label**")
            means = pd.DataFrame(error_bins(oof["label"].to_numpy(), oof["oof_prediction"].to_numpy()))
            st.altair_chart(
                training.error_by_label(oof, means), key="error_by_label", alt="Error by label, with the mean error of each bin"
            )
            st.caption("Above 0 the prediction is too high. Line: mean error, in bins of about as many clips each.")
    picked = [point.get("clip") for point in session.picked("oof_scatter").get("clip", [])]
    if picked and len(row := oof[oof["filename"] == picked[0]]):
        _player(row.iloc[0], clips.get(picked[0]), run.scores.constant_rmse, treatment)
    left, right = st.tabs(["Largest errors", "By group"], key="errors_view", on_change="rerun")
    if left.open:
        with left:
            _largest(oof, clips, run.scores.constant_rmse, treatment)
    if right.open:
        with right:
            _by_group(run, oof, rows, repeating)


def show_coverage(oof: pd.DataFrame, level: float) -> None:
    """Interval coverage by label, beside the level that was asked for."""
    bins = coverage_bins(oof["label"].to_numpy(), oof["low"].to_numpy(), oof["high"].to_numpy())
    table = pd.DataFrame(bins).assign(label=[label_range(row.low, row.high) for row in bins])
    st.markdown("**Interval coverage by label**")
    st.altair_chart(
        training.coverage_by_label(table[["label", "share", "clips"]], level),
        key="coverage_by_label",
        alt="Share of labels inside their prediction interval, by label",
    )
    st.caption(f"Asked for: {level:.0%} (line). Bins of about as many clips each.")


def label_range(low: float, high: float) -> str:
    """The labels of a bin.

    Examples
    --------
    >>> label_range(1.0, 1.0), label_range(1.0, 2.5)
    ('1', '1 to 2.5')
    """
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _player(row: pd.Series, path: Path | None, like: float, treatment: Treatment) -> None:
    with st.container(border=True):
        error = row["oof_prediction"] - row["label"]
        st.markdown(
            f"**{plain(row['filename'])}** · label {row['label']:.10g} · "
            f"predicted {text(row['oof_prediction'], like=like, decimals=3)}, "
            f"{interval_text((row['low'], row['high']), like=like, decimals=3)} · "
            f"error {text(error, like=like, decimals=3, sign='+')} · fold {int(row['fold'])}"
        )
        if path is not None and path.is_file():
            play(path, treatment)
        else:
            st.caption("Audio unavailable: the clip is no longer in its data set.")


def _largest(oof: pd.DataFrame, clips: Mapping[str, Path], like: float, treatment: Treatment) -> None:
    frame = oof.assign(error=oof["oof_prediction"] - oof["label"])
    frame = frame.iloc[np.argsort(-frame["error"].abs().to_numpy(), kind="stable")[:_WORST]]
    shown = frame[
        [name for name in ("filename", "label", "oof_prediction", "error", "low", "high", "fold", "group") if name in frame]
    ]
    number, figure = st.column_config.NumberColumn, number_format(like, decimals=3)
    columns: dict[str, Any] = {
        "filename": st.column_config.TextColumn("Clip", pinned=True),
        "label": number("Label", format="%.10g"),
        "oof_prediction": number("Prediction", format=f"%{figure}"),
        "error": number("Error", format=f"%+{figure}"),
        "low": number("Low", format=f"%{figure}"),
        "high": number("High", format=f"%{figure}"),
        "fold": "Fold",
        "group": "Group",
    }
    if clip_urls.routed() and clips:
        shown = shown.copy()
        paths = [clips.get(name) for name in shown["filename"]]
        shown.insert(0, "play", [clip_urls.address(path, treatment) if path is not None else None for path in paths])
        columns["play"] = st.column_config.AudioColumn("Play", help="Double click to listen here")
    st.caption("The predictions furthest from their label; a wrong label is often among the first.")
    st.dataframe(
        shown, hide_index=True, height=320, column_config=columns, key="largest_errors", alt="Clips with the largest errors"
    )


def _by_group(run: Run, oof: pd.DataFrame, rows: Sequence[Row], repeating: Sequence[str]) -> None:
    options = [*(["group"] if "group" in oof else []), *repeating]
    if not options:
        st.caption("Nothing groups these clips: no column of the table has several clips for one value.")
        return
    chosen_by = run.record.settings.ensemble.group_by
    name = st.segmented_control(
        "Group by",
        options,
        default=options[0],
        required=True,
        format_func=lambda option: f"{chosen_by} (of the folds)" if option == "group" and chosen_by else option,
        key="errors_group",
        width="content",
    )
    values = oof["group"] if name == "group" else oof["filename"].map({row.name: row.columns.get(str(name)) for row in rows})
    groups = [None if value is None or value != value else str(value) for value in values]
    errors = errors_by_group(oof["label"].to_numpy(), oof["oof_prediction"].to_numpy(), groups)
    if not errors:
        st.caption("The tables have changed since: they have no value for these clips.")
        return
    st.altair_chart(
        training.errors_by_group(pd.DataFrame(errors[:_MOST_GROUPS])), key="errors_by_group", alt="RMSE and mean error by group"
    )
    if len(errors) > _MOST_GROUPS:
        st.caption(f"The {_MOST_GROUPS} with the largest RMSE of {len(errors):,}.")
