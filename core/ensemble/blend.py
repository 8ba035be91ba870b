"""Members' predictions in, their weights out: the best member, the mean of the good ones, or learned weights, as is best nested.

Predictions are those that a member makes on an inner split of a fold's training rows, so neither the weights nor the choice
between the rules has seen the fold that is scored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.scoring import metrics
from core.scoring.losses import loss

BLENDS = ("auto", "mean", "weights", "best")
BEST, MEAN, WEIGHTS, NEAR_BEST = "best", "mean", "weights", "weights near the best"
# A member whose RMSE is so many times the best one's has no part in a mean: one that fails would spoil all others.
GOOD_WITHIN = 1.25
# Pull of learned weights towards where they start, in rows that the best member errs on: members err alike, and a few hundred rows
# cannot tell them apart.
SHRINKAGE_ROWS = 30
_EQUAL = 1e-9  # what two rules may differ by in rounding
STEPS = (10.0, 5.0, 2.0, 1.0, 0.5, 0.25, 0.2, 0.1, 0.05, 0.02, 0.01)


@dataclass(frozen=True, slots=True)
class Blend:
    """How members are put together.

    Attributes
    ----------
    weights : np.ndarray [shape=(m,)], 0 or more, with the sum 1
    rule : name of the rule that made them
    """

    weights: np.ndarray
    rule: str


def learn_blend(
    predictions: np.ndarray, labels: np.ndarray, parts: Sequence[np.ndarray], *, rule: str = "auto", metric: str = "rmse"
) -> Blend:
    """Weights of members.

    Parameters
    ----------
    predictions : np.ndarray [shape=(n, m)], each made without its row
    labels : np.ndarray [shape=(n,)]
    parts : sequence of np.ndarray of row numbers: a rule is judged on each by what it learns from the others
    rule : "mean", "weights", "best", or "auto" for the rule of ``RULES`` with the lowest loss, the first of equal ones
    metric : str, of ``losses.CHOICES``

    Returns
    -------
    blend : Blend
    """
    if rule == "auto":
        losses = {name: loss(metric, labels, _nested(learn, predictions, labels, parts)) for name, learn in RULES.items()}
        rule = next(name for name in RULES if losses[name] <= min(losses.values()) + _EQUAL * abs(min(losses.values())))
    return Blend(RULES[rule](predictions, labels), rule)


def best_member(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """All weight to the member with the lowest RMSE.

    Examples
    --------
    >>> labels = np.array([1.0, 2.0, 3.0])
    >>> best_member(np.column_stack([labels + 0.2, labels - 0.1]), labels)
    array([0., 1.])
    """
    weights = np.zeros(predictions.shape[1])
    weights[np.argmin(((predictions - labels[:, None]) ** 2).mean(axis=0))] = 1
    return weights


def mean_of_good(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Equal weights for members whose RMSE is within ``GOOD_WITHIN`` times the best one's, none for the others.

    Examples
    --------
    >>> labels = np.array([1.0, 2.0, 3.0])
    >>> mean_of_good(np.column_stack([labels + 0.1, labels - 0.1, -labels]), labels)
    array([0.5, 0.5, 0. ])
    """
    rmse = np.array([metrics.rmse(labels, column) for column in predictions.T])
    good = rmse <= GOOD_WITHIN * rmse.min()
    return good / good.sum()


def convex_weights(predictions: np.ndarray, labels: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Non-negative weights with the sum 1 and the least squared error, drawn towards ``start`` by ``SHRINKAGE_ROWS``.

    With E the errors of members, the weights w minimise |E w|^2 + rows v |w - start|^2, where v is the mean squared error of the
    best member: the pull is as strong whether members are good or bad. Lawson and Hanson's non-negative least squares over the
    Cholesky factor of E'E, a row for each weight, and a heavy row for the sum.

    Parameters
    ----------
    predictions : np.ndarray [shape=(n, m)]
    labels : np.ndarray [shape=(n,)]
    start : np.ndarray [shape=(m,)], weights with the sum 1
    """
    from scipy.optimize import nnls

    members = predictions.shape[1]
    errors = predictions - labels[:, None]
    products = errors.T @ errors
    least = float(products.diagonal().min())
    if least == 0:  # a member without any error
        return start
    mean_square = least / len(labels)
    pull, heavy = np.sqrt(SHRINKAGE_ROWS * mean_square), 100 * np.sqrt(least)
    factor = np.linalg.cholesky(products + 1e-9 * products.trace() * np.eye(members)).T
    rows = [factor, pull * np.eye(members), np.full((1, members), heavy)]
    weights, _ = nnls(np.concatenate(rows), np.concatenate([np.zeros(members), pull * start, [heavy]]))
    return np.asarray(weights / weights.sum(), np.float64)


def _weights(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return convex_weights(predictions, labels, mean_of_good(predictions, labels))


def _near_best(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return convex_weights(predictions, labels, best_member(predictions, labels))


RULES = {MEAN: mean_of_good, BEST: best_member, WEIGHTS: _weights, NEAR_BEST: _near_best}  # from simple to rich


def label_step(labels: np.ndarray) -> float | None:
    """The largest step of ``STEPS`` of which all labels are multiples; None where they stand on no such grid.

    Examples
    --------
    >>> label_step(np.array([1.0, 2.5, 4.0]))
    0.5
    >>> label_step(np.array([0.1234, 2.0])) is None
    True
    """
    for step in STEPS:
        if np.allclose(labels / step, np.round(labels / step), rtol=0, atol=1e-6):
            return step
    return None


def clip_and_round(predictions: np.ndarray, low: float, high: float, step: float | None) -> np.ndarray:
    """Predictions inside the range of the labels, on their grid where there is one."""
    if step is not None:
        predictions = np.round(predictions / step) * step
    return np.clip(predictions, low, high)


def _nested(
    learn: Callable[[np.ndarray, np.ndarray], np.ndarray], predictions: np.ndarray, labels: np.ndarray, parts: Sequence[np.ndarray]
) -> np.ndarray:
    """Blended predictions of each part by what a rule learns from the others."""
    blended = np.empty(len(labels))
    for part in parts:
        others = np.ones(len(labels), bool)
        others[part] = False
        blended[part] = predictions[part] @ learn(predictions[others], labels[others])
    return blended
