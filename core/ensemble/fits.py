"""One fit of a member on a fold, in a process of its own: what it needs in, its predictions of rows that it has not seen out.

All that learns is in here and sees the fold's training rows only: imputation, dropping, scaling, the choice of feature sets, early
stopping, the model, and the teacher of pseudo-labels. Copies of a clip (augmented ones) stay with their clip.
"""

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from core import __version__
from core.ensemble.members import Member
from core.ensemble.models import CATALOGUE, make_model
from core.ensemble.regressor import Parameters
from core.ensemble.search import Budget, Space, Study, describe_space, search
from core.ensemble.storage import save_skops
from core.events import EventLog, RoundsScored
from core.runtime.cache import content_hash
from core.scoring.folds import Fold, stopping_split
from core.workspace import make_folder, write_whole

Sets = tuple[str, ...]

# Standard errors by which a combination of sets must be better than all sets together, and parameters better than the own ones.
EVIDENCE = 2.0
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
    trials : int, settings that are tried on ``inner``; with 0 only the sets are chosen
    seconds : float or None, time for the trials
    studies : SQLite file for the trials, or None
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
    trials: int = 0
    seconds: float | None = None
    studies: Path | None = None

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
            "settings": [self.preset, self.scaling, self.fit_seed, self.augment, self.tta, self.pseudo_labels],
            "groups": self.data.groups,
            "versions": [__version__, *(version(name) for name in _FITTED_BY)],
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


def candidates(sets: Sequence[str]) -> list[Sets]:
    """Combinations of feature sets that a member without sets of its own tries: each alone, all but one, and all.

    Examples
    --------
    >>> candidates(["a", "b", "c"])
    [('a',), ('b',), ('c',), ('a', 'b'), ('a', 'c'), ('b', 'c'), ('a', 'b', 'c')]
    """
    sizes = {1, len(sets) - 1, len(sets)} - {0}
    return [some for size in sorted(sizes) for some in combinations(sets, size)]


def fit(task: FitTask) -> FitResult:
    """Choose the sets, fit, write the model, predict. Runs in a worker process."""
    from core.ensemble.preprocess import make_preprocessor

    started = time.perf_counter()
    data, y, train, test = task.data, task.data.labels, task.fold.train_rows, task.fold.test_rows
    sets, found, inner = _choose(task)
    parameters = task.member.all_parameters(task.preset) | found
    X, copies = _array(data, "matrix"), _array(data, "copies") if task.augment or task.tta else None
    columns = data.columns(sets)

    def rows(some: np.ndarray, number: int) -> np.ndarray:
        return np.concatenate([X[some][:, columns], *(copies[copy][some][:, columns] for copy in range(number))])  # type: ignore[index]

    known, labels = rows(train, task.augment), np.tile(y[train], 1 + task.augment)
    fit_rows, _ = stopping_split(train, y, seed=task.seed + task.repeat, groups=data.groups)
    stopping = np.concatenate([~np.isin(train, fit_rows)] * (1 + task.augment))
    preprocessor = make_preprocessor(task.scaling).fit(known)
    model = make_model(task.member.model, parameters=parameters, seed=task.fit_seed)
    with _Rounds(task) as told:
        model.fit(preprocessor.transform(known), labels, stopping, on_round=told)
    if task.pseudo_labels:
        new = _array(data, "unlabelled")[:, columns]
        low, high = labels.min(), labels.max()
        taught = np.clip(model.predict(preprocessor.transform(new)), low, high)
        model = make_model(task.member.model, parameters=parameters, seed=task.fit_seed)
        more = np.concatenate([known, new])
        model.fit(
            preprocessor.transform(more), np.concatenate([labels, taught]), np.concatenate([stopping, np.zeros(len(new), bool)])
        )

    _write(task.preprocessor_path, lambda path: save_skops(preprocessor, path))
    _write(task.model_path, model.save)
    scored = model.predict(preprocessor.transform(rows(test, task.tta))).reshape(1 + task.tta, len(test))
    result = FitResult(scored.mean(axis=0), scored[0], inner, sets, model.rounds_, time.perf_counter() - started, found)
    if task.checkpoint is not None:
        _keep(task, task.checkpoint, result)
    return result


def finished(task: FitTask) -> FitResult | None:
    """The fit as it was kept, if it is of the same rows and settings and its files are whole."""
    paths = (task.model_path, task.preprocessor_path)
    if task.checkpoint is None or not task.checkpoint.is_file() or not all(path.is_file() for path in paths):
        return None
    try:
        with np.load(task.checkpoint, allow_pickle=False) as kept:
            if kept["made_of"].tolist() != [task.key, *(content_hash(path).hex() for path in paths)]:
                return None
            rounds = int(kept["rounds"])
            return FitResult(
                kept["predictions"],
                kept["plain"],
                kept["inner"],
                tuple(kept["sets"].tolist()),
                None if rounds < 0 else rounds,
                float(kept["seconds"]),
                json.loads(kept["parameters"].item()),
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # damaged: the fit is done again
        return None


def _choose(task: FitTask) -> tuple[Sets, Parameters, np.ndarray]:
    """The member's sets, parameters over its own, and its predictions of the fold's training rows by the inner split.

    All sets together unless others are clearly better, and on them the member's own parameters unless those that a search found
    are clearly better: a few hundred rows tell settings apart so badly that the best of many is mostly the luckiest.
    """
    open_to_choice = [task.member.sets] if task.member.sets else candidates(list(task.data.sets))
    if not task.inner:
        return open_to_choice[-1], {}, np.empty(0)
    train, y = task.fold.train_rows, task.data.labels
    groups = None if task.data.groups is None else [task.data.groups[row] for row in train]
    found = [_inner_predictions(task, sets, {}) for sets in open_to_choice]
    errors = [(predictions - y[train]) ** 2 for predictions in found]
    gains = [evidence(errors[-1], error, groups) for error in errors]
    best = int(np.argmax(gains))
    if gains[best] < EVIDENCE:
        best = len(found) - 1
    sets, parameters, inner = open_to_choice[best], dict[str, Any](), found[best]
    if task.trials and (tuned := _search(task, sets)):
        predictions = _inner_predictions(task, sets, tuned)
        if evidence(errors[best], (predictions - y[train]) ** 2, groups) >= EVIDENCE:
            parameters, inner = tuned, predictions
    return sets, parameters, inner


def _search(task: FitTask, sets: Sets) -> Parameters:
    """The best parameters of the task's trials on the inner split; empty where those that the member has are the best."""
    own = task.member.all_parameters(task.preset) | CATALOGUE[task.member.model].rough
    fixed = [name for name, _ in task.member.parameters]

    def errors(parameters: Parameters, part: int) -> np.ndarray:
        inner = task.inner[part]
        return _part_predictions(task, sets, parameters, inner) - task.data.labels[inner.test_rows]

    return search(
        errors,
        Space(task.member.model, own, fixed),
        Budget(task.trials, task.seconds),
        parts=len(task.inner),
        seed=task.fit_seed,
        study=Study(task.studies, task.study) if task.studies else None,
    ).parameters


def evidence(before: np.ndarray, after: np.ndarray, groups: Sequence[str] | None = None) -> float:
    """How many standard errors the mean of ``after`` is below that of ``before``; rows of one group count as one.

    Examples
    --------
    >>> round(evidence(np.array([2.0, 3.0, 2.0, 3.0]), np.ones(4)), 2)
    5.2
    """
    gain = before - after
    if groups is not None:
        gain = np.bincount(np.unique(np.asarray(groups, str), return_inverse=True)[1], gain)
    if len(gain) < 2 or np.ptp(gain) == 0:
        return 0.0
    return float(gain.mean() * np.sqrt(len(gain)) / gain.std(ddof=1))


def _inner_predictions(task: FitTask, sets: Sets, parameters: Parameters) -> np.ndarray:
    """Predictions of the training rows, each by a rough model of the others' parts."""
    predictions = np.full(len(task.data.labels), np.nan)
    for part in task.inner:
        predictions[part.test_rows] = _part_predictions(task, sets, parameters, part)
    return predictions[task.fold.train_rows]


def _part_predictions(task: FitTask, sets: Sets, parameters: Parameters, part: Fold) -> np.ndarray:
    from core.ensemble.preprocess import make_preprocessor

    X, y, columns = _array(task.data, "matrix"), task.data.labels, task.data.columns(sets)
    own = task.member.all_parameters(task.preset) | CATALOGUE[task.member.model].rough
    known = X[part.train_rows][:, columns]
    preprocessor = make_preprocessor(task.scaling).fit(known)
    model = make_model(task.member.model, parameters=own | parameters, seed=task.fit_seed)
    model.fit(preprocessor.transform(known), y[part.train_rows], np.zeros(len(known), bool))
    low, high = y[part.train_rows].min(), y[part.train_rows].max()
    return np.clip(model.predict(preprocessor.transform(X[part.test_rows][:, columns])), low, high)


class _Rounds:
    """Tells some of the rounds of a fit: about as many in its second hundred as in its first ten."""

    def __init__(self, task: FitTask):
        self._task = task
        self._next = 1.0
        self._log: EventLog | None = None

    def __enter__(self) -> "_Rounds":
        if self._task.events is not None:
            self._log = EventLog(self._task.events)
        return self

    def __exit__(self, *reason: object) -> None:
        if self._log is not None:
            self._log.__exit__(None, None, None)

    def __call__(self, number: int, rmse: float) -> None:
        if self._log is None or number < self._next:
            return
        self._next = max(number + 1.0, number * 1.12)
        task = self._task
        try:
            self._log.append(RoundsScored(task.member.name, task.repeat, task.number, number, rmse))
        except OSError:  # a disk that is full for a line of progress is told by what has to be written
            self._log = None


def _write(path: Path, save: Callable[[Path], None]) -> None:
    make_folder(path.parent)
    written = path.with_name(f".{os.getpid()}-{path.name}")  # a process of a killed attempt may still write
    save(written)
    os.replace(written, path)


def _keep(task: FitTask, checkpoint: Path, result: FitResult) -> None:
    made_of = np.array([task.key, content_hash(task.model_path).hex(), content_hash(task.preprocessor_path).hex()])
    arrays = {
        "made_of": made_of,
        "predictions": result.predictions,
        "plain": result.plain,
        "inner": result.inner,
        "sets": np.array(result.sets, str),
        "rounds": np.array(-1 if result.rounds is None else result.rounds),
        "seconds": np.array(result.seconds),
        "parameters": np.array(json.dumps(result.parameters)),
    }
    write_whole(checkpoint, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def _array(data: FitData, name: str) -> np.ndarray:
    return np.load(data.folder / f"{name}.npy", mmap_mode="r")
