"""A data set in, its vectors in the cache and its matrices as files out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.dataset import Dataset
from core.data.rows import Problem
from core.errors import DataError
from core.events import Notify, ignore
from core.extraction.config import ExtractSettings
from core.extraction.export import export_matrices, fingerprint
from core.extraction.extract import Extraction, definitions_of
from core.extraction.levels import bind_levels
from core.tasks.kinds import DatasetRequest, JobKind, Result
from core.tasks.prepare import extract_all, list_set_aside
from core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Exported:
    """What ``extract_dataset`` left.

    Attributes
    ----------
    folder : Path
    files : list of Path
    extraction : Extraction
    set_aside : list of Problem, clips without a vector
    """

    folder: Path
    files: list[Path]
    extraction: Extraction
    set_aside: list[Problem]


def extract_dataset(dataset: Dataset, settings: ExtractSettings, workspace: Workspace, *, notify: Notify = ignore) -> Exported:
    """Extract every clip of a data set and export its matrices.

    Raises
    ------
    DataError
        Not one clip could be read.
    """
    extraction = extract_all(dataset, settings, workspace, notify)
    set_aside = list_set_aside(dataset, extraction.failures)
    if not extraction.vectors:
        first = f" (first: {set_aside[0].file}: {set_aside[0].reason})" if set_aside else ""
        raise DataError(f"{dataset.root}: none of its clips can be read{first}")
    settings = settings.replace(features=bind_levels(settings.features, dataset.train))
    folder = workspace.features / f"{dataset.name}-{fingerprint(dataset, extraction, settings=settings)}"
    files = export_matrices(dataset, extraction, settings.features, folder)
    return Exported(folder, files, extraction, set_aside)


class ExtractRequest(DatasetRequest):
    """A data set and what is to be extracted."""

    extract: ExtractSettings


class ExtractResult(Result):
    """Clips with their vectors, those computed now, and the files that were written."""

    ready: int
    computed: int
    unreadable: int
    set_aside: list[dict[str, Any]]
    files: list[str]
    stamp: str


def run(request: ExtractRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Extract the data set that a job names."""
    dataset = request.read_dataset(workspace)
    stamp = dataset.stamp()
    exported = extract_dataset(dataset, request.extract, workspace, notify=notify)
    return {
        "definitions": definitions_of(request.extract),
        "features": bind_levels(request.extract.features, dataset.train),
        "ready": len(exported.extraction.vectors),
        "computed": exported.extraction.computed,
        "unreadable": len(exported.extraction.failures),
        "set_aside": exported.set_aside,
        "files": exported.files,
        "stamp": stamp,
    }


JOB = JobKind(
    "extract",
    ExtractRequest,
    ExtractResult,
    run,
    verb="Extracting",
    noun="Extraction",
    page="features",
)
