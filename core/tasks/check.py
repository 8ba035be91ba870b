"""A data set in, a report of every problem with its clips out."""

from typing import Any

from core.data.report import check_dataset
from core.events import Notify
from core.jobs import Job
from core.tasks.kinds import JobKind, requested_dataset
from core.workspace import Workspace


def run(job: Job, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Look at every clip of the data set."""
    dataset = requested_dataset(job)
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
    run,
    result=("seconds", "problems", "table", "why_not", "stamp"),
    verb="Looking at the clips",
    noun="Check",
    page="dataset",
    in_passing=True,
)
