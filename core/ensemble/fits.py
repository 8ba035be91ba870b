"""One fit of a member on a fold, in a process of its own: what it needs in, its predictions of rows that it has not seen out.

All that learns is in here and sees the fold's training rows only: imputation, dropping, scaling, the choice of feature sets, early
stopping, the label transform, the model, and the teacher of pseudo-labels. Copies of a clip (augmented ones) stay with their clip.
"""

import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.ensemble.choices import choose, fit_preprocessor
from core.ensemble.fit_tasks import FitResult, FitTask
from core.ensemble.label_transform import on_labels
from core.ensemble.models import make_model
from core.ensemble.storage import save_skops
from core.events import EventLog, RoundsScored
from core.runtime.cache import content_hash
from core.scoring.folds import stopping_split
from core.workspace import make_folder, write_whole


def fit(task: FitTask) -> FitResult:
    """Choose the sets, fit, write the model, predict. Runs in a worker process."""
    started = time.perf_counter()
    data, y, train, test = task.data, task.data.labels, task.fold.train_rows, task.fold.test_rows
    choice = choose(task)
    parameters = task.member.all_parameters(task.preset) | choice.parameters
    X, copies = data.array("matrix"), data.array("copies") if task.augment or task.tta else None
    columns = data.columns(choice.sets)

    def rows(some: np.ndarray, number: int) -> np.ndarray:
        return np.concatenate([X[some][:, columns], *(copies[copy][some][:, columns] for copy in range(number))])  # type: ignore[index]

    known, labels = rows(train, task.augment), np.tile(y[train], 1 + task.augment)
    fit_rows, _ = stopping_split(train, y, seed=task.seed + task.repeat, groups=data.groups)
    stopping = np.concatenate([~np.isin(train, fit_rows)] * (1 + task.augment))
    transform = task.learn_transform(train)
    screened_by = labels if transform is None else transform.forward(labels)
    preprocessor = fit_preprocessor(task, choice.sets, parameters, known, screened_by)
    model = on_labels(make_model(task.member.model, parameters=parameters, seed=task.fit_seed), transform)
    with _Rounds(task) as told:
        model.fit(preprocessor.transform(known), labels, stopping, on_round=told)
    if task.pseudo_labels:
        new = data.array("unlabelled")[:, columns]
        low, high = labels.min(), labels.max()
        taught = np.clip(model.predict(preprocessor.transform(new)), low, high)
        model = on_labels(make_model(task.member.model, parameters=parameters, seed=task.fit_seed), transform)
        more = np.concatenate([known, new])
        model.fit(
            preprocessor.transform(more), np.concatenate([labels, taught]), np.concatenate([stopping, np.zeros(len(new), bool)])
        )

    _write(task.preprocessor_path, lambda path: save_skops(preprocessor, path))
    _write(task.model_path, model.save)
    scored = model.predict(preprocessor.transform(rows(test, task.tta))).reshape(1 + task.tta, len(test))
    seconds = time.perf_counter() - started
    result = FitResult(scored.mean(axis=0), scored[0], choice.inner, choice.sets, model.rounds_, seconds, choice.parameters)
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
