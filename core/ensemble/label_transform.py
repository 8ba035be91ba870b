"""Labels of heavy tails or many decades in, labels of about even spread out, and predictions back on the labels' own scale.

A transform is learned from the labels of the rows that a model is fitted on, and from no others.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from core.ensemble.regressor import OnRound, Regressor
from core.errors import DataError, RunError

NONE, LOG, YEO_JOHNSON = "none", "log", "yeo-johnson"
LABEL_TRANSFORMS = (NONE, LOG, YEO_JOHNSON)
POWERS = (-2.0, 4.0)  # of Yeo-Johnson: beyond them a few odd labels bend all others flat, and the way back overflows
MARGIN = 0.05  # of the range of the transformed labels, by which predictions may leave it


@dataclass(frozen=True, slots=True)
class LabelTransform:
    """A transform as some labels have taught it. Transformed labels have the mean 0 and the standard deviation 1.

    Attributes
    ----------
    name : "log" or "yeo-johnson"
    unit : float > 0, that labels are divided by first, so that the transform is the same in any unit
    power : float, the exponent of Yeo and Johnson; 0 for "log"
    mean, std : float, of the transformed labels before they are standardised
    low, high : float, what transformed predictions are clipped to
    """

    name: str
    unit: float
    power: float
    mean: float
    std: float
    low: float
    high: float

    def forward(self, labels: np.ndarray) -> np.ndarray:
        """Transformed labels [shape=(n,)] of labels [shape=(n,)].

        Raises
        ------
        DataError
            A label is not above 0, for "log".
        """
        if self.name == LOG:
            check_labels(self.name, labels)
        return (_bend(self.name, labels / self.unit, self.power) - self.mean) / self.std

    def inverse(self, transformed: np.ndarray) -> np.ndarray:
        """Predictions on the labels' own scale [shape=(n,)] of transformed ones [shape=(n,)].

        They are clipped to the range of the training labels and a margin of ``MARGIN`` beyond it first: the inverse is an
        exponential or a power, so a prediction a little outside would otherwise become a huge number, an overflow, or, beyond
        the pole of the power, no number at all.
        """
        inside = np.clip(transformed, self.low, self.high)
        return self.unit * _unbend(self.name, self.std * inside + self.mean, self.power)

    def to_record(self) -> dict[str, Any]:
        """As ``ensemble.json`` has it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what ``to_record`` gave.

        Raises
        ------
        RunError
            The transform is not of this version.
        """
        if record["name"] not in (LOG, YEO_JOHNSON):
            raise RunError(f"label transform {record['name']!r} is not among {LOG}, {YEO_JOHNSON}; the run is of another version")
        return cls(record["name"], *(float(record[name]) for name in ("unit", "power", "mean", "std", "low", "high")))


def check_labels(name: str, labels: np.ndarray) -> None:
    """Refuse labels that a transform is not defined for.

    Raises
    ------
    DataError
        Labels are not above 0, for "log".
    """
    if name == LOG and (outside := int(np.sum(labels <= 0))):
        verb = "is" if outside == 1 else "are"
        raise DataError(f"log needs labels above 0; {outside} of {len(labels)} {verb} not; choose {YEO_JOHNSON}")


def learn_transform(name: str, labels: np.ndarray) -> LabelTransform | None:
    """Learn a transform from labels.

    "yeo-johnson" is the power transform of Yeo and Johnson (2000) with the exponent of the highest likelihood, on labels divided by
    their mean absolute value.

    Parameters
    ----------
    name : str, of ``LABEL_TRANSFORMS``
    labels : np.ndarray [shape=(n,)], of the rows that are fitted

    Returns
    -------
    transform : LabelTransform, or None for "none"

    Raises
    ------
    DataError
        Labels are not above 0, for "log".

    Examples
    --------
    >>> transform = learn_transform("log", np.array([1e-3, 1.0, 1e3]))
    >>> transform.forward(np.array([1e-3, 1.0, 1e3])).round(4).tolist()
    [-1.2247, 0.0, 1.2247]
    >>> bool(transform.inverse(np.array([99.0]))[0] < 1e4)
    True
    """
    if name == NONE:
        return None
    check_labels(name, labels)
    unit, power = 1.0, 0.0
    if name == YEO_JOHNSON:
        from scipy.stats import yeojohnson_normmax

        unit = float(np.abs(labels).mean()) or 1.0
        power = float(np.clip(yeojohnson_normmax(labels / unit), *POWERS)) if np.ptp(labels) else 1.0
    bent = _bend(name, labels / unit, power)
    mean, std = float(bent.mean()), float(bent.std()) or 1.0
    ends = (np.array([bent.min(), bent.max()]) - mean) / std
    margin = MARGIN * np.ptp(ends)
    wide = ends + np.array([-margin, margin])
    with np.errstate(all="ignore"):
        defined = np.isfinite(_unbend(name, std * wide + mean, power))  # a power below 0 has a pole
    low, high = np.where(defined, wide, ends).tolist()
    return LabelTransform(name, unit, power, mean, std, low, high)


class TransformedLabels(Regressor):
    """A regressor that is fitted to transformed labels; labels come in and predictions go out on the labels' own scale.

    ``on_round`` is called with the RMSE of transformed labels, in their standard deviations.
    """

    def __init__(self, regressor: Regressor, transform: LabelTransform):
        super().__init__(regressor.parameters, regressor.seed)
        self.regressor, self.transform = regressor, transform

    def fit(self, X: np.ndarray, y: np.ndarray, stopping: np.ndarray, *, on_round: OnRound | None = None) -> Self:
        self.regressor.fit(X, self.transform.forward(y), stopping, on_round=on_round)
        self.rounds_ = self.regressor.rounds_
        return self

    def _find_rounds(self, X: np.ndarray, y: np.ndarray, X_stop: np.ndarray, y_stop: np.ndarray, on_round: OnRound) -> int | None:
        forward = self.transform.forward
        return self.regressor._find_rounds(X, forward(y), X_stop, forward(y_stop), on_round)

    def _fit(self, X: np.ndarray, y: np.ndarray, rounds: int | None) -> None:
        self.regressor._fit(X, self.transform.forward(y), rounds)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.transform.inverse(self.regressor.predict(X))

    def save(self, path: Path) -> None:
        """Write the regressor; the transform stands in ``ensemble.json``."""
        self.regressor.save(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        raise NotImplementedError("core.ensemble.fitted.load_fold puts the regressor and its transform together")


def on_labels(regressor: Regressor, transform: LabelTransform | None) -> Regressor:
    """The regressor, fitted to transformed labels where there is a transform."""
    return regressor if transform is None else TransformedLabels(regressor, transform)


def _bend(name: str, values: np.ndarray, power: float) -> np.ndarray:
    if name == LOG:
        return np.log(values)
    from scipy.special import boxcox1p

    return np.where(values >= 0, boxcox1p(np.maximum(values, 0), power), -boxcox1p(np.maximum(-values, 0), 2 - power))


def _unbend(name: str, bent: np.ndarray, power: float) -> np.ndarray:
    if name == LOG:
        return np.exp(bent)
    from scipy.special import inv_boxcox1p

    return np.where(bent >= 0, inv_boxcox1p(np.maximum(bent, 0), power), -inv_boxcox1p(np.maximum(-bent, 0), 2 - power))
