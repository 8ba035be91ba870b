"""A matrix with labels in, out-of-fold predictions and fitted models out. Scores are in the unit of the label.

Nothing is fitted on rows that it is scored on: for each fold, imputation, column dropping, scaling, early stopping, the choice of
feature sets, the models and their weights see the fold's training rows only. A new clip gets the mean over all folds.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.ensemble.blend import Blend, label_range, label_step, learn_blend, settle
from core.ensemble.config import EnsembleSettings
from core.ensemble.fits import FitData, FitResult, FitTask, candidates, finished, fit
from core.ensemble.fitted import LAYOUT
from core.ensemble.members import Member, file_stems, parse_members
from core.ensemble.models import CATALOGUE, Parameters
from core.errors import DataError, ParameterError
from core.events import FitFinished, FoldScored, Notify, TrainingStarted, Warned, ignore
from core.extraction.config import ExtractSettings
from core.extraction.matrix import Matrix
from core.runtime.pool import cores, map_unordered
from core.scoring import intervals, metrics
from core.scoring.folds import Fold, inner_folds
from core.workspace import make_folder, write_json

INNER_FOLDS = 3
NESTED, OUT_OF_FOLD, IN_SAMPLE = "nested", "out-of-fold", "in-sample"


@dataclass(frozen=True, slots=True)
class EnsembleResult:
    """What training found. Arrays of predictions are [shape=(repeats, n)].

    Attributes
    ----------
    plans : tuple, one a repeat, of tuples of Fold
    oof : dict of member name to np.ndarray, out-of-fold predictions
    oof_ensemble : np.ndarray, their blend
    oof_plain : np.ndarray, the blend without altered copies of the scored clip
    oof_constant : np.ndarray, the mean label of the other folds: what knowing nothing of the clip predicts
    labels : np.ndarray [shape=(n,)]
    groups : tuple of str [n] or None
    low, high : np.ndarray, ends of the interval of each row
    level : float, share of the labels that the intervals are to cover
    blends : tuple, one a repeat, of tuples of Blend, one a fold
    sets : dict of member name to the sets that were chosen, one a repeat and fold
    found : dict of member name to the parameters that a search found, one a repeat and fold
    seconds : float, what all fits took, one after the other
    """

    plans: tuple[tuple[Fold, ...], ...]
    oof: dict[str, np.ndarray]
    oof_ensemble: np.ndarray
    oof_plain: np.ndarray
    oof_constant: np.ndarray
    labels: np.ndarray
    groups: tuple[str, ...] | None
    low: np.ndarray
    high: np.ndarray
    level: float
    blends: tuple[tuple[Blend, ...], ...]
    sets: dict[str, list[tuple[str, ...]]]
    found: dict[str, list[Parameters]]
    seconds: float

    def fold_rmse(self, predictions: np.ndarray) -> list[float]:
        """RMSE of out-of-fold predictions in each fold, repeat after repeat."""
        return [
            metrics.rmse(self.labels[fold.test_rows], row[fold.test_rows])
            for plan, row in zip(self.plans, predictions, strict=True)
            for fold in plan
        ]

    def rmse_by_repeat(self, predictions: np.ndarray) -> list[float]:
        """RMSE of out-of-fold predictions in each repeat."""
        return [metrics.rmse(self.labels, row) for row in predictions]

    def weights(self) -> dict[str, float]:
        """Weight of each member, the mean over all folds."""
        mean = np.mean([blend.weights for blends in self.blends for blend in blends], axis=0)
        return dict(zip(self.oof, mean.tolist(), strict=True))

    def scores(self) -> dict[str, object]:
        """All figures of the run, by the names under which it is stored and printed; ``badges`` says how each was come by."""
        by_repeat = [metrics.evaluate(self.labels, row) for row in self.oof_ensemble]
        covered = [intervals.coverage(self.labels, *ends) for ends in zip(self.low, self.high, strict=True)]
        rules = [blend.rule for blends in self.blends for blend in blends]
        figures = {
            **self._by_fold(self.oof_ensemble),
            "oof_rmse": float(np.mean([scores["rmse"] for scores in by_repeat])),
            "oof_rmse_by_repeat": [scores["rmse"] for scores in by_repeat],
            "oof_mae": float(np.mean([scores["mae"] for scores in by_repeat])),
            "oof_pearson": float(np.mean([scores["pearson"] for scores in by_repeat])),
            "oof_r2": float(np.mean([scores["r2"] for scores in by_repeat])),
            "constant_rmse": float(np.mean(self.rmse_by_repeat(self.oof_constant))),
        }
        members = {
            name: {
                "oof_rmse": float(np.mean(self.rmse_by_repeat(predictions))),
                **self._by_fold(predictions),
                "sets": [",".join(sets) for sets in self.sets[name]],
                **({"settings": self.found[name]} if any(self.found[name]) else {}),
            }
            for name, predictions in self.oof.items()
        }
        badges = dict.fromkeys([*figures, "models"], NESTED) | {"interval_coverage": OUT_OF_FOLD}
        return figures | {
            "models": members,
            "blend": self.weights(),
            "blend_rules": {rule: rules.count(rule) for rule in sorted(set(rules))},
            "interval_coverage": float(np.mean(covered)),
            "interval": {"level": self.level, "mean_width": float(np.mean(self.high - self.low))},
            "badges": badges,
        }

    def _by_fold(self, predictions: np.ndarray) -> dict[str, object]:
        rmse = self.fold_rmse(predictions)
        return {"fold_rmse": rmse, "fold_rmse_mean": float(np.mean(rmse)), "fold_rmse_std": float(np.std(rmse))}


def train_ensemble(
    matrix: Matrix,
    settings: EnsembleSettings,
    *,
    folder: Path,
    sets: Mapping[str, Sequence[str]] | None = None,
    unlabelled: np.ndarray | None = None,
    checkpoints: Path | None = None,
    events: Path | None = None,
    studies: Path | None = None,
    notify: Notify = ignore,
    clock: Callable[[], float] = time.monotonic,
) -> EnsembleResult:
    """Fit every member on every fold, side by side, and score each row by the models that have not seen it.

    Parameters
    ----------
    matrix : Matrix with labels; its groups stay whole. Its copies are needed for ``augment`` and ``tta``
    settings : EnsembleSettings
    folder : where the models are written: ``repeat<r>/fold<k>/`` with two files for each member, and ``ensemble.json``
    sets : dict of feature set to the names of its columns; None takes all columns as one set
    unlabelled : np.ndarray [shape=(q, d)], rows for ``pseudo_labels``
    checkpoints : folder for the results of each finished fit; a fit that stands there on the same rows, labels and settings, with
        its model, is not done again
    events : file to which the processes tell the rounds of boosted models, as ``RoundsScored``
    studies : SQLite file in which searches for settings keep their trials, or None
    notify : called with TrainingStarted, FitFinished and FoldScored; with Warned where the time was too short for a member
    clock : seconds

    Returns
    -------
    result : EnsembleResult

    Raises
    ------
    ParameterError
        A member names a set that is not there, or there are no rows for ``pseudo_labels``.
    DataError
        The labels of a fold's training rows are all equal, a fit failed, or not one member was complete in time.
    """
    members = parse_members(settings.members)
    of_sets = _columns_of_sets(matrix.names, sets or {"all": matrix.names}, members)
    if settings.pseudo_labels and (unlabelled is None or len(unlabelled) == 0):
        raise ParameterError("pseudo_labels=True needs clips without labels: a test table whose clips can be read")
    plans = [settings.plan(matrix.y, matrix.groups, repeat) for repeat in range(settings.repeats)]
    for plan in plans:
        check_plan(plan, matrix.y)

    until = None if settings.minutes is None else clock() + 60 * settings.minutes
    work = _Progress(plans, members, settings, matrix, notify)
    home = make_folder(checkpoints or folder)
    for left in home.glob(".scratch-*"):  # by an attempt that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=home) as scratch:
        data = _share(Path(scratch), matrix, of_sets, settings, unlabelled)
        tasks = _tasks(data, plans, members, settings, folder, checkpoints, events, studies)
        notify(TrainingStarted(fits=len(tasks)))
        to_do = []
        for task in tasks:
            kept = finished(task)
            if kept is None:
                to_do.append(task)
            else:
                work.add(task, kept)
        for outcome in map_unordered(fit, to_do, workers=settings.workers):
            task = outcome.item
            if outcome.value is None:
                where = f"fold {task.number + 1}" + (f" of repeat {task.repeat + 1}" if settings.repeats > 1 else "")
                raise DataError(f"{task.member.name} could not be fitted on {where}: {outcome.error}")
            work.add(task, outcome.value)
            if until is not None and clock() > until:
                break
    work.leave_out_incomplete()
    result = work.result()
    for left in folder.glob("repeat*/fold*/.*"):  # parts of files, by an attempt that was killed
        left.unlink(missing_ok=True)
    for task in tasks:
        if task.member.name not in result.oof:
            for path in (task.preprocessor_path, task.model_path):
                path.unlink(missing_ok=True)
    _write_layout(folder, result, tasks, matrix.names, of_sets, settings)
    return result


def with_sets_of(extract: ExtractSettings, ensemble: EnsembleSettings) -> ExtractSettings:
    """The feature sets that are asked for, and those that members name."""
    named = [name for member in parse_members(ensemble.members) for name in member.sets]
    return replace(extract, features=tuple(dict.fromkeys([*extract.features, *named])))


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
    checkpoints: Path | None,
    events: Path | None,
    studies: Path | None,
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
            place = f"repeat{repeat}/fold{number}"
            for member in members:
                open_to_choice = not member.sets and len(candidates(list(data.sets))) > 1
                stem = stems[member.name]
                task = FitTask(
                    data=data,
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
                    checkpoint=checkpoints / place / f"{stem}.npz" if checkpoints else None,
                    events=events,
                    trials=settings.trials,
                    seconds=seconds,
                    studies=studies,
                )
                tasks.append(task)

    def cost(task: FitTask) -> float:
        return CATALOGUE[task.member.model].cost

    if settings.minutes is not None:  # what is cheap is complete when the time is over
        return sorted(tasks, key=lambda task: (cost(task), members.index(task.member)))
    return sorted(tasks, key=lambda task: (task.repeat, -cost(task)))


def _inner(fold: Fold, data: FitData, settings: EnsembleSettings, repeat: int) -> tuple[Fold, ...]:
    seed = settings.seed + repeat
    parts = inner_folds(fold.train_rows, data.labels, folds=INNER_FOLDS, seed=seed, groups=data.groups)
    return tuple(Fold(*part) for part in parts)


class _Progress:
    """Takes in fits as they end, blends the folds that are complete, and tells how good the ensemble is so far."""

    def __init__(
        self,
        plans: Sequence[Sequence[Fold]],
        members: Sequence[Member],
        settings: EnsembleSettings,
        matrix: Matrix,
        notify: Notify,
    ) -> None:
        self._plans, self._settings, self._matrix, self._notify = plans, settings, matrix, notify
        self._names = [member.name for member in members]
        shape = (len(plans), len(matrix.y))
        self._oof = {name: np.full(shape, np.nan) for name in self._names}
        self._plain = {name: np.full(shape, np.nan) for name in self._names}
        self._ensemble, self._ensemble_plain, self._constant = (np.full(shape, np.nan) for _ in range(3))
        for repeat, plan in enumerate(plans):
            for fold in plan:
                self._constant[repeat, fold.test_rows] = matrix.y[fold.train_rows].mean()
        self._tasks: dict[tuple[int, int], FitTask] = {}
        self._fits: dict[tuple[int, int], dict[str, FitResult]] = {}
        self._blends: dict[tuple[int, int], Blend] = {}

    def add(self, task: FitTask, result: FitResult) -> None:
        y, rows, place = self._matrix.y, task.fold.test_rows, (task.repeat, task.number)
        low, high = label_range(y[task.fold.train_rows])
        name = task.member.name
        self._oof[name][task.repeat, rows] = np.clip(result.predictions, low, high)
        self._plain[name][task.repeat, rows] = np.clip(result.plain, low, high)
        fits = self._fits.setdefault(place, {})
        fits[name] = result
        self._tasks[place] = task
        fitted = np.array([self._oof[one] for one in self._names])  # (members, repeats, n)
        seen = ~np.isnan(fitted).all(axis=0)
        labels = np.broadcast_to(y, seen.shape)[seen]
        self._notify(
            FitFinished(
                name,
                task.number,
                rmse=metrics.rmse(y[rows], self._oof[name][task.repeat, rows]),
                rounds=result.rounds,
                seconds=result.seconds,
                oof_rmse=metrics.rmse(labels, np.nanmean(fitted[:, seen], axis=0)),
                constant_rmse=metrics.rmse(labels, self._constant[seen]),
                repeat=task.repeat,
                sets=",".join(result.sets),
            )
        )
        if len(fits) == len(self._names):
            self._blend(task)
            self._notify(FoldScored(task.number, metrics.rmse(y[rows], self._ensemble[task.repeat, rows]), task.repeat))

    def leave_out_incomplete(self) -> None:
        """Go on with the members that are fitted on every fold.

        Raises
        ------
        DataError
            There is none.
        """
        places = [(repeat, number) for repeat, plan in enumerate(self._plans) for number in range(len(plan))]
        complete = [name for name in self._names if all(name in self._fits.get(place, {}) for place in places)]
        left_out = [name for name in self._names if name not in complete]
        if not complete:
            raise DataError(f"not one member was complete within {self._settings.minutes} minutes; allow more, or fewer trials")
        if left_out:
            self._notify(Warned(f"left out, not complete within {self._settings.minutes} minutes: {', '.join(left_out)}"))
            self._names = complete
            self._oof, self._plain = ({name: of[name] for name in complete} for of in (self._oof, self._plain))
            for place in places:
                self._blend(self._tasks[place])

    def _blend(self, task: FitTask) -> None:
        fits = self._fits[task.repeat, task.number]
        y, train, rows = self._matrix.y, task.fold.train_rows, task.fold.test_rows
        members = len(self._names)
        if self._settings.blend == "mean" or members == 1 or not task.inner:
            blend = Blend(np.full(members, 1 / members), "mean")
        else:
            inner = np.column_stack([fits[name].inner for name in self._names])
            parts = [np.flatnonzero(np.isin(train, part.test_rows)) for part in task.inner]
            blend = learn_blend(inner, y[train], parts, rule=self._settings.blend)
        self._blends[task.repeat, task.number] = blend
        low, high = label_range(y[train])
        step = label_step(y[train]) if self._settings.round_labels else None
        for target, of in ((self._ensemble, self._oof), (self._ensemble_plain, self._plain)):
            blended = np.column_stack([of[name][task.repeat, rows] for name in self._names]) @ blend.weights
            target[task.repeat, rows] = settle(blended, low, high, step)

    def result(self) -> EnsembleResult:
        matrix, level = self._matrix, self._settings.level
        places = [(repeat, number) for repeat, plan in enumerate(self._plans) for number in range(len(plan))]
        ends = [intervals.oof_intervals(row, matrix.y, groups=matrix.groups, level=level) for row in self._ensemble]
        least, most = label_range(matrix.y)
        return EnsembleResult(
            plans=tuple(tuple(plan) for plan in self._plans),
            oof=self._oof,
            oof_ensemble=self._ensemble,
            oof_plain=self._ensemble_plain,
            oof_constant=self._constant,
            labels=matrix.y,
            groups=matrix.groups,
            low=np.clip([low for low, _ in ends], least, most),
            high=np.clip([high for _, high in ends], least, most),
            level=level,
            blends=tuple(
                tuple(self._blends[repeat, number] for number in range(len(plan))) for repeat, plan in enumerate(self._plans)
            ),
            sets={name: [self._fits[place][name].sets for place in places] for name in self._names},
            found={name: [self._fits[place][name].parameters for place in places] for name in self._names},
            seconds=sum(self._fits[place][name].seconds for place in places for name in self._names),
        )


def _write_layout(
    folder: Path,
    result: EnsembleResult,
    tasks: Sequence[FitTask],
    names: Sequence[str],
    sets: dict[str, tuple[int, ...]],
    settings: EnsembleSettings,
) -> None:
    """Write what ``Ensemble.load`` reads."""
    by_place = {(task.repeat, task.number, task.member.name): task for task in tasks}
    folds: list[dict[str, object]] = []
    residuals: list[float] = []
    model_of: list[int] = []
    for repeat, plan in enumerate(result.plans):
        for number, fold in enumerate(plan):
            place = len(folds)
            low, high = label_range(result.labels[fold.train_rows])
            members = []
            for name, weight in zip(result.oof, result.blends[repeat][number].weights.tolist(), strict=True):
                task = by_place[repeat, number, name]
                chosen = result.sets[name][place]
                columns = [column for one in chosen for column in sets[one]]
                files = [path.relative_to(folder).as_posix() for path in (task.preprocessor_path, task.model_path)]
                members.append({"name": name, "model": task.member.model, "files": files, "weight": weight, "columns": columns})
            folds.append({"members": members, "low": low, "high": high})
            errors = np.abs(result.labels - result.oof_ensemble[repeat])[fold.test_rows]
            residuals += errors.tolist()
            model_of += [place] * len(errors)
    step = label_step(result.labels) if settings.round_labels else None
    layout = {"names": list(names), "folds": folds, "level": settings.level, "rows": len(result.labels), "step": step}
    write_json(folder / LAYOUT, layout | {"residuals": residuals, "model_of": model_of})
