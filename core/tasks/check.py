"""A data set in, a report of every problem with its clips out."""

from pathlib import Path
from typing import Any

from core.data.report import check_dataset
from core.events import Notify
from core.tasks.kinds import DatasetRequest, JobKind, Result
from core.workspace import Workspace


class CheckResult(Result):
    """A report, as ``data.report.Report.as_json``, with the table of clips."""

    seconds: float
    problems: list[dict[str, Any]]
    table: list[Any]
    why_not: str | None
    stamp: str


def run(request: DatasetRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Look at every clip of the data set."""
    dataset = request.read_dataset(workspace)
    stamp = dataset.stamp()  # of the clips as they are read from here on
    report = check_dataset(dataset, notify=notify)
    return {
        **report.as_json(),
        "problems": report.problems,
        "table": report.clips,
        "twins": report.twins,
        "why_not": report.why_not,
        "stamp": stamp,
    }


JOB = JobKind(
    "check",
    DatasetRequest,
    CheckResult,
    run,
    verb="Looking at the clips",
    noun="Check",
    page="dataset",
    in_passing=True,
)
