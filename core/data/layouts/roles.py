"""A table in, what its columns are for out: which one names the clips, which one holds the labels.

A column that the settings name has the role. Where they name none, and there is no column of the usual name, the content decides:
clips are named by the column whose cells name most files, labels are the only column of numbers. Where two could be meant, an error
lists both.
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from core.data.layouts.clips import ClipIndex
from core.data.layouts.layout import Layout
from core.data.layouts.source import Source
from core.data.layouts.table import Table, as_number, is_missing
from core.data.layouts.times import Times, find_duration, find_steps, find_times
from core.errors import DataError

_INDEX_NAME = re.compile(r"(.*[ _-])?(id|ids|idx|index|no|nr|number|row)|unnamed: \d+", re.IGNORECASE)
_RATER = re.compile(
    r"(^|_)(rater|annotator|listener|judge|grader|expert|evaluator|assessor|reviewer|participant|subject|coder|observer|scorer|"
    r"labell?er|examiner|worker|user|voter|marker|teacher|respondent|panell?ist|tester)s?(_|\d|$)"
)
LABEL, OTHER_LABEL = "label", "another label"
_MOSTLY = 0.9  # of the cells of a column are numbers


@dataclass(frozen=True, slots=True)
class Roles:
    """What the columns of a table are for.

    Attributes
    ----------
    filename : str, column that names the clips
    labels : tuple of str, the column of the labels, or those of ratings side by side; empty in a table without
    notes : tuple of str, what the content decided
    times : Times, where rows are segments of recordings, or None
    other_labels : tuple of str, columns that are labels of other trainings
    """

    filename: str
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    times: Times | None = None
    other_labels: tuple[str, ...] = ()

    def label(self, layout: Layout) -> str:
        """What the label is called, also where it is the mean of ratings."""
        return self.labels[0] if len(self.labels) == 1 else layout.label_column

    def describe(self, table: Table, ids: str) -> list[tuple[str, str]]:
        """Each column of a table, and what it is for."""
        roles = {self.filename: "names the clips"}
        roles |= self.times.roles() if self.times is not None else {}
        roles |= dict.fromkeys(self.other_labels, OTHER_LABEL)
        roles |= dict.fromkeys(self.labels, LABEL if len(self.labels) == 1 else "rating")
        if ids not in ("", self.filename):
            roles[ids] = "names the rows of the submission"
        return [(column, roles.get(column, "further column")) for column in table.columns]


def train_roles(source: Source, layout: Layout, index: ClipIndex) -> Roles:
    """The columns of the training table.

    Raises
    ------
    DataError
        A column that is needed is not there, or several could be meant.
    """
    filename, by_content = filename_column(source.train, layout, source.filename, index)
    times, others = time_columns(source.train, layout, filename), other_labels(source.train, layout)
    if layout.rating_columns:
        return Roles(filename, rating_columns(source.train, layout), by_content, times, others)
    label, reason = _label_column(source, layout, filename, times)
    return Roles(filename, (label,), (*by_content, *reason), times, others)


def test_roles(test: Table, layout: Layout, filename: str, index: ClipIndex) -> Roles:
    """The columns of a test table, whose clips are named as in the training table where it has that column.

    Raises
    ------
    DataError
        As ``train_roles``.
    """
    column, by_content = filename_column(test, layout, filename, index)
    return Roles(column, known_labels(test, layout), by_content, time_columns(test, layout, column), other_labels(test, layout))


def time_columns(table: Table, layout: Layout, filename: str) -> Times | None:
    """The columns that say where in its recording a row's clip is: those that are named, else those that are called so.

    Raises
    ------
    DataError
        A column that is named is not there.
    """
    for name, flag in ((layout.start_column, "--start-column"), (layout.end_column, "--end-column")):
        if name is not None and find_column(table, name) is None:
            raise _no_column(table, name, flag)
    others = [name for name in table.columns if name not in (filename, layout.label_column, *layout.rating_columns)]
    if layout.start_column is None:
        return find_times(others) or find_steps(table, filename, others)
    start, end = (find_column(table, name or "") or "" for name in (layout.start_column, layout.end_column))
    duration = "" if end else find_duration(others)
    return Times(start, end, duration) if end or duration else find_steps(table, filename, [start])


def row_names(table: Table, ids: str, times: Times | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that name the rows of a table, and what each row is called: with its times where segments share a name."""
    names = tuple(table.cells(ids))
    if times is None or len(set(names)) == len(names):
        return (ids,), names
    keys = (ids, *times.roles())
    return keys, tuple(" ".join(line.cells[key] for key in keys) for line in table.lines)


def known_labels(table: Table, layout: Layout) -> tuple[str, ...]:
    """The columns of labels or ratings that a table has, of those that the settings name."""
    named = [find_column(table, name) for name in layout.rating_columns or (layout.label_column,)]
    return tuple(name for name in named if name is not None)


def other_labels(table: Table, layout: Layout) -> tuple[str, ...]:
    """The columns that are labels of other trainings, of those that the settings name."""
    named = [find_column(table, name) for name in layout.other_labels]
    return tuple(name for name in named if name is not None)


def rating_columns(table: Table, layout: Layout) -> tuple[str, ...]:
    """The columns of ratings that stand side by side.

    Raises
    ------
    DataError
        One is not there.
    """
    found = known_labels(table, layout)
    if len(found) < len(layout.rating_columns):
        missing = next(name for name in layout.rating_columns if find_column(table, name) is None)
        raise _no_column(table, missing, "--rating-columns")
    return found


def is_rater(name: str) -> bool:
    """Whether a column is called as raters are.

    Examples
    --------
    >>> is_rater("Annotator ID"), is_rater("workerId"), is_rater("narrator")
    (True, True, False)
    """
    return _RATER.search(re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())) is not None


def find_column(table: Table, name: str) -> str | None:
    """The column of this name, without regard to case where only one is called so."""
    if name in table.columns:
        return name
    alike = [column for column in table.columns if column.casefold() == name.strip().casefold()]
    return alike[0] if len(alike) == 1 else None


def filename_column(table: Table, layout: Layout, usual: str, index: ClipIndex) -> tuple[str, tuple[str, ...]]:
    """The column that names the clips, and a note where its content decided.

    Parameters
    ----------
    table : Table
    layout : Layout
    usual : str, its name in this layout, where it has one of its own
    index : ClipIndex of the clips

    Raises
    ------
    DataError
    """
    for name in (layout.filename_column, usual if _is_default(layout, "filename_column") else ""):
        if (column := find_column(table, name)) is not None:
            return column, ()
    if not _is_default(layout, "filename_column"):
        raise _no_column(table, layout.filename_column, "--filename-column")
    _need_header(table, index)
    if len(table.columns) == 1:
        return table.columns[0], ()
    named = _columns_of_names(table, index.look) or _columns_of_names(table, index.similar.find)
    if not named:
        raise _no_column(table, layout.filename_column, "--filename-column")
    most = max(len(set(clips)) for clips in named.values())
    best = [column for column, clips in named.items() if len(set(clips)) == most]
    if any(named[column] != named[best[0]] for column in best):
        raise DataError(
            f"{table.name}: the columns {', '.join(best)} all name clips; say which one with --filename-column, or beside the "
            "path in the app"
        )
    return best[0], (f"column {best[0]!r} names the clips, by its content; --filename-column names another",)


def refuse_hidden_rows(table: Table, roles: Roles, index: ClipIndex) -> None:
    """Refuse a cell that has taken rows of the table into it, because of a quotation mark that was left open.

    No name and no label goes over several lines. Of any other cell, a further line is taken for a row where it has as many cells as
    the header and, in their places, the name of a clip, a number as its label, or a name that is made like the others.

    Raises
    ------
    DataError
    """
    shapes: set[str] | None = None
    for line in table.lines:
        goes_on = any("\n" in line.cells[name] for name in (roles.filename, *roles.labels))
        if line.inner and shapes is None:
            shapes = {_shape(name) for name in table.cells(roles.filename)}
        if goes_on or any(_is_row(cells, roles, index, shapes or set()) for cells in line.inner):
            raise DataError(
                f"{table.name}, line {line.number}: a quotation mark opens here and takes rows below into its cell; "
                "close it in its line, or remove it"
            )


def _is_row(cells: dict[str, str], roles: Roles, index: ClipIndex, shapes: Container[str]) -> bool:
    name, labels = cells[roles.filename], [cells[label] for label in roles.labels]
    if isinstance(index.look(name), Path) or any(as_number(label) is not None for label in labels):
        return True
    return all(is_missing(label) for label in labels) and _shape(name) in shapes


def _shape(name: str) -> str:
    """A name with its words and numbers made alike: ``clip_007.wav`` and ``take_12.wav`` have the same."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", name.replace('"', "").strip()))


def _label_column(source: Source, layout: Layout, filename: str, times: Times | None) -> tuple[str, tuple[str, ...]]:
    table = source.train
    if (column := find_column(table, layout.label_column)) is not None:
        return column, ()
    if not _is_default(layout, "label_column"):
        raise _no_column(table, layout.label_column, "--label-column")
    if source.sample is not None:
        asked = [column for column in table.columns if column in source.sample.columns[1:]]
        if len(asked) == 1:
            return asked[0], (f"column {asked[0]!r} is the label, as {source.sample.name} says; --label-column names another",)
    known = {filename, source.ids, *other_labels(table, layout), *(times.roles() if times is not None else ())}
    numeric = [column for column in table.columns if column not in known and _holds_values(table, column)]
    numeric = [column for column in numeric if column not in source.defined and not is_rater(column)]
    only = "the only one of numbers"
    if source.test is not None and (lacking := [column for column in numeric if column not in source.test.columns]):
        numeric, only = lacking, f"{only} that the test table lacks"
    if not numeric:
        raise _no_column(table, layout.label_column, "--label-column")
    if len(numeric) > 1:
        raise DataError(
            f"{table.name}: no column {layout.label_column!r}, and several hold numbers: {', '.join(numeric)}; say which one with "
            "--label-column, or beside the path in the app"
        )
    return numeric[0], (f"column {numeric[0]!r} is the label, {only}; --label-column names another",)


def _holds_values(table: Table, column: str) -> bool:
    """Whether a column holds numbers that differ, and is no index."""
    cells = [cell for cell in table.cells(column) if not is_missing(cell)]
    values = [value for cell in cells if (value := as_number(cell)) is not None]
    counts_up = len(values) > 2 and all(after - before == 1 for before, after in pairwise(values))
    return len(set(values)) > 1 and len(values) >= _MOSTLY * len(cells) and not counts_up and not _INDEX_NAME.fullmatch(column)


def _columns_of_names(table: Table, look: Callable[[str], object]) -> dict[str, list[Path]]:
    """The columns of which at least half of the cells name clips, with these clips."""
    named = {column: [clip for cell in table.cells(column) if isinstance(clip := look(cell), Path)] for column in table.columns}
    return {column: clips for column, clips in named.items() if clips and len(clips) >= len(table.lines) / 2}


def _need_header(table: Table, index: ClipIndex) -> None:
    """A file without a header would lose its first row to it."""
    if first := next((column for column in table.columns if isinstance(index.look(column), Path)), None):
        raise DataError(f"{table.name}: its first row names a clip, {first!r}, and no columns; write a header above it")


def _is_default(layout: Layout, name: str) -> bool:
    return getattr(layout, name) == layout.describe()[name].default


def _no_column(table: Table, name: str, flag: str) -> DataError:
    return DataError(
        f"{table.name}: expected a column {name!r}, found {', '.join(table.columns) or 'no header'}; name yours with {flag}, "
        "or beside the path in the app"
    )
