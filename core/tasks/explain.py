"""A finished run in, what each feature does to its predictions out; kept in the run's folder."""

from typing import Any

from core.events import Notify
from core.insight.explain import explain_run
from core.jobs import Job
from core.runs import find_run
from core.runs.context import CHECKPOINTS
from core.tasks.kinds import JobKind
from core.workspace import Workspace


def run(job: Job, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Explain the run that a job names."""
    explained = find_run(job.request["run"], workspace.jobs)
    explanation = explain_run(explained, clips=job.request["clips"], checkpoints=job.folder / CHECKPOINTS, notify=notify)
    return {"run_id": explained.id, "clips": len(explanation.filenames)}


JOB = JobKind("explain", run, result=("run_id",), verb="Explaining", noun="Explanation", page="explain")
