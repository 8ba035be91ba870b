"""Fits as they end in, the blended out-of-fold predictions and the layout of the stored models out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.ensemble.blend import Blend, clip_and_round, label_step, learn_blend
from core.ensemble.config import EnsembleSettings
from core.ensemble.fit_tasks import FitResult, FitTask
from core.ensemble.fitted import LAYOUT
from core.ensemble.members import Member
from core.ensemble.models import Parameters
from core.errors import DataError
from core.events import FitFinished, FoldScored, Notify, Warned
from core.extraction.matrix import Matrix
from core.scoring import metrics
from core.scoring.folds import Fold
from core.scoring.oof import OofResult, baseline, label_range, measure
from core.scoring.spread import Spread, conformity, learn_spread
from core.workspace import write_json


@dataclass(frozen=True, slots=True)
class EnsembleResult:
    """What training an ensemble found.

    Attributes
    ----------
    oof : OofResult, of the blend
    members : dict of member name to np.ndarray [shape=(repeats, n)], out-of-fold predictions
    plain : np.ndarray [shape=(repeats, n)], predictions of the blend without augmented copies of the scored clip
    blends : tuple, one a repeat, of tuples of Blend, one a fold
    sets : dict of member name to the sets that were chosen, one a repeat and fold
    parameters : dict of member name to the parameters that a search chose, one a repeat and fold
    seconds : float, what all fits took, one after the other
    spreads : tuple of Spread, one a repeat and fold, learned on the fold's training rows; empty where intervals have one width
    """

    oof: OofResult
    members: dict[str, np.ndarray]
    plain: np.ndarray
    blends: tuple[tuple[Blend, ...], ...]
    sets: dict[str, list[tuple[str, ...]]]
    parameters: dict[str, list[Parameters]]
    seconds: float
    spreads: tuple[Spread, ...] = ()

    def weights(self) -> dict[str, float]:
        """Weight of each member, the mean over all folds."""
        mean = np.mean([blend.weights for blends in self.blends for blend in blends], axis=0)
        return dict(zip(self.members, mean.tolist(), strict=True))

    def scores(self) -> dict[str, object]:
        """All figures of the run, by the names under which it is stored and printed."""
        rules = [blend.rule for blends in self.blends for blend in blends]
        members = {
            name: self.oof.member_scores(predictions, sets=self.sets[name])
            | ({"settings": self.parameters[name]} if any(self.parameters[name]) else {})
            for name, predictions in self.members.items()
        }
        return self.oof.scores() | {
            "models": members,
            "blend": self.weights(),
            "blend_rules": {rule: rules.count(rule) for rule in sorted(set(rules))},
        }


class Collector:
    """Takes in fits as they end, blends the folds that are complete, and reports how good the ensemble is so far."""

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
        self._ensemble, self._ensemble_plain = (np.full(shape, np.nan) for _ in range(2))
        self._baseline = baseline(plans, matrix.y)
        self._tasks: dict[tuple[int, int], FitTask] = {}
        self._fits: dict[tuple[int, int], dict[str, FitResult]] = {}
        self._blends: dict[tuple[int, int], Blend] = {}
        self._spreads: dict[tuple[int, int], Spread | None] = {}
        self._sides = np.full((len(plans), 2, len(matrix.y)), np.nan)

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
                constant_rmse=metrics.rmse(labels, self._baseline[seen]),
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
            blend = learn_blend(inner, task.data.labels[train], parts, rule=self._settings.blend, metric=self._settings.metric)
        self._blends[task.repeat, task.number] = blend
        low, high = label_range(y[train])
        step = label_step(y[train]) if self._settings.round_labels else None
        for target, of in ((self._ensemble, self._oof), (self._ensemble_plain, self._plain)):
            blended = np.column_stack([of[name][task.repeat, rows] for name in self._names]) @ blend.weights
            target[task.repeat, rows] = clip_and_round(blended, low, high, step)
        spread = self._learn_spread(task, blend)
        self._spreads[task.repeat, task.number] = spread
        if spread is not None:
            self._sides[task.repeat][:, rows] = spread.sides(self._ensemble[task.repeat, rows])

    def _learn_spread(self, task: FitTask, blend: Blend) -> Spread | None:
        """How labels spread around the blend's predictions of the fold's training rows; None without an inner split."""
        inner = [self._fits[task.repeat, task.number][name].inner for name in self._names]
        train = task.fold.train_rows
        if any(len(predictions) != len(train) for predictions in inner):
            return None
        labels = self._matrix.y[train]
        return learn_spread(
            np.clip(np.column_stack(inner) @ blend.weights, *label_range(labels)), labels, level=self._settings.level
        )

    def result(self) -> EnsembleResult:
        """What was found, once every fold of every member is there."""
        places = [(repeat, number) for repeat, plan in enumerate(self._plans) for number in range(len(plan))]
        blends = (tuple(self._blends[repeat, number] for number in range(len(plan))) for repeat, plan in enumerate(self._plans))
        groups, level = self._matrix.groups, self._settings.level
        spreads = tuple(spread for place in places if (spread := self._spreads[place]) is not None)
        if len(spreads) < len(places):  # one unit for all errors: the spread of all folds, or none
            spreads = ()
        sides = self._sides if spreads else None
        return EnsembleResult(
            oof=measure(self._plans, self._ensemble, self._matrix.y, groups=groups, level=level, sides=sides),
            spreads=spreads,
            members=self._oof,
            plain=self._ensemble_plain,
            blends=tuple(blends),
            sets={name: [self._fits[place][name].sets for place in places] for name in self._names},
            parameters={name: [self._fits[place][name].parameters for place in places] for name in self._names},
            seconds=sum(self._fits[place][name].seconds for place in places for name in self._names),
        )


def write_layout(
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
    oof, residuals = result.oof, list[float]()
    model_of: list[int] = []
    for repeat, plan in enumerate(oof.plans):
        for number, fold in enumerate(plan):
            place = len(folds)
            low, high = label_range(oof.labels[fold.train_rows])
            members = []
            for name, weight in zip(result.members, result.blends[repeat][number].weights.tolist(), strict=True):
                task = by_place[repeat, number, name]
                chosen = result.sets[name][place]
                columns = [column for one in chosen for column in sets[one]]
                files = [path.relative_to(folder).as_posix() for path in (task.preprocessor_path, task.model_path)]
                members.append({"name": name, "model": task.member.model, "files": files, "weight": weight, "columns": columns})
            entry: dict[str, object] = {"members": members, "low": low, "high": high}
            if (transform := task.learn_transform(fold.train_rows)) is not None:
                entry["label_transform"] = transform.to_record()
            errors = (oof.labels - oof.predictions[repeat])[fold.test_rows]
            if result.spreads:
                spread = result.spreads[place]
                entry["spread"] = spread.to_record()
                errors = conformity(errors, spread.sides(oof.predictions[repeat][fold.test_rows]))
            folds.append(entry)
            residuals += np.abs(errors).tolist()
            model_of += [place] * len(errors)
    step = label_step(oof.labels) if settings.round_labels else None
    layout = {"names": list(names), "folds": folds, "level": settings.level, "rows": len(oof.labels), "step": step}
    write_json(folder / LAYOUT, layout | {"residuals": residuals, "model_of": model_of})
