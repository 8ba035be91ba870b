"""A few clips of a data set in, how fast they are extracted here out."""

from pathlib import Path
from typing import Any

from core.events import Notify
from core.extraction.config import ExtractSettings
from core.extraction.speed import probe_speed
from core.extraction.texts import texts_of
from core.tasks.kinds import DatasetRequest, JobKind, Result
from core.workspace import Workspace


class ProbeRequest(DatasetRequest):
    """A data set and what is to be extracted."""

    extract: ExtractSettings


class ProbeResult(Result):
    """The fields of ``extraction.speed.Speed``."""

    speed: dict[str, Any]


def run(request: ProbeRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Measure the speed of an extraction."""
    dataset = request.read_dataset(workspace)
    rows = (*dataset.train, *dataset.test)
    texts = texts_of(rows, request.extract.features)
    paths = [row.path for row in rows]
    return {"speed": probe_speed(paths, request.extract, cache_path=workspace.cache, texts=texts, notify=notify)}


JOB = JobKind(
    "probe",
    ProbeRequest,
    ProbeResult,
    run,
    verb="Measuring a few clips",
    noun="Estimate",
    page="features",
    in_passing=True,
)
