"""Columns of a matrix in, how they hang together with a label and with each other out. Correlations are in [-1, 1].

A missing value is NaN: each correlation is over the rows where both values are there, and NaN where either does not vary on them.
"""

from dataclasses import dataclass

import numpy as np

_NORMAL_MAD = 1.4826  # times the median distance from the median: the standard deviation of what is spread normally
_NORMAL_P95 = 1.645  # standard deviations from the mean to the 95th percentile of what is spread normally
_LIMIT = 6.0  # robust standard deviations: one odd clip does not make an axis of its own
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


@dataclass(frozen=True, slots=True)
class RobustScale:
    """Columns on a scale that odd rows do not move.

    Attributes
    ----------
    Z : np.ndarray [shape=(n, d)], distance from the median in spreads; NaN where there is no value, and in columns that do not vary
    centre : np.ndarray [shape=(d,)], medians
    spread : np.ndarray [shape=(d,)], NaN where a column does not vary
    """

    Z: np.ndarray
    centre: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True, slots=True)
class Axes:
    """Rows on the directions along which they differ most.

    Attributes
    ----------
    points : np.ndarray [shape=(n, k)]
    shares : np.ndarray [shape=(k,)], of the variance of all columns, in [0, 1]
    columns : int, that vary
    """

    points: np.ndarray
    shares: np.ndarray
    columns: int


def robust_scale(X: np.ndarray) -> RobustScale:
    """Take each column's median off and divide by its spread.

    The spread is 1.4826 times the median distance from the median, which is the standard deviation of normal values; where more
    than half of the values are equal and it is 0, the standard deviation.

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)]

    Returns
    -------
    scale : RobustScale
    """
    X = np.asarray(X, np.float64)
    centre, spreads = np.full(X.shape[1], np.nan), np.full(X.shape[1], np.nan)
    for column, values in enumerate(X.T):
        there = values[np.isfinite(values)]
        if len(there) == 0:
            continue
        centre[column] = np.median(there)
        if np.ptp(there) == 0:
            continue
        width = _NORMAL_MAD * np.median(np.abs(there - centre[column]))
        spreads[column] = width or there.std() or np.nan
    Z = (X - centre) / spreads
    Z[~np.isfinite(Z)] = np.nan
    return RobustScale(Z, centre, spreads)


def equal_columns(X: np.ndarray) -> list[tuple[int, ...]]:
    """Numbers of the columns that vary, those that hold the same values together.

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)]; a column varies where two of its finite values differ, and missing values are values like others
        where columns are compared

    Returns
    -------
    groups : list of tuple of int, each in ascending order, and by their first

    Examples
    --------
    >>> equal_columns(np.array([[1.0, 5.0, 2.0, 1.0], [3.0, 5.0, 4.0, 3.0]]))
    [(0, 3), (2,)]
    """
    finite = np.isfinite(X)
    low = np.where(finite, X, np.inf).min(axis=0, initial=np.inf)
    high = np.where(finite, X, -np.inf).max(axis=0, initial=-np.inf)
    groups: dict[bytes, list[int]] = {}
    for column in np.flatnonzero(low < high).tolist():
        groups.setdefault(X[:, column].tobytes(), []).append(column)
    return [tuple(group) for group in groups.values()]


def distinct_columns(X: np.ndarray) -> np.ndarray:
    """Numbers of the columns that vary, the first of those that hold the same values [shape=(k,)].

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)], as in ``equal_columns``
    """
    return np.array([first for first, *_ in equal_columns(X)], int)


@dataclass(frozen=True, slots=True)
class Usual:
    """Where most rows stand in each column.

    Attributes
    ----------
    p5, p25, median, p75, p95 : np.ndarray [shape=(d,)], percentiles; NaN where there is no value
    std : np.ndarray [shape=(d,)]
    """

    p5: np.ndarray
    p25: np.ndarray
    median: np.ndarray
    p75: np.ndarray
    p95: np.ndarray
    std: np.ndarray

    def distance(self, values: np.ndarray) -> np.ndarray:
        """Distance of values [shape=(d,)] from the medians, in spreads of their side: 1.645 is the 95th percentile, -1.645 the 5th.

        For what is spread normally that is the number of standard deviations; a long tail on one side makes nothing on the other
        look odd. Where a side has no spread the standard deviation is taken; NaN where nothing varies.
        """
        above = values >= self.median
        side = np.where(above, self.p95 - self.median, self.median - self.p5) / _NORMAL_P95
        spread = np.where(side > 0, side, self.std)
        with np.errstate(invalid="ignore", divide="ignore"):
            z = (values - self.median) / spread
        return np.where(np.isfinite(z), z, np.nan)


def usual(X: np.ndarray) -> Usual:
    """Percentiles of each column over the rows that have a value [shape=(n, d)]."""
    found = np.full((6, X.shape[1]), np.nan)
    for column, values in enumerate(np.asarray(X, np.float64).T):
        there = values[np.isfinite(values)]
        if len(there):
            found[:5, column] = np.percentile(there, [5, 25, 50, 75, 95])
            found[5, column] = there.std()
    return Usual(*found)


def principal_axes(X: np.ndarray, *, count: int = 2) -> Axes:
    """Principal components of columns on a robust scale; what is missing is the median, what is further out than 6 is put at 6.

    The sign of an axis is such that the column with the largest weight rises along it.

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)]
    count : int >= 1, of axes; those that rows do not differ along are 0

    Returns
    -------
    axes : Axes
    """
    Z = robust_scale(X).Z
    varies = np.isfinite(Z).any(axis=0)
    Z = np.clip(np.nan_to_num(Z[:, varies]), -_LIMIT, _LIMIT)
    Z -= Z.mean(axis=0) if len(Z) else 0.0
    points, shares = np.zeros((len(Z), count)), np.zeros(count)
    total = float((Z**2).sum())
    if total > 0:
        wide = Z.shape[1] > Z.shape[0]
        values, vectors = np.linalg.eigh(Z @ Z.T if wide else Z.T @ Z)  # the smaller of the two has the same values
        for axis in range(min(count, len(values))):
            value, vector = max(0.0, float(values[-1 - axis])), vectors[:, -1 - axis]
            if value <= _VARIES * total:
                break
            weights = Z.T @ vector if wide else vector
            sign = np.sign(weights[np.argmax(np.abs(weights))])
            points[:, axis] = sign * (vector * np.sqrt(value) if wide else Z @ vector)
            shares[axis] = value / total
    return Axes(points, shares, int(varies.sum()))


def below(values: np.ndarray, value: float) -> float:
    """Share of the values that are smaller, those that are equal counted half; NaN where there is none to compare with.

    Examples
    --------
    >>> below(np.array([1.0, 2.0, 2.0, np.nan, 5.0]), 2.0)
    0.5
    """
    there = values[np.isfinite(values)]
    if len(there) == 0 or not np.isfinite(value):
        return float("nan")
    return float(((there < value).sum() + 0.5 * (there == value).sum()) / len(there))


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
