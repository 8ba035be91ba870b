"""Jobs as pages see them: requests, results, events."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.resources.caching import cached, version
from core.errors import JobError
from core.events import BegunAnew, EpochScored, JobQueued, JobStarted, Recorded, RoundsScored, StepDone, read_events
from core.jobs import RESULT, Job, by_request, read_job
from core.tasks.kinds import read_result

_CURVES = RoundsScored | StepDone | EpochScored  # kept over attempts: finished folds and fits are not repeated


def jobs(folder: Path) -> list[Job]:
    """Jobs of a workspace, the newest request first; a request never changes, so each job is read once."""
    known = _known_jobs(folder)
    names = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    for name in set(known) - names:
        known.pop(name, None)
    for name in names - set(known):
        try:
            known[name] = read_job(folder / name)
        except JobError:  # not a job, or not one yet
            continue
    return by_request(known.values())


@cached(lambda folder: folder, most=4)
def _known_jobs(folder: Path) -> dict[str, Job]:
    return {}


def result(job: Job) -> dict[str, Any]:
    """The result of a finished job.

    Raises
    ------
    JobError
        The result is missing, damaged, or was written by another version of Earmark.
    """
    return read_result(job)


@cached(lambda job: (job.folder, version(job.folder / RESULT)), most=8, spinner="Reading the predictions ...")
def scored(job: Job) -> dict[str, Any]:
    """The result of a finished scoring; it may be long, so it is read once.

    Raises
    ------
    JobError
        As ``result``.
    """
    return result(job)


@dataclass
class _Tail:
    """How far an event file was read."""

    offset: int = 0
    recorded: list[Recorded] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def events(path: Path) -> list[Recorded]:
    """Events of a job's last attempt, after the curves of earlier ones; each line is read once for all sessions."""
    tail = _tail(path)
    with tail.lock:
        fresh, tail.offset = read_events(path, tail.offset)
        for recorded in fresh:
            if isinstance(recorded.event, JobQueued | JobStarted):  # fits that were finished before are not repeated
                tail.recorded = [earlier for earlier in tail.recorded if isinstance(earlier.event, _CURVES)]
            if isinstance(recorded.event, BegunAnew):
                tail.recorded = [earlier for earlier in tail.recorded if not isinstance(earlier.event, _CURVES)]
            tail.recorded.append(recorded)
        return list(tail.recorded)


@cached(lambda path: path, most=32)
def _tail(path: Path) -> _Tail:
    return _Tail()
