"""A matrix with labels in, out-of-fold predictions and fitted models out. Scores are in the unit of the label.

Nothing is fitted on rows that it is scored on: for each fold, imputation, column dropping, scaling, early stopping and the models
see the fold's training rows only. The ensemble is the mean of its models, and each model the mean of its folds where a clip is new.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core import metrics
from core.engine import map_unordered
from core.errors import DataError, ParameterError, RunError
from core.events import FitFinished, FoldScored, Notify, TrainingStarted, ignore
from core.matrix import Matrix, check_columns
from core.models import CATALOGUE, PRESETS, Regressor, load_skops, make_model, make_preprocessor, save_skops
from core.splits import Fold, make_folds, stopping_split
from core.workspace import make_folder

# Longest first: the pool then ends its fits at about the same time.
_COST = {"random_forest": 5, "catboost": 4, "xgboost": 3, "extra_trees": 2, "lightgbm": 1}


@dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """How an ensemble is trained.

    Attributes
    ----------
    models : tuple of str, names of the catalogue
    preset : str, "fast" or "classic"
    folds : int >= 2
    groups : str or None, column whose rows of one value stay in one fold
    seed : int >= 0
    workers : int >= 0, processes; None takes one for each core, 0 works in this process
    """

    models: tuple[str, ...] = tuple(CATALOGUE)
    preset: str = "fast"
    folds: int = 5
    groups: str | None = None
    seed: int = 42
    workers: int | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.models if name not in CATALOGUE]
        if unknown or not self.models:
            raise ParameterError(f"models={','.join(self.models)!r}: {unknown or 'nothing'} not among {', '.join(CATALOGUE)}")
        if len(set(self.models)) < len(self.models):
            raise ParameterError(f"models={','.join(self.models)!r} names a model twice")
        if self.preset not in PRESETS:
            raise ParameterError(f"preset={self.preset!r} not among {', '.join(PRESETS)}")
        if self.groups is not None and not self.groups.strip():
            raise ParameterError("groups='' names no column; leave the option out to train without groups")
        if self.folds < 2:
            raise ParameterError(f"folds={self.folds} must be 2 or more")
        if not 0 <= self.seed < 2**31:
            raise ParameterError(f"seed={self.seed} must be 0 or more and below 2147483648")


@dataclass(frozen=True, slots=True)
class EnsembleResult:
    """What training found.

    Attributes
    ----------
    plan : tuple of Fold
    oof : dict of model name to np.ndarray [shape=(n,)], out-of-fold predictions
    oof_ensemble : np.ndarray [shape=(n,)], their mean
    oof_constant : np.ndarray [shape=(n,)], the mean label of the other folds: what knowing nothing of the clip predicts
    labels : np.ndarray [shape=(n,)]
    """

    plan: tuple[Fold, ...]
    oof: dict[str, np.ndarray]
    oof_ensemble: np.ndarray
    oof_constant: np.ndarray
    labels: np.ndarray

    def fold_rmse(self, predictions: np.ndarray) -> list[float]:
        """RMSE of out-of-fold predictions in each fold."""
        return [metrics.rmse(self.labels[fold.test_rows], predictions[fold.test_rows]) for fold in self.plan]

    def scores(self) -> dict[str, object]:
        """All figures of the run, by the names under which it is stored and printed."""
        ensemble = metrics.evaluate(self.labels, self.oof_ensemble)
        fold_rmse = self.fold_rmse(self.oof_ensemble)
        models = {}
        for name, predictions in self.oof.items():
            per_fold = self.fold_rmse(predictions)
            models[name] = {
                "oof_rmse": metrics.rmse(self.labels, predictions),
                "fold_rmse": per_fold,
                "fold_rmse_mean": float(np.mean(per_fold)),
                "fold_rmse_std": float(np.std(per_fold)),
            }
        return {
            "fold_rmse": fold_rmse,
            "fold_rmse_mean": float(np.mean(fold_rmse)),
            "fold_rmse_std": float(np.std(fold_rmse)),
            "oof_rmse": ensemble["rmse"],
            "oof_mae": ensemble["mae"],
            "oof_pearson": ensemble["pearson"],
            "oof_r2": ensemble["r2"],
            "constant_rmse": metrics.rmse(self.labels, self.oof_constant),
            "models": models,
        }


def train_ensemble(matrix: Matrix, settings: EnsembleSettings, *, folder: Path, notify: Notify = ignore) -> EnsembleResult:
    """Fit every model on every fold, side by side, and score each row by the models that have not seen it.

    Parameters
    ----------
    matrix : Matrix with labels, and with groups where the settings name a column
    settings : EnsembleSettings
    folder : where the models are written: ``fold<k>/preprocess.skops`` and a file for each model
    notify : called with TrainingStarted, FitFinished and FoldScored

    Returns
    -------
    result : EnsembleResult

    Raises
    ------
    DataError
        The labels of a fold's training rows are all equal, or a fit failed.
    """
    plan = make_folds(len(matrix.y), folds=settings.folds, seed=settings.seed, groups=matrix.groups)
    check_plan(plan, matrix.y)
    for number, fold in enumerate(plan):
        _fit_preprocessor(matrix, fold, folder / f"fold{number}")

    oof = {name: np.full(len(matrix.y), np.nan) for name in settings.models}
    with tempfile.TemporaryDirectory(prefix="earmark-") as scratch:
        shared = Path(scratch) / "matrix.npy"
        np.save(shared, matrix.X)
        tasks = []
        for name in sorted(settings.models, key=lambda name: -_COST[name]):
            for number, fold in enumerate(plan):
                fit_rows, _ = stopping_split(fold.train_rows, matrix.y, seed=settings.seed, groups=matrix.groups)
                stopping = ~np.isin(fold.train_rows, fit_rows)
                where = folder / f"fold{number}"
                tasks.append(_FitTask(name, settings.preset, settings.seed, number, shared, matrix.y, fold, stopping, where))
        notify(TrainingStarted(fits=len(tasks)))
        open_fits = {number: len(settings.models) for number in range(len(plan))}
        for outcome in map_unordered(_fit, tasks, workers=settings.workers):
            task = outcome.item
            if outcome.value is None:
                raise DataError(f"{task.model} could not be fitted on fold {task.number + 1}: {outcome.error}")
            rows = task.fold.test_rows
            oof[task.model][rows] = outcome.value.predictions
            rmse = metrics.rmse(matrix.y[rows], outcome.value.predictions)
            notify(FitFinished(task.model, task.number, rmse, outcome.value.rounds, outcome.value.seconds))
            open_fits[task.number] -= 1
            if open_fits[task.number] == 0:
                blend = np.mean([oof[name][rows] for name in settings.models], axis=0)
                notify(FoldScored(task.number, metrics.rmse(matrix.y[rows], blend)))

    constant = np.empty(len(matrix.y))
    for fold in plan:
        constant[fold.test_rows] = matrix.y[fold.train_rows].mean()
    return EnsembleResult(tuple(plan), oof, np.mean(list(oof.values()), axis=0), constant, matrix.y)


def check_plan(plan: Sequence[Fold], labels: np.ndarray) -> None:
    """Refuse a plan with a fold that has nothing to learn.

    Raises
    ------
    DataError
        The labels of a fold's training rows are all equal.
    """
    for number, fold in enumerate(plan):
        if np.ptp(labels[fold.train_rows]) == 0:
            raise DataError(f"fold {number + 1} would train on {len(fold.train_rows)} rows of one label; use other folds or groups")


class Ensemble:
    """Fitted models of all folds; predicts new clips.

    Parameters
    ----------
    members : dict of model name to list, one a fold, of (preprocessor, regressor)
    names : columns that a matrix must have
    """

    def __init__(self, members: dict[str, list[tuple[object, Regressor]]], names: Sequence[str]):
        self.members = members
        self.names = tuple(names)
        self.scores_: dict[str, object] = {}

    @classmethod
    def load(cls, folder: Path, *, models: Sequence[str], folds: int, names: Sequence[str]) -> "Ensemble":
        """Read the models that ``train_ensemble`` wrote.

        Raises
        ------
        RunError
            A file is missing or damaged, or a model is not of the catalogue.
        """
        from sklearn.pipeline import Pipeline

        if unknown := [name for name in models if name not in CATALOGUE]:
            raise RunError(f"{folder}: models {unknown} are not among {', '.join(CATALOGUE)}; the run is of another version")
        members: dict[str, list[tuple[object, Regressor]]] = {name: [] for name in models}
        for number in range(folds):
            where = folder / f"fold{number}"
            preprocessor = load_skops(where / "preprocess.skops", Pipeline)
            for name in models:
                path = where / f"{name}{CATALOGUE[name].suffix}"
                if not path.is_file():
                    raise RunError(f"{path}: the model is missing; train again")
                members[name].append((preprocessor, _load_model(name, path)))
        return cls(members, names)

    def predict_models(self, X: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Predictions of each model, the mean over its folds.

        Parameters
        ----------
        X : np.ndarray [shape=(n, d)], NaN where a feature is not defined
        names : sequence of str [d]

        Returns
        -------
        predictions : dict of model name to np.ndarray [shape=(n,)]

        Raises
        ------
        DataError
            The columns are not those that the models were trained on.
        """
        check_columns(names, self.names)
        return {
            name: np.mean([regressor.predict(preprocessor.transform(X)) for preprocessor, regressor in folds], axis=0)  # type: ignore[attr-defined]
            for name, folds in self.members.items()
        }

    def predict(self, X: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Predictions of the ensemble [shape=(n,)]: the mean of its models. Parameters as ``predict_models``."""
        return np.mean(list(self.predict_models(X, names).values()), axis=0)


@dataclass(frozen=True, slots=True)
class _FitTask:
    model: str
    preset: str
    seed: int
    number: int
    matrix_path: Path
    labels: np.ndarray
    fold: Fold
    stopping: np.ndarray  # among the fold's training rows
    folder: Path


@dataclass(frozen=True, slots=True)
class _FitResult:
    predictions: np.ndarray
    rounds: int | None
    seconds: float


def _fit(task: _FitTask) -> _FitResult:
    from sklearn.pipeline import Pipeline

    started = time.perf_counter()
    X = np.load(task.matrix_path, mmap_mode="r")
    preprocessor = load_skops(task.folder / "preprocess.skops", Pipeline)
    model = make_model(task.model, preset=task.preset, seed=task.seed)
    model.fit(preprocessor.transform(X[task.fold.train_rows]), task.labels[task.fold.train_rows], task.stopping)
    path = task.folder / f"{task.model}{model.suffix}"
    model.save(path)
    predictions = model.predict(preprocessor.transform(X[task.fold.test_rows]))
    return _FitResult(predictions, model.rounds_, time.perf_counter() - started)


def _fit_preprocessor(matrix: Matrix, fold: Fold, folder: Path) -> None:
    make_folder(folder)
    save_skops(make_preprocessor().fit(matrix.X[fold.train_rows]), folder / "preprocess.skops")


def _load_model(name: str, path: Path) -> Regressor:
    try:
        return CATALOGUE[name].load(path)
    except RunError:
        raise
    except Exception as error:  # each library has its own error for a damaged file
        raise RunError(
            f"{path}: not a readable model ({type(error).__name__}: {str(error).splitlines()[0]}); train again"
        ) from None
