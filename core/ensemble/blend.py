"""Members' predictions in, their weights out: the mean of the good ones, or weights that were learned, whichever is better nested.

Predictions are those that a member makes on an inner split of a fold's training rows, so neither the weights nor the choice
between the two ways has seen the fold that is scored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.scoring import metrics

BLENDS = ("auto", "mean", "weights")
MEAN, WEIGHTS = "mean", "weights"
# A member whose RMSE is so many times the best one's has no part in a mean: one that fails would spoil all others.
GOOD_WITHIN = 1.25
# Pull of learned weights towards equal ones, in rows of labels: members err alike, and a few hundred rows cannot tell them apart.
SHRINKAGE_ROWS = 100
STEPS = (10.0, 5.0, 2.0, 1.0, 0.5, 0.25, 0.2, 0.1, 0.05, 0.02, 0.01)


@dataclass(frozen=True, slots=True)
class Blend:
    """How members are put together.

    Attributes
    ----------
    weights : np.ndarray [shape=(m,)], 0 or more, with the sum 1
    rule : "mean" or "weights"
    """

    weights: np.ndarray
    rule: str


def learn_blend(predictions: np.ndarray, labels: np.ndarray, parts: Sequence[np.ndarray], *, rule: str = "auto") -> Blend:
    """Weights of members.

    Parameters
    ----------
    predictions : np.ndarray [shape=(n, m)], each made without its row
    labels : np.ndarray [shape=(n,)]
    parts : sequence of np.ndarray of row numbers: a rule is judged on each by what it learns from the others
    rule : "mean", "weights", or "auto" for the one with the lower RMSE; the mean where they are equal

    Returns
    -------
    blend : Blend
    """
    rules = {MEAN: mean_of_good, WEIGHTS: convex_weights}
    if rule == "auto":
        rmse = {name: _judge(learn, predictions, labels, parts) for name, learn in rules.items()}
        rule = WEIGHTS if rmse[WEIGHTS] < rmse[MEAN] else MEAN
    return Blend(rules[rule](predictions, labels), rule)


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


def convex_weights(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Non-negative weights with the sum 1 and the least squared error, drawn towards equal ones by ``SHRINKAGE_ROWS``.

    Lawson and Hanson's non-negative least squares over the rows, a heavy row for the sum, and a row for each weight.
    """
    from scipy.optimize import nnls

    n, members = predictions.shape
    spread = float(np.var(labels)) or 1.0
    heavy, pull = np.sqrt(1e4 * n * spread), np.sqrt(SHRINKAGE_ROWS * spread)
    rows = [predictions - labels.mean(), np.full((1, members), heavy), pull * np.eye(members)]
    right = [labels - labels.mean(), [heavy], np.full(members, pull / members)]
    weights, _ = nnls(np.concatenate(rows), np.concatenate(right))
    return np.asarray(weights / weights.sum(), np.float64)


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


def _judge(
    learn: Callable[[np.ndarray, np.ndarray], np.ndarray], predictions: np.ndarray, labels: np.ndarray, parts: Sequence[np.ndarray]
) -> float:
    blended = np.empty(len(labels))
    for part in parts:
        others = np.ones(len(labels), bool)
        others[part] = False
        blended[part] = predictions[part] @ learn(predictions[others], labels[others])
    return metrics.rmse(labels, blended)
