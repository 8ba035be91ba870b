"""Steps in, the best experiment that they lead to out: each is trained on the same folds and compared with the best so far.

Scores are in the metric that the search goes by. What is finished stands among the checkpoints of the run.
"""

import json
import math
import statistics
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import Dataset
from core.ensemble import EnsembleSettings, train_ensemble
from core.ensemble.auto import AutoSettings
from core.ensemble.result import EnsembleResult
from core.ensemble.train import WorkFiles
from core.errors import DataError, JobError, ParameterError
from core.events import Event, FitFinished, LadderPlanned, LadderStepDone, StageStarted
from core.extraction.config import ExtractSettings
from core.extraction.extract import column_names
from core.extraction.matrix import Matrix, build_matrix
from core.extraction.speed import Speed, probe_speed
from core.extraction.texts import texts_of
from core.runs.context import RunContext
from core.runs.schema import LadderRecord
from core.runtime.pool import cores
from core.scoring.bootstrap import confidence
from core.scoring.compare import HELPS, paired_verdict
from core.scoring.metrics import METRICS
from core.tasks.forecast import forecast, paced, relative_time
from core.tasks.ladder import Step
from core.tasks.layers import encoders_of, other_layers
from core.tasks.prepare import Prepared, check_early, extract_all, prepare
from core.workspace import make_folder, write_json, write_whole

ALPHA = 0.05  # chance that any step of a ladder is kept though none helps
LADDER = "ladder.json"
_MOST_DRAWS = 200_000  # of a bootstrap
_SHARED = (
    "folds",
    "group_by",
    "stratified",
    "level",
    "repeats",
    "metric",
    "workers",
)  # settings of the search and of each training


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is trained: feature sets, members and settings, and how it scored.

    Attributes
    ----------
    sets, members : tuple of str
    trials, augment : int
    predictions : np.ndarray [shape=(repeats, n)], out of fold
    """

    sets: tuple[str, ...]
    members: tuple[str, ...]
    trials: int = 0
    augment: int = 0
    predictions: np.ndarray = field(default_factory=lambda: np.empty(0))

    def with_step(self, step: Step) -> "Experiment":
        """The experiment that a step makes of this one, not scored yet."""
        kept = [name for name in self.sets if name not in step.drops]
        return Experiment(
            tuple(dict.fromkeys([*kept, *step.adds])),
            step.members or self.members,
            self.trials if step.trials is None else step.trials,
            self.augment if step.augment is None else step.augment,
        )

    def settings(self, auto: AutoSettings, *, seed: int) -> EnsembleSettings:
        """How it is trained."""
        plan = {name: getattr(auto, name) for name in _SHARED}
        return EnsembleSettings(**plan, seed=seed, members=self.members, trials=self.trials, augment=self.augment)


class Climb:
    """The steps of a ladder, one after the other; what is finished stands among the checkpoints of the run."""

    def __init__(self, dataset: Dataset, extract: ExtractSettings, settings: AutoSettings, context: RunContext):
        self._dataset, self._extract, self._settings, self._context = dataset, extract, settings, context
        self._home = make_folder(context.checkpoints / "steps")
        self._done = self._read()
        self._prepared: Prepared | None = None
        self._ceiling: float | None = None  # RMSE that the raters' disagreement allows
        self._fits: list[FitFinished] = []  # of the step at work
        self._known: dict[tuple[str, str], float] = {}  # as ``forecast.known_fits``, of the steps that were done here

    def run(self, steps: list[Step]) -> Experiment:
        """Try every step that there is time for; the best experiment."""
        baseline, *others = steps
        new = next((place for place, step in enumerate(steps) if step.name not in self._done), len(steps))
        for step in steps[new:]:  # they were compared with what a step before them may replace now
            self._done.pop(step.name, None)
        self._show_plan(steps)
        best = self._first(baseline)
        in_vain = 0
        for number, step in enumerate(others, start=1):
            if in_vain >= self._settings.patience:
                reason = f"{in_vain} steps in a row could not be told from noise"
                self._end(step, self._skipped(step, reason))
                continue
            best, record = self._try(number, step, best, tried=len(others))
            if not record["skipped"]:
                in_vain = 0 if record["kept"] else in_vain + 1
        return best

    def record(self) -> list[dict[str, Any]]:
        """What each step did, in their order."""
        return list(self._done.values())

    def _first(self, step: Step) -> Experiment:
        experiment = Experiment(step.adds, step.members)
        check_early(self._dataset, experiment.sets, self._settings, self._context.workspace)
        began = time.monotonic()
        extraction = extract_all(
            self._dataset, self._extract.replace(features=experiment.sets), self._context.workspace, self._context.notify
        )
        self._prepared = prepare(self._dataset, extraction, self._settings, sets=experiment.sets, notify=self._context.notify)
        ceiling = self._prepared.ceiling_record()
        self._ceiling = None if ceiling is None else float(str(ceiling["rmse"]))
        experiment = replace(experiment, predictions=self._predictions(step, experiment, self._prepared.matrix))
        if step.name in self._done:
            self._tell(step)
        else:
            self._end(step, self._scored(step, experiment, kept=True, seconds=time.monotonic() - began))
        return experiment

    def _try(self, number: int, step: Step, best: Experiment, *, tried: int) -> tuple[Experiment, dict[str, Any]]:
        """The better one of the best experiment and what a step makes of it."""
        experiment = best.with_step(step)
        if step.name in self._done:
            record = self._done[step.name]
            if record["kept"]:
                experiment = replace(experiment, sets=tuple(record["sets"]), predictions=np.load(self._path(step)))
            self._tell(step)
            return (experiment if record["kept"] else best), record
        left = 60 * self._settings.minutes - sum(record["seconds"] for record in self._done.values())
        began = time.monotonic()
        if (reason := self._why_not(step, experiment, best, left)) is not None:
            return best, self._end(step, self._skipped(step, reason))
        self._context.notify(StageStarted(f"step {number}: {step.title}"))
        if step.by_layers:
            try:
                step = self._with_layers(step, best.sets)
            except (ParameterError, DataError, JobError) as error:
                return best, self._end(step, self._skipped(step, str(error), seconds=time.monotonic() - began))
            if step.adds == step.drops:
                reason = "they are those that it has already"
                return best, self._end(step, self._skipped(step, reason, seconds=time.monotonic() - began))
            experiment = best.with_step(step)
        matrix = self._matrix(experiment)
        assert self._prepared is not None
        if matrix.filenames != self._prepared.matrix.filenames:
            lost = len(self._prepared.matrix.filenames) - len(matrix.filenames)
            record = self._skipped(step, f"{lost} clips cannot be used by it", seconds=time.monotonic() - began)
        else:
            experiment = replace(experiment, predictions=self._predictions(step, experiment, matrix))
            record = self._compared(step, experiment, best, tried, seconds=time.monotonic() - began)
        self._end(step, record)
        return (experiment if record["kept"] else best), record

    def _compared(self, step: Step, experiment: Experiment, best: Experiment, tried: int, *, seconds: float) -> dict[str, Any]:
        assert self._prepared is not None
        matrix = self._prepared.matrix
        tail = ALPHA / (tried * step.among)
        verdict = paired_verdict(
            matrix.y,
            best.predictions,
            experiment.predictions,
            groups=matrix.groups,
            metric=self._settings.metric,
            level=1 - 2 * tail,  # of two sides
            draws=min(max(2000, math.ceil(20 / tail)), _MOST_DRAWS),
        ).at_cost(seconds / 60)
        kept = verdict.verdict == HELPS
        scored = self._scored(step, experiment, kept=kept, seconds=seconds)
        return scored | {"difference": verdict.difference, "reason": verdict.sentence()}

    def _scored(self, step: Step, experiment: Experiment, *, kept: bool, seconds: float) -> dict[str, Any]:
        assert self._prepared is not None
        matrix = self._prepared.matrix
        metric = self._settings.metric
        low, high = (_known_or_none(end) for end in confidence(matrix.y, experiment.predictions, groups=matrix.groups)[metric])
        score, rmse = (
            float(np.mean([METRICS[name].score(matrix.y, row) for row in experiment.predictions])) for name in (metric, "rmse")
        )
        return LadderRecord(
            name=step.name,
            title=step.title,
            sets=list(experiment.sets),
            members=list(experiment.members),
            metric=metric,
            score=_known_or_none(score),
            rmse=rmse,
            low=low,
            high=high,
            kept=kept,
            seconds=seconds,
        ).model_dump()

    def _skipped(self, step: Step, reason: str, *, seconds: float = 0.0) -> dict[str, Any]:
        record = LadderRecord(
            name=step.name, title=step.title, metric=self._settings.metric, reason=reason, skipped=True, seconds=seconds
        )
        return record.model_dump()

    def _with_layers(self, step: Step, sets: tuple[str, ...]) -> Step:
        """A step with the layers that score best, of each encoder among the sets."""
        drops, found, among = encoders_of(sets), [], 1
        for name in drops:
            layers, choices = other_layers(
                self._dataset, self._extract, name, self._settings, self._context.workspace, notify=self._context.notify
            )
            found.append(layers)
            among *= choices
        return replace(step, adds=tuple(found), drops=drops, among=among)

    def _why_not(self, step: Step, experiment: Experiment, best: Experiment, left_s: float) -> str | None:
        """Why a step is passed over, or None."""
        if not step.by_layers and replace(experiment, predictions=best.predictions) == best:
            return "the best experiment has it already"
        if step.by_layers and not encoders_of(experiment.sets):
            return "no encoder was kept"
        try:
            needed_s = self._forecast(experiment, self._speed(experiment))
        except (ParameterError, DataError) as error:
            return str(error)
        if needed_s > left_s:
            return f"it would take about {needed_s / 60:.0f} minutes, and {max(0, left_s) / 60:.0f} are left"
        return None

    def _speed(self, experiment: Experiment) -> Speed:
        """How fast the clips of an experiment are extracted: a few of them are, for it."""
        extract = self._extract.replace(features=experiment.sets)
        rows = (*self._dataset.train, *self._dataset.test)
        paths = [row.path for row in rows]
        return probe_speed(paths, extract, cache_path=self._context.workspace.cache, texts=texts_of(rows, extract.features))

    def _forecast(self, experiment: Experiment, speed: Speed) -> float:
        """Seconds that an experiment takes."""
        clips = len({row.path for row in (*self._dataset.train, *self._dataset.test)})
        settings = experiment.settings(self._settings, seed=0)
        workers = max(1, cores() if self._settings.workers is None else self._settings.workers)
        columns, sets = len(column_names(experiment.sets)), len(experiment.sets)
        fits = forecast(settings, len(self._dataset.train), columns, paced(self._known, settings.preset), workers, sets=sets)
        return speed.seconds(clips) * (1 + experiment.augment) + fits.seconds

    def _show_plan(self, steps: list[Step]) -> None:
        """Say what will be tried, and about how long each step takes."""
        experiment, speeds = Experiment((), ()), dict[tuple[str, ...], Speed]()
        for step in steps:
            own = experiment.with_step(step)
            try:
                if own.sets not in speeds:
                    speeds[own.sets] = self._speed(own)
                seconds, reason = self._forecast(own, speeds[own.sets]), ""
            except (ParameterError, DataError) as error:
                seconds, reason = math.nan, str(error)
            if not reason and (step.adds or not experiment.sets):
                experiment = own
            self._context.notify(LadderPlanned(step.name, step.title, seconds, reason))

    def _matrix(self, experiment: Experiment) -> Matrix:
        """The training rows with the columns of an experiment."""
        assert self._prepared is not None
        extract = self._extract.replace(features=experiment.sets)
        copies = {row.path: experiment.augment for row in self._dataset.train} if experiment.augment else None
        extraction = extract_all(self._dataset, extract, self._context.workspace, self._context.notify, copies=copies)
        matrix = build_matrix(self._dataset.train, extraction, experiment.sets, copies=experiment.augment)
        return replace(matrix, groups=self._prepared.matrix.groups)

    def _predictions(self, step: Step, experiment: Experiment, matrix: Matrix) -> np.ndarray:
        """Out-of-fold predictions [shape=(repeats, n)], of an earlier attempt where there are some."""
        if step.name in self._done:
            return np.asarray(np.load(self._path(step)))
        assert self._prepared is not None
        folder = self._home / step.name
        result: EnsembleResult = train_ensemble(
            matrix,
            experiment.settings(self._settings, seed=self._settings.seed),
            folder=folder,
            plans=self._prepared.plans,
            sets={name: column_names((name,)) for name in experiment.sets},
            files=WorkFiles(checkpoints=folder),
            notify=self._note,
        )
        self._learn(experiment, matrix)
        write_whole(self._path(step), lambda file: np.save(file, result.oof.predictions))
        return result.oof.predictions

    def _end(self, step: Step, record: dict[str, Any]) -> dict[str, Any]:
        """Keep what a step did, and tell of it."""
        self._done[step.name] = record
        write_json(self._home / LADDER, self._done)
        self._tell(step)
        return record

    def _tell(self, step: Step) -> None:
        record = self._done[step.name]
        score, low, high = (math.nan if record[name] is None else record[name] for name in ("score", "low", "high"))
        title, kept, reason, seconds, metric = (record[name] for name in ("title", "kept", "reason", "seconds", "metric"))
        self._context.notify(
            LadderStepDone(
                step.name, title, score, low, high, kept, reason, seconds, metric, self._ceiling if metric == "rmse" else None
            )
        )

    def _note(self, event: Event) -> None:
        """Pass on what a training tells, and keep how long its fits take."""
        if isinstance(event, FitFinished):
            self._fits.append(event)
        self._context.notify(event)

    def _learn(self, experiment: Experiment, matrix: Matrix) -> None:
        """Take the fits of a step for the forecast of those to come; a search inside each fit is forecast apart."""
        by_model: dict[str, list[float]] = {}
        for fit in self._fits if not experiment.trials else ():
            by_model.setdefault(fit.model.split(":")[0], []).append(fit.seconds)
        rows = len(matrix.y) * (1 + experiment.augment)
        for model, seconds in by_model.items():
            size = relative_time(model, rows, matrix.X.shape[1], len(experiment.sets))
            self._known[model, EnsembleSettings().preset] = statistics.median(seconds) / size
        self._fits = []

    def _path(self, step: Step) -> Path:
        return self._home / f"{step.name}.npy"

    def _read(self) -> dict[str, dict[str, Any]]:
        """Steps that an earlier attempt finished; what is damaged, or lacks its predictions, is done again."""
        try:
            stored = json.loads((self._home / LADDER).read_text(encoding="utf-8"))
            done = {name: LadderRecord.model_validate(record).model_dump() for name, record in stored.items()}
            for name, record in done.items():
                if not record["skipped"]:
                    np.load(self._home / f"{name}.npy")
        except (OSError, ValueError, AttributeError, EOFError):
            return {}
        return done


def _known_or_none(value: float) -> float | None:
    """A number for a record, None where it is undefined."""
    return None if math.isnan(value) else value
