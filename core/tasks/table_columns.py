"""A data set in, the columns of its tables that a search may try as features out, by their sets (``table:age``)."""

import re
from collections.abc import Iterable

import numpy as np

from core.data.dataset import Dataset
from core.data.rows import Row
from core.errors import DataError, ParameterError
from core.extraction.config import text_column
from core.extraction.extract import column_names
from core.extraction.levels import bind_levels, level_values
from core.extraction.matrix import Matrix, check_table, table_values
from core.features import parse_set
from core.features.sets import TABLE
from core.grouping.ties import find_label_leaks

_WHO = re.compile(
    r"(.*[ _-])?(speaker|subject|participant|person|user|client|patient|child|rater|recording|session|file|clip|group|id)s?"
    r"([ _-]?(id|no|nr|num|number|name|code))?",
    re.IGNORECASE,
)


def feature_columns(dataset: Dataset, group_by: str | None) -> tuple[str, ...]:
    """Sets of the columns that may say something about a new clip.

    Such a column stands in the training and the test table, holds numbers or a few words and not one value alone, and does not say
    who or which clip it is: it is not the column of the groups, is not called as one of them is, shares values with the test table,
    and does not hold the label.

    Parameters
    ----------
    dataset : Dataset
    group_by : str or None, column of the groups

    Returns
    -------
    sets : tuple of str, with the levels of columns of words
    """
    if not dataset.train:
        return ()
    columns = dataset.train[0].columns
    beside = {group_by, text_column(columns), *(dataset.labels if dataset.labels else ())}
    named = [name for name in columns if name not in beside and _WHO.fullmatch(name) is None and _is_shared(dataset, name)]
    sets = [name for name in (f"{TABLE}:{column}" for column in named) if _is_usable(dataset, name)]
    bound = bind_levels(sets, dataset.train)
    leaking = {column.name for column in find_label_leaks(dataset.train, _matrix(dataset.train, bound), bound)}
    return tuple(name for name in bound if not {name, f"{TABLE}:{parse_set(name).column}", *column_names((name,))} & leaking)


def _is_shared(dataset: Dataset, column: str) -> bool:
    """Whether a column varies, and the test table has it too, with known values where values repeat."""
    known = _values(dataset.train, column)
    if len(known) < 2:
        return False
    if not dataset.test:
        return True
    if any(column not in row.columns for row in dataset.test):
        return False
    there = _values(dataset.test, column)
    repeats = len(known) <= len(dataset.train) / 2
    return bool(there) and (not repeats or bool(known & there))


def _values(rows: Iterable[Row], column: str) -> set[str]:
    return {row.columns.get(column, "").strip() for row in rows} - {""}


def _is_usable(dataset: Dataset, name: str) -> bool:
    """Whether a column holds numbers or a few words; numbers with leading zeros are names."""
    try:
        check_table(dataset, (name,))
    except (ParameterError, DataError):
        return False
    return not any(re.fullmatch(r"0\d+", value) for value in _values(dataset.train, parse_set(name).column))


def _matrix(rows: tuple[Row, ...], sets: tuple[str, ...]) -> Matrix:
    """The columns of the table alone, as the search for leaks takes them."""
    parts = [np.empty((len(rows), 0), np.float32)]
    for name in sets:
        feature_set = parse_set(name)
        cells = [row.columns.get(feature_set.column) for row in rows]
        parts.append(level_values(cells, feature_set.levels) if feature_set.levels else table_values(rows, name)[:, None])
    labels = np.array([row.label for row in rows])
    return Matrix(np.concatenate(parts, axis=1), labels, column_names(sets), tuple(row.name for row in rows))
