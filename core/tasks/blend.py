"""Finished runs on the same clips and folds in, their equal blend out, as a run of its own. Predictions in the unit of the label.

A fine-tuned run joins an ensemble here, as one more out-of-fold prediction. Each run counts the same: weights that were learned
from out-of-fold predictions would rest on models that have seen the fold that is scored.
"""

import csv
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.ensemble import IN_SAMPLE, NESTED, EnsembleResult
from core.ensemble.blend import Blend, label_range
from core.errors import ParameterError, RunError
from core.events import Notify, StageStarted, Warned, ignore
from core.jobs import new_id
from core.runs import BLEND, MATRIX, RECORD, Run, library_versions, model_hashes, read_run
from core.runs.leaderboard import Oof, comparable, load_oof
from core.runs.record import save_oof, verdict_records
from core.scoring import intervals
from core.scoring.compare import paired_verdict
from core.scoring.folds import Fold
from core.tasks.score import BLEND_LAYOUT, describe_predictions, submission_rows, write_submission
from core.workspace import Workspace, make_folder, write_csv, write_json

SUBMISSION_NAME = "blended_submission.csv"
_OF_DATA = ("dataset", "columns", "groups", "proposed_groups", "fold_plan")


def blend_runs(runs: Sequence[Run], workspace: Workspace, *, folder: Path | None = None, notify: Notify = ignore) -> Run:
    """Average runs, clip by clip, and judge the mean beside each of them.

    Parameters
    ----------
    runs : sequence of Run, two or more that are in the workspace
    workspace : Workspace
    folder : of the new run, whose name is its id; None makes a new one
    notify : called with StageStarted

    Returns
    -------
    run : Run

    Raises
    ------
    ParameterError
        There are fewer than two different runs, one is a blend itself, or two do not score the same clips in the same folds.
    RunError
        What a run predicted is missing or damaged.
    """
    started = time.perf_counter()
    if folder is not None and (folder / RECORD).is_file():
        return read_run(folder)
    _check(runs)
    notify(StageStarted("averaging the runs"))
    known = [load_oof(run) for run in runs]
    first, record = known[0], runs[0].record
    level = min(float(run.scores["interval"]["level"]) for run in runs)
    result = _result(known, [run.id for run in runs], level, [float(run.record["seconds"]) for run in runs])
    groups = first.groups if any(first.groups) else None
    verdicts = {
        f"beside {run.id}": paired_verdict(
            first.labels, one.predictions, result.oof_ensemble, groups=groups, minutes=_minutes(runs) - run.record["seconds"] / 60
        )
        for run, one in zip(runs, known, strict=True)
    }
    scores: dict[str, Any] = (
        result.scores() | {name: record["scores"].get(name) for name in ("leak_gap", "leak")} | {"self_test": None}
    )
    scores["verdicts"] = verdict_records(verdicts)
    honest = all(run.scores["badges"].get("oof_rmse") == NESTED for run in runs)
    scores["badges"] |= {"verdicts": NESTED} | ({} if scores["leak_gap"] is None else {"leak_gap": IN_SAMPLE})
    if not honest:
        scores["badges"] = dict.fromkeys(scores["badges"], IN_SAMPLE)

    ours = folder is None
    folder = make_folder(folder or workspace.jobs / new_id())
    try:
        _write(runs, known, result, scores, level, workspace, folder, started, notify)
    except BaseException:
        if ours:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return read_run(folder)


def _check(runs: Sequence[Run]) -> None:
    names = [run.id for run in runs]
    if len(set(names)) < max(2, len(names)):
        raise ParameterError(f"a blend needs two or more different runs; received {', '.join(names) or 'none'}")
    for run in runs:
        if run.kind == BLEND:
            raise ParameterError(f"{run.id} is a blend itself; name the runs that it is made of")
    for other in runs[1:]:
        if why_not := comparable(runs[0], other):
            raise ParameterError(f"{runs[0].id} and {other.id} cannot be blended: {why_not}")


def _minutes(runs: Sequence[Run]) -> float:
    return sum(float(run.record["seconds"]) for run in runs) / 60


def _result(known: Sequence[Oof], names: Sequence[str], level: float, seconds: Sequence[float]) -> EnsembleResult:
    """The mean of out-of-fold predictions, as an ensemble whose members are the runs."""
    first = known[0]
    labels, folds = first.labels, first.folds
    plans = tuple(
        tuple(Fold(np.flatnonzero(of != number), np.flatnonzero(of == number)) for number in range(of.max() + 1)) for of in folds
    )
    mean = np.mean([one.predictions for one in known], axis=0)
    constant = np.empty(mean.shape)
    for row, plan in zip(constant, plans, strict=True):
        for fold in plan:
            row[fold.test_rows] = labels[fold.train_rows].mean()
    groups = first.groups if any(first.groups) else None
    ends = [intervals.oof_intervals(row, labels, groups=groups, level=level) for row in mean]
    least, most = label_range(labels)
    weights = np.full(len(known), 1 / len(known))
    return EnsembleResult(
        plans=plans,
        oof={name: one.predictions for name, one in zip(names, known, strict=True)},
        oof_ensemble=mean,
        oof_plain=mean,
        oof_constant=constant,
        labels=labels,
        groups=groups,
        low=np.clip([low for low, _ in ends], least, most),
        high=np.clip([high for _, high in ends], least, most),
        level=level,
        blends=tuple(tuple(Blend(weights, "mean") for _ in plan) for plan in plans),
        sets={name: [() for plan in plans for _ in plan] for name in names},
        found={name: [{} for plan in plans for _ in plan] for name in names},
        seconds=sum(seconds),
    )


def _write(
    runs: Sequence[Run],
    known: Sequence[Oof],
    result: EnsembleResult,
    scores: dict[str, Any],
    level: float,
    workspace: Workspace,
    folder: Path,
    started: float,
    notify: Notify,
) -> None:
    first, record = known[0], runs[0].record
    save_oof(folder, result, first.filenames, first.contents)
    shutil.copyfile(runs[0].folder / MATRIX, folder / MATRIX)
    residuals = np.abs(result.oof_ensemble - result.labels).ravel()
    least, most = label_range(result.labels)
    layout: dict[str, Any] = {
        "runs": [run.id for run in runs],
        "residuals": residuals.tolist(),
        "rows": len(result.labels),
        "level": level,
        "low": least,
        "high": most,
    }
    write_json(folder / "models" / BLEND_LAYOUT, layout)
    plan = {name: record["settings"]["ensemble"].get(name) for name in ("folds", "groups", "stratified", "seed")}
    whole: dict[str, object] = {name: record[name] for name in _OF_DATA} | {
        "kind": BLEND,
        "run_id": folder.name,
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "versions": library_versions(),
        "label_leaks": [one for run in runs for one in run.record["label_leaks"]],
        "settings": {
            "layout": record["settings"]["layout"],
            "extract": record["settings"]["extract"],
            "ensemble": plan | {"members": [run.id for run in runs], "repeats": len(result.oof_ensemble), "level": level},
        },
        "scores": scores,
        "model_files": model_hashes(folder / "models"),
        "set_aside": record["set_aside"],
        "test": None,
        "submission": None,
    }
    if len({str(run.record["dataset"]["fingerprint"]) for run in runs}) > 1:
        notify(Warned("the runs were trained with other test clips or table cells; so the blend has no submission"))
    elif all(run.record["submission"] for run in runs):
        whole |= _submit(runs, residuals, layout, workspace, folder, float(np.median(result.labels)))
    whole["seconds"] = time.perf_counter() - started
    write_json(folder / RECORD, whole)


def _submit(
    runs: Sequence[Run], residuals: np.ndarray, layout: dict[str, Any], workspace: Workspace, folder: Path, fallback: float
) -> dict[str, object]:
    """Test predictions and submission: of each clip that every run could score, the mean."""
    tables = [_test_table(run) for run in runs]
    names = [name for name in tables[0] if all(name in table for table in tables)]
    value = np.array([np.mean([table[name] for table in tables]) for name in names])
    half = intervals.half_width(residuals, level=layout["level"], rows=layout["rows"])
    low, high = (np.clip(value + sign * half, layout["low"], layout["high"]) for sign in (-1, 1))
    columns = (names, value.tolist(), low.tolist(), high.tolist())
    write_csv(folder / "test_predictions.csv", ("filename", "prediction", "low", "high"), list(zip(*columns, strict=True)))
    wanted = _submitted_names(runs[0])
    rows, filled = submission_rows(wanted, dict(zip(names, value.tolist(), strict=True)), fallback)
    home = workspace.submissions
    path = write_submission(rows, home / folder.name, latest=home, name=SUBMISSION_NAME)
    return {"submission": path, "test": describe_predictions(value) | {"filled_with_training_median": filled}}


def _test_table(run: Run) -> dict[str, float]:
    path = run.folder / "test_predictions.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["filename"]: float(row["prediction"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error}); train again") from None


def _submitted_names(run: Run) -> list[str]:
    """Rows of the test table, in its order and spelling."""
    path = Path(run.record["submission"])
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row["filename"] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error}); train {run.id} again") from None
