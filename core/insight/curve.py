"""A finished ensemble in, its error with fewer of its clips and with twice as many out. RMSE in the unit of the label.

Inside each fold of the run's own plan, models are fitted anew on a part of the training groups and predict the fold's rows, all of
them: errors at all sizes are of the same clips, and nothing is fitted on rows that it is scored on. All members take part, with
feature sets chosen and the blend learned on the smaller part, as in the run. A search for settings, and what needs more than the
stored matrix, is left out: settings that were found on all training rows would flatter the small sizes.
"""

import hashlib
import json
import shutil
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from core.ensemble import EnsembleSettings, train_ensemble
from core.ensemble.train import WorkFiles
from core.errors import DataError, FileError, ParameterError, RunError
from core.events import Event, FitFinished, Notify, TrainingStarted, Warned, ignore
from core.extraction.extract import column_names
from core.extraction.levels import plain_set
from core.extraction.matrix import Matrix
from core.features import parse_set, set_of
from core.features.sets import TABLE
from core.insight.explanation import models_stamp
from core.runs import Run
from core.runs.leaderboard import load_oof
from core.runs.schema import expected
from core.scoring.folds import Fold
from core.scoring.learning_curve import LearningCurve, SizeErrors, learning_curve
from core.settings import build
from core.workspace import make_folder, read_json, write_json, write_whole

CURVE = "curve.json"
VERSION = 1
SHARES = (0.2, 0.4, 0.6, 0.8)  # of the training groups of a fold; all of them are in the run itself
REPEATS, FEWEST_REPEATS, MOST_REPEATS = 3, 2, 20
FEWEST_GROUPS, FEWEST_CLIPS = 20, 50  # of which a fifth can still be trained on
_ATTEMPTS = 20  # at a part whose labels are not all equal
_LEFT_OUT = {
    "trials": "the search for settings",
    "augment": "augmentation",
    "tta": "test-time augmentation",
    "pseudo_labels": "pseudo-labels",
    "rater_bias": "rater offsets",
}


@dataclass(frozen=True, slots=True)
class RunCurve:
    """The curve of a run, as it is kept with it.

    Attributes
    ----------
    version : int
    models : str, hash of the models of the run
    curve : LearningCurve
    repeats : int, draws of each size
    unit : str, what is counted: the column that groups come from, else clip
    left_out : tuple of str, what the run does and the curve does not
    badge : str or None, how the errors were computed
    seconds : float
    """

    version: int
    models: str
    curve: LearningCurve
    repeats: int
    unit: str
    left_out: tuple[str, ...]
    badge: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class _Work:
    """What all draws share."""

    run: Run
    matrix: Matrix
    settings: EnsembleSettings
    plans: tuple[tuple[Fold, ...], ...]
    repeats: int
    refits_all: bool
    folder: Path

    def fits(self, repeat: int) -> int:
        """Of a draw."""
        return len(self.shares(repeat)) * len(self.plans[0]) * len(self.settings.members)

    def settings_of(self, repeat: int) -> EnsembleSettings:
        """With a seed for each draw."""
        return self.settings.replace(seed=(self.settings.seed + repeat) % 2**31)

    def kept(self, repeat: int) -> Path:
        """File for the predictions of a draw."""
        return self.folder / f"draw{repeat}.npz"

    def key(self, repeat: int) -> str:
        """Hash of all that decides them."""
        settings = self.settings_of(repeat).model_dump(mode="json", exclude={"workers"})
        of = [VERSION, models_stamp(self.run), settings, self.shares(repeat)]
        return hashlib.blake2b(json.dumps(of, sort_keys=True).encode(), digest_size=16).hexdigest()

    def shares(self, repeat: int) -> tuple[float, ...]:
        """Shares that a draw fits: all groups too where the run did more than the curve does, once for each plan of the run."""
        return (*SHARES, 1.0) if self.refits_all and repeat < len(self.plans) else SHARES


def measure_curve(
    run: Run, *, repeats: int = REPEATS, workers: int | None = None, checkpoints: Path | None = None, notify: Notify = ignore
) -> RunCurve:
    """Fit a run anew with fewer groups, and read from its errors what more of them would bring. The result is kept with the run.

    Parameters
    ----------
    run : Run, an ensemble
    repeats : int, draws of each size
    workers : int >= 0, processes; None takes one for each core
    checkpoints : folder for finished fits, so that work that was stopped goes on; it is removed in the end
    notify : told of the progress

    Returns
    -------
    curve : RunCurve

    Raises
    ------
    ParameterError
        ``repeats`` is outside its range.
    DataError
        There are too few groups or clips, or hardly a label differs.
    RunError
        The run is of a kind that has no curve, or a table of it is missing or damaged.
    """
    check_curve(run, repeats)
    started, matrix, oof = time.perf_counter(), run.load_matrix(), load_oof(run)
    units = _units(matrix)
    _check_size(run, len(np.unique(units)) if matrix.groups else None, len(matrix.y))
    settings = curve_settings(run).replace(workers=workers)
    plans = tuple(_plan(folds) for folds in oof.folds)
    work = _Work(run, matrix, settings, plans, repeats, bool(left_out(run)), make_folder(checkpoints or run.folder / ".curve"))
    by_share: dict[float, list[np.ndarray]] = {share: [] for share in SHARES}
    by_share[1.0] = [] if work.refits_all else list(oof.predictions)
    kept = [_read(work.kept(repeat), work.key(repeat)) for repeat in range(repeats)]
    notify(TrainingStarted(fits=sum(work.fits(repeat) for repeat, drawn in enumerate(kept) if drawn is None)))
    for repeat, drawn in enumerate(kept):
        for share, predictions in zip(work.shares(repeat), _draw(work, repeat, notify) if drawn is None else drawn, strict=True):
            by_share[share].append(predictions)
    index, rows = np.unique(units, return_inverse=True, return_counts=True)[1:]
    measured = []
    for share, scored in by_share.items():
        squares = np.array([np.bincount(index, (predictions - matrix.y) ** 2) for predictions in scored])
        size, clips = _size(work, units, share)
        measured.append(SizeErrors(size, clips, squares))
    ceiling = None if run.scores.ceiling is None else run.scores.ceiling.rmse
    curve = RunCurve(
        version=VERSION,
        models=models_stamp(run),
        curve=learning_curve(measured, rows, ceiling=ceiling, seed=settings.seed),
        repeats=repeats,
        unit=(run.record.grouped_by or "copies of a clip") if matrix.groups else "clip",
        left_out=left_out(run),
        badge=run.scores.badges.get("oof_rmse"),
        seconds=time.perf_counter() - started,
    )
    write_json(run.folder / CURVE, asdict(curve))
    shutil.rmtree(work.folder, ignore_errors=True)
    return curve


def load_curve(run: Run) -> RunCurve | None:
    """The curve that is kept with a run, or None where there is none yet.

    Raises
    ------
    RunError
        It is damaged, of another version, or of other models than the run has now.
    """
    path, again = run.folder / CURVE, f"measure the curve again: earmark curve {run.id}"
    try:
        kept = TypeAdapter(RunCurve).validate_python(read_json(path))
    except FileNotFoundError:
        return None
    except FileError as error:
        raise RunError(f"{path}: cannot be read ({error.reason}); {again}") from None
    except ValidationError as error:
        raise RunError(f"{path}: expected {expected(error)}; {again}") from None
    if kept.version != VERSION or kept.models != models_stamp(run):
        raise RunError(f"{path}: it is of another version or of other models; {again}")
    return kept


def check_curve(run: Run, repeats: int = REPEATS) -> None:
    """Refuse what has no curve, before anything is read.

    Raises
    ------
    ParameterError
        ``repeats`` is outside its range.
    DataError
        The record says that there are too few groups or clips, or no error.
    RunError
        The run is of a kind that has no curve.
    """
    if run.kind.why_no_curve:
        raise RunError(f"run {run.id} has no curve: {run.kind.why_no_curve}")
    if not FEWEST_REPEATS <= repeats <= MOST_REPEATS:
        raise ParameterError(
            f"repeats={repeats} must be from {FEWEST_REPEATS}, which show how much a draw matters, to {MOST_REPEATS}"
        )
    if run.scores.oof_rmse == 0:
        raise DataError(
            f"run {run.id} makes no error at all, which more clips cannot lower; look for a feature that holds the label"
        )
    groups = run.record.groups.count if run.record.groups is not None and run.record.grouped_by else None
    _check_size(run, groups, run.record.dataset.train_clips)


def curve_settings(run: Run) -> EnsembleSettings:
    """How the models of a curve are fitted: the members of the run with their own settings, and its blend.

    Raises
    ------
    ParameterError
        The run is of another version, with settings that are not known.
    """
    settings = build(EnsembleSettings, run.record.as_json()["settings"]["ensemble"])
    return settings.replace(
        members=tuple(run.scores.models),
        repeats=1,
        augment=0,
        tta=0,
        pseudo_labels=False,
        rater_bias=False,
        self_test=False,
        trials=0,
        minutes=None,
    )


def left_out(run: Run) -> tuple[str, ...]:
    """What the run does and its curve does not, in words."""
    settings = run.record.as_json()["settings"]["ensemble"]
    return tuple(words for name, words in _LEFT_OUT.items() if settings.get(name))


def draw_groups(fold: Fold, units: np.ndarray, labels: np.ndarray, *, share: float, rng: np.random.Generator) -> Fold:
    """The same fold with a part of its training groups, drawn at random; the rows that are scored stay.

    Parameters
    ----------
    fold : Fold
    units : np.ndarray [shape=(n,)], the group of each row
    labels : np.ndarray [shape=(n,)]
    share : float in (0, 1], of the groups
    rng : np.random.Generator

    Raises
    ------
    DataError
        The labels of each part that was drawn are all equal.

    Examples
    --------
    >>> fold = Fold(np.arange(6), np.array([6, 7]))
    >>> units, labels = np.array(list("aaabbbcc")), np.arange(8.0)
    >>> draw_groups(fold, units, labels, share=0.5, rng=np.random.default_rng(0)).train_rows.tolist() in ([0, 1, 2], [3, 4, 5])
    True
    """
    if share == 1:
        return fold
    names, index = np.unique(units[fold.train_rows], return_inverse=True)
    for _ in range(_ATTEMPTS):
        drawn = rng.permutation(len(names))[: _share_of(share, len(names))]
        rows = fold.train_rows[np.isin(index, drawn)]
        if np.ptp(labels[rows]) > 0:
            return Fold(rows, fold.test_rows)
    raise DataError(f"a part of {share:.0%} of the groups holds clips of one label only; the curve needs labels that differ more")


def _share_of(share: float, groups: int) -> int:
    return max(1, round(share * groups))


def _units(matrix: Matrix) -> np.ndarray:
    """The group of each row, or the row itself where nothing is grouped [shape=(n,)]."""
    return np.array(matrix.groups) if matrix.groups else np.arange(len(matrix.y)).astype(str)


def _check_size(run: Run, groups: int | None, clips: int) -> None:
    if clips >= FEWEST_CLIPS and (groups is None or groups >= FEWEST_GROUPS):
        return
    has = f"{clips} clips" if groups is None else f"{groups} groups ({run.record.grouped_by or 'group'}) and {clips} clips"
    raise DataError(
        f"the curve needs {FEWEST_GROUPS} groups or more and {FEWEST_CLIPS} clips, a fifth of which are still trained on; run "
        f"{run.id} has {has}: label more and train again"
    )


def _plan(folds: np.ndarray) -> tuple[Fold, ...]:
    """The folds of a run, from the number of the fold that scored each row."""
    return tuple(Fold(np.flatnonzero(folds != number), np.flatnonzero(folds == number)) for number in range(int(folds.max()) + 1))


def _size(work: _Work, units: np.ndarray, share: float) -> tuple[float, float]:
    """Groups, and about how many clips, of a data set whose folds would train on as much as with this share."""
    groups, train, drawn = len(np.unique(units)), 0, 0
    for plan in work.plans:
        for fold in plan:
            here = len(np.unique(units[fold.train_rows]))
            train, drawn = train + here, drawn + (here if share == 1 else _share_of(share, here))
    return groups * drawn / train, len(units) * drawn / train


def _draw(work: _Work, repeat: int, notify: Notify) -> np.ndarray:
    """Out-of-fold predictions of each share of a draw [shape=(shares, n)]."""
    plan, shares, units = work.plans[repeat % len(work.plans)], work.shares(repeat), _units(work.matrix)
    home = work.folder / f"draw{repeat}"

    def tell(event: Event) -> None:
        if isinstance(event, FitFinished | Warned):  # the fits of all draws are counted together
            notify(event)

    rng = np.random.default_rng([work.settings.seed, repeat])
    plans = [[draw_groups(fold, units, work.matrix.y, share=share, rng=rng) for fold in plan] for share in shares]
    result = train_ensemble(
        work.matrix,
        work.settings_of(repeat),
        folder=home / "models",
        plans=plans,
        sets=_columns_by_set(work.matrix.names, work.run.record.settings.extract.features),
        files=WorkFiles(checkpoints=home / "fits"),
        notify=tell,
    )
    predictions = result.oof.predictions
    arrays = {"key": np.array(work.key(repeat)), "predictions": predictions}
    write_whole(work.kept(repeat), lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
    shutil.rmtree(home, ignore_errors=True)  # models of parts, which nobody asks again
    return predictions


def _columns_by_set(names: Sequence[str], features: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Columns of a stored matrix by their feature set; no weights are needed for it, and none that a set has gained since."""
    found = {}
    for name in features:
        own = column_names((name,)) if parse_set(name).base == TABLE else [column for column in names if set_of(column) == name]
        found[plain_set(name)] = tuple(column for column in names if column in set(own))
    return found


def _read(path: Path, key: str) -> np.ndarray | None:
    """What was kept of a draw; None where it is not there, damaged or of other work: then it is done again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return np.asarray(kept["predictions"]) if str(kept["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
