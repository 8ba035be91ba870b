"""A few clips of a data set in, how fast they are extracted here out."""

from typing import Any

from core.events import Notify
from core.extraction.config import ExtractSettings
from core.extraction.speed import probe_speed
from core.jobs import Job
from core.settings import build
from core.tasks.kinds import JobKind, requested_dataset
from core.workspace import Workspace


def run(job: Job, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Measure the speed of an extraction."""
    dataset, settings = requested_dataset(job), build(ExtractSettings, job.request["extract"])
    paths = [row.path for row in (*dataset.train, *dataset.test)]
    return {"speed": probe_speed(paths, settings, cache_path=workspace.cache, notify=notify)}


JOB = JobKind("probe", run, result=("speed",), verb="Measuring a few clips", noun="Estimate", page="features", in_passing=True)
