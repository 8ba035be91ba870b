"""Several ratings a clip in; how far the raters agree, and the error below which no model can come, out.

A rating is the clip's true mark, the habit (offset) of its rater, and noise, in the unit of the label. Raters who rate all clips
are a panel: their mean habit is part of the label, not noise. Where each clip has other raters, or nobody says who they are, habits
are noise too.

Formulas: P. E. Shrout and J. L. Fleiss, "Intraclass correlations: uses in assessing rater reliability", Psychological Bulletin 86
(1979), with the components of variance of unequal designs after S. R. Searle, "Linear Models" (1971); K. Krippendorff, "Computing
Krippendorff's alpha-reliability" (2011), for interval data.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from core.scoring.figures import interval_text, text

PANEL_SHARE = 0.75  # of all that the raters could have rated, from which on they count as one panel
DRAWS = 1000
_ROUNDING = 1e-9  # that a correlation lacks to 1 where raters never disagree


@dataclass(frozen=True, slots=True)
class Ratings:
    """Who said what of which clip.

    Attributes
    ----------
    clips : np.ndarray [shape=(m,)], int, row of the clip in the table of clips, from 0
    values : np.ndarray [shape=(m,)], float64
    raters : np.ndarray [shape=(m,)], int, place in ``names``; None where nobody says who rated
    names : tuple of str, the raters
    """

    clips: np.ndarray
    values: np.ndarray
    raters: np.ndarray | None = None
    names: tuple[str, ...] = ()

    @property
    def is_panel(self) -> bool:
        """Whether named raters rated nearly all clips each."""
        return self.raters is not None and len(self.values) >= PANEL_SHARE * len(self.names) * len(np.unique(self.clips))


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the raters' disagreement leaves to a model that knows the true mark of each clip.

    Attributes
    ----------
    rmse, rmse_low, rmse_high : float, its RMSE against the labels, with a 95 % interval over clips
    pearson, pearson_low, pearson_high : float, its correlation with the labels, likewise
    is_panel : bool, the raters' habits are part of the label
    """

    rmse: float
    rmse_low: float
    rmse_high: float
    pearson: float
    pearson_low: float
    pearson_high: float
    is_panel: bool

    @property
    def scale(self) -> float:
        """The error whose size decides how figures are written; 0, which takes fixed decimals, where it is only rounding."""
        return self.rmse if self.pearson < 1 - _ROUNDING else 0.0

    def sentence(self) -> str:
        """Both figures in words.

        Examples
        --------
        >>> Ceiling(0.412, 0.39, 0.43, 0.957, 0.95, 0.96, True).sentence()
        'RMSE 0.412 (0.390 to 0.430), Pearson 0.957: the disagreement within the panel of raters allows no better'
        """
        who = "within the panel of raters" if self.is_panel else "between raters"
        error = text(self.rmse, like=self.scale, decimals=3)
        ends = interval_text((self.rmse_low, self.rmse_high), like=self.scale, decimals=3)
        figures = f"RMSE {error} ({ends}), Pearson {self.pearson:.3f}"
        return f"{figures}: the disagreement {who} allows no better"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far raters agree; NaN where it cannot be said, as where each clip has one rating.

    Attributes
    ----------
    clips, ratings : int
    raters : int, 0 where nobody says who rated
    spread : float, standard deviation of the ratings of one clip, the root of the mean variance
    icc_1k : float, reliability of the mean where each clip has other raters, ICC(1,k)
    icc_2k : float, where named raters are drawn from many, ICC(2,k); NaN where they are not named
    alpha : float, Krippendorff's alpha for interval data
    ceiling : Ceiling or None
    """

    clips: int
    ratings: int
    raters: int
    spread: float
    icc_1k: float
    icc_2k: float
    alpha: float
    ceiling: Ceiling | None

    def words(self) -> str:
        """The coefficients that are known, in a line."""
        named = {"ICC(1,k)": self.icc_1k, "ICC(2,k)": self.icc_2k, "Krippendorff's alpha": self.alpha}
        return ", ".join(f"{name} {value:.3f}" for name, value in named.items() if value == value)

    def ceiling_record(self) -> dict[str, object] | None:
        """The ceiling, with the agreement beside it, as the record of a run has it; None without one."""
        if self.ceiling is None:
            return None
        figures = {name: getattr(self, name) for name in ("ratings", "raters", "icc_1k", "icc_2k", "alpha")}
        return asdict(self.ceiling) | {"sentence": self.ceiling.sentence()} | figures


@dataclass(frozen=True, slots=True)
class _Parts:
    """Variance of a rating by where it comes from, and the squared deviations that noise was estimated from, by clip."""

    clip: float
    rater: float
    noise: float
    squares: np.ndarray
    degrees: float


def agreement(ratings: Ratings, *, seed: int = 0) -> Agreement:
    """All figures of a set of ratings.

    Parameters
    ----------
    ratings : Ratings
    seed : int, of the bootstrap
    """
    counts = np.unique(ratings.clips, return_counts=True)[1]
    one_way = _one_way(ratings)
    two_way = _two_way(ratings) if ratings.raters is not None else None
    k = 1 / float(np.mean(1 / counts))
    return Agreement(
        clips=len(counts),
        ratings=len(ratings.values),
        raters=len(ratings.names),
        spread=float(np.sqrt(one_way.noise)) if one_way else np.nan,
        icc_1k=_reliability(one_way, k) if one_way else np.nan,
        icc_2k=_reliability(two_way, k) if two_way else np.nan,
        alpha=krippendorff_alpha(ratings),
        ceiling=noise_ceiling(ratings, seed=seed),
    )


def noise_ceiling(ratings: Ratings, *, seed: int = 0) -> Ceiling | None:
    """Lowest RMSE and highest Pearson correlation against labels that are the mean ratings of the clips.

    The variance by which a mean of k ratings is off is the k-th part of that of a rating's noise. The interval is a bootstrap over
    clips. That some of a panel did not rate a clip is not in it: ``mean_habits`` tells by how much such a label is off.

    Parameters
    ----------
    ratings : Ratings
    seed : int

    Returns
    -------
    ceiling : Ceiling, or None where hardly a clip has two ratings or the labels do not vary
    """
    parts = _two_way(ratings) if ratings.is_panel else _one_way(ratings)
    labels, counts = mean_ratings(ratings)
    if parts is None or np.ptp(labels) == 0:
        return None
    of_offsets = len(ratings.values) - len(labels) - parts.degrees

    def allowed(rows: np.ndarray) -> tuple[float, float]:
        noise = parts.squares[rows].sum() / max(1, (counts[rows] - 1).sum() - of_offsets)
        variance, of_labels = noise * np.mean(1 / counts[rows]), np.var(labels[rows])
        return float(np.sqrt(variance)), float(np.sqrt(max(0.0, 1 - variance / of_labels))) if of_labels > 0 else float("nan")

    rng = np.random.default_rng(seed)
    rmse, pearson = allowed(np.arange(len(labels)))
    drawn = np.array([allowed(rng.integers(0, len(labels), len(labels))) for _ in range(DRAWS)])
    (low, least), (high, most) = np.nanpercentile(drawn, (2.5, 97.5), axis=0).tolist()
    return Ceiling(rmse, low, high, pearson, least, most, ratings.is_panel)


def mean_ratings(ratings: Ratings) -> tuple[np.ndarray, np.ndarray]:
    """Mean and number of the ratings of each clip that has any [shape=(n,)], in the order of the clips."""
    _, place, counts = np.unique(ratings.clips, return_inverse=True, return_counts=True)
    return np.bincount(place, ratings.values) / counts, counts


def rater_offsets(ratings: Ratings, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """How much each rater says more than the others of the same clips, by least squares; the offsets add up to 0.

    Parameters
    ----------
    ratings : Ratings with names
    rows : sequence of int, the clips from which the offsets are estimated; None takes all

    Returns
    -------
    offsets : np.ndarray [shape=(raters,)]; 0 for a rater who rated none of the clips
    """
    return _fit(ratings, None if rows is None else np.isin(ratings.clips, rows))[0]


def mean_habits(ratings: Ratings, offsets: np.ndarray) -> np.ndarray:
    """Mean offset of those who rated each clip [shape=(n,)]: by so much its mean rating is off from that of all raters."""
    assert ratings.raters is not None
    _, place, counts = np.unique(ratings.clips, return_inverse=True, return_counts=True)
    return np.bincount(place, offsets[ratings.raters]) / counts


def krippendorff_alpha(ratings: Ratings) -> float:
    """Krippendorff's alpha for interval data: 1 is full agreement, 0 chance. NaN where no clip has two ratings, or all are equal.

    Examples
    --------
    >>> krippendorff_alpha(Ratings(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 3.0, 3.0])))
    1.0
    """
    _, place, counts = np.unique(ratings.clips, return_inverse=True, return_counts=True)
    paired = counts[place] > 1
    values, place = ratings.values[paired], place[paired]
    if len(values) < 2 or np.ptp(values) == 0:
        return float("nan")
    sums, squares = np.bincount(place, values), np.bincount(place, values**2)
    numbers = np.bincount(place)
    kept = numbers > 1
    observed = ((numbers * squares - sums**2)[kept] / (numbers[kept] - 1)).sum() / len(values)
    expected = (len(values) * (values**2).sum() - values.sum() ** 2) / (len(values) * (len(values) - 1))
    return float(1 - observed / expected)


def _reliability(parts: _Parts, k: float) -> float:
    """Share of the variance of a mean of k ratings that is the clips' own."""
    total = parts.clip + (parts.rater + parts.noise) / k
    return float(parts.clip / total) if total > 0 else float("nan")


def _one_way(ratings: Ratings) -> _Parts | None:
    """Components of variance where all that is not the clip is noise."""
    labels, counts = mean_ratings(ratings)
    m, n = len(ratings.values), len(labels)
    if m <= n or n < 2:
        return None
    place = np.unique(ratings.clips, return_inverse=True)[1]
    squares = np.bincount(place, (ratings.values - labels[place]) ** 2)
    noise = squares.sum() / (m - n)
    between = (counts * (labels - ratings.values.mean()) ** 2).sum() / (n - 1)
    size = (m - (counts**2).sum() / m) / (n - 1)
    return _Parts((between - noise) / size, 0.0, noise, squares, m - n)


def _two_way(ratings: Ratings) -> _Parts | None:
    """Components of variance of clips and named raters, whose effects add up."""
    assert ratings.raters is not None
    labels, counts = mean_ratings(ratings)
    m, n, r = len(ratings.values), len(labels), len(np.unique(ratings.raters))
    degrees = m - n - (r - 1)
    if degrees < 1 or n < 2 or r < 2:
        return None
    place = np.unique(ratings.clips, return_inverse=True)[1]
    offsets, covariance = _fit(ratings, None)
    clips = labels - mean_habits(ratings, offsets)
    squares = np.bincount(place, (ratings.values - clips[place] - offsets[ratings.raters]) ** 2)
    noise = squares.sum() / degrees
    rated = np.zeros((n, len(ratings.names)))
    np.add.at(rated, (place, ratings.raters), 1)
    rated /= counts[:, None]
    of_clips = noise * (1 / counts + np.einsum("ir,rs,is->i", rated, covariance, rated))
    here = np.unique(ratings.raters)
    centred = np.eye(r) - 1 / r
    of_raters = noise * np.trace(centred @ covariance[np.ix_(here, here)] @ centred) / (r - 1)
    return _Parts(
        clips.var(ddof=1) - float(of_clips.mean()), max(0.0, offsets[here].var(ddof=1) - of_raters), noise, squares, degrees
    )


def _fit(ratings: Ratings, chosen: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the raters [shape=(r,)] by least squares beside the clips' means, and their covariance by the noise [(r, r)]."""
    assert ratings.raters is not None
    clips, raters, values = ratings.clips, ratings.raters, ratings.values
    if chosen is not None:
        clips, raters, values = clips[chosen], raters[chosen], values[chosen]
    _, place, counts = np.unique(clips, return_inverse=True, return_counts=True)
    rated = np.zeros((len(counts), len(ratings.names)))
    np.add.at(rated, (place, raters), 1)
    means = np.bincount(place, values) / counts
    normal = np.diag(rated.sum(axis=0)) - rated.T @ (rated / counts[:, None])
    covariance = np.linalg.pinv(normal, rcond=1e-9, hermitian=True)  # offsets are known but for a constant
    return covariance @ np.bincount(raters, values - means[place], len(ratings.names)), covariance
