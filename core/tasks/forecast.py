"""Settings of a training in, about how long it will take out. Times in seconds of one process for a fit, and of the clock for all.

What earlier trainings of the workspace took says most; a model that was never fitted here is reckoned from its cost beside others.
Of encoders that were never trained here nothing is known: that depends on the machine too much.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.ensemble import EnsembleSettings
from core.ensemble.boosting import MOST_COLUMNS
from core.ensemble.checks import JUDGED_BY_FITS, PERMUTATIONS
from core.ensemble.choices import candidates
from core.ensemble.members import parse_members
from core.ensemble.models import CATALOGUE, KernelModel
from core.events import BegunAnew, FitFinished, JobStarted, Recorded, StepDone
from core.extraction.config import ExtractSettings
from core.insight.curve import SHARES, curve_settings, left_out
from core.multimodal.config import FinetuneSettings
from core.runs import Run
from core.scoring.folds import STOP_SHARE

START_S = 6.0  # processes, leaks, the last tables
COST_S = 1.0  # of a fit of cost 1 with the preset fast on 400 rows of 289 columns in three sets; two cores of 2024
PREPARE_S = 0.15  # to impute, drop and scale 289 more columns of 400 rows, for the fit and all choices before it
_CLASSIC = 5.0  # times as long as fast
_CELLS = 400 * 289
_SETS = 3  # handcrafted ones, which are usual
_FLOOR = 0.3  # of a fit's time that does not grow with the rows
ENCODERS_S = 15.0  # to import PyTorch, read the encoders, make the networks
_PACE_STEPS = 100  # that were told of last


@dataclass(frozen=True, slots=True)
class Forecast:
    """About how long a training takes.

    Attributes
    ----------
    seconds : float, extraction left out
    fits : int, models that are fitted
    measured : float, share of the fits whose time rests on earlier fits in this workspace
    """

    seconds: float
    fits: int
    measured: float


def known_fits(runs: Iterable[tuple[Run, Iterable[Recorded]]]) -> dict[tuple[str, str], float]:
    """Seconds of a fit for each model and preset, brought to 400 rows of 289 columns: the median over runs.

    Parameters
    ----------
    runs : finished runs with their events
    """
    found: dict[tuple[str, str], list[float]] = {}
    for run, recorded in runs:
        rows, columns, sets = run.record.dataset.train_clips, len(run.record.columns), len(run.record.settings.extract.features)
        preset = run.record.settings.ensemble.preset or "fast"
        by_model: dict[str, list[float]] = {}
        for one in recorded:
            if isinstance(one.event, FitFinished):
                by_model.setdefault(one.event.model.split(":")[0], []).append(one.event.seconds)
        for model, seconds in by_model.items():
            if model in CATALOGUE:
                size = relative_time(model, rows, columns, sets)
                found.setdefault((model, preset), []).append(statistics.fmean(seconds) / size)
    return {key: statistics.median(values) for key, values in found.items()}


def paced(known: Mapping[tuple[str, str], float], preset: str) -> dict[tuple[str, str], float]:
    """Known fits, and all other models of the catalogue by their cost at the pace of those: how fast this machine is just now.

    Examples
    --------
    >>> reckoned = paced({("ridge", "fast"): 2 * CATALOGUE["ridge"].cost}, "fast")
    >>> reckoned["lightgbm", "fast"] / CATALOGUE["lightgbm"].cost
    2.0
    """
    paces = [seconds / (CATALOGUE[model].cost * COST_S) for (model, of), seconds in known.items() if of == preset]
    pace = statistics.median(paces) if paces else 1.0
    return {(model, preset): kind.cost * COST_S * pace for model, kind in CATALOGUE.items()} | dict(known)


def forecast(
    settings: EnsembleSettings,
    rows: int,
    columns: int,
    known: Mapping[tuple[str, str], float],
    workers: int,
    *,
    sets: int = _SETS,
) -> Forecast:
    """How long a training will take.

    Parameters
    ----------
    settings : EnsembleSettings
    rows, columns : of the matrix
    known : as ``known_fits``
    workers : int >= 1, processes side by side
    sets : int >= 1, feature sets that the columns are of
    """
    one_plan, rests, longest = 0.0, 0.0, 0.0
    members = parse_members(settings.members)
    for member in members:
        key = (member.model, settings.preset)
        cost = (
            CATALOGUE[member.model].cost
            * COST_S
            * (_CLASSIC if settings.preset == "classic" and CATALOGUE[member.model].cost >= 1 else 1)
        )
        own = len(member.sets) or sets
        seconds = known.get(key, cost) * relative_time(member.model, rows * (1 + settings.augment), columns, own)
        seconds *= 2 if settings.pseudo_labels else 1
        seconds *= 1 + (settings.trials or 0) / 3
        one_plan += seconds * settings.folds
        longest = max(longest, seconds)
        rests += key in known
    seconds = START_S + max(longest, one_plan * _plans(settings) / max(1, workers))
    if settings.minutes is not None:
        seconds = min(seconds, START_S + 60 * settings.minutes)
    return Forecast(seconds, len(members) * settings.folds * settings.repeats, rests / len(members))


def forecast_curve(run: Run, known: Mapping[tuple[str, str], float], workers: int, *, repeats: int) -> Forecast:
    """How long measuring the curve of a run takes, as ``core.insight.curve.measure_curve`` does it.

    Parameters
    ----------
    run : Run, an ensemble
    known : as ``known_fits``
    workers : int >= 1, processes side by side
    repeats : int, draws of each size

    Raises
    ------
    ParameterError
        The run is of another version, with settings that are not known.
    """
    settings, again = curve_settings(run), bool(left_out(run))
    clips, columns = run.record.dataset.train_clips, len(run.record.columns)
    full = min(repeats, run.record.settings.ensemble.repeats) if again else 0
    sets = len(run.record.settings.extract.features)
    parts = [forecast(settings, round(share * clips), columns, known, workers, sets=sets) for share in SHARES]
    whole = forecast(settings, clips, columns, known, workers, sets=sets)
    seconds = sum(repeats * (part.seconds - START_S) for part in parts) + full * (whole.seconds - START_S)
    return Forecast(repeats * START_S + seconds, whole.fits * (repeats * len(SHARES) + full), whole.measured)


def all_fits(settings: EnsembleSettings) -> int:
    """How many models a training fits, with those that are fitted beside the ensemble to judge it.

    Examples
    --------
    >>> all_fits(EnsembleSettings(members=("svr", "ridge"), folds=5, repeats=2, self_test=True))
    50
    """
    return len(settings.members) * settings.folds * _plans(settings)


def _plans(settings: EnsembleSettings) -> int:
    """How often all members are fitted on all folds of a repeat: once more without each switch, and on permuted labels."""
    again = sum(getattr(settings, name) != EnsembleSettings.model_fields[name].default for name in JUDGED_BY_FITS)
    return settings.repeats * (1 + again) + (PERMUTATIONS if settings.self_test else 0)


def scale(rows: int, columns: int) -> float:
    """Time of a fit beside that of one on 400 rows of 289 columns: a part of it is the same whatever the size.

    Examples
    --------
    >>> scale(400, 289)
    1.0
    """
    return _FLOOR + (1 - _FLOOR) * rows * columns / _CELLS


def relative_time(model: str, rows: int, columns: int, sets: int = _SETS) -> float:
    """Time of a model's fit beside that on 400 rows of 289 columns in three sets, choices before it included.

    Trees see the columns that go best with the labels, so many at most, and try as many combinations of sets as
    ``choices.candidates`` has. A kernel weighs sets, and hardly sees how many columns they have. All prepare all columns.

    Parameters
    ----------
    model : str, of the catalogue
    rows, columns : of the matrix
    sets : int >= 1

    Examples
    --------
    >>> relative_time("lightgbm", 400, 289), relative_time("svr", 400, 289)
    (1.0, 1.0)
    >>> round(relative_time("lightgbm", 400, 4600, 5) / relative_time("lightgbm", 400, 400, 5), 1)
    2.2
    """
    kind = CATALOGUE[model]
    if issubclass(kind, KernelModel):
        work = scale(rows, _CELLS // 400) * sets / _SETS
    else:
        work = scale(rows, min(columns, MOST_COLUMNS)) * (3 + len(candidates(range(sets)))) / (3 + len(candidates(range(_SETS))))
    prepared = max(0.0, rows * columns / _CELLS - 1) * PREPARE_S / (kind.cost * COST_S)
    return work + prepared


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast encoders were trained.

    Attributes
    ----------
    clip_seconds : float, of a clip that is fitted on, in one epoch
    memory_gb : float, the most that was told of
    """

    clip_seconds: float
    memory_gb: float


def epoch_seconds(recorded: Sequence[Recorded]) -> float | None:
    """Time of an epoch of a fine-tuning as it goes now, or None before two steps of a fold were told of.

    Steps that are told again when a stopped job goes on took no time and are left out.
    """
    spans: list[tuple[float, float]] = []
    told: set[tuple[int, int]] = set()
    before: tuple[float, StepDone] | None = None
    for one in recorded:
        match one.event:
            case JobStarted():
                before = None
            case BegunAnew():
                told.clear()
            case StepDone(fold=fold, step=step) as now if (fold, step) in told:
                before = None
            case StepDone(fold=fold, step=step) as now:
                told.add((fold, step))
                if before is not None and before[1].fold == fold and before[1].epoch < now.epoch:
                    spans.append((one.at - before[0], now.epoch - before[1].epoch))
                before = one.at, now
    recent = spans[-_PACE_STEPS:]
    return sum(seconds for seconds, _ in recent) / sum(epochs for _, epochs in recent) if recent else None


def alike(settings: FinetuneSettings, extract: ExtractSettings) -> tuple[str, ...]:
    """What time and memory depend on most: equal for two settings of about the same pace on the same clips and device."""
    heard = (
        (settings.audio_encoder, settings.audio_model, settings.layer, extract.max_seconds, extract.slow_down)
        if settings.uses_audio
        else (settings.audio_encoder,)
    )
    read = (settings.text, settings.text_model) if settings.uses_text else (settings.text,)
    return tuple(map(str, (*heard, *read, settings.batch_clips, settings.device)))


def known_paces(
    jobs: Iterable[tuple[FinetuneSettings, ExtractSettings, Sequence[Recorded]]], clips: int
) -> dict[tuple[str, ...], Pace]:
    """How fast encoders were trained, by ``alike``; the last job that tells counts.

    Parameters
    ----------
    jobs : settings of fine-tunings and of what was analysed, and their events, the oldest first
    clips : int, in the training table, which all of them had
    """
    found = {}
    for settings, extract, recorded in jobs:
        memory_gb = [one.event.memory_gb for one in recorded if isinstance(one.event, StepDone)]
        seconds = epoch_seconds(recorded)
        if seconds is not None:
            found[alike(settings, extract)] = Pace(seconds / _fitted(settings, clips), max(memory_gb))
    return found


def finetuning_seconds(settings: FinetuneSettings, clips: int, pace: Pace) -> float:
    """How long a fine-tuning takes at most, with what stands ready of each clip: folds that get no better end sooner.

    Examples
    --------
    >>> finetuning_seconds(FinetuneSettings(folds=5, epochs=10), 100, Pace(clip_seconds=0.5, memory_gb=1.0))
    1615.0
    """
    return ENCODERS_S + settings.folds * settings.epochs * _fitted(settings, clips) * pace.clip_seconds


def _fitted(settings: FinetuneSettings, clips: int) -> float:
    """Clips on which the network of one fold is fitted."""
    return clips * (1 - 1 / settings.folds) * (1 - STOP_SHARE)
