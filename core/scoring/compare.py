"""Out-of-fold predictions of two settings on the same folds in, a verdict out: does the change help, hurt, or can nobody tell?

By RMSE, or by another metric that settings are chosen by; errors are in the unit of the label. The interval of their difference is
a paired bootstrap: clips are drawn with replacement, or whole groups where there are some, because the clips of a group err
together. A clip brings its errors by both settings, in all repeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.errors import DataError, ParameterError
from core.scoring.bootstrap import expanded_tail
from core.scoring.figures import number_format
from core.scoring.losses import CHOICES, loss_of_means, row_terms
from core.scoring.metrics import METRICS

HELPS, HURTS, CANNOT_TELL = "helps", "hurts", "cannot tell"
_AT_ONCE = 2_000_000  # numbers drawn in one piece
_DECIMALS = 3  # where the interval has no width
_MOST_DECIMALS = 6  # what lies beyond is rounding
_LEAST_MINUTES = 0.05  # that are worth a word


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a change did.

    Attributes
    ----------
    difference : float, the metric after less the metric before, the mean over repeats
    low, high : float, interval of the difference
    level : float, share of such intervals that hold the true difference
    clips : int
    groups : int or None
    verdict : "helps" where all of the interval says better (below 0 for an error, above 0 for a correlation), "hurts" where all
        of it says worse, else "cannot tell"
    minutes : float, what the change costs; negative where it saves time
    rmse : float or None, RMSE before, whose size decides how the figures of an error are written
    metric : str, of ``losses.CHOICES``
    """

    difference: float
    low: float
    high: float
    level: float
    clips: int
    groups: int | None
    verdict: str
    minutes: float = 0.0
    rmse: float | None = None
    metric: str = "rmse"

    def at_cost(self, minutes: float) -> "Verdict":
        """The verdict with what the change costs."""
        return replace(self, minutes=minutes)

    def sentence(self) -> str:
        """The verdict in words.

        Examples
        --------
        >>> Verdict(0.003, -0.0102, 0.0161, 0.95, 409, 82, "cannot tell", 1.25).sentence()
        'cannot tell with 409 clips of 82 groups: RMSE +0.003 (-0.010 to +0.016), +1.2 minutes'
        """
        width = self.high - self.low
        two_digits = 1 - int(np.floor(np.log10(width))) if width > 0 else _DECIMALS
        decimals = min(max(0, two_digits), _MOST_DECIMALS)
        among = f" of {self.groups} groups" if self.groups is not None else ""
        cost = f", {self.minutes:+.1f} minutes" if abs(self.minutes) >= _LEAST_MINUTES else ""
        style = f".{decimals}f" if number_format(self.rmse).endswith("f") else number_format(self.rmse)
        figures = [f"{value:+{style}}" for value in (self.difference, self.low, self.high)]
        name = METRICS[self.metric].label
        return f"{self.verdict} with {self.clips} clips{among}: {name} {figures[0]} ({figures[1]} to {figures[2]}){cost}"


def paired_verdict(
    labels: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    metric: str = "rmse",
    level: float = 0.95,
    seed: int = 0,
    draws: int = 2000,
) -> Verdict:
    """Compare two settings on the same repeated folds.

    Percentiles of the bootstrap are too near to each other where there are few clips or groups; they are taken further out, as
    ``bootstrap.expanded_tail`` says. For Spearman's correlation the ranks of a draw are those among all clips.

    Parameters
    ----------
    labels : np.ndarray [shape=(n,)], n >= 2
    before, after : np.ndarray [shape=(r, n)], or [shape=(n,)] for one repeat: out-of-fold predictions
    groups : sequence of str [n], optional; two different ones at least
    metric : str, of ``losses.CHOICES``
    level : float in (0, 1)
    seed : int
    draws : int >= 100

    Returns
    -------
    verdict : Verdict

    Raises
    ------
    ParameterError
        ``metric`` is not known, or ``level`` or ``draws`` is outside its range.
    DataError
        The shapes differ, a number is not finite, or there is but one clip or group.
    """
    _check_options(metric, level, draws)
    labels, before, after = np.asarray(labels, float), np.atleast_2d(before), np.atleast_2d(after)
    sizes, unit_of = _units(labels, before, after, groups)
    sums = _unit_sums(metric, labels, (*before, *after), unit_of)
    difference = float(_difference(metric, sums.sum(axis=2), len(labels)))
    drawn = _bootstrap(metric, sums, sizes, draws=draws, rng=np.random.default_rng(seed))
    tail = expanded_tail((1 - level) / 2, len(sizes))
    low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    verdict = HELPS if high < 0 else HURTS if low > 0 else CANNOT_TELL
    rmse: float | None = float(np.sqrt(np.mean((before - labels) ** 2, axis=1)).mean())
    if METRICS[metric].higher_is_better:  # a loss is 1 less the metric; correlations have no size to write
        difference, low, high, rmse = -difference, -high, -low, None
    sized = None if groups is None else len(sizes)
    return Verdict(difference, low, high, level, len(labels), sized, verdict, rmse=rmse, metric=metric)


def rmse_interval(
    labels: np.ndarray, predictions: np.ndarray, *, groups: Sequence[str] | None = None, level: float = 0.95
) -> tuple[float, float]:
    """The interval of an RMSE: how much it would change with other clips, or other groups, of the same kind.

    It is that of ``paired_verdict`` against predictions without an error.

    Parameters
    ----------
    labels : np.ndarray [shape=(n,)], n >= 2
    predictions : np.ndarray [shape=(r, n)], or [shape=(n,)] for one repeat
    groups : sequence of str [n], optional; two different ones at least
    level : float in (0, 1)

    Returns
    -------
    low, high : float

    Raises
    ------
    ParameterError, DataError
        As ``paired_verdict``.
    """
    predictions = np.atleast_2d(predictions)
    exact = np.broadcast_to(np.asarray(labels, float), predictions.shape)
    verdict = paired_verdict(labels, exact, predictions, groups=groups, level=level)
    return verdict.low, verdict.high


def _check_options(metric: str, level: float, draws: int) -> None:
    if metric not in CHOICES:
        raise ParameterError(f"metric={metric!r} not among {', '.join(CHOICES)}")
    if not 0 < level < 1:
        raise ParameterError(f"level={level} must be above 0 and below 1")
    if draws < 100:
        raise ParameterError(f"draws={draws} must be 100 or more")


def _units(
    labels: np.ndarray, before: np.ndarray, after: np.ndarray, groups: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Clips of each unit that is drawn as a whole, and the unit of each clip; refuses what cannot be compared."""
    n = len(labels)
    if labels.ndim != 1 or before.shape != after.shape or before.shape != (len(before), n) or len(before) == 0:
        raise DataError(
            f"expected predictions by both settings in as many repeats of {n} clips, "
            f"received shapes {before.shape} and {after.shape}; compare runs on the same clips and repeats"
        )
    if not (np.isfinite(labels).all() and np.isfinite(before).all() and np.isfinite(after).all()):
        raise DataError("labels and predictions must be finite numbers")
    if groups is not None and len(groups) != n:
        raise DataError(f"expected a group for each of {n} clips, received {len(groups)}")
    unit_of = np.arange(n) if groups is None else np.unique(np.asarray(groups, str), return_inverse=True)[1]
    sizes = np.bincount(unit_of)
    if len(sizes) < 2:
        raise DataError(f"expected two {'clips' if groups is None else 'groups'} at least, received {len(sizes)}")
    return sizes, unit_of


def _unit_sums(metric: str, labels: np.ndarray, predictions: Sequence[np.ndarray], unit_of: np.ndarray) -> np.ndarray:
    """Sums of the terms of a loss over the clips of each unit [shape=(k, 2r, units)]."""
    terms = np.stack([row_terms(metric, labels, row) for row in predictions], axis=1)  # (k, 2r, n)
    return np.array([[np.bincount(unit_of, row) for row in rows] for rows in terms])


def _difference(metric: str, sums: np.ndarray, clips: np.ndarray | int) -> np.ndarray:
    """Mean over repeats of the loss after less the loss before, from sums of terms [shape=(k, 2r, ...)] over that many clips."""
    losses = loss_of_means(metric, sums / clips)
    repeats = len(losses) // 2
    return np.asarray(np.mean(losses[repeats:] - losses[:repeats], axis=0))


def _bootstrap(metric: str, sums: np.ndarray, sizes: np.ndarray, *, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Differences [shape=(draws,)] for units drawn with replacement."""
    units = len(sizes)
    step = max(1, _AT_ONCE // units)
    parts = []
    for start in range(0, draws, step):
        times = rng.multinomial(units, np.full(units, 1 / units), size=min(step, draws - start))  # (draws, units)
        parts.append(_difference(metric, sums @ times.T, times @ sizes))
    return np.concatenate(parts)
