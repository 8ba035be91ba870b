"""Scores of predictions against labels. Both are float arrays [shape=(n,)] in the unit of the label.

Metrics: RMSE, MAE, Pearson correlation, R2 (coefficient of determination), Spearman and Kendall rank correlation, and the
concordance correlation coefficient (CCC).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.errors import DataError


def validate(labels: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 [shape=(n,)], n >= 1, equally long and finite; anything else is refused."""
    labels, predictions = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    if labels.ndim != 1 or labels.shape != predictions.shape or len(labels) == 0:
        raise DataError(f"expected labels and predictions of one length, received shapes {labels.shape} and {predictions.shape}")
    if not (np.isfinite(labels).all() and np.isfinite(predictions).all()):
        raise DataError("labels and predictions must be finite numbers")
    return labels, predictions


def rmse(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Root of the mean squared error.

    Examples
    --------
    >>> rmse(np.array([0.0, 0.0]), np.array([3.0, 3.0]))
    3.0
    """
    labels, predictions = validate(labels, predictions)
    return float(np.sqrt(np.mean((labels - predictions) ** 2)))


def mae(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Mean absolute error."""
    labels, predictions = validate(labels, predictions)
    return float(np.mean(np.abs(labels - predictions)))


def pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Pearson correlation; NaN where either does not vary."""
    labels, predictions = validate(labels, predictions)
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return float("nan")
    return float(np.corrcoef(labels, predictions)[0, 1])


def r2(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of the labels' variance that is explained; NaN where the labels do not vary, negative where worse than their mean."""
    labels, predictions = validate(labels, predictions)
    total = float(((labels - labels.mean()) ** 2).sum())
    return 1 - float(((labels - predictions) ** 2).sum()) / total if total > 0 else float("nan")


def spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, equal values sharing their mean rank; NaN where either does not vary.

    Examples
    --------
    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0]))
    1.0
    """
    labels, predictions = validate(labels, predictions)
    return pearson(ranks(labels), ranks(predictions))


def kendall(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Kendall's tau-b: concordant less discordant pairs, by the geometric mean of the pairs that are not tied in each.

    NaN where either does not vary.

    Examples
    --------
    >>> round(kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])), 4)
    0.3333
    """
    from scipy import stats

    labels, predictions = validate(labels, predictions)
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return float("nan")
    return float(stats.kendalltau(labels, predictions, variant="b", method="asymptotic").statistic)


def ccc(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Concordance correlation coefficient: agreement in value, not in rank or up to scale; NaN where both are one constant.

    ``2 cov / (var + var + (mean - mean)^2)`` with the moments over n: L. I.-K. Lin, "A concordance correlation coefficient to
    evaluate reproducibility", Biometrics 45 (1989), equation 2 and section 3.

    Examples
    --------
    >>> round(ccc(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])), 4)  # 2 * 2/3 / (2/3 + 2/3 + 1)
    0.5714
    """
    labels, predictions = validate(labels, predictions)
    spread = np.var(labels) + np.var(predictions) + (labels.mean() - predictions.mean()) ** 2
    if spread == 0:
        return float("nan")
    return float(2 * np.mean((labels - labels.mean()) * (predictions - predictions.mean())) / spread)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 on [shape=(n,)]; equal values share their mean rank."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[index]


@dataclass(frozen=True, slots=True)
class Metric:
    """A score and how to read it.

    Attributes
    ----------
    name : str, as in records and flags
    label : str, for people
    score : (labels, predictions) to float
    higher_is_better : bool
    in_label_unit : bool, it is an error in the unit of the label; else a number without unit, at most 1
    """

    name: str
    label: str
    score: Callable[[np.ndarray, np.ndarray], float]
    higher_is_better: bool
    in_label_unit: bool

    def order(self, value: float | None) -> float:
        """A key that sorts the best value first, and what is undefined last.

        Examples
        --------
        >>> sorted([0.2, None, 0.9], key=METRICS["ccc"].order), sorted([0.2, None, 0.9], key=METRICS["rmse"].order)
        ([0.9, 0.2, None], [0.2, 0.9, None])
        """
        if value is None or not np.isfinite(value):
            return float("inf")
        return -value if self.higher_is_better else value


METRICS = {
    metric.name: metric
    for metric in (
        Metric("rmse", "RMSE", rmse, higher_is_better=False, in_label_unit=True),
        Metric("mae", "MAE", mae, higher_is_better=False, in_label_unit=True),
        Metric("pearson", "Pearson", pearson, higher_is_better=True, in_label_unit=False),
        Metric("r2", "R2", r2, higher_is_better=True, in_label_unit=False),
        Metric("spearman", "Spearman", spearman, higher_is_better=True, in_label_unit=False),
        Metric("kendall", "Kendall", kendall, higher_is_better=True, in_label_unit=False),
        Metric("ccc", "CCC", ccc, higher_is_better=True, in_label_unit=False),
    )
}


def evaluate(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """All scores by name."""
    return {name: metric.score(labels, predictions) for name, metric in METRICS.items()}
