"""What one fit of an ensemble takes and gives: shared arrays, a member and a fold in; predictions of rows it has not seen out."""

import hashlib
import json
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from core import __version__
from core.ensemble.kernels import GAIN, WIDTHS
from core.ensemble.label_transform import NONE, LabelTransform, learn_transform
from core.ensemble.members import Member
from core.ensemble.models import CATALOGUE
from core.ensemble.regressor import Parameters
from core.ensemble.search import describe_space
from core.scoring.folds import Fold

Sets = tuple[str, ...]

_FITTED_BY = ("numpy", "scikit-learn", "xgboost", "lightgbm", "catboost")


@dataclass(frozen=True, slots=True)
class FitData:
    """What all fits of a training share. Arrays stand in a folder, so that processes read them in place.

    Attributes
    ----------
    folder : with ``matrix.npy`` [shape=(n, d)], ``copies.npy`` [shape=(K, n, d)] and ``unlabelled.npy`` [shape=(q, d)]
    labels : np.ndarray [shape=(n,)], that are fitted
    groups : tuple of str [n] or None
    sets : dict of feature set to the numbers of its columns
    content : str, hash of the arrays
    """

    folder: Path
    labels: np.ndarray
    groups: tuple[str, ...] | None
    sets: dict[str, tuple[int, ...]]
    content: str

    def columns(self, sets: Sets) -> np.ndarray:
        """Numbers of the columns of some sets."""
        return np.concatenate([np.array(self.sets[name], int) for name in sets])

    def array(self, name: str) -> np.ndarray:
        """One of the arrays of the folder, read in place."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


@dataclass(frozen=True, slots=True)
class FitTask:
    """One member on one fold.

    Attributes
    ----------
    data : FitData
    member : Member
    stem : str, name of the member's files
    preset : str
    scaling : str
    seed : int
    repeat, number : int, from 0, of the repeat and of its fold
    fold : Fold
    inner : tuple of Fold over the fold's training rows, on which sets are chosen and weights learned; empty where nothing is
    augment : int, copies of a training row that are fitted on
    tta : int, copies of a scored row whose predictions are averaged with its own
    pseudo_labels : bool, fit again with the unlabelled rows, as the first fit labels them
    folder : where the model is written
    checkpoint : file for the result, or None
    events : file to which rounds are told, or None
    metric : str, of ``losses.CHOICES``, by which sets and settings are chosen
    trials : int, settings that are tried on ``inner``; with 0 only the sets are chosen
    seconds : float or None, time for the trials
    studies : SQLite file for the trials, or None
    label_transform : str, of ``label_transform.LABEL_TRANSFORMS``, learned from the rows that are fitted
    """

    data: FitData
    member: Member
    stem: str
    preset: str
    scaling: str
    seed: int
    repeat: int
    number: int
    fold: Fold
    inner: tuple[Fold, ...]
    augment: int
    tta: int
    pseudo_labels: bool
    folder: Path
    checkpoint: Path | None
    events: Path | None
    metric: str = "rmse"
    trials: int = 0
    seconds: float | None = None
    studies: Path | None = None
    label_transform: str = NONE

    @property
    def model_path(self) -> Path:
        return self.folder / f"{self.stem}{CATALOGUE[self.member.model].suffix}"

    @property
    def preprocessor_path(self) -> Path:
        return self.folder / f"{self.stem}.preprocess.skops"

    @property
    def fit_seed(self) -> int:
        """The member's own seed or the ensemble's, another one in each repeat."""
        return ((self.seed if self.member.seed is None else self.member.seed) + self.repeat) % 2**31

    def learn_transform(self, rows: np.ndarray) -> LabelTransform | None:
        """The label transform, learned from the labels of some training rows; None where there is none."""
        return learn_transform(self.label_transform, self.data.labels[rows])

    @property
    def key(self) -> str:
        """Hash of all that decides what is fitted, the versions of the libraries included; the time for a search is not in it."""
        return self._hash(self._space | {"trials": self.trials} if self.trials else {})

    @property
    def study(self) -> str:
        """Name of the search: a hash of all that decides its trials, but not of how many there are."""
        return f"{self.member.name[:100]} {self._hash(self._space)}"

    @property
    def _space(self) -> dict[str, Any]:
        return {"space": describe_space(self.member.model), "searched_by": version("optuna")}

    def _hash(self, more: dict[str, Any]) -> str:
        of = {
            "content": self.data.content,
            "sets": self.data.sets,
            "member": self.member.name,
            "parameters": self.member.all_parameters(self.preset),
            "rough": CATALOGUE[self.member.model].rough,
            "choices": [CATALOGUE[self.member.model].choices, CATALOGUE[self.member.model].most_columns, WIDTHS, GAIN],
            "settings": [self.preset, self.scaling, self.fit_seed, self.augment, self.tta, self.pseudo_labels],
            "groups": self.data.groups,
            "versions": [__version__, *(version(name) for name in _FITTED_BY)],
            **({} if self.metric == "rmse" else {"metric": self.metric}),
            **({} if self.label_transform == NONE else {"label_transform": self.label_transform}),
            **more,
        }
        rows = [rows.tobytes() for fold in (self.fold, *self.inner) for rows in (fold.train_rows, fold.test_rows)]
        return hashlib.blake2b(b"\0".join([json.dumps(of, sort_keys=True).encode(), *rows]), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a fit found.

    Attributes
    ----------
    predictions : np.ndarray [shape=(k,)], of the fold's test rows, averaged over their copies where there are some
    plain : np.ndarray [shape=(k,)], without the copies
    inner : np.ndarray [shape=(j,)], of the fold's training rows by the inner split; empty without one
    sets : tuple of str
    rounds : int or None
    seconds : float
    parameters : dict, found by a search, over those of the member
    """

    predictions: np.ndarray
    plain: np.ndarray
    inner: np.ndarray
    sets: Sets
    rounds: int | None
    seconds: float
    parameters: Parameters = field(default_factory=dict)
