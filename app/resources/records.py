"""Finished runs as pages see them: records, out-of-fold predictions, explanations, curves, verdicts, and how long fits took."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from app.resources.caching import cached, version
from core.errors import EarmarkError, RunError
from core.events import read_events
from core.extraction.config import ExtractSettings
from core.insight.curve import CURVE, RunCurve, load_curve
from core.insight.explain import EXPLANATION, Explanation, load_explanation
from core.jobs import Job
from core.multimodal.config import FinetuneSettings
from core.runs import ABOUT, OOF, Run, list_runs, unreadable_runs
from core.runs.leaderboard import comparable, load_oof
from core.scoring.compare import Verdict, paired_verdict, rmse_interval as rmse_interval_of
from core.scoring.fitness import fitness
from core.settings import build
from core.tasks import forecast

_TIMED_RUNS = 8  # whose fits predict how long others will take
_TIMED_JOBS = 5
_OOF_TABLE = "oof.csv"
_OOF_FIGURES = ("label", "oof_prediction", "low", "high")


def runs(jobs: Path) -> list[Run]:
    """Finished runs, oldest first."""
    return _records(jobs)[0]


def unreadable(jobs: Path) -> list[tuple[str, str]]:
    """Folder and reason of each finished run whose record is damaged."""
    return _records(jobs)[1]


def _records_key(jobs: Path) -> tuple[object, ...]:
    files = sorted(path for record in jobs.glob("*/run.json") for path in (record, record.parent / ABOUT))
    return jobs, tuple(map(str, files)), version(*files)


@cached(_records_key, most=4)
def _records(jobs: Path) -> tuple[list[Run], list[tuple[str, str]]]:
    return list_runs(jobs), unreadable_runs(jobs)


@cached(lambda run: (run.folder, version(run.folder / _OOF_TABLE)), most=8)
def oof(run: Run) -> pd.DataFrame:
    """Out-of-fold predictions of a run: filename, label, fold, oof_prediction, low, high and a column for each member.

    Raises
    ------
    RunError
        They are missing or damaged.
    """
    path = run.folder / _OOF_TABLE
    try:
        return _read_oof(path)
    except FileNotFoundError:
        raise RunError(f"{path}: the out-of-fold predictions of the run are missing; train again") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not the out-of-fold predictions of a run ({error}); train again") from None


def _read_oof(path: Path) -> pd.DataFrame:
    names = list(pd.read_csv(path, nrows=0).columns)
    if missing := [name for name in ("filename", "fold", *_OOF_FIGURES) if name not in names]:
        raise ValueError(f"without the column {', '.join(missing)}")
    text = {name: str for name in ("filename", "group") if name in names}
    return pd.read_csv(
        path,
        dtype={**text, **dict.fromkeys(_OOF_FIGURES, float)},
        keep_default_na=False,  # a clip or a speaker may be called NA
        na_values={name: ["", "nan"] if name not in text else [""] for name in names if name != "filename"},
    )


@cached(lambda run: (run.folder, version(run.folder / OOF)), most=64)
def in_practice(run: Run) -> str | None:
    """How many predictions are a step off at most, and how many pairs are in order, in a sentence; None where neither is known.

    Raises
    ------
    RunError
        The out-of-fold predictions are missing or damaged.
    """
    found = load_oof(run)
    return fitness(found.labels, found.predictions).sentence()


@cached(lambda run: (run.folder, version(run.folder / EXPLANATION)), most=4, spinner="Reading the explanation ...")
def explanation(run: Run) -> Explanation | None:
    """The explanation of a run, or None where it was not explained yet.

    Raises
    ------
    RunError
        It is damaged, or of other models than the run has now.
    """
    return load_explanation(run)


@cached(lambda run: (run.folder, version(run.folder / CURVE)), most=8)
def curve(run: Run) -> RunCurve | None:
    """The learning curve of a run, or None where it was not measured yet.

    Raises
    ------
    RunError
        It is damaged, or of other models than the run has now.
    """
    return load_curve(run)


@cached(
    lambda run, other: (run.id, other.id, version(run.folder / OOF, other.folder / OOF)),
    most=64,
    spinner="Comparing clip by clip ...",
)
def judged(run: Run, other: Run) -> tuple[Verdict | None, str | None]:
    """The verdict on another run in place of this one, or why they cannot be compared."""
    if why_not := comparable(run, other):
        return None, why_not
    first, second = load_oof(run), load_oof(other)
    minutes = (other.record.seconds - run.record.seconds) / 60
    groups = first.groups if any(first.groups) else None
    return paired_verdict(first.labels, first.predictions, second.predictions, groups=groups).at_cost(minutes), None


@cached(lambda run: (run.id, version(run.folder / OOF)), most=64)
def rmse_interval(run: Run) -> tuple[float, float]:
    """The 95 % interval of a run's out-of-fold RMSE over clips, or over groups where its folds keep them together.

    Raises
    ------
    RunError
        The out-of-fold predictions are missing or damaged.
    """
    oof = load_oof(run)
    return rmse_interval_of(oof.labels, oof.predictions, groups=oof.groups if any(oof.groups) else None)


def training_labels(run: Run) -> np.ndarray:
    """Labels that a run was trained on [shape=(n,)]."""
    return oof(run)["label"].to_numpy()


@cached(lambda jobs: (jobs, [run.id for run in _timed_runs(jobs)]), most=4)
def known_fits(jobs: Path) -> dict[tuple[str, str], float]:
    """Seconds of a fit in this workspace, by model and preset."""
    return forecast.known_fits((run, read_events(run.folder / "events.jsonl")[0]) for run in _timed_runs(jobs))


def _timed_runs(jobs: Path) -> list[Run]:
    return [run for run in runs(jobs) if not run.kind.why_not_explained][-_TIMED_RUNS:]


@cached(lambda fine_tunings, clips: ([(job.events, version(job.events)) for job in fine_tunings[:_TIMED_JOBS]], clips), most=4)
def known_paces(fine_tunings: Sequence[Job], clips: int) -> dict[tuple[str, ...], forecast.Pace]:
    """How fast encoders were trained by these jobs on as many clips; the newest stands first, as in ``jobs``."""
    timed = []
    for job in reversed(fine_tunings[:_TIMED_JOBS]):
        try:
            settings, extract = build(FinetuneSettings, job.request["finetune"]), build(ExtractSettings, job.request["extract"])
            timed.append((settings, extract, read_events(job.events)[0]))
        except (EarmarkError, KeyError, TypeError):  # of another version
            continue
    return forecast.known_paces(timed, clips)
