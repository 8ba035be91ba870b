"""What a job can ask for. ``work`` does it; the command line and the worker process give it to ``jobs.runner.perform``.

A new kind is a module with a ``JOB``, and a line in ``JOB_KINDS``. The registry holds names of modules: a page that speaks of one
kind loads no other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from core.data.dataset import Dataset, Layout, read_dataset
from core.errors import ParameterError
from core.events import Notify
from core.jobs import Job
from core.settings import build
from core.workspace import Workspace

JOB_KINDS = {
    "check": "core.tasks.check",
    "probe": "core.tasks.probe",
    "extract": "core.tasks.extract",
    "layers": "core.tasks.layers",
    "train": "core.tasks.train",
    "finetune": "core.tasks.finetune",
    "blend": "core.tasks.blend",
    "predict": "core.tasks.predict",
    "explain": "core.tasks.explain",
}


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job.

    Attributes
    ----------
    name : str, in spec.json
    run : does it; called with the job, its workspace and who is told of the progress; returns the result, fit for JSON
    result : tuple of str, names that a result has
    verb : str, what the work is doing: Training
    noun : str, what it is: Training
    page : str, name of the page that shows it
    trains : bool, it leaves a run that has a page of its own
    after_clips : str, what it does between the last clip and what is counted next; empty where nothing takes long
    in_passing : bool, a quick look that Home does not list as work
    """

    name: str
    run: Callable[[Job, Workspace, Notify], dict[str, Any]]
    result: tuple[str, ...]
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


def known_jobs(jobs: Sequence[Job]) -> list[tuple[Job, JobKind]]:
    """Jobs with their kind; those of a kind that is not known, such as one of another version, are left out."""
    return [(job, job_kind(job.kind)) for job in jobs if job.kind in JOB_KINDS]


def work(job: Job, notify: Notify) -> dict[str, Any]:
    """Do what a job, in the folder ``jobs`` of a workspace, asks for; its result is fit for JSON."""
    return job_kind(job.kind).run(job, Workspace(job.folder.parents[1]), notify)


def requested_dataset(job: Job) -> Dataset:
    """The data set that a job names, as it is on the disk now."""
    return read_dataset(job.request["dataset"], build(Layout, job.request["layout"]))
