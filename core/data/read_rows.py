"""A table and what its columns are for in, its rows out, each with its clip; what is wrong with a row is told."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.layouts.clips import ClipIndex
from core.data.layouts.layout import Layout
from core.data.layouts.roles import Roles, refuse_hidden_rows, row_names
from core.data.layouts.table import Line, Table, as_number, is_missing
from core.data.places import Place, find_places
from core.data.ratings import one_row_a_clip
from core.data.rows import ERROR, MAX_LABEL, WARNING, Problem, Row

Marks = tuple[tuple[str, float], ...]  # the labels of a row by column


@dataclass(frozen=True, slots=True)
class Reading:
    """How tables are read, and the folder into which segments of recordings are cut."""

    layout: Layout
    segments: Path


def train_rows(
    table: Table, roles: Roles, reading: Reading, index: ClipIndex, problems: list[Problem], *, ids: str = ""
) -> list[Row]:
    """The labelled rows of a table, each clip once.

    Parameters
    ----------
    table : Table
    roles : Roles of its columns
    reading : Reading
    index : ClipIndex of the clips
    problems : list of Problem, to which is added what is wrong
    ids : str, column by which rows are called; empty for that of the clips

    Raises
    ------
    DataError
        A cell has taken rows into it, or clips stand there several times with different labels.
    """
    refuse_hidden_rows(table, roles, index)
    layout, (_, names) = reading.layout, row_names(table, ids or roles.filename, roles.times)
    by_clip: dict[Path, list[Row]] = defaultdict(list)
    refused: list[tuple[Path, Problem]] = []
    for line, name, place in zip(table.lines, names, _places(table, roles, reading, index, problems), strict=True):
        clip = place.clip
        if isinstance(clip, str):
            problems.append(Problem(name or f"{table.name}, line {line.number}", ERROR, clip, "train"))
            continue
        marks, reasons = _marks(line, roles.labels)
        refused += [(clip, Problem(name, ERROR, reason, "train")) for reason in reasons]
        if marks:
            label = float(np.mean([value for _, value in marks]))
            ratings = marks if layout.rating_columns else ()
            recording = None if layout.split_recordings else place.recording
            by_clip[clip].append(Row(name, clip, label, _further(line, roles), ratings, recording, place.span))
    return one_row_a_clip(by_clip, refused, layout, table.name, problems)


def test_rows(
    table: Table, roles: Roles, reading: Reading, index: ClipIndex, problems: list[Problem], *, names: Sequence[str]
) -> list[Row]:
    """The rows of a table without labels, in its order; a clip may stand twice.

    Parameters
    ----------
    table, roles, reading, index, problems : as in ``train_rows``
    names : what each row is called
    """
    refuse_hidden_rows(table, roles, index)
    rows = []
    for line, name, place in zip(table.lines, names, _places(table, roles, reading, index, problems), strict=True):
        clip = place.clip
        if isinstance(clip, str):
            problems.append(Problem(name or f"{table.name}, line {line.number}", ERROR, clip, "test"))
        elif line.problem:
            problems.append(Problem(name, ERROR, line.problem, "test"))
        else:
            rows.append(Row(name, clip, float("nan"), _further(line, roles), recording=place.recording, span=place.span))
    return rows


def _places(table: Table, roles: Roles, reading: Reading, index: ClipIndex, problems: list[Problem]) -> list[Place]:
    places, notes = find_places(table, roles, reading.layout, index, reading.segments)
    problems += [Problem(table.name, WARNING, note) for note in (*table.notes, *roles.notes, *notes)]
    return places


def _marks(line: Line, columns: Sequence[str]) -> tuple[Marks, list[str]]:
    """The labels of a row that can be learned, by column, and why others cannot."""
    if line.problem:
        return (), [line.problem]
    cells = {column: line.cells[column] for column in columns if not is_missing(line.cells[column])}
    if not cells:
        return (), ["label missing"]
    numbers = {column: _label(cell) for column, cell in cells.items()}
    reasons = [f"label {cells[name]!r} is not a number that can be learned" for name, number in numbers.items() if number is None]
    return tuple((name, number) for name, number in numbers.items() if number is not None), reasons


def _label(text: str) -> float | None:
    value = as_number(text)
    return value if value is not None and abs(value) <= MAX_LABEL else None


def _further(line: Line, roles: Roles) -> dict[str, str]:
    """The cells of the further columns; what stands for a missing value is empty. Segments keep the name of their recording."""
    known = {*roles.labels, *roles.other_labels, *([roles.filename] if roles.times is None else roles.times.roles())}
    return {name: "" if is_missing(cell) else cell for name, cell in line.cells.items() if name not in known}
