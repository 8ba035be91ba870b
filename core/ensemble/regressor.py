"""What every base regressor of an ensemble shares: it is fitted, predicts, is stored without pickle and loaded again.

Every regressor has the same shape: ``fit(X, y, stopping)``, ``predict(X)``, ``save(path)``, ``load(path)``. X is float64
[shape=(n, d)] without NaN, y float64 [shape=(n,)]. Each works in one thread: fits run side by side.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

PRESETS = ("fast", "classic")
Parameters = dict[str, Any]
OnRound = Callable[[int, float], None]


class Regressor(ABC):
    """What all base regressors share.

    Attributes
    ----------
    name : str, in the catalogue
    suffix : str, of the file that ``save`` writes
    presets : dict of preset name to parameters of the library
    rough : dict, parameters over those of a preset that make a fit several times cheaper and a little worse: for choices
    settable : tuple of str, parameters that a member may name
    cost : float, how long a fit takes beside those of other models
    explain_cost : float, how long the contributions to a row take beside those of boosting
    most_columns : int or None, columns that are fitted at most: those that go best with the labels of the training rows
    choices : tuple of dict, parameters that are tried on the inner split of a fold; the first one is the preset's
    rounds_ : int or None, boosting rounds of the fitted model
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    presets: ClassVar[dict[str, Parameters]]
    rough: ClassVar[Parameters] = {}
    settable: ClassVar[tuple[str, ...]]
    cost: ClassVar[float]
    explain_cost: ClassVar[float] = 1.0
    most_columns: ClassVar[int | None] = None
    choices: ClassVar[tuple[Parameters, ...]] = ({},)

    def __init__(self, parameters: Parameters, seed: int):
        self.parameters = parameters
        self.seed = seed
        self.rounds_: int | None = None

    def fit(self, X: np.ndarray, y: np.ndarray, stopping: np.ndarray, *, on_round: OnRound | None = None) -> Self:
        """Fit to all rows.

        Parameters
        ----------
        X : np.ndarray [shape=(n, d)]
        y : np.ndarray [shape=(n,)]
        stopping : np.ndarray [shape=(n,)], bool, the rows that early stopping looks at; without any, all rounds are fitted
        on_round : called after each round of the search for their number, with its number from 1 and the RMSE of ``stopping``
        """
        if stopping.any():
            self.rounds_ = self._find_rounds(X[~stopping], y[~stopping], X[stopping], y[stopping], on_round or _ignore_round)
        else:
            self.rounds_ = self.parameters.get("rounds")
        self._fit(X, y, self.rounds_)
        return self

    @abstractmethod
    def _find_rounds(
        self, X: np.ndarray, y: np.ndarray, X_stop: np.ndarray, y_stop: np.ndarray, on_round: OnRound
    ) -> int | None: ...

    @abstractmethod
    def _fit(self, X: np.ndarray, y: np.ndarray, rounds: int | None) -> None: ...

    @abstractmethod
    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predictions [shape=(n,)], float64."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the fitted model in the library's own exchange format."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> Self:
        """Read a fitted model; it predicts exactly what the saved one did."""


def _ignore_round(number: int, rmse: float) -> None:
    """Ignore a boosting round."""
