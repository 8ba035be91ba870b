"""Labels and predictions in, what a choice makes small out: the error, or what a correlation lacks to 1.

A choice between two sets of predictions needs more than two numbers: whether the difference is more than luck. ``row_losses`` gives
each row its part, so that the mean difference can be compared with its spread over rows or groups.
"""

import numpy as np

from core.scoring.metrics import METRICS, ranks, validate

CHOICES = ("rmse", "mae", "ccc", "spearman")


def loss(metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    """What is to be small: the metric, or 1 less the metric where higher is better; 1 where a correlation is undefined.

    Parameters
    ----------
    metric : str, of ``CHOICES``
    labels, predictions : np.ndarray [shape=(n,)]

    Examples
    --------
    >>> labels = np.array([1.0, 2.0, 3.0])
    >>> loss("rmse", labels, labels + 1), loss("spearman", labels, labels + 1), loss("spearman", labels, np.zeros(3))
    (1.0, 0.0, 1.0)
    """
    value = METRICS[metric].score(labels, predictions)
    if not METRICS[metric].higher_is_better:
        return value
    return 1.0 if np.isnan(value) else 1 - value


def row_losses(metric: str, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """The part of each row in the loss [shape=(n,)].

    Squared errors for RMSE and absolute ones for MAE. For correlations the jackknife's pseudo-values: n times the loss less n - 1
    times the loss without the row (B. Efron, "The Jackknife, the Bootstrap and Other Resampling Plans", 1982). Ranks stay those of
    all rows.

    Parameters
    ----------
    metric : str, of ``CHOICES``
    labels, predictions : np.ndarray [shape=(n,)], n >= 3

    Examples
    --------
    >>> row_losses("rmse", np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 3.0]))
    array([0., 4., 0.])
    """
    if metric == "rmse":
        return (predictions - labels) ** 2
    if metric == "mae":
        return np.abs(predictions - labels)
    labels, predictions = validate(labels, predictions)
    if metric == "spearman":
        labels, predictions = ranks(labels), ranks(predictions)
    n, centre = len(labels), labels.mean()
    y, p = labels - centre, predictions - centre
    sums = np.array([y, p, y * y, p * p, y * p])
    total = sums.sum(axis=1, keepdims=True)
    whole = _from_moments(metric, total / n)
    without = _from_moments(metric, (total - sums) / (n - 1))
    return n * whole - (n - 1) * without


def _from_moments(metric: str, moments: np.ndarray) -> np.ndarray:
    """The loss of a correlation, from means of both, of their squares and of their product [shape=(5, k)]."""
    mean_y, mean_p, yy, pp, yp = moments
    var_y, var_p, cov = np.maximum(yy - mean_y**2, 0), np.maximum(pp - mean_p**2, 0), yp - mean_y * mean_p
    if metric == "ccc":
        numerator, denominator = 2 * cov, var_y + var_p + (mean_y - mean_p) ** 2
    else:
        numerator, denominator = cov, np.sqrt(var_y * var_p)
    return 1 - np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
