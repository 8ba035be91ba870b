"""A finished run in, what each feature does to its predictions out; kept in the run's folder."""

from pathlib import Path
from typing import Any

from core.events import Notify
from core.insight.explain import explain_run
from core.runs import find_run
from core.runs.context import CHECKPOINTS
from core.tasks.kinds import JobKind, Request, Result
from core.workspace import Workspace


class ExplainRequest(Request):
    """A run, by anything that ``find_run`` takes, and training clips that are explained in any case."""

    run: str
    clips: tuple[str, ...] = ()


class ExplainResult(Result):
    """The run that was explained."""

    run_id: str


def run(request: ExplainRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Explain the run that a job names."""
    explained = find_run(request.run, workspace.jobs)
    explanation = explain_run(explained, clips=request.clips, checkpoints=folder / CHECKPOINTS, notify=notify)
    return {"run_id": explained.id, "clips": len(explanation.filenames)}


JOB = JobKind("explain", ExplainRequest, ExplainResult, run, verb="Explaining", noun="Explanation", page="explain")
