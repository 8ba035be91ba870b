"""Vectors of clips and what group each is of in, what the clips of a group have in common out.

A speaker's clips say more about the speaker together than each alone, and an instrument's notes are told apart best beside each
other. The means are over the clips of one table that are there together: training clips see training clips, those that are scored
see each other, and no label is looked at. So clips must be scored as they were trained on, several of a group at once.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from core.data.rows import Row
from core.errors import ParameterError
from core.extraction.texts import cell
from core.features import parse_set


def groups_of(rows: Sequence[Row], set_name: str, *, allow_missing_table: bool = False) -> tuple[str, ...]:
    """Of each row the group whose mean it has; a row with an empty cell is a group of its own.

    Parameters
    ----------
    rows : sequence of Row
    set_name : str, such as ``group:speaker:ultra``
    allow_missing_table : bool, a row without any further column is a group of its own

    Raises
    ------
    ParameterError
        The table has no such column.
    """
    column = parse_set(set_name).column
    cells = [(cell(row, column, set_name, allow_missing_table=allow_missing_table) or "").strip() for row in rows]
    return tuple(f"in {word}" if word else f"alone {index}" for index, word in enumerate(cells))


def group_means(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """The mean of each column over the rows of a group, for each row.

    Parameters
    ----------
    values : np.ndarray [shape=(n, d)]; NaN is left out
    groups : sequence of str [n]

    Returns
    -------
    means : np.ndarray [shape=(n, d)], float32; NaN where no row of the group has a value

    Examples
    --------
    >>> group_means(np.array([[1.0], [3.0], [7.0]]), ["a", "a", "b"]).ravel().tolist()
    [2.0, 2.0, 7.0]
    """
    _, numbers = np.unique(np.asarray(groups, str), return_inverse=True)
    sums, counts = (np.zeros((numbers.max(initial=-1) + 1, values.shape[1])) for _ in range(2))
    known = np.isfinite(values)
    np.add.at(sums, numbers, np.where(known, values, 0.0).astype(np.float64))
    np.add.at(counts, numbers, known)
    with np.errstate(invalid="ignore"):
        return (sums / counts)[numbers].astype(np.float32)


def clips_a_group(rows: Sequence[Row], column: str) -> float:
    """How many clips of its group a row has beside it in the mean, itself included; 0 without rows.

    Examples
    --------
    >>> from pathlib import Path
    >>> clips_a_group([Row(name, Path(name), 1.0, {"speaker": who}) for name, who in ("ax", "bx", "cy", "d ")], "speaker")
    1.5
    """
    sizes = Counter(word for row in rows if (word := row.columns.get(column, "").strip()))
    each = [sizes[row.columns.get(column, "").strip()] or 1 for row in rows]
    return float(np.mean(each)) if each else 0.0


def check_groups(sets: Sequence[str], group_by: str | None) -> None:
    """Refuse means over groups that folds would cut: the clips of a fold would help to describe those that it is scored on.

    Raises
    ------
    ParameterError
        A set is a mean over groups that do not stay together.
    """
    for name in sets:
        feature_set = parse_set(name)
        if feature_set.of_group and feature_set.column != group_by:
            raise ParameterError(
                f"features={name!r} needs folds by the same column, so that no group is cut: add --group-by {feature_set.column}"
            )


def lonely(rows: Sequence[Row], sets: Sequence[str]) -> list[str]:
    """Of each row what to know where it stands alone in its group, as half a sentence; empty where it does not."""
    said = [""] * len(rows)
    for name in sets:
        if parse_set(name).of_group:
            groups = groups_of(rows, name, allow_missing_table=True)
            sizes = Counter(groups)
            column = parse_set(name).column
            alone = f"no other clip of its {column} is scored with it: expect worse"
            said = [alone if sizes[group] == 1 else before for group, before in zip(groups, said, strict=True)]
    return said
