"""Columns of a table that hold a few words (sex, device, dialect) in, one feature a level out: 1 where the cell is it, else 0.

The levels are those of the training rows, and stand in the name of the set from then on (``table:sex=["f","m"]``), so that the
record of a run says which they were. An empty cell has NaN at every level: it is not known. A word that no training row has is 0 at
every level.
"""

from collections.abc import Sequence

import numpy as np

from core.data.layouts.table import as_number
from core.data.rows import Row
from core.errors import DataError
from core.features import parse_set
from core.features.sets import with_levels

MOST_LEVELS = 20


def bind_levels(sets: Sequence[str], rows: Sequence[Row]) -> tuple[str, ...]:
    """The same sets, those of columns of words with their levels in the training rows; levels from elsewhere are replaced.

    Parameters
    ----------
    sets : sequence of str
    rows : sequence of Row, of the training table

    Raises
    ------
    DataError
        A column has more levels than can be features.
    """
    plain = dict.fromkeys(plain_set(name) for name in sets)
    return tuple(with_levels(name, levels_of(name, rows)) if is_words(name, rows) else name for name in plain)


def plain_set(name: str) -> str:
    """A set by the name that a user gives it, without its levels.

    Examples
    --------
    >>> plain_set('table:sex=["f","m"]'), plain_set("mfcc")
    ('table:sex', 'mfcc')
    """
    feature_set = parse_set(name)
    return f"{feature_set.base}:{feature_set.column}" if feature_set.levels else name


def is_words(name: str, rows: Sequence[Row]) -> bool:
    """Whether a set is a column of the table of which no cell in these rows is a number, and not all are empty."""
    feature_set = parse_set(name)
    if feature_set.of_audio or feature_set.of_text or feature_set.of_group:
        return False
    words = _words(feature_set.column, rows)
    return bool(words) and not any(as_number(word) is not None for word in words)


def levels_of(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """The different words of a column in these rows, sorted, without blanks around them.

    Raises
    ------
    DataError
        There are too many.
    """
    column = parse_set(name).column
    levels = sorted(_words(column, rows))
    if len(levels) > MOST_LEVELS:
        raise DataError(
            f"column {column!r}: its {len(levels)} different words (first: {', '.join(levels[:3])}) are more than the "
            f"{MOST_LEVELS} that can be features; merge rare ones, or take it as a text: transcript:column={column}"
        )
    return tuple(levels)


def level_values(cells: Sequence[str | None], levels: Sequence[str]) -> np.ndarray:
    """One feature a level.

    Parameters
    ----------
    cells : sequence of str [n]; None or blank where nothing is known
    levels : sequence of str [d]

    Returns
    -------
    values : np.ndarray [shape=(n, d)], float32: NaN in a row of which nothing is known

    Examples
    --------
    >>> level_values(["f", "x", ""], ["f", "m"])
    array([[ 1.,  0.],
           [ 0.,  0.],
           [nan, nan]], dtype=float32)
    """
    values = np.full((len(cells), len(levels)), np.nan, np.float32)
    for index, cell in enumerate(cells):
        if cell is not None and cell.strip():
            values[index] = [cell.strip() == level for level in levels]
    return values


def unseen_words(row: Row, sets: Sequence[str]) -> tuple[str, ...]:
    """Of each column of words in which a row has a word that no training row had: what that means, as half a sentence."""
    said = []
    for feature_set in map(parse_set, sets):
        word = row.columns.get(feature_set.column, "").strip() if feature_set.levels else ""
        if word and word not in feature_set.levels:
            said.append(
                f"{feature_set.column} {word!r} is in no training row: it counts as none of {', '.join(feature_set.levels)}"
            )
    return tuple(said)


def warn_of_unseen(rows: Sequence[Row], sets: Sequence[str]) -> tuple[str, ...]:
    """A warning for each column of words in which clips have words that no training row has; it names the first clip."""
    warnings = []
    for name in sets:
        said = [f"{row.name}: {what}" for row in rows for what in unseen_words(row, (name,))]
        warnings += [said[0] + (f" (so do {len(said) - 1} more)" if len(said) > 1 else "")] if said else []
    return tuple(warnings)


def _words(column: str, rows: Sequence[Row]) -> set[str]:
    return {row.columns.get(column, "").strip() for row in rows} - {""}
