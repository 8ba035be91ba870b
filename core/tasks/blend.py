"""Finished runs on the same clips and folds in, their equal blend out, as a run of its own. Predictions in the unit of the label.

A fine-tuned run joins an ensemble here, as one more out-of-fold prediction. Each run counts the same: weights that were learned
from out-of-fold predictions would rest on models that have seen the fold that is scored.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.data.rows import Row
from core.errors import ParameterError, RunError
from core.events import Notify, StageStarted, Warned, ignore
from core.runs import Run, find_run
from core.runs.context import RunContext
from core.runs.kinds import RunKind
from core.runs.leaderboard import Oof, comparable, load_oof
from core.runs.record import Outcome, TrainingData, complete_scores, write_run
from core.runs.submission import TestPredictions, load_test_predictions, read_submission
from core.scoring import intervals
from core.scoring.compare import paired_verdict
from core.scoring.folds import Fold
from core.scoring.oof import NESTED, OofResult, label_range, measure
from core.tasks.kinds import JobKind, Request, Result
from core.tasks.score import Prediction, ScoringOptions, predict_rows
from core.workspace import Workspace, read_json, write_json

LAYOUT = "blend.json"


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
    context = RunContext.begin(workspace, folder, notify)
    if (finished := context.finished()) is not None:
        return finished
    _check(runs)
    notify(StageStarted("averaging the runs"))
    with context:
        outcome = _average(runs, [load_oof(run) for run in runs])
        write_json(context.models / LAYOUT, _layout(runs, outcome.oof))
        if len({run.record.dataset.fingerprint for run in runs}) > 1:
            notify(Warned("the runs were trained with other test clips or table cells; so the blend has no submission"))
        elif all(run.record.submission for run in runs):
            outcome = replace(outcome, test=_average_test(runs, outcome.oof))
        return write_run(context, _training_data(runs, outcome), outcome)


def _check(runs: Sequence[Run]) -> None:
    names = [run.id for run in runs]
    if len(set(names)) < max(2, len(names)):
        raise ParameterError(f"a blend needs two or more different runs; received {', '.join(names) or 'none'}")
    for run in runs:
        if not run.kind.holds_models:
            raise ParameterError(f"{run.id} is a blend itself; name the runs that it is made of")
    for other in runs[1:]:
        if why_not := comparable(runs[0], other):
            raise ParameterError(f"{runs[0].id} and {other.id} cannot be blended: {why_not}")


def _average(runs: Sequence[Run], known: Sequence[Oof]) -> Outcome:
    """The mean of out-of-fold predictions; what is combined are the runs."""
    first, record = known[0], runs[0].record.as_json()
    plans = [
        [Fold(np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)) for fold in range(numbers.max() + 1)]
        for numbers in first.folds
    ]
    groups = first.groups if any(first.groups) else None
    level = min(run.scores.interval.level for run in runs)
    mean = np.mean([oof.predictions for oof in known], axis=0)
    result = measure(plans, mean, first.labels, groups=groups, level=level)
    members = {run.id: oof.predictions for run, oof in zip(runs, known, strict=True)}
    minutes = {run.id: run.record.seconds / 60 for run in runs}
    verdicts = {
        f"beside {name}": paired_verdict(first.labels, predictions, mean, groups=groups).at_cost(
            sum(minutes.values()) - minutes[name]
        )
        for name, predictions in members.items()
    }
    combined = {
        "models": {name: result.member_scores(predictions) for name, predictions in members.items()},
        "blend": dict.fromkeys(members, 1 / len(members)),
        "blend_rules": {"mean": sum(map(len, plans))},
    }
    honest = all(run.scores.badges.get("oof_rmse") == NESTED for run in runs)
    scores = complete_scores(
        result.scores() | combined,
        leak=record["scores"].get("leak"),
        ceiling=record["scores"].get("ceiling"),
        verdicts=verdicts,
        cheated=not honest,
    )
    folds = {name: record["settings"]["ensemble"].get(name) for name in ("folds", "group_by", "stratified", "seed")}
    folds["metric"] = record["settings"]["ensemble"].get("metric", "rmse")
    settings = {
        "layout": record["settings"]["layout"],
        "extract": record["settings"]["extract"],
        "ensemble": folds | {"members": [run.id for run in runs], "repeats": len(mean), "level": level},
    }
    return Outcome(RUN.name, RUN.submission_name, result, members, scores, settings, None)


def _layout(runs: Sequence[Run], oof: OofResult) -> dict[str, Any]:
    """What ``predict`` reads: the runs, and the errors that make an interval."""
    least, most = label_range(oof.labels)
    return {
        "runs": [run.id for run in runs],
        "residuals": np.abs(oof.predictions - oof.labels).ravel().tolist(),
        "rows": len(oof.labels),
        "level": oof.level,
        "low": least,
        "high": most,
    }


def _training_data(runs: Sequence[Run], outcome: Outcome) -> TrainingData:
    """What the runs were trained on, as the first of them says."""
    first, record = runs[0], runs[0].record.as_json()
    sections = {name: record[name] for name in ("dataset", "columns", "groups", "proposed_groups", "set_aside")}
    sections["label_leaks"] = [column for run in runs for column in run.record.as_json().get("label_leaks", [])]
    form = None if outcome.test is None else read_submission(Path(record["submission"]))[0]
    return TrainingData(first.load_matrix(), tuple(load_oof(first).contents), sections, form)


def _average_test(runs: Sequence[Run], oof: OofResult) -> TestPredictions:
    """Of each row of the test table that every run could score, the mean."""
    tables = [load_test_predictions(run.folder) for run in runs]
    rows = [row for row in tables[0] if all(row in table for table in tables)]
    value = np.array([np.mean([table[row] for table in tables]) for row in rows])
    return TestPredictions(tuple(name for name, _ in rows), value, *_ends(value, _layout(runs, oof)))


def _ends(value: np.ndarray, layout: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends of the intervals of predictions [shape=(q,)]."""
    half = intervals.half_width(np.array(layout["residuals"]), level=layout["level"], rows=layout["rows"])
    low, high = (np.clip(value + sign * half, layout["low"], layout["high"]) for sign in (-1, 1))
    return low, high


def predict(run: Run, rows: Sequence[Row], options: ScoringOptions) -> list[Prediction]:
    """Score clips with each run of a blend and average; the interval comes from the errors of the blend itself."""
    run.check_models()
    layout = read_json(run.models / LAYOUT)
    by_run = []
    for name in layout["runs"]:
        try:
            part = find_run(name, run.folder.parent)
        except RunError as error:
            raise RunError(f"run {run.id} is a blend, and one of its runs is gone: {error}") from None
        tta = options.tta if part.kind.takes_copies else None
        by_run.append(predict_rows(part, rows, replace(options, tta=tta)))
    blended = []
    for same_clip in zip(*by_run, strict=True):
        warnings = tuple(dict.fromkeys(warning for prediction in same_clip for warning in prediction.warnings))
        values = [prediction.prediction for prediction in same_clip if prediction.prediction is not None]
        value = float(np.mean(values)) if len(values) == len(same_clip) else None
        low, high = (None, None) if value is None else (float(end) for end in _ends(np.array(value), layout))
        blended.append(replace(same_clip[0], prediction=value, low=low, high=high, warnings=warnings))
    return blended


class BlendRequest(Request):
    """Runs of the workspace."""

    runs: list[str]


class BlendResult(Result):
    """The blend."""

    run_id: str


def run(request: BlendRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Blend the runs that a job names."""
    runs = [find_run(name, workspace.jobs) for name in request.runs]
    return {"run_id": blend_runs(runs, workspace, folder=folder, notify=notify).id}


RUN = RunKind(
    "blend",
    command="blend",
    noun="a blend of runs",
    label="blend of runs",
    page="train",
    member_noun="Runs",
    whole_noun="blend",
    submission_name="blended_submission.csv",
    predict=predict,
    why_not_explained="it is a blend of other runs; explain those",
    why_no_curve="a blend fits nothing itself; measure the curve of one of its ensembles",
    models_note="",
    why_no_submission="not all of its runs have one on the same clips",
)
JOB = JobKind("blend", BlendRequest, BlendResult, run, verb="Averaging", noun="Blend", page="runs")
