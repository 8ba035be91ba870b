"""A finished ensemble in, its error with fewer of its clips and with twice as many out; kept in the run's folder."""

from pathlib import Path
from typing import Any

from core.events import Notify
from core.insight.curve import REPEATS, measure_curve
from core.runs import find_run
from core.runs.context import CHECKPOINTS
from core.tasks.kinds import JobKind, Request, Result
from core.workspace import Workspace


class CurveRequest(Request):
    """A run, by anything that ``find_run`` takes, and how often each size is drawn."""

    run: str
    repeats: int = REPEATS


class CurveResult(Result):
    """The run that was measured, and what twice its clips would bring."""

    run_id: str
    sentence: str


def run(request: CurveRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Measure the curve of the run that a job names."""
    measured = find_run(request.run, workspace.jobs)
    found = measure_curve(measured, repeats=request.repeats, checkpoints=folder / CHECKPOINTS, notify=notify)
    return {"run_id": measured.id, "sentence": found.curve.sentence()}


JOB = JobKind("curve", CurveRequest, CurveResult, run, verb="Measuring the curve", noun="Curve", page="train")
