"""Segments of long recordings: how many there are, how much of the recordings they cover, and whether they overlap."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import streamlit as st

from app.views.cards import card
from app.words import count, duration
from core.data.dataset import Dataset
from core.data.rows import Row


def show(dataset: Dataset) -> None:
    """Figures of the segments of the training table in cards; nothing where its clips are recordings of their own."""
    rows = [row for row in dataset.train if row.span is not None]
    if not rows:
        return
    by_recording = _spans(rows)
    seconds = sum(end - start for spans in by_recording.values() for start, end in spans)
    overlaps = sum(later < end for spans in by_recording.values() for (_, end), (later, _) in pairwise(spans))
    st.markdown("**Segments**")
    with st.grid(3, min_column_width=240):
        many = sorted(map(len, by_recording.values()))
        each = f"{many[0]:,}" if many[0] == many[-1] else f"{many[0]:,} to {many[-1]:,}"
        card("Recordings", f"{len(by_recording):,}", f"{each} segments each")
        card("Labelled", duration(seconds), f"{seconds / len(rows):.3g} s a segment, on average")
        card("Overlaps", f"{overlaps:,}", "begin before the last one ends")
    if dataset.layout.split_recordings:
        st.caption("Segments of one recording may stand in several folds: the score is that of recordings already heard.")
    else:
        groups = count(len(by_recording), "group")
        st.caption(f"Segments of one recording stay in one fold, so that the score is that of new recordings: {groups}.")


def _spans(rows: Sequence[Row]) -> dict[Path, list[tuple[float, float]]]:
    """The segments of each recording, the earliest first; a recording has a folder of its own."""
    spans: dict[Path, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.span is not None:
            spans[row.path.parent].append(row.span)
    return {folder: sorted(of_recording) for folder, of_recording in spans.items()}
