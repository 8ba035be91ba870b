"""A matrix with labels in, out-of-fold predictions and fitted models out. Scores are in the unit of the label.

Nothing is fitted on rows that it is scored on: for each fold, imputation, column dropping, scaling, early stopping and the models
see the fold's training rows only. The ensemble is the mean of its models, and each model the mean of its folds where a clip is new.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from core import __version__, metrics
from core.cache import content_hash
from core.engine import map_unordered
from core.errors import DataError, ParameterError, RunError
from core.events import FitFinished, FoldScored, Notify, TrainingStarted, ignore
from core.matrix import Matrix, check_columns
from core.models import CATALOGUE, PRESETS, Regressor, load_skops, make_model, save_skops
from core.splits import Fold, make_folds, stopping_split
from core.workspace import make_folder, write_whole

# Longest first: the pool then ends its fits at about the same time.
_COST = {"random_forest": 5, "catboost": 4, "xgboost": 3, "extra_trees": 2, "lightgbm": 1}
_FITTED_BY = ("numpy", "scikit-learn", "xgboost", "lightgbm", "catboost")


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
        if self.workers is not None and self.workers < 0:
            raise ParameterError(f"workers={self.workers} must be 0 or more")
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


def train_ensemble(
    matrix: Matrix, settings: EnsembleSettings, *, folder: Path, checkpoints: Path | None = None, notify: Notify = ignore
) -> EnsembleResult:
    """Fit every model on every fold, side by side, and score each row by the models that have not seen it.

    Parameters
    ----------
    matrix : Matrix with labels, and with groups where the settings name a column
    settings : EnsembleSettings
    folder : where the models are written: ``fold<k>/preprocess.skops`` and a file for each model
    checkpoints : folder for the out-of-fold predictions of each finished fit; a fit that stands there on the same rows, labels and
        settings, with its model, is not done again
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

    constant = np.empty(len(matrix.y))
    for fold in plan:
        constant[fold.test_rows] = matrix.y[fold.train_rows].mean()
    oof = {name: np.full(len(matrix.y), np.nan) for name in settings.models}
    progress = _Progress(plan, oof, constant, matrix.y, notify)
    home = make_folder(checkpoints or folder)
    for left in home.glob(".scratch-*"):  # by an attempt that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=home) as scratch:
        shared = Path(scratch) / "matrix.npy"
        np.save(shared, matrix.X)
        content = _content(matrix)
        tasks = []
        for name in sorted(settings.models, key=lambda name: -_COST[name]):
            for number, fold in enumerate(plan):
                fit_rows, _ = stopping_split(fold.train_rows, matrix.y, seed=settings.seed, groups=matrix.groups)
                stopping = ~np.isin(fold.train_rows, fit_rows)
                where = folder / f"fold{number}"
                task = _FitTask(name, settings.preset, settings.seed, number, shared, matrix.y, fold, stopping, where)
                tasks.append(
                    replace(task, checkpoint=checkpoints / f"fold{number}-{name}.npz", content=content) if checkpoints else task
                )
        notify(TrainingStarted(fits=len(tasks)))
        done = {(task.model, task.number): result for task in tasks if (result := _finished(task)) is not None}
        for task in tasks:
            if (task.model, task.number) in done:
                progress.add(task, done[task.model, task.number])
        to_do = [task for task in tasks if (task.model, task.number) not in done]
        for outcome in map_unordered(_fit, to_do, workers=settings.workers):
            task = outcome.item
            if outcome.value is None:
                raise DataError(f"{task.model} could not be fitted on fold {task.number + 1}: {outcome.error}")
            progress.add(task, outcome.value)
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


class _Progress:
    """Takes in fits as they end and tells how good the ensemble is so far, on rows that its models have not seen."""

    def __init__(
        self, plan: Sequence[Fold], oof: dict[str, np.ndarray], constant: np.ndarray, labels: np.ndarray, notify: Notify
    ) -> None:
        self._oof, self._constant, self._labels, self._notify = oof, constant, labels, notify
        self._open_fits = [len(oof)] * len(plan)

    def add(self, task: "_FitTask", result: "_FitResult") -> None:
        rows, y = task.fold.test_rows, self._labels
        self._oof[task.model][rows] = result.predictions
        fitted = np.array(list(self._oof.values()))  # (models, n)
        seen = ~np.isnan(fitted).all(axis=0)
        self._notify(
            FitFinished(
                task.model,
                task.number,
                rmse=metrics.rmse(y[rows], result.predictions),
                rounds=result.rounds,
                seconds=result.seconds,
                oof_rmse=metrics.rmse(y[seen], np.nanmean(fitted[:, seen], axis=0)),
                constant_rmse=metrics.rmse(y[seen], self._constant[seen]),
            )
        )
        self._open_fits[task.number] -= 1
        if self._open_fits[task.number] == 0:
            self._notify(FoldScored(task.number, metrics.rmse(y[rows], fitted[:, rows].mean(axis=0))))


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
    checkpoint: Path | None = None
    content: str = ""  # hash of the matrix

    @property
    def model_path(self) -> Path:
        return self.folder / f"{self.model}{CATALOGUE[self.model].suffix}"

    @property
    def key(self) -> str:
        """Hash of all that decides what is fitted, the versions of the libraries included."""
        parameters = json.dumps(CATALOGUE[self.model].presets[self.preset], sort_keys=True)
        libraries = [f"{name} {version(name)}" for name in _FITTED_BY]
        parts = [self.content, self.model, self.preset, parameters, str(self.seed), __version__, *libraries]
        rows = [array.tobytes() for array in (self.fold.train_rows, self.fold.test_rows, self.stopping)]
        return hashlib.blake2b(b"\0".join([*(part.encode() for part in parts), *rows]), digest_size=16).hexdigest()


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
    written = task.model_path.with_name(f".{os.getpid()}-{task.model_path.name}")  # a process of a killed attempt may still write
    model.save(written)
    os.replace(written, task.model_path)
    predictions = model.predict(preprocessor.transform(X[task.fold.test_rows]))
    result = _FitResult(predictions, model.rounds_, time.perf_counter() - started)
    if task.checkpoint is not None:
        _keep(task, task.checkpoint, result)
    return result


def _keep(task: _FitTask, checkpoint: Path, result: _FitResult) -> None:
    made_of = np.array([task.key, content_hash(task.model_path).hex()])
    rounds = -1 if result.rounds is None else result.rounds
    write_whole(
        checkpoint,
        lambda file: np.savez(file, made_of=made_of, predictions=result.predictions, rounds=rounds, seconds=result.seconds),
    )


def _finished(task: _FitTask) -> _FitResult | None:
    """The fit as it was kept, if it is of the same rows and settings and its model is whole."""
    if task.checkpoint is None or not task.checkpoint.is_file() or not task.model_path.is_file():
        return None
    try:
        with np.load(task.checkpoint, allow_pickle=False) as kept:
            if kept["made_of"].tolist() != [task.key, content_hash(task.model_path).hex()]:
                return None
            rounds = int(kept["rounds"])
            return _FitResult(kept["predictions"], None if rounds < 0 else rounds, float(kept["seconds"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # damaged: the fit is done again
        return None


def _content(matrix: Matrix) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in (np.ascontiguousarray(matrix.X), matrix.y):
        digest.update(str(part.shape).encode() + part.tobytes())
    return digest.hexdigest()


def _fit_preprocessor(matrix: Matrix, fold: Fold, folder: Path) -> None:
    from core.preprocess import make_preprocessor

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
