"""Out-of-fold predictions in, what they are good for in practice out: how many are a step off at most, how many pairs are in order.

An RMSE says how wide errors are in the unit of the label. Graders ask two plainer questions: how often is a grade right within one
mark, and does the higher of two labels get the higher prediction?
"""

import math
from dataclasses import dataclass

import numpy as np

from core.scoring.metrics import kendall

_MOST_MARKS = 25  # distinct labels of a scale; more are measurements


@dataclass(frozen=True, slots=True)
class Fitness:
    """What predictions are good for.

    Attributes
    ----------
    step : float or None, distance of neighbouring marks of the labels' scale; None where the labels are not marks of a scale
    within_step : float in [0, 1] or None, share of the predictions that are one step off their label at most
    ordered : float in [0, 1] or None, share of the pairs of clips with different labels whose predictions are in the same order;
        equal predictions count half; None where all labels are equal
    """

    step: float | None
    within_step: float | None
    ordered: float | None

    def sentence(self) -> str | None:
        """Both shares for people; None where neither is known.

        Examples
        --------
        >>> Fitness(step=0.5, within_step=0.81, ordered=0.84).sentence()
        '81% of predictions are within one step (0.5) of the label. In 84% of pairs the higher label has the higher prediction.'
        >>> Fitness(step=None, within_step=None, ordered=0.84).sentence()
        'In 84% of pairs the higher label has the higher prediction.'
        """
        parts = []
        if self.within_step is not None:
            parts.append(f"{self.within_step:.0%} of predictions are within one step ({self.step:g}) of the label.")
        if self.ordered is not None:
            parts.append(f"In {self.ordered:.0%} of pairs the higher label has the higher prediction.")
        return " ".join(parts) or None


def fitness(labels: np.ndarray, predictions: np.ndarray) -> Fitness:
    """What predictions are good for, beside their errors.

    Parameters
    ----------
    labels : np.ndarray [shape=(n,)], finite
    predictions : np.ndarray [shape=(n,)] or [shape=(repeats, n)], out-of-fold; shares are the means over repeats

    Returns
    -------
    fitness : Fitness

    Raises
    ------
    ValueError
        The shapes do not fit.

    Examples
    --------
    >>> fitness(np.array([1.0, 2.0, 3.0]), np.array([1.4, 3.2, 2.9]))
    Fitness(step=1.0, within_step=0.6666666666666666, ordered=0.6666666666666666)
    """
    repeats = np.atleast_2d(predictions)
    if labels.ndim != 1 or repeats.ndim != 2 or repeats.shape[1] != len(labels):
        raise ValueError(f"expected predictions of {len(labels)} clips, received shape {predictions.shape}")
    step = label_step(labels)
    within = None if step is None else float(np.mean(np.abs(repeats - labels) <= step * (1 + 1e-9)))
    shares = [share for row in repeats if (share := ordered_share(labels, row)) is not None]
    return Fitness(step, within, float(np.mean(shares)) if shares else None)


def label_step(labels: np.ndarray) -> float | None:
    """Distance of neighbouring marks, where the labels are the marks of a scale.

    Parameters
    ----------
    labels : np.ndarray [shape=(n,)], finite

    Returns
    -------
    step : float > 0; None where there are more than 25 different labels, fewer than two, or none that all the distances are
        multiples of

    Examples
    --------
    >>> label_step(np.array([1.0, 2.0, 4.0, 2.0])), label_step(np.array([1.0, 1.5, 3.0]))
    (1.0, 0.5)
    >>> label_step(np.array([1.0, 2.0, 2.7])) is None, label_step(np.array([3.0, 3.0])) is None
    (True, True)
    """
    marks = np.unique(labels)
    if not 2 <= len(marks) <= _MOST_MARKS:
        return None
    gaps = np.diff(marks)
    step = float(gaps.min())
    multiples = gaps / step
    return step if np.allclose(multiples, np.round(multiples), rtol=0, atol=1e-6) else None


def ordered_share(labels: np.ndarray, predictions: np.ndarray) -> float | None:
    """Share of the pairs with different labels whose predictions are in the same order (concordance index, Harrell et al. 1982).

    Parameters
    ----------
    labels, predictions : np.ndarray [shape=(n,)], finite

    Returns
    -------
    share : float in [0, 1], 0.5 by chance; equal predictions count half; None where all labels are equal

    Examples
    --------
    >>> ordered_share(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 20.0]))
    0.8333333333333334
    """
    all_pairs = len(labels) * (len(labels) - 1) // 2
    pairs, predicted_apart = all_pairs - _equal_pairs(labels), all_pairs - _equal_pairs(predictions)
    if pairs == 0:
        return None
    if predicted_apart == 0:
        return 0.5
    # tau-b is the pairs in order less those in reverse, by this mean: a whole number.
    in_order_less_reversed = round(kendall(labels, predictions) * math.sqrt(pairs) * math.sqrt(predicted_apart))
    return (in_order_less_reversed + pairs) / (2 * pairs)


def _equal_pairs(values: np.ndarray) -> int:
    counts = np.unique(values, return_counts=True)[1]
    return int(np.sum(counts * (counts - 1) // 2))
