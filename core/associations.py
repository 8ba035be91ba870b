"""Columns of a matrix in, how they hang together with a label and with each other out. Correlations are in [-1, 1].

A missing value is NaN: each correlation is over the rows where both values are there, and NaN where either does not vary on them.
"""

from dataclasses import dataclass

import numpy as np

_VARIES = 1e-9  # of a column's whole variance: below that, what is left on the common rows is rounding


@dataclass(frozen=True, slots=True)
class LabelCorrelations:
    """Correlation of each column with the label.

    Attributes
    ----------
    pearson : np.ndarray [shape=(d,)]
    spearman : np.ndarray [shape=(d,)], Pearson's correlation of the ranks
    rows : np.ndarray [shape=(d,)], int, rows that have both
    """

    pearson: np.ndarray
    spearman: np.ndarray
    rows: np.ndarray


def correlations(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pearson correlation of each pair of columns.

    With M the mask of values that are there and Z the columns, zero where they are not, all sums over common rows are products of
    matrices: n = M'M, sum x = Z'M, sum x2 = (Z*Z)'M, sum xy = Z'Z.

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)]

    Returns
    -------
    r : np.ndarray [shape=(d, d)], NaN where undefined
    rows : np.ndarray [shape=(d, d)], int, rows that have both
    """
    Z = _standardised(X)
    there = np.isfinite(Z)
    M, Z = there.astype(np.float64), np.where(there, Z, 0.0)
    rows, sums, squares = M.T @ M, Z.T @ M, (Z * Z).T @ M
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = squares / rows - (sums / rows) ** 2
        covariance = (Z.T @ Z) / rows - (sums / rows) * (sums / rows).T
        variance[variance < _VARIES] = np.nan
        r = covariance / np.sqrt(variance * variance.T)
    return np.clip(r, -1, 1), rows.round().astype(int)


def with_label(X: np.ndarray, y: np.ndarray) -> LabelCorrelations:
    """Correlation of each column with a label.

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)]
    y : np.ndarray [shape=(n,)]; rows where it is NaN are left out
    """
    labelled = np.isfinite(y)
    X, y = np.asarray(X, np.float64)[labelled], np.asarray(y, np.float64)[labelled]
    spearman, rows = np.empty(X.shape[1]), np.empty(X.shape[1], int)
    pearson = np.empty(X.shape[1])
    for column, values in enumerate(X.T):
        there = np.isfinite(values)
        rows[column] = there.sum()
        pearson[column] = _pair(values[there], y[there])
        spearman[column] = _pair(average_ranks(values[there]), average_ranks(y[there]))
    return LabelCorrelations(pearson, spearman, rows)


def alike(r: np.ndarray, *, at_least: float) -> list[tuple[int, int]]:
    """Pairs of columns whose correlation is that strong, the strongest first.

    Parameters
    ----------
    r : np.ndarray [shape=(d, d)], as from ``correlations``
    at_least : float in [0, 1], of the absolute value

    Examples
    --------
    >>> alike(np.array([[1.0, -0.9, 0.2], [-0.9, 1.0, np.nan], [0.2, np.nan, 1.0]]), at_least=0.5)
    [(0, 1)]
    """
    strength = np.abs(np.triu(np.nan_to_num(r), k=1))
    first, second = np.nonzero(strength >= max(at_least, 1e-12))
    order = np.argsort(-strength[first, second], kind="stable")
    return [(int(first[place]), int(second[place])) for place in order]


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 on; equal values share the mean of theirs.

    Examples
    --------
    >>> average_ranks(np.array([30.0, 10.0, 30.0]))
    array([2.5, 1. , 2.5])
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group]


def _pair(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x / np.abs(x).max(), y / np.abs(y).max()  # squares of large values stay finite
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / spread, -1, 1)) if spread > 0 else float("nan")


def _standardised(X: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and variance 1 over what is there; NaN where a value is missing, and in a column that does not vary."""
    Z = np.array(X, np.float64)
    Z[~np.isfinite(Z)] = np.nan
    for values in Z.T:
        there = np.isfinite(values)
        if not there.any() or np.ptp(values[there]) == 0:
            values[:] = 0.0 * values  # keeps what is missing; the variance of nothing but zeros is none
            continue
        values -= values[there].mean()
        values /= np.abs(values[there]).max()
        values /= values[there].std()
    return Z
