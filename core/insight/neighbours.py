"""A run's training matrix and new rows in, how these differ from it out: columns outside its range, nearest clips, novelty.

A column is taken as robust scaling gives it to a model: what is missing is the median, the quartiles are 1 apart, what lies further
than 3 from the median is brought to 3. Columns that do not vary in training, or equal an earlier one, are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from core.ensemble.fitted import check_columns
from core.extraction.matrix import Matrix
from core.scoring.associations import distinct_columns

NEIGHBOURS = 5
NAMED_COLUMNS = 5
_NAMED_DOUBTS = 3  # columns that a sentence names
LIMIT = 3.0
_USUAL = 0.95  # share of training clips that is called usual
_SAMPLE = 1000  # training clips whose own nearest are looked for
_BLOCK = 512  # rows whose distances are held at once


@dataclass(frozen=True, slots=True)
class FarColumn:
    """A column whose value no training clip comes near.

    Attributes
    ----------
    column : str, as the matrix names it
    value : float
    low, high : float, least and greatest value in training
    spreads : float > 0, how far beyond the nearer end, in distances between the quartiles
    """

    column: str
    value: float
    low: float
    high: float
    spreads: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training clip that is near.

    Attributes
    ----------
    file : str, as the training table spells it
    label : float
    distance : float >= 0, root of the mean squared difference over the columns, in distances between the quartiles
    """

    file: str
    label: float
    distance: float


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Where a clip stands among those that a run was trained on.

    Attributes
    ----------
    columns : int, that vary in training
    outside_count : int, columns whose value is outside of the training range
    outside_usual : int, so many at most has a training clip against all others, in 95 % of cases
    outside : tuple of FarColumn, up to five, the furthest first
    nearest : tuple of Neighbour, up to five, the nearest first
    novelty : float in [0, 1], share of training clips that are nearer to their own nearest than this clip is to its
    """

    columns: int
    outside_count: int
    outside_usual: int
    outside: tuple[FarColumn, ...]
    nearest: tuple[Neighbour, ...]
    novelty: float

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The neighbourhood that a stored prediction holds as JSON; earlier ones name the novelty ``further_than``."""
        return cls(
            columns=record["columns"],
            outside_count=record["outside_count"],
            outside_usual=record["outside_usual"],
            outside=tuple(FarColumn(**far) for far in record["outside"]),
            nearest=tuple(Neighbour(**near) for near in record["nearest"]),
            novelty=record["novelty"] if "novelty" in record else record["further_than"],
        )

    def doubts(self) -> tuple[str, ...]:
        """Why the clip is of another kind than the training clips: more columns outside, or further away, than is usual for them.

        Returns
        -------
        doubts : tuple of str, each without a full stop; empty for a clip like the training clips
        """
        doubts = []
        if self.outside_count > self.outside_usual:
            named = [far.column for far in self.outside[:_NAMED_DOUBTS]]
            more = self.outside_count - len(named)
            columns = ", ".join(named) + (f" and {more} more" if more else "")
            doubts.append(
                f"{self.outside_count:,} of {self.columns:,} features are outside the training range: {columns}; "
                "the models have not seen such a clip"
            )
        if self.novelty > _USUAL:
            share = int(100 * self.novelty)
            distance = "any of them is from its own" if share == 100 else f"{share}% of them are from theirs"
            doubts.append(f"it is unlike the training clips: its nearest is further away than {distance}")
        return tuple(doubts)


class TrainingReference:
    """What is known of a training matrix.

    Parameters
    ----------
    training : Matrix, at least two rows
    """

    def __init__(self, training: Matrix):
        self.training = training
        X = training.X.astype(np.float64)
        finite = np.isfinite(X)
        self.low = np.where(finite, X, np.inf).min(axis=0)
        self.high = np.where(finite, X, -np.inf).max(axis=0)
        self.columns = distinct_columns(training.X)
        known = X[:, self.columns]
        self.centre = np.nanmedian(known, axis=0) if len(self.columns) else np.zeros(0)
        filled = np.where(np.isnan(known), self.centre, known)
        lower, upper = np.percentile(filled, [25, 75], axis=0) if len(self.columns) else (np.zeros(0), np.zeros(0))
        self.spread = np.where(upper > lower, upper - lower, filled.std(axis=0))
        self.spread[self.spread == 0] = 1.0  # the values differ by less than their sums can tell
        self.points = self._scaled(X)
        self.outside_usual = int(np.quantile(self._outside_of_others(known), _USUAL, method="inverted_cdf")) if len(known) else 0
        self.typical = np.sort(self._own_nearest())

    def locate(self, X: np.ndarray, names: Sequence[str]) -> list[Neighbourhood]:
        """Where new rows stand.

        Parameters
        ----------
        X : np.ndarray [shape=(n, d)], NaN where a feature is not defined: that is outside of nothing
        names : sequence of str [d]

        Raises
        ------
        DataError
            The columns are not those of the training.
        """
        check_columns(names, self.training.names)
        values = X[:, self.columns].astype(np.float64)
        low, high = self.low[self.columns], self.high[self.columns]
        with np.errstate(invalid="ignore"):
            beyond = np.fmax(np.fmax(low - values, values - high), 0) / self.spread
        order, distances = self._nearest(self._scaled(X.astype(np.float64)), NEIGHBOURS)
        neighbourhoods = []
        for row in range(len(X)):
            outside = np.flatnonzero(beyond[row] > 0)
            furthest = outside[np.argsort(-beyond[row, outside], kind="stable")][:NAMED_COLUMNS]
            novelty = np.searchsorted(self.typical, distances[row, 0], side="left") / len(self.typical)
            neighbourhoods.append(
                Neighbourhood(
                    columns=len(self.columns),
                    outside_count=len(outside),
                    outside_usual=self.outside_usual,
                    outside=tuple(self._far(column, values[row, column], beyond[row, column]) for column in furthest),
                    nearest=tuple(
                        Neighbour(self.training.filenames[index], float(self.training.y[index]), float(distance))
                        for index, distance in zip(order[row], distances[row], strict=True)
                    ),
                    novelty=float(novelty),
                )
            )
        return neighbourhoods

    def _far(self, column: int, value: float, spreads: float) -> FarColumn:
        index = self.columns[column]
        return FarColumn(self.training.names[index], float(value), float(self.low[index]), float(self.high[index]), float(spreads))

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        values = X[:, self.columns]
        values = np.where(np.isnan(values), self.centre, values)
        return np.clip((values - self.centre) / self.spread, -LIMIT, LIMIT)

    def _outside_of_others(self, known: np.ndarray) -> np.ndarray:
        """In how many columns each training row is alone at an end [shape=(n,)]: outside of the range of all others."""
        count = np.zeros(len(known), int)
        for ends in (known == self.low[self.columns], known == self.high[self.columns]):
            count += (ends & (ends.sum(axis=0) == 1)).sum(axis=1)
        return count

    def _own_nearest(self) -> np.ndarray:
        """Distance of training rows, or of a part that is spread evenly over them, to the nearest other one."""
        n = len(self.points)
        rows = np.linspace(0, n - 1, min(n, _SAMPLE)).astype(int)
        order, distances = self._nearest(self.points[rows], 2)
        own = order[:, 0] == rows
        return np.where(own, distances[:, -1], distances[:, 0])

    def _nearest(self, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest training rows of each point, the nearest first: their numbers and distances [shape=(n, k)]."""
        k = min(k, len(self.points))
        width = max(1, len(self.columns))
        squares = (self.points**2).sum(axis=1)
        order, distances = np.empty((len(points), k), int), np.empty((len(points), k))
        for start in range(0, len(points), _BLOCK):
            block = points[start : start + _BLOCK]
            rough = squares - 2 * block @ self.points.T  # less what is the same for all training rows
            some = min(k + 3, len(self.points))  # rounding may swap those that are equally near
            near = np.argpartition(rough, some - 1, axis=1)[:, :some]
            exact = np.sqrt(((block[:, None, :] - self.points[near]) ** 2).sum(axis=2) / width)
            best = np.lexsort((near, exact), axis=1)[:, :k]
            order[start : start + len(block)] = np.take_along_axis(near, best, axis=1)
            distances[start : start + len(block)] = np.take_along_axis(exact, best, axis=1)
        return order, distances
