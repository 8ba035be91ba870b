"""Labels and predictions in, a confidence interval for each score out, in the unit of the score.

Clips are drawn with replacement, or whole groups where there are some, because the clips of a group err together. Nothing is sorted
or fitted anew: a draw is how often each row is in it, and a score of it comes from weighted sums.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from core.errors import DataError, ParameterError
from core.scoring.metrics import METRICS, kendall, ranks, validate

DRAWS = 1000
LEVEL = 0.95
_AT_ONCE = 2_000_000  # numbers in one piece
_EXACT_ROWS = 1000  # up to which every pair of every draw is counted for Kendall's tau
_PARTNERS = 4000  # rows that each row is paired with beyond that

Interval = tuple[float, float]


def confidence(
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Interval]:
    """The interval of each score of ``metrics.METRICS``.

    Percentiles of the bootstrap are taken further out where there are few clips or groups, as ``expanded_tail`` says. Of several
    repeats of the predictions, the score is the mean over repeats.

    Parameters
    ----------
    labels : np.ndarray [shape=(n,)]
    predictions : np.ndarray [shape=(r, n)], or [shape=(n,)] for one repeat
    groups : sequence of str [n], optional
    level : float in (0, 1)
    draws : int >= 100
    seed : int

    Returns
    -------
    ends : dict of metric to (low, high); NaN where the score is undefined in all draws, or there are fewer than two clips or groups

    Raises
    ------
    ParameterError
        ``level`` or ``draws`` is outside its range.
    DataError
        The shapes differ, a number is not finite, or there is not a group for each row.

    Examples
    --------
    >>> labels = np.arange(50.0)
    >>> low, high = confidence(labels, labels + np.tile([1.0, -1.0], 25))["mae"]
    >>> low, high
    (1.0, 1.0)
    """
    repeats = _check(labels, predictions, groups, level=level, draws=draws)
    labels = np.asarray(labels, np.float64)
    unit_of = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups, str), return_inverse=True)[1]
    units = int(unit_of.max()) + 1
    if units < 2:
        return dict.fromkeys(METRICS, (float("nan"), float("nan")))
    rng = np.random.default_rng(seed)
    taus = [_Kendall(labels, predictions, rng) for predictions in repeats]
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
    for times in _draws(units, unit_of, draws, rng):
        for name, values in _by_moments(labels, repeats, times).items():
            drawn[name].append(values)
        drawn["spearman"].append(np.mean([_spearman(labels, predictions, times) for predictions in repeats], axis=0))
        drawn["kendall"].append(np.mean([tau(times) for tau in taus], axis=0))
    tail = expanded_tail((1 - level) / 2, units)
    return {name: _ends(np.concatenate(parts), tail) for name, parts in drawn.items()}


def expanded_tail(tail: float, units: int) -> float:
    """Share of a bootstrap to leave out at each end, for percentiles that are as far out as Student's t is wider than a normal.

    The expanded percentile interval of T. C. Hesterberg: "What teachers should know about the bootstrap", The American Statistician
    69 (2015).

    Parameters
    ----------
    tail : float in (0, 0.5), share outside the interval at each end
    units : int >= 2, clips or groups that are drawn

    Examples
    --------
    >>> round(expanded_tail(0.025, 1000), 4), round(expanded_tail(0.025, 5), 4)
    (0.0248, 0.001)
    """
    from scipy import stats

    return float(stats.norm.cdf(np.sqrt(units / (units - 1)) * stats.t.ppf(tail, units - 1)))


def _check(
    labels: np.ndarray, predictions: np.ndarray, groups: Sequence[str] | None, *, level: float, draws: int
) -> list[np.ndarray]:
    """The predictions of each repeat; refuses what no interval can be computed of."""
    if not 0 < level < 1:
        raise ParameterError(f"level={level} must be above 0 and below 1")
    if draws < 100:
        raise ParameterError(f"draws={draws} must be 100 or more")
    repeats = [validate(labels, row)[1] for row in np.atleast_2d(predictions)]
    if groups is not None and len(groups) != len(labels):
        raise DataError(f"expected a group for each of {len(labels)} clips, received {len(groups)}")
    return repeats


def _ends(values: np.ndarray, tail: float) -> Interval:
    values = values[np.isfinite(values)]  # a draw of equal labels has no correlation
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _draws(units: int, unit_of: np.ndarray, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each row is in each draw, in pieces [shape=(k, n)]."""
    step = max(1, _AT_ONCE // len(unit_of))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        places = rng.integers(0, units, (count, units)) + units * np.arange(count)[:, None]
        yield np.bincount(places.ravel(), minlength=count * units).reshape(count, units)[:, unit_of].astype(float)


def _by_moments(labels: np.ndarray, repeats: Sequence[np.ndarray], times: np.ndarray) -> dict[str, np.ndarray]:
    """The scores that are functions of sums over rows, each [shape=(draws,)]."""
    centre = labels.mean()  # sums of squares of large labels with a small spread lose all their digits otherwise
    n, y = times.sum(axis=1), labels - centre
    by_repeat: dict[str, list[np.ndarray]] = {}
    for predictions in repeats:
        p, error = predictions - centre, predictions - labels
        columns = np.column_stack([y, p, y * y, p * p, y * p, error * error, np.abs(error)])
        mean_y, mean_p, yy, pp, yp, squares, absolute = (times @ columns / n[:, None]).T
        var_y, var_p, cov = yy - mean_y**2, pp - mean_p**2, yp - mean_y * mean_p
        # What rounding leaves of the variance of a constant is no variance.
        flat_y, flat_p = (var <= 1e-12 * np.maximum(square, 1e-300) for var, square in ((var_y, yy), (var_p, pp)))
        spread = np.where(flat_y & flat_p, 0, var_y + var_p) + (mean_y - mean_p) ** 2
        scores = {
            "rmse": np.sqrt(squares),
            "mae": absolute,
            "pearson": _divide(cov, np.sqrt(np.where(flat_y | flat_p, 0, var_y * var_p))),
            "r2": 1 - _divide(squares, np.where(flat_y, 0, var_y)),
            "ccc": _divide(2 * cov, spread),
        }
        for name, values in scores.items():
            by_repeat.setdefault(name, []).append(values)
    return {name: np.mean(values, axis=0) for name, values in by_repeat.items()}


def _spearman(labels: np.ndarray, predictions: np.ndarray, times: np.ndarray) -> np.ndarray:
    n = times.sum(axis=1)
    first, second = (_drawn_ranks(values, times) - (n[:, None] + 1) / 2 for values in (labels, predictions))  # the mean rank off
    var_first, var_second, cov = (
        np.einsum("ij,ij,ij->i", times, a, b) for a, b in ((first, first), (second, second), (first, second))
    )
    return _divide(cov, np.sqrt(var_first * var_second))


def _drawn_ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean rank of each row among the rows that are drawn, as often as they are [shape=(draws, n)]."""
    order, places = np.argsort(values, kind="stable"), ranks(values)
    starts = np.flatnonzero(np.r_[True, np.diff(places[order]) > 0])
    counts = np.add.reduceat(times[:, order], starts, axis=1)  # of each different value
    index = np.empty(len(values), int)
    index[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(values)]))
    return (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, index]


class _Kendall:
    """Tau-b of draws: a pair of rows is in a draw as often as the product of both, and a row and its own copy are tied.

    From ``_EXACT_ROWS`` on, the sums over pairs are linear in how often a row is drawn, which leaves out the order 1 / n, and
    each row is paired with some of the others only.
    """

    def __init__(self, labels: np.ndarray, predictions: np.ndarray, rng: np.random.Generator):
        self._values = labels, predictions
        self._exact = len(labels) <= _EXACT_ROWS
        if not self._exact:
            partners = rng.permutation(len(labels))[:_PARTNERS]
            self._by_row = np.concatenate([pairs.sum(axis=2) for _, pairs in self._pairs(partners)], axis=1, dtype=float)  # (3, n)
            self._shift = kendall(labels, predictions) - self._tau(self._by_row.sum(axis=1, keepdims=True))

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """Tau-b of each draw [shape=(draws,)], from how often each row is in it [shape=(draws, n)]."""
        if not self._exact:
            return self._tau(2 * self._by_row @ times.T - self._by_row.sum(axis=1, keepdims=True)) + self._shift
        weights, sums = times.astype(np.float32), np.zeros((3, len(times)))
        for rows, pairs in self._pairs(np.arange(times.shape[1])):
            sums += np.einsum("ij,kij->ki", weights[:, rows], weights @ pairs.transpose(0, 2, 1))
        return self._tau(sums)

    def _pairs(self, partners: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows, and their pairs with the partners: concordant or not, not tied in labels, in predictions [shape=(3, k, m)]."""
        step = max(1, _AT_ONCE // len(partners))
        for start in range(0, len(self._values[0]), step):
            rows = slice(start, start + step)
            labels, predictions = (np.sign(values[rows, None] - values[partners]).astype(np.float32) for values in self._values)
            yield rows, np.array([labels * predictions, np.abs(labels), np.abs(predictions)])

    @staticmethod
    def _tau(sums: np.ndarray) -> np.ndarray:
        return _divide(sums[0], np.sqrt(np.maximum(sums[1] * sums[2], 0)))


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
