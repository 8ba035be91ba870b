"""Fitted models on disk in, predictions of new clips with their intervals out. Predictions are in the unit of the label.

``ensemble.train_ensemble`` writes the folder: ``ensemble.json`` says what stands where and how it is put together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.ensemble.blend import clip_and_round
from core.ensemble.label_transform import LabelTransform, on_labels
from core.ensemble.models import CATALOGUE
from core.ensemble.regressor import Regressor
from core.ensemble.storage import load_skops
from core.errors import DataError, FileError, RunError
from core.scoring import intervals
from core.scoring.spread import Spread
from core.workspace import read_json

LAYOUT = "ensemble.json"


@dataclass(frozen=True, slots=True)
class FoldModel:
    """The members of one fold, fitted, and how they are put together.

    Attributes
    ----------
    members : dict of name to (preprocessor, regressor, numbers of its columns)
    weights : np.ndarray [shape=(m,)]
    low, high : float, range of the labels that they were trained on
    spread : Spread, in whose units the fold's errors are; None where intervals have one width
    """

    members: dict[str, tuple[object, Regressor, np.ndarray]]
    weights: np.ndarray
    low: float
    high: float
    spread: Spread | None = None

    def predict_members(self, X: np.ndarray) -> np.ndarray:
        """Predictions of each member [shape=(n, m)] inside the range of the labels, from rows [shape=(n, d)]."""
        scored = [
            regressor.predict(preprocessor.transform(X[:, columns]))  # type: ignore[attr-defined]
            for preprocessor, regressor, columns in self.members.values()
        ]
        return np.clip(np.column_stack(scored), self.low, self.high)


@dataclass(frozen=True, slots=True)
class Predicted:
    """What an ensemble says of new clips. Arrays are [shape=(n,)].

    Attributes
    ----------
    value : np.ndarray
    low, high : np.ndarray, ends of the interval
    members : dict of member name to np.ndarray
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    members: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Fitted models of all folds; predicts new clips.

    Attributes
    ----------
    folds : tuple of FoldModel
    names : tuple of str, columns that a matrix must have
    level : float, share of labels that an interval is to cover
    residuals : np.ndarray [shape=(k,)], absolute out-of-fold errors, in units of the fold's spread where it has one
    model_of : np.ndarray [shape=(k,)], int, the fold's model that made the error
    rows : int, clips that were trained on; each has made an error in every repeat
    step : float or None, the grid that predictions are brought to
    scores_ : dict, figures of the training where it was done in this process
    """

    folds: tuple[FoldModel, ...]
    names: tuple[str, ...]
    level: float
    residuals: np.ndarray
    model_of: np.ndarray
    rows: int
    step: float | None = None
    scores_: dict[str, object] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Ensemble":
        """Read the models that ``train_ensemble`` wrote.

        Raises
        ------
        RunError
            A file is missing or damaged, or a model is not of the catalogue.
        """
        path = folder / LAYOUT
        try:
            layout = read_json(path)
            names = tuple(layout["names"])
            folds = tuple(load_fold(folder, one, len(names)) for one in layout["folds"])
            residuals, model_of = np.array(layout["residuals"], float), np.array(layout["model_of"], int)
            return cls(folds, names, float(layout["level"]), residuals, model_of, int(layout["rows"]), layout["step"])
        except FileNotFoundError:
            raise RunError(f"{path}: the models are missing, or of an earlier version of Earmark; train again") from None
        except (FileError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path}: not a readable description of models ({error}); train again") from None

    def score(self, X: np.ndarray, names: Sequence[str], *, copies: np.ndarray | None = None) -> Predicted:
        """Predictions with their members and intervals.

        Parameters
        ----------
        X : np.ndarray [shape=(n, d)], NaN where a feature is not defined
        names : sequence of str [d]
        copies : np.ndarray [shape=(K, n, d)], augmented copies whose predictions are averaged with the clip's own

        Returns
        -------
        predicted : Predicted

        Raises
        ------
        DataError
            The columns are not those that the models were trained on.
        """
        check_columns(names, self.names)
        rows = [X] if copies is None else [X, *copies]
        by_fold = [np.mean([fold.predict_members(some) for some in rows], axis=0) for fold in self.folds]  # each (n, m)
        blended = np.array(
            [np.clip(one @ fold.weights, fold.low, fold.high) for one, fold in zip(by_fold, self.folds, strict=True)]
        )  # (folds, n)
        least, most = min(fold.low for fold in self.folds), max(fold.high for fold in self.folds)
        spreads = [fold.spread for fold in self.folds if fold.spread is not None]
        sides = np.array([spread.sides(one) for spread, one in zip(spreads, blended, strict=True)]) if spreads else None
        low, high = intervals.cv_plus(blended, self.residuals, self.model_of, level=self.level, rows=self.rows, sides=sides)
        return Predicted(
            clip_and_round(blended.mean(axis=0), least, most, self.step),
            np.clip(low, least, most),
            np.clip(high, least, most),
            dict(zip(self.folds[0].members, np.mean(by_fold, axis=0).T, strict=True)),
        )

    def predict(self, X: np.ndarray, names: Sequence[str], *, copies: np.ndarray | None = None) -> np.ndarray:
        """Predictions [shape=(n,)]. Parameters as ``score``."""
        return self.score(X, names, copies=copies).value


def load_fold(folder: Path, layout: dict[str, object], width: int) -> FoldModel:
    """The models of one fold, as an entry of ``folds`` in ensemble.json names them; ``width`` is the number of columns.

    Raises
    ------
    RunError
        A file is missing or damaged, or a model is not of the catalogue.
    """
    from sklearn.pipeline import Pipeline

    members: dict[str, tuple[object, Regressor, np.ndarray]] = {}
    transform = LabelTransform.from_record(layout["label_transform"]) if "label_transform" in layout else None  # type: ignore[arg-type]
    weights = []
    for one in layout["members"]:  # type: ignore[attr-defined]
        if one["model"] not in CATALOGUE:
            raise RunError(f"{folder}: model {one['model']!r} is not among {', '.join(CATALOGUE)}; the run is of another version")
        preprocessor, model = (folder / file for file in one["files"])
        for path in (preprocessor, model):
            if not path.is_file():
                raise RunError(f"{path}: the model is missing; train again")
        columns = np.array(one["columns"], int)
        if columns.min() < 0 or columns.max() >= width:
            raise RunError(f"{folder / LAYOUT}: {one['name']} takes columns that are not there; train again")
        regressor = on_labels(_load_model(one["model"], model), transform)
        members[one["name"]] = (load_skops(preprocessor, Pipeline), regressor, columns)
        weights.append(float(one["weight"]))
    spread = Spread.from_record(layout["spread"]) if "spread" in layout else None  # type: ignore[arg-type]
    return FoldModel(members, np.array(weights), float(layout["low"]), float(layout["high"]), spread)  # type: ignore[arg-type]


def _load_model(name: str, path: Path) -> Regressor:
    try:
        return CATALOGUE[name].load(path)
    except RunError:
        raise
    except Exception as error:  # each library has its own error for a damaged file
        raise RunError(
            f"{path}: not a readable model ({type(error).__name__}: {str(error).splitlines()[0]}); train again"
        ) from None


def check_columns(received: Sequence[str], expected: Sequence[str]) -> None:
    """Refuse a matrix whose columns are not those that a model was trained on.

    Raises
    ------
    DataError
        Names or their order differ.
    """
    if tuple(received) == tuple(expected):
        return
    have = set(received)
    missing = [name for name in expected if name not in have]
    if missing:
        what = f"first missing: {', '.join(missing[:3])}"
    else:
        wanted = set(expected)
        extra = [name for name in received if name not in wanted]
        what = f"first that were not expected: {', '.join(extra[:3])}" if extra else "the same names in another order"
    raise DataError(f"expected {len(expected)} columns, received {len(received)}; {what}")
