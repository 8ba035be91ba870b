"""What a job can ask for. ``work`` does it; the command line and the worker process give it to ``jobs.runner.perform``.

A new kind is a module with a ``JOB``, and a line in ``JOB_KINDS``. The registry holds names of modules: a page that speaks of one
kind loads no other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from core import jobs
from core.data.dataset import Dataset, read_dataset
from core.data.layouts.layout import Layout
from core.errors import JobError, ParameterError
from core.events import Notify
from core.jobs import Job
from core.runs.schema import expected
from core.workspace import Workspace

JOB_KINDS = {
    "check": "core.tasks.check",
    "probe": "core.tasks.probe",
    "extract": "core.tasks.extract",
    "layers": "core.tasks.layers",
    "train": "core.tasks.train",
    "labels": "core.tasks.labels",
    "auto": "core.tasks.auto",
    "finetune": "core.tasks.finetune",
    "blend": "core.tasks.blend",
    "predict": "core.tasks.predict",
    "explain": "core.tasks.explain",
    "curve": "core.tasks.curve",
}


class Request(BaseModel):
    """What a job asks for, as spec.json has it. Settings in it are checked as everywhere else."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class DatasetRequest(Request):
    """A request on a data set: its folder or table, and how it is laid out."""

    dataset: str
    layout: Layout = Layout()

    def read_dataset(self, workspace: Workspace) -> Dataset:
        """The data set as it is on the disk now."""
        return read_dataset(self.dataset, self.layout, segments=workspace.segments)


class Result(BaseModel):
    """What a finished job leaves, as result.json has it; the fields are those that are read from it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)


class TrainingResult(Result):
    """The run that a training left, and the state of the data set that it was trained on."""

    run_id: str
    stamp: str


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job.

    Attributes
    ----------
    name : str, in spec.json
    request : type, its requests
    result : type, its results
    run : does it; called with the request, the folder of the job, its workspace and who is told of the progress; returns the
        fields of the result, fit for JSON
    verb : str, what the work is doing: Training
    noun : str, what it is: Training
    page : str, name of the page that shows it
    trains : bool, it leaves a run that has a page of its own
    after_clips : str, what it does between the last clip and what is counted next; empty where nothing takes long
    in_passing : bool, a quick look that Home does not list as work
    """

    name: str
    request: type[Request]
    result: type[Result]
    run: Callable[[Any, Path, Workspace, Notify], dict[str, Any]]
    verb: str
    noun: str
    page: str
    trains: bool = False
    after_clips: str = ""
    in_passing: bool = False


@cache
def job_kind(name: str) -> JobKind:
    """The kind of that name.

    Raises
    ------
    ParameterError
        There is none.
    """
    if name not in JOB_KINDS:
        raise ParameterError(f"job kind {name!r} is not among {', '.join(JOB_KINDS)}")
    kind: JobKind = import_module(JOB_KINDS[name]).JOB
    return kind


def known_jobs(listed: Sequence[Job]) -> list[tuple[Job, JobKind]]:
    """Jobs with their kind; those of a kind that is not known, such as one of another version, are left out."""
    return [(job, job_kind(job.kind)) for job in listed if job.kind in JOB_KINDS]


def work(job: Job, notify: Notify) -> dict[str, Any]:
    """Do what a job, in the folder ``jobs`` of a workspace, asks for; its result is fit for JSON.

    Raises
    ------
    ParameterError
        The request lacks something, or a setting is outside its range.
    """
    kind = job_kind(job.kind)
    try:
        request = kind.request.model_validate(job.request)
    except ValidationError as error:
        raise ParameterError(f"job {job.id}: expected {expected(error)} in its request; ask for the work again") from None
    return kind.run(request, job.folder, Workspace(job.folder.parents[1]), notify)


def read_result(job: Job) -> dict[str, Any]:
    """The fields of the result of a finished job.

    Raises
    ------
    JobError
        The result is missing, damaged, or was written by another version of Earmark.
    """
    content = jobs.result(job)
    try:
        job_kind(job.kind).result.model_validate(content)
    except ValidationError as error:
        refused = error.errors(include_url=False, include_input=False)
        if any(field["type"] == "missing" or not field["loc"] for field in refused):
            raise JobError(f"job {job.id}: its result is of another version of Earmark; run the job again") from None
        names = ", ".join(".".join(map(str, field["loc"])) for field in refused)
        raise JobError(f"{job.folder / jobs.RESULT}: the result is damaged at {names}; run the job again") from None
    fields: dict[str, Any] = content
    return fields
