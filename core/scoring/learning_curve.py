"""Errors at several sizes of a data set in, how the error falls with more of it out, with intervals. RMSE in the unit of the label.

The law is a + b x size^-c with a, b >= 0 and c > 0: what no number of clips takes away, and a part that falls as a power (J.
Hestness et al., "Deep learning scaling is predictable, empirically", 2017; T. Viering and M. Loog, "The shape of learning curves: a
review", IEEE TPAMI 45, 2023). For a given c the rest is linear, so c is the only number that is searched (G. Golub and V. Pereyra,
"The differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate", 1973).

Which groups a data set happens to have moves its error too. Where each group adds its part to that luck, the error of a data set x
times as large as today's, which shares the smaller one's groups, strays from the curve through today's error with the variance
V |x - 1| / x, where V is that of the error of a data set of today's size. So draws of a share of the groups show V, and V says how
far an error with more clips may stray.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import ParameterError
from core.scoring.bootstrap import DRAWS, LEVEL, expanded_tail

EXPONENTS = (0.05, 3.0)  # of c: flatter is a constant, steeper is over before the sizes that are measured
_COARSE, _FINE, _ROUNDS = 25, 21, 5  # of the search for c, which narrows tenfold in each round
NEAR = 0.005  # of today's error, within which it counts as at the ceiling
LITTLE = 0.02  # of today's error: a change that is not worth more clips
AHEAD = 2.0  # times the size of today, to which the law is read
_PLACES = 61
_AT_ONCE = 2_000_000  # numbers in one piece


@dataclass(frozen=True, slots=True)
class PowerLaws:
    """Laws a + b x size^-c, one a row of errors; all arrays [shape=(m,)].

    Attributes
    ----------
    a : np.ndarray >= 0, the error that is left however large the data set is
    b : np.ndarray >= 0
    c : np.ndarray, within ``EXPONENTS``
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def at(self, sizes: np.ndarray) -> np.ndarray:
        """Errors at some sizes [shape=(m, k)]."""
        return self.a[:, None] + self.b[:, None] * sizes ** -self.c[:, None]


@dataclass(frozen=True, slots=True)
class SizeErrors:
    """Squared errors of the same rows, by models of one size of the training set.

    Attributes
    ----------
    size : float > 0, groups (or clips, where nothing is grouped) of a data set whose folds train on as much
    clips : float, about how many clips such a data set has
    squares : np.ndarray [shape=(draws, units)], sum over the rows of each group
    """

    size: float
    clips: float
    squares: np.ndarray


@dataclass(frozen=True, slots=True)
class Estimate:
    """An error with the ends of its 95 % interval."""

    rmse: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """How the error falls with more clips.

    Intervals of the law are for the error, on the clips of the run, of a data set of that size that shares groups with it;
    ``twice_elsewhere`` is for the error on other clips of the same kind.

    Attributes
    ----------
    sizes : tuple of float, groups, ascending; the last is all of them
    clips : tuple of float, as many
    errors : tuple of Estimate, measured at each size, the mean over draws, beside today's error; that one has no width
    draws : tuple of tuple of float, RMSE of each draw at each size
    luck : float, standard deviation of the RMSE of a data set of today's size over which groups it happens to have
    today : float, RMSE at all groups
    a, b, c : float, of the law for sizes in groups
    ceiling : float or None, RMSE that the raters' disagreement allows
    at : tuple of float, sizes in groups from the smallest to twice today's
    law : tuple of Estimate, the law there
    twice : Estimate, with twice the clips
    twice_elsewhere : Estimate, likewise, on other clips
    """

    sizes: tuple[float, ...]
    clips: tuple[float, ...]
    errors: tuple[Estimate, ...]
    draws: tuple[tuple[float, ...], ...]
    luck: float
    today: float
    a: float
    b: float
    c: float
    ceiling: float | None
    at: tuple[float, ...]
    law: tuple[Estimate, ...]
    twice: Estimate
    twice_elsewhere: Estimate

    @property
    def helps(self) -> bool | None:
        """Whether twice the clips would bring a smaller error; None where it cannot be told."""
        if self.ceiling is not None and self.ceiling >= (1 - NEAR) * self.today:
            return False
        if self.twice.high < self.today:
            return True
        return False if self.twice.low > (1 - LITTLE) * self.today else None

    def sentence(self) -> str:
        """What twice the clips would bring.

        Examples
        --------
        >>> today, twice = Estimate(0.56, 0.56, 0.56), Estimate(0.53, 0.51, 0.55)
        >>> sizes, law = (80.0,), (0.3, 1.0, 0.5)
        >>> LearningCurve(sizes, (400.0,), (today,), ((0.56,),), 0.0, 0.56, *law, None, sizes, (today,), twice, twice).sentence()
        'Twice the clips would bring RMSE from 0.56 to about 0.53 (0.51 to 0.55).'
        """
        today, twice = f"{self.today:.3g}", self.twice
        if self.ceiling is not None and self.ceiling >= (1 - NEAR) * self.today:
            allowed = f"the raters' disagreement allows no better than {self.ceiling:.3g}"
            return f"More clips would not help: RMSE is {today}, and {allowed}."
        if self.helps:
            return f"Twice the clips would bring RMSE from {today} to about {twice.rmse:.3g} ({twice.low:.3g} to {twice.high:.3g})."
        if self.helps is None:
            ahead = f"about {twice.rmse:.3g} ({twice.low:.3g} to {twice.high:.3g})"
            return f"Cannot tell whether more clips would help: with twice as many RMSE would be {ahead}, and it is {today} today."
        return f"More clips would hardly help: twice as many would bring RMSE from {today} to {twice.low:.3g} at best."


def fit_power_laws(sizes: np.ndarray, errors: np.ndarray, *, floor: float = 0.0) -> PowerLaws:
    """The laws with the least squared distance from errors.

    Parameters
    ----------
    sizes : np.ndarray [shape=(k,)], > 0, k >= 3 of them different
    errors : np.ndarray [shape=(m, k)], a row for each law
    floor : float >= 0, that ``a`` is at least

    Returns
    -------
    laws : PowerLaws

    Raises
    ------
    ParameterError
        There are fewer than three sizes, as many as the law has parameters.

    Examples
    --------
    >>> sizes = np.array([10.0, 20.0, 40.0, 80.0])
    >>> laws = fit_power_laws(sizes, 0.4 + 2 / np.sqrt(sizes)[None, :])
    >>> [round(float(values[0]), 3) for values in (laws.a, laws.b, laws.c)]
    [0.4, 2.0, 0.5]
    """
    if len(np.unique(sizes)) < 3:
        raise ParameterError(f"a power law needs errors at three sizes or more, received {len(np.unique(sizes))}")
    largest = float(np.max(sizes))
    shares, (low, high) = np.asarray(sizes, float) / largest, np.log(EXPONENTS)
    steps = np.broadcast_to(np.linspace(low, high, _COARSE), (len(errors), _COARSE))
    rows = np.arange(len(errors))
    for _ in range(_ROUNDS):
        a, b, distance = _linear_parts(shares, errors, np.exp(steps), floor)
        best = np.argmin(distance, axis=1)
        step = (steps[:, 1] - steps[:, 0])[:, None]
        found = a[rows, best], b[rows, best], np.exp(steps[rows, best])
        steps = np.clip(steps[rows, best][:, None] + step * np.linspace(-1, 1, _FINE), low, high)
    a, b, c = found
    return PowerLaws(a, b * largest**c, c)


def _linear_parts(
    shares: np.ndarray, errors: np.ndarray, exponents: np.ndarray, floor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``a`` >= floor and ``b`` >= 0 by least squares for each exponent, and the squared distance; each [shape=(m, exponents)].

    The least of a convex function under two bounds lies inside, or on the edge of one of them.
    """
    powers, e = shares ** -exponents[:, :, None], errors[:, None, :]  # (m, exponents, k), (m, 1, k)
    centred, mean = powers - powers.mean(axis=2, keepdims=True), e.mean(axis=2)
    spread = (centred**2).sum(axis=2)
    slope = (centred * e).sum(axis=2) / spread
    inside = mean - slope * powers.mean(axis=2)
    steep = np.maximum(0, (powers * (e - floor)).sum(axis=2) / (powers**2).sum(axis=2))
    level = np.broadcast_to(np.maximum(floor, mean), slope.shape)
    candidates = [(inside, slope), (np.full_like(slope, floor), steep), (level, np.zeros_like(slope))]
    distances = np.array([((e - a[:, :, None] - b[:, :, None] * powers) ** 2).sum(axis=2) for a, b in candidates])
    distances[0][(inside < floor) | (slope < 0)] = np.inf
    chosen = distances.argmin(axis=0)
    a, b = (np.choose(chosen, [candidate[part] for candidate in candidates]) for part in (0, 1))
    return a, b, distances.min(axis=0)


def learning_curve(
    measured: Sequence[SizeErrors], rows: np.ndarray, *, ceiling: float | None = None, draws: int = DRAWS, seed: int = 0
) -> LearningCurve:
    """The law of errors at several sizes on the same rows, with intervals.

    Intervals are percentiles of a bootstrap over whole groups, taken further out where there are few of them
    (``bootstrap.expanded_tail``); every draw of it is fitted anew. Its groups are the same at all sizes, so what makes one set of
    clips harder than another cancels in the change from today. What the luck of the training groups adds at each size, and ahead of
    today, is drawn as a normal with the variance that the draws show.

    Parameters
    ----------
    measured : sequence of SizeErrors, ascending, of two draws or more each; the last has all groups, and one draw suffices
    rows : np.ndarray [shape=(units,)], number of rows of each group
    ceiling : RMSE that the raters' disagreement allows, below which the law does not fall; or None
    draws : int
    seed : int

    Returns
    -------
    curve : LearningCurve
    """
    sizes = np.array([one.size for one in measured], float)
    by_draw = [np.sqrt(one.squares.sum(axis=1) / rows.sum()) for one in measured]
    means = np.array([values.mean() for values in by_draw])
    today, floor = float(means[-1]), min(ceiling or 0.0, float(means[-1]))
    luck, degrees = _luck(sizes / sizes[-1], by_draw)
    rng = np.random.default_rng(seed)
    lucks = luck * np.sqrt(degrees / rng.chisquare(degrees, draws))[:, None]  # as uncertain as few draws leave it
    drawn = _bootstrap(measured, rows, lucks, rng)
    law, laws = fit_power_laws(sizes, means[None], floor=floor), fit_power_laws(sizes, drawn, floor=floor)
    tail = expanded_tail((1 - LEVEL) / 2, len(rows))

    def estimates(values: np.ndarray, middle: np.ndarray) -> list[Estimate]:
        ends = np.quantile(values, [tail, 1 - tail], axis=0)
        return [Estimate(*(max(floor, float(one)) for one in place)) for place in zip(middle, *ends, strict=True)]

    at = np.append(np.linspace(sizes[0], AHEAD * sizes[-1], _PLACES), AHEAD * sizes[-1])
    strays = _stray(at / sizes[-1]) * lucks * rng.standard_normal((draws, 1))
    beside_today, middle = (today * one.at(at) / one.at(sizes[-1:]) for one in (laws, law))
    *along, twice = estimates(beside_today + strays, middle[0])
    [elsewhere] = estimates((laws.at(at) + strays)[:, -1:], middle[0, -1:])
    return LearningCurve(
        sizes=tuple(one.size for one in measured),
        clips=tuple(one.clips for one in measured),
        errors=tuple(estimates(drawn / drawn[:, -1:] * today, means)),
        draws=tuple(tuple(values.tolist()) for values in by_draw),
        luck=luck,
        today=today,
        a=float(law.a[0]),
        b=float(law.b[0]),
        c=float(law.c[0]),
        ceiling=ceiling,
        at=tuple(at[:-1].tolist()),
        law=tuple(along),
        twice=twice,
        twice_elsewhere=elsewhere,
    )


def _stray(shares: np.ndarray) -> np.ndarray:
    """How far the error of a data set of these shares of today's strays from the curve through today's, by the luck of today's."""
    return np.asarray(np.sqrt(np.abs(shares - 1) / shares))


def _luck(shares: np.ndarray, by_draw: Sequence[np.ndarray]) -> tuple[float, int]:
    """Standard deviation of the error of a data set of today's size, and its degrees of freedom, from the draws of each share."""
    pairs = [(share, values) for share, values in zip(shares, by_draw, strict=True) if share < 1]
    squares = sum(float(((values - values.mean()) ** 2).sum()) / float(_stray(share)) ** 2 for share, values in pairs)
    degrees = sum(len(values) - 1 for _, values in pairs)
    return float(np.sqrt(squares / degrees)), degrees


def _bootstrap(measured: Sequence[SizeErrors], rows: np.ndarray, lucks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """RMSE at each size in each draw of the bootstrap [shape=(draws, sizes)]; ``lucks`` [shape=(draws, 1)]."""
    units, draws = len(rows), len(lucks)
    shares = np.array([one.size for one in measured]) / measured[-1].size
    means = np.empty((draws, len(measured)))
    step = max(1, _AT_ONCE // units)
    for start in range(0, draws, step):
        here = slice(start, min(start + step, draws))
        times = rng.multinomial(units, np.full(units, 1 / units), size=here.stop - start).astype(float)
        for column, one in enumerate(measured):
            means[here, column] = np.sqrt(times @ one.squares.T / (times @ rows)[:, None]).mean(axis=1)
    spread = _stray(shares) / np.sqrt([len(one.squares) for one in measured])
    return means + lucks * spread * rng.standard_normal((draws, len(measured)))
