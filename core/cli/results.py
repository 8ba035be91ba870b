"""Commands on finished runs: list, compare, evaluate, predict, explain, curve."""

import argparse
import sys
from typing import TYPE_CHECKING

from core.cli import common
from core.cli.common import read_data, read_workspace
from core.cli.console import (
    Progress,
    explanation_record,
    print_evaluation,
    print_explanation,
    print_json,
    print_prediction,
    print_problems,
)
from core.cli.curve_table import curve_lines
from core.cli.score_table import score_text
from core.errors import ParameterError, RunError
from core.scoring.figures import text
from core.workspace import to_json

if TYPE_CHECKING:
    from core.runs import Run


def runs(options: argparse.Namespace) -> int:
    """List the finished runs."""
    from core.runs import list_runs, ranked, unreadable_runs
    from core.runs.leaderboard import leaderboard, table_lines
    from core.scoring.metrics import METRICS

    jobs_folder = read_workspace(options).jobs
    if options.metric not in (None, *METRICS):
        raise ParameterError(f"metric={options.metric!r} not among {', '.join(METRICS)}")
    found = list_runs(jobs_folder)
    rows = leaderboard(found, metric=options.metric)
    if options.metric is not None:
        order = {run.id: place for place, run in enumerate(ranked(found, METRICS[options.metric]))}
        rows.sort(key=lambda row: order[row["run_id"]])
    for _, reason in unreadable_runs(jobs_folder):
        print(f"warning: {reason}", file=sys.stderr)
    if options.json:
        print_json({"runs": rows})
    else:
        print("\n".join(table_lines(rows)) if rows else "no finished run yet; train one with: earmark train DATASET")
    return 0


def compare(options: argparse.Namespace) -> int:
    """Compare two runs."""
    from core.runs import find_run
    from core.runs.leaderboard import comparable, load_oof, settings_difference
    from core.scoring.compare import paired_verdict

    workspace = read_workspace(options)
    before, after = (find_run(name, workspace.jobs) for name in (options.before, options.after))
    if why_not := comparable(before, after):
        raise ParameterError(f"{before.id} and {after.id} cannot be compared: {why_not}")
    one, other = load_oof(before), load_oof(after)
    groups = one.groups if any(one.groups) else None
    minutes = (after.record.seconds - before.record.seconds) / 60
    verdict = paired_verdict(one.labels, one.predictions, other.predictions, groups=groups).at_cost(minutes)
    differences = settings_difference(before, after)
    if options.json:
        settings = {name: [value, new] for name, value, new in differences}
        print_json({"before": before.id, "after": after.id, "verdict": verdict, "settings": settings})
        return 0
    print(f"{after.id} against {before.id}: {verdict.sentence()}")
    for name, value, new in differences:
        print(f"  {name}: {value} -> {new}")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Score a run on a labelled hold-out."""
    from core.runs import find_run
    from core.tasks.score import ScoringOptions, evaluate_run

    workspace = read_workspace(options)
    run = find_run(options.run, workspace.jobs)
    dataset, _ = read_data(options)
    with Progress() as progress:
        found = evaluate_run(run, dataset.train, ScoringOptions(workspace, options.tta, notify=progress))
    if options.json:
        line = {"run_id": run.id, "clips": len(found.rows), **found.scores}
        line |= {"constant_rmse": found.constant_rmse, "interval_coverage": found.coverage, "trained_on": found.trained_on}
        predictions = [dict(zip(("file", "label", "prediction", "low", "high"), row, strict=True)) for row in found.rows]
        print_json(line | {"unreadable": found.unreadable, "predictions": predictions})
        return 0
    print(f"run {run.id} on {len(found.rows)} labelled clips of {dataset.name} that it was not trained on")
    for name, value in (*found.scores.items(), ("constant_rmse", found.constant_rmse)):
        print(f"  {name:14} {score_text(name, value, like=found.constant_rmse)}")
    print(f"  {'oof_rmse':14} {text(run.scores.oof_rmse, like=found.constant_rmse)}  (as estimated in training)")
    print(f"  {'coverage':14} {found.coverage:.2f}  (share of labels inside their prediction interval)")
    if found.trained_on:
        print(f"  {len(found.trained_on)} clips left out, the run was trained on them (first: {found.trained_on[0]})")
    for name, reason in found.unreadable.items():
        print(f"  left out: {name}: {reason}")
    return 0


def predict(options: argparse.Namespace) -> int:
    """Score clips with a finished run."""
    from core.data.layouts.layout import Layout
    from core.runs import find_run
    from core.tasks.predict import score

    workspace = read_workspace(options)
    if not options.clips and options.table is None:
        raise ParameterError("nothing to score: name clips, or a folder or CSV with --table PATH")
    run = find_run(options.run, workspace.jobs)
    layout = {name: getattr(options, name) for name in Layout.model_fields if getattr(options, name)}
    cells = dict(word.split("=", 1) for word in options.column or () if "=" in word)
    if len(cells) < len(options.column or ()) or (cells and options.table is not None):
        raise ParameterError(
            "--column takes NAME=VALUE, once for each name, for clips without a --table; write --column device=phone"
        )
    request = {"clips": options.clips, "table": options.table, "layout": layout, "tta": options.tta, "columns": cells}
    with Progress() as progress:
        found = score(run, request, workspace, notify=progress)
    print_problems(found["problems"]) if not options.json else None
    for prediction in found["predictions"]:
        print_json(prediction) if options.json else print_prediction(prediction, like=run.scores.constant_rmse)
    if not options.json:
        print_evaluation(found["evaluation"], found.get("not_judged"))
    return 0 if all(prediction.prediction is not None for prediction in found["predictions"]) else 1


def explain(options: argparse.Namespace) -> int:
    """Explain the out-of-fold predictions of a run."""
    from core.insight.explain import find_clips, load_explanation
    from core.runs import find_run

    workspace = read_workspace(options)
    run = find_run(options.run, workspace.jobs)
    clips = find_clips(run, run.load_matrix().filenames, options.clips)
    try:
        found = load_explanation(run)
    except RunError as error:
        print(f"earmark: {error}; doing so now", file=sys.stderr)
        found = None
    if found is None or not set(clips) <= set(found.filenames):
        name = run.id if run.folder.parent == workspace.jobs else str(run.folder)
        common.do("explain", {"run": name, "clips": clips}, workspace)
        found = load_explanation(run)
        assert found is not None
    if options.json:
        print_json(explanation_record(run, found, clips))
    else:
        print_explanation(run, found, clips)
    return 0


def curve(options: argparse.Namespace) -> int:
    """Measure how the error of a run falls with more clips."""
    from core.insight.curve import REPEATS, check_curve, load_curve
    from core.runs import find_run

    workspace = read_workspace(options)
    run = find_run(options.run, workspace.jobs)
    repeats = options.repeats
    check_curve(run, REPEATS if repeats is None else repeats)
    try:
        found = load_curve(run)
    except RunError as error:
        print(f"earmark: {error}; doing so now", file=sys.stderr)
        found = None
    if found is None or repeats not in (None, found.repeats):
        _say_time(run, repeats or REPEATS)
        name = run.id if run.folder.parent == workspace.jobs else str(run.folder)
        common.do("curve", {"run": name, "repeats": repeats or REPEATS}, workspace)
        found = load_curve(run)
        assert found is not None
    if options.json:
        print_json({"run_id": run.id, "sentence": found.curve.sentence(), "helps": found.curve.helps} | to_json(found))
    else:
        print("\n".join(curve_lines(run, found)))
    return 0


def _say_time(run: "Run", repeats: int) -> None:
    """Say on standard error about how long it takes."""
    from core.events import read_events
    from core.runtime.pool import cores
    from core.tasks.forecast import forecast_curve, known_fits

    ahead = forecast_curve(run, known_fits([(run, read_events(run.folder / "events.jsonl")[0])]), max(1, cores()), repeats=repeats)
    minutes = ahead.seconds / 60
    took = f"{minutes:.0f} min" if minutes >= 1.5 else f"{ahead.seconds:.0f} s"
    print(f"earmark: {ahead.fits} fits, about {took}", file=sys.stderr)
