"""A matrix with labels in, out-of-fold predictions and fitted models out. Scores are in the unit of the label.

Nothing is fitted on rows that it is scored on: for each fold, imputation, column dropping, scaling, early stopping, the choice of
feature sets, the models and their weights see the fold's training rows only. A new clip gets the mean over all folds.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np

from core.ensemble.choices import candidates
from core.ensemble.config import EnsembleSettings
from core.ensemble.fit_tasks import FitData, FitTask
from core.ensemble.fits import finished, fit
from core.ensemble.label_transform import LOG, check_labels
from core.ensemble.members import Member, file_stems, parse_members
from core.ensemble.models import CATALOGUE
from core.ensemble.result import Collector, EnsembleResult, write_layout
from core.errors import DataError, ParameterError
from core.events import Notify, TrainingStarted, ignore
from core.extraction.config import ExtractSettings
from core.extraction.matrix import Matrix
from core.runtime.pool import cores, map_unordered
from core.scoring.agreement import Ratings, mean_habits, rater_offsets
from core.scoring.folds import Fold, inner_folds
from core.workspace import make_folder

INNER_FOLDS = 3


@dataclass(frozen=True, slots=True)
class WorkFiles:
    """What a training writes beside its models.

    Attributes
    ----------
    checkpoints : folder for the results of each finished fit; a fit that stands there on the same rows, labels and settings, with
        its model, is not done again. None keeps nothing
    events : file to which the processes report the rounds of boosted models, as ``RoundsScored``, or None
    studies : SQLite file in which searches for settings keep their trials, or None
    """

    checkpoints: Path | None = None
    events: Path | None = None
    studies: Path | None = None


def train_ensemble(
    matrix: Matrix,
    settings: EnsembleSettings,
    *,
    folder: Path,
    plans: Sequence[Sequence[Fold]] | None = None,
    sets: Mapping[str, Sequence[str]] | None = None,
    unlabelled: np.ndarray | None = None,
    files: WorkFiles = WorkFiles(),
    notify: Notify = ignore,
) -> EnsembleResult:
    """Fit every member on every fold, side by side, and score each row by the models that have not seen it.

    Parameters
    ----------
    matrix : Matrix with labels; its groups stay whole. Its copies are needed for ``augment`` and ``tta``
    settings : EnsembleSettings
    folder : where the models are written: ``repeat<r>/fold<k>/`` with two files for each member, and ``ensemble.json``
    plans : the folds, one plan a repeat; None makes those of the settings
    sets : dict of feature set to the names of its columns; None takes all columns as one set
    unlabelled : np.ndarray [shape=(q, d)], rows for ``pseudo_labels``
    files : WorkFiles
    notify : called with TrainingStarted, FitFinished and FoldScored; with Warned where the time was too short for a member

    Returns
    -------
    result : EnsembleResult

    Raises
    ------
    ParameterError
        A member names a set that is not there, or there are no rows for ``pseudo_labels``, or no raters for ``rater_bias``.
    DataError
        The labels of a fold's training rows are all equal, or not above 0 for the label transform "log"; a fit failed; or not one
        member was complete in time.
    """
    members = parse_members(settings.members)
    columns = _columns_of_sets(matrix.names, sets or {"all": matrix.names}, members)
    _check_switches(settings, matrix, unlabelled)
    if plans is None:
        plans = settings.plans(matrix.y, matrix.groups)
    collector = Collector(plans, members, settings, matrix, notify)
    home = make_folder(files.checkpoints or folder)
    for left in home.glob(".scratch-*"):  # by an attempt that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=home) as scratch:
        data = _share(Path(scratch), matrix, columns, settings, unlabelled)
        tasks = _tasks(data, plans, members, settings, folder, files, matrix.ratings if settings.rater_bias else None)
        notify(TrainingStarted(fits=len(tasks)))
        _fit_all(tasks, collector, settings)
    collector.leave_out_incomplete()
    result = collector.result()
    for part in folder.glob("repeat*/fold*/.*"):  # parts of files, by an attempt that was killed
        part.unlink(missing_ok=True)
    for task in tasks:
        if task.member.name not in result.members:
            for path in (task.preprocessor_path, task.model_path):
                path.unlink(missing_ok=True)
    write_layout(folder, result, tasks, matrix.names, columns, settings)
    return result


def with_sets_of(extract: ExtractSettings, ensemble: EnsembleSettings) -> ExtractSettings:
    """The feature sets that are asked for, and those that members name."""
    named = [name for member in parse_members(ensemble.members) for name in member.sets]
    return extract.replace(features=tuple(dict.fromkeys([*extract.features, *named])))


def _check_switches(settings: EnsembleSettings, matrix: Matrix, unlabelled: np.ndarray | None) -> None:
    """Refuse switches for which the data set has nothing."""
    if settings.pseudo_labels and (unlabelled is None or len(unlabelled) == 0):
        raise ParameterError("pseudo_labels=True needs clips without labels: a test table whose clips can be read")
    check_labels(settings.label_transform, matrix.y)
    if settings.rater_bias and (matrix.ratings is None or matrix.ratings.raters is None):
        raise ParameterError("rater_bias=True needs clips with several ratings, and a column that says who rated")


def _fit_all(tasks: Sequence[FitTask], collector: Collector, settings: EnsembleSettings) -> None:
    """Do the fits that no earlier attempt finished, until the time is over."""
    until = None if settings.minutes is None else monotonic() + 60 * settings.minutes
    to_do = []
    for task in tasks:
        if (result := finished(task)) is None:
            to_do.append(task)
        else:
            collector.add(task, result)
    for outcome in map_unordered(fit, to_do, workers=settings.workers):
        task = outcome.item
        if outcome.value is None:
            where = f"fold {task.number + 1}" + (f" of repeat {task.repeat + 1}" if settings.repeats > 1 else "")
            raise DataError(f"{task.member.name} could not be fitted on {where}: {outcome.error}")
        collector.add(task, outcome.value)
        if until is not None and monotonic() > until:
            break


def _columns_of_sets(
    names: Sequence[str], sets: Mapping[str, Sequence[str]], members: Sequence[Member]
) -> dict[str, tuple[int, ...]]:
    place = {name: number for number, name in enumerate(names)}
    for member in members:
        if unknown := [name for name in member.sets if name not in sets]:
            raise ParameterError(
                f"member {member.name}: feature sets {', '.join(unknown)} are not among those of this training: {', '.join(sets)}"
            )
    return {name: tuple(place[column] for column in columns) for name, columns in sets.items()}


def _share(
    folder: Path, matrix: Matrix, sets: dict[str, tuple[int, ...]], settings: EnsembleSettings, unlabelled: np.ndarray | None
) -> FitData:
    """Write the arrays that all fits read."""
    arrays = {"matrix": matrix.X, "labels": matrix.y}
    if settings.copies:
        if matrix.copies is None or len(matrix.copies) < settings.copies:
            raise ParameterError(f"augment={settings.augment}, tta={settings.tta} need {settings.copies} copies of each clip")
        arrays["copies"] = matrix.copies[: settings.copies]
    if settings.pseudo_labels and unlabelled is not None:
        arrays["unlabelled"] = unlabelled
    digest = hashlib.blake2b(digest_size=16)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        digest.update(f"{name} {array.shape} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
    return FitData(folder, matrix.y, matrix.groups, sets, digest.hexdigest())


def _tasks(
    data: FitData,
    plans: Sequence[Sequence[Fold]],
    members: Sequence[Member],
    settings: EnsembleSettings,
    folder: Path,
    files: WorkFiles,
    ratings: Ratings | None,
) -> list[FitTask]:
    """All fits, longest first: the pool then ends its last ones at about the same time."""
    stems = file_stems(members)
    seconds = None
    if settings.minutes is not None and settings.trials:  # half of the time is for the searches
        fits = len(members) * sum(len(plan) for plan in plans)
        seconds = 30 * settings.minutes * max(1, cores() if settings.workers is None else settings.workers) / fits
    tasks = []
    for repeat, plan in enumerate(plans):
        for number, fold in enumerate(plan):
            inner = _inner(fold, data, settings, repeat)
            of_fold = data if ratings is None else _without_habits(data, fold, ratings)
            if ratings is not None and settings.label_transform == LOG and (of_fold.labels[fold.train_rows] <= 0).any():
                raise DataError(
                    "label_transform=log needs labels above 0, and without the raters' offsets some are not; "
                    "leave out --rater-bias, or choose yeo-johnson"
                )
            place = f"repeat{repeat}/fold{number}"
            for member in members:
                open_to_choice = not member.sets and len(candidates(list(data.sets))) > 1
                stem = stems[member.name]
                task = FitTask(
                    data=of_fold,
                    member=member,
                    stem=stem,
                    preset=settings.preset,
                    scaling=settings.scaling,
                    seed=settings.seed,
                    repeat=repeat,
                    number=number,
                    fold=fold,
                    inner=inner if open_to_choice or settings.trials or (settings.blend != "mean" and len(members) > 1) else (),
                    augment=settings.augment,
                    tta=settings.tta,
                    pseudo_labels=settings.pseudo_labels,
                    folder=folder / place,
                    checkpoint=files.checkpoints / place / f"{stem}.npz" if files.checkpoints else None,
                    events=files.events,
                    metric=settings.metric,
                    trials=settings.trials,
                    seconds=seconds,
                    studies=files.studies,
                    label_transform=settings.label_transform,
                )
                tasks.append(task)

    def cost(task: FitTask) -> float:
        return CATALOGUE[task.member.model].cost

    if settings.minutes is not None:  # what is cheap is complete when the time is over
        return sorted(tasks, key=lambda task: (cost(task), members.index(task.member)))
    return sorted(tasks, key=lambda task: (task.repeat, -cost(task)))


def _without_habits(data: FitData, fold: Fold, ratings: Ratings) -> FitData:
    """The same, with labels out of which the raters' offsets are taken that the training rows of a fold show."""
    labels = data.labels - mean_habits(ratings, rater_offsets(ratings, fold.train_rows))
    digest = hashlib.blake2b(data.content.encode() + labels.tobytes(), digest_size=16)
    return replace(data, labels=labels, content=digest.hexdigest())


def _inner(fold: Fold, data: FitData, settings: EnsembleSettings, repeat: int) -> tuple[Fold, ...]:
    seed = settings.seed + repeat
    parts = inner_folds(fold.train_rows, data.labels, folds=INNER_FOLDS, seed=seed, groups=data.groups)
    return tuple(Fold(*part) for part in parts)
