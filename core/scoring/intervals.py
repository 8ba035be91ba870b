"""Residuals and predictions in, the ends of prediction intervals out, all in the unit of the label.

CV+ of Barber, Candes, Ramdas, Tibshirani: "Predictive inference with the jackknife+", Annals of Statistics 49 (2021), section 3.
Nothing is fitted: the models of a cross-validation and their out-of-fold errors are there already. Where the folds kept groups
whole, the errors are those on new groups, and so are the intervals. Errors may be given in units of a spread that each fold's
training rows have told (``spread``); the intervals are then as wide as the spread is.
"""

from collections.abc import Sequence

import numpy as np

from core.errors import DataError, ParameterError
from core.scoring.spread import conformity

_ROUNDING = 1e-9  # a rank that is a whole number but for rounding is that number


def cv_plus(
    fold_predictions: np.ndarray,
    residuals: np.ndarray,
    model_of: np.ndarray,
    *,
    level: float = 0.9,
    rows: int | None = None,
    sides: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of new clips.

    Each residual is laid around the prediction of the model that made it, the one that did not see its row; the low end is a low
    quantile of the lower ends, the high end a high quantile of the upper ones. At least 2 * level - 1 of exchangeable new labels
    are inside, in practice about ``level``.

    Parameters
    ----------
    fold_predictions : np.ndarray [shape=(m, q)], of q new clips by the m fold models of all repeats
    residuals : np.ndarray [shape=(k,)], absolute out-of-fold errors, one a row and repeat; with ``sides``, as ``spread.conformity``
    model_of : np.ndarray [shape=(k,)], int in [0, m), the model that made the error
    level : float in (0, 1)
    rows : int, optional: different rows behind the k residuals, which repeats hold several times; k where it is not given
    sides : np.ndarray [shape=(m, 2, q)], optional: the spread below and above each prediction, by the fold that made it

    Returns
    -------
    low, high : np.ndarray [shape=(q,)]; -inf and inf where so few rows cannot tell an end of that level

    Raises
    ------
    ParameterError
        ``level`` is not between 0 and 1.
    DataError
        The shapes do not fit, or a residual is negative or not finite.

    Examples
    --------
    >>> low, high = cv_plus(np.array([[5.0], [7.0]]), np.array([1.0, 1.0, 2.0]), np.array([0, 0, 1]), level=0.5)
    >>> low.tolist(), high.tolist()
    ([4.0], [6.0])
    """
    _check_level(level)
    fold_predictions, residuals, model_of = np.asarray(fold_predictions, float), np.asarray(residuals, float), np.asarray(model_of)
    _check_residuals(fold_predictions, residuals, model_of)
    q = fold_predictions.shape[1]
    k = len(residuals)
    rows = k if rows is None else rows
    place = rank(rows, level=level)
    if place is None:
        return np.full(q, -np.inf), np.full(q, np.inf)
    place = round(place * k / rows)
    low, high = np.empty(q), np.empty(q)
    for clip in range(q):  # one at a time: k x q would be large
        by_its_model = fold_predictions[model_of, clip]
        below, above = (residuals, residuals) if sides is None else (sides[model_of, :, clip] * residuals[:, None]).T
        high[clip] = np.partition(by_its_model + above, place - 1)[place - 1]
        low[clip] = np.partition(by_its_model - below, k - place)[k - place]
    return low, high


def oof_intervals(
    oof_predictions: np.ndarray,
    labels: np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    level: float = 0.9,
    sides: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of the labelled clips themselves: each from the absolute errors of the others, so that their coverage is honest.

    Parameters
    ----------
    oof_predictions : np.ndarray [shape=(n,)]
    labels : np.ndarray [shape=(n,)]
    groups : sequence of str [n], optional: a row's interval leaves out the errors of its whole group
    level : float in (0, 1)
    sides : np.ndarray [shape=(2, n)], optional: the spread below and above each prediction, learned without its fold

    Returns
    -------
    low, high : np.ndarray [shape=(n,)]; -inf and inf where there are too few others: 8 or fewer at a level of 0.9

    Raises
    ------
    ParameterError
        ``level`` is not between 0 and 1.
    DataError
        Predictions and labels are not equally long and finite, or there is not a group for each.

    Examples
    --------
    >>> low, high = oof_intervals(np.zeros(4), np.array([1.0, -2.0, 3.0, 9.0]), level=0.5)
    >>> high.tolist()
    [3.0, 3.0, 2.0, 2.0]
    """
    _check_level(level)
    labels, oof_predictions = np.asarray(labels, float), np.asarray(oof_predictions, float)
    n = len(labels)
    if labels.ndim != 1 or labels.shape != oof_predictions.shape or n == 0:
        raise DataError(
            f"expected labels and predictions of one length, received shapes {labels.shape} and {oof_predictions.shape}"
        )
    if not (np.isfinite(labels).all() and np.isfinite(oof_predictions).all()):
        raise DataError("labels and predictions must be finite numbers")
    if groups is not None and len(groups) != n:
        raise DataError(f"expected a group for each of {n} rows, received {len(groups)}")
    of = np.arange(n) if groups is None else np.unique(np.asarray(groups, str), return_inverse=True)[1]
    residuals = np.abs(labels - oof_predictions) if sides is None else conformity(labels - oof_predictions, sides)
    width = np.empty(n)
    for rows in np.split(np.argsort(of, kind="stable"), np.cumsum(np.bincount(of))[:-1]):
        others = np.delete(residuals, rows)
        place = rank(len(others), level=level)
        width[rows] = np.inf if place is None else np.partition(others, place - 1)[place - 1]
    below, above = (width, width) if sides is None else sides * width
    return oof_predictions - below, oof_predictions + above


def half_width(residuals: np.ndarray, *, level: float, rows: int) -> float:
    """Half of an interval of equal width for all new clips: a high quantile of absolute out-of-fold errors.

    Parameters
    ----------
    residuals : np.ndarray [shape=(k,)], one a row and repeat
    level : float in (0, 1)
    rows : int, different rows behind them

    Examples
    --------
    >>> half_width(np.arange(1.0, 20.0), level=0.9, rows=19)
    18.0
    """
    _check_level(level)
    place = rank(rows, level=level)
    if place is None:
        return float("inf")
    place = round(place * len(residuals) / rows)
    return float(np.partition(residuals, place - 1)[place - 1])


def coverage(labels: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of the labels inside their prediction interval, its ends included.

    Examples
    --------
    >>> coverage(np.array([1.0, 2.0]), np.array([0.0, 2.5]), np.array([1.0, 3.0]))
    0.5
    """
    labels, low, high = (np.asarray(values, float) for values in (labels, low, high))
    if labels.ndim != 1 or not labels.shape == low.shape == high.shape or len(labels) == 0:
        raise DataError(
            f"expected labels and both ends of one length, received shapes {labels.shape}, {low.shape} and {high.shape}"
        )
    return float(np.mean((low <= labels) & (labels <= high)))


def rank(n: int, *, level: float) -> int | None:
    """Which of n ascending residuals, from 1 on, a new one of their kind stays under with the probability ``level``.

    The new one is as likely to come in at each of n + 1 places, hence n + 1.

    Returns
    -------
    place : int in [1, n], or None where n residuals are too few

    Examples
    --------
    >>> [rank(n, level=0.9) for n in (8, 9, 10, 99)]
    [None, 9, 10, 90]
    """
    place = int(np.ceil(level * (n + 1) - _ROUNDING))
    return place if 1 <= place <= n else None


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ParameterError(f"level={level} must be above 0 and below 1")


def _check_residuals(fold_predictions: np.ndarray, residuals: np.ndarray, model_of: np.ndarray) -> None:
    """Refuse shapes that do not fit, negative residuals, and residuals of models that are not there."""
    if fold_predictions.ndim != 2 or residuals.ndim != 1 or residuals.shape != model_of.shape:
        raise DataError(
            "expected predictions [m, q], residuals [k] and model_of [k], received shapes "
            f"{fold_predictions.shape}, {residuals.shape} and {model_of.shape}"
        )
    if not (np.isfinite(residuals).all() and (residuals >= 0).all()):
        raise DataError("residuals must be finite numbers, 0 or more")
    m = len(fold_predictions)
    if len(model_of) and (model_of.min() < 0 or model_of.max() >= m):
        raise DataError(f"model_of names models {model_of.min()} to {model_of.max()}, but there are predictions of {m}")
