"""Scores of predictions against labels. Both are float arrays [shape=(n,)] in the unit of the label.

Metrics: RMSE, MAE, Pearson correlation, R2 (coefficient of determination).
"""

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


def evaluate(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """All scores by name."""
    return {score.__name__: score(labels, predictions) for score in (rmse, mae, pearson, r2)}
