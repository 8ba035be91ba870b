"""Row numbers in, folds out: seeded, and with a group (a speaker, a note) never on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import ParameterError

STOP_SHARE = 0.2  # of a fold's training rows, that early stopping looks at


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows that are fitted on and rows that are scored, ascending.

    Attributes
    ----------
    train_rows, test_rows : np.ndarray [shape=(k,)], int
    """

    train_rows: np.ndarray
    test_rows: np.ndarray


def make_folds(n: int, *, folds: int = 5, seed: int = 42, groups: Sequence[str] | None = None) -> list[Fold]:
    """Shuffle n rows into folds; each row is scored once.

    Parameters
    ----------
    n : int, number of rows
    folds : int >= 2
    seed : int
    groups : sequence of str [n], optional: rows with the same value stay in one fold

    Returns
    -------
    plan : list of Fold

    Raises
    ------
    ParameterError
        There are fewer rows, or fewer groups, than folds.
    """
    from sklearn.model_selection import GroupKFold, KFold

    units, what = (len(set(groups)), "groups") if groups is not None else (n, "labelled clips")
    if folds < 2 or units < folds:
        raise ParameterError(f"folds={folds} needs 2 or more folds and at least as many {what}; there are {units} {what}")
    if groups is None:
        splitter = KFold(folds, shuffle=True, random_state=seed)
    else:
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    return [Fold(train, test) for train, test in splitter.split(np.zeros(n), groups=groups)]


def stopping_split(
    rows: np.ndarray, labels: np.ndarray, *, seed: int, groups: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Part a fold's training rows: those to fit on, and about a fifth that early stopping may look at.

    Parameters
    ----------
    rows : np.ndarray [shape=(k,)], row numbers, k >= 2
    labels : np.ndarray [shape=(n,)], of all rows of the data set; those of ``rows`` are not all equal
    seed : int
    groups : sequence of str [n], optional: kept whole where the rows to fit on then still differ in their labels

    Returns
    -------
    fit_rows, stop_rows : np.ndarray; the labels of ``fit_rows`` are not all equal, ``stop_rows`` is empty where that cannot be
    """
    rng = np.random.default_rng(seed)
    candidates = [np.arange(len(rows))]
    if groups is not None:
        candidates.insert(0, np.unique([groups[row] for row in rows], return_inverse=True)[1])
    for units in candidates:
        stop = _draw(units, max(1, round(STOP_SHARE * len(rows))), rng)
        if stop.any() and np.ptp(labels[rows[~stop]]) > 0:
            return rows[~stop], rows[stop]
    return rows, rows[:0]


def _draw(units: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Mark whole units at random until about ``wanted`` rows are marked; a unit too large to come nearer is passed over."""
    sizes = np.bincount(units)
    marked = np.zeros(len(units), bool)
    for unit in rng.permutation(len(sizes)):
        have = marked.sum()
        if abs(have + sizes[unit] - wanted) < abs(have - wanted):
            marked |= units == unit
    return marked
