"""Labels and predictions in, what a choice makes small out: the error, or what a correlation lacks to 1.

A choice between two sets of predictions needs more than two numbers: whether the difference is more than luck. ``row_losses`` gives
each row its part, so that the mean difference can be compared with its spread over rows or groups.
"""

import numpy as np

from core.scoring.metrics import METRICS, ranks, validate

CHOICES = ("rmse", "mae", "ccc", "spearman")
_OF_ERRORS = ("rmse", "mae")  # the others are correlations


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
    if metric in _OF_ERRORS:
        return row_terms(metric, labels, predictions)[0]
    terms = row_terms(metric, *validate(labels, predictions))
    n, total = len(labels), terms.sum(axis=1, keepdims=True)
    return n * loss_of_means(metric, total / n) - (n - 1) * loss_of_means(metric, (total - terms) / (n - 1))


def row_terms(metric: str, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """What a loss is a function of, row by row [shape=(k, n)]: ``loss_of_means`` of their means over rows is the loss.

    The squared or the absolute error, one term; for a correlation both values, their squares and their product, five terms, from
    the mean of the labels on: sums of squares of large labels with a small spread lose all their digits otherwise. For Spearman's
    correlation values are ranks among all rows, also where the means are of some of them.

    Parameters
    ----------
    metric : str, of ``CHOICES``
    labels, predictions : np.ndarray [shape=(n,)]

    Examples
    --------
    >>> labels, predictions = np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 3.0])
    >>> row_terms("mae", labels, predictions)
    array([[0., 2., 0.]])
    >>> round(float(loss_of_means("ccc", row_terms("ccc", labels, predictions).mean(axis=1))), 6)
    0.5
    """
    if metric == "rmse":
        return ((predictions - labels) ** 2)[None]
    if metric == "mae":
        return np.abs(predictions - labels)[None]
    if metric == "spearman":
        labels, predictions = ranks(labels), ranks(predictions)
    y, p = labels - labels.mean(), predictions - labels.mean()
    return np.array([y, p, y * y, p * p, y * p])


def loss_of_means(metric: str, means: np.ndarray) -> np.ndarray:
    """The loss from the means of ``row_terms`` over rows [shape=(k, ...)]; 1 where a correlation is undefined."""
    if metric in _OF_ERRORS:
        return np.sqrt(means[0]) if metric == "rmse" else means[0]
    mean_y, mean_p, yy, pp, yp = means
    var_y, var_p, cov = np.maximum(yy - mean_y**2, 0), np.maximum(pp - mean_p**2, 0), yp - mean_y * mean_p
    if metric == "ccc":
        numerator, denominator = 2 * cov, var_y + var_p + (mean_y - mean_p) ** 2
    else:
        numerator, denominator = cov, np.sqrt(var_y * var_p)
    return 1 - np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
