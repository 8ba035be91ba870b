"""Predictions that no fit has seen and their labels in, how far labels lie below and above similar predictions out.

Intervals of one width for all clips cover too many labels where errors are small and too few where they are large. A spread is the
unit in which errors are compared instead: what is twice as far off where the spread is twice as large is as surprising (normalised
conformity scores; H. Papadopoulos, A. Gammerman, V. Vovk, "Normalized nonconformity measures for regression conformal prediction",
2008). All values are in the unit of the label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

FEWEST_ROWS = 200  # that a spread can be learned from: fewer leave one or two errors beyond each tail of the kernel
KNOTS = 21
BANDWIDTH = 0.15  # of the ranks of the predictions, from 0 to 1: standard deviation of the kernel
_LEAST = 0.05  # of the quantile of all errors; a side without errors is not one of no width


@dataclass(frozen=True, slots=True)
class Spread:
    """How far labels lie below and above a prediction: linear between knots, constant beyond them.

    Attributes
    ----------
    knots : np.ndarray [shape=(k,)], predictions, ascending
    below, above : np.ndarray [shape=(k,)], above 0
    """

    knots: np.ndarray
    below: np.ndarray
    above: np.ndarray

    def sides(self, predictions: np.ndarray) -> np.ndarray:
        """What is below and above each prediction [shape=(2, n)].

        Examples
        --------
        >>> Spread(np.array([0.0, 1.0]), np.array([1.0, 3.0]), np.array([2.0, 2.0])).sides(np.array([0.5, 9.0])).tolist()
        [[2.0, 3.0], [2.0, 2.0]]
        """
        return np.array([np.interp(predictions, self.knots, side) for side in (self.below, self.above)])

    def to_record(self) -> dict[str, list[float]]:
        """The same as plain values, for JSON."""
        return {"knots": self.knots.tolist(), "below": self.below.tolist(), "above": self.above.tolist()}

    @classmethod
    def from_record(cls, record: Mapping[str, Sequence[float]]) -> Self:
        """Raises KeyError or ValueError where the record is of something else."""
        spread = cls(*(np.array(record[name], float) for name in ("knots", "below", "above")))
        if not len(spread.knots) == len(spread.below) == len(spread.above) > 0 or min(spread.below.min(), spread.above.min()) <= 0:
            raise ValueError("expected as many knots as positive widths below and above")
        return spread


def learn_spread(predictions: np.ndarray, labels: np.ndarray, *, level: float) -> Spread | None:
    """The spread of labels around predictions that were made without them.

    Below and above a prediction: the quantiles of the errors, weighted by how near their predictions are in rank, between which
    ``level`` of them lie.

    Parameters
    ----------
    predictions, labels : np.ndarray [shape=(n,)]
    level : float in (0, 1)

    Returns
    -------
    spread : Spread; None for fewer than ``FEWEST_ROWS`` rows, or where no prediction is off
    """
    errors = labels - predictions
    typical = float(np.quantile(np.abs(errors), level)) if len(errors) >= FEWEST_ROWS else 0.0
    if typical == 0:
        return None
    ordered = np.sort(predictions)
    knots = np.unique(np.quantile(ordered, np.linspace(0, 1, KNOTS)))
    apart = _ranks(ordered, knots)[:, None] - _ranks(ordered, predictions)
    weights = np.exp(-0.5 * (apart / BANDWIDTH) ** 2)
    tail = (1 - level) / 2
    below, above = -_quantile(errors, weights, tail), _quantile(errors, weights, 1 - tail)
    return Spread(knots, np.maximum(below, _LEAST * typical), np.maximum(above, _LEAST * typical))


def conformity(errors: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """How far off each label is in units of the spread on its side.

    Parameters
    ----------
    errors : np.ndarray [shape=(n,)], label less prediction
    sides : np.ndarray [shape=(2, n)], as ``Spread.sides``

    Examples
    --------
    >>> conformity(np.array([-2.0, 3.0]), np.array([[1.0, 1.0], [6.0, 6.0]])).tolist()
    [2.0, 0.5]
    """
    return np.where(errors < 0, -errors / sides[0], errors / sides[1])


def _ranks(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Places of values among ordered ones, from 0 to 1."""
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * len(ordered))


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """The weighted quantile by each row of the weights [shape=(k, n)]."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], axis=1)
    place = (reached < share * reached[:, -1:]).sum(axis=1)
    return values[order][np.minimum(place, len(values) - 1)]
