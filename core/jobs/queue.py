"""Long work as folders: a job is asked for, taken by a process of its own, followed and stopped through files alone.

    jobs/<id>/spec.json     what is to be done; never changes
              events.jsonl  what happened, only appended to
              lock          held by the process that works on the job
              log.txt       what that process printed
              asked         its time: when the job was last asked for
              cancel        there once somebody asked to stop
              result.json   what came of it

A job belongs to nobody's window: it goes on when the page is closed or the server killed, and whoever opens the workspace sees it.
It has one status: queued, running, done, failed, cancelled, or lost (its process ended without reporting).
"""

import fcntl
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from core.errors import FileError, JobError
from core.events import (
    EventLog,
    JobCancelled,
    JobDone,
    JobFailed,
    JobQueued,
    JobStarted,
    Recorded,
    last_job_event,
    read_events,
)
from core.renamed import rename_sections
from core.workspace import make_folder, read_json, to_json, write_json

QUEUED, RUNNING, DONE, FAILED, CANCELLED, LOST = "queued", "running", "done", "failed", "cancelled", "lost"
ACTIVE = (QUEUED, RUNNING)
_ENDS: dict[type, str] = {JobDone: DONE, JobFailed: FAILED, JobCancelled: CANCELLED}

SILENCE_S = 60.0  # without a heartbeat for so long, a held lock is not believed: file systems of networks differ
START_S = 60.0  # a process that was started has so long to take its lock
_SIGTERM_AFTER_S, _SIGKILL_AFTER_S = 2.5, 5.0
SPEC, RESULT, EVENTS = "spec.json", "result.json", "events.jsonl"
_REQUESTED: tuple[tuple[type, str, tuple[str, ...]], ...] = (  # in the request of any kind of job, where it is there
    (str, "a text", ("dataset", "run", "table", "encoder")),
    (list, "a list", ("clips", "runs", "labels")),
    (dict, "an object", ("layout", "extract", "ensemble", "finetune")),
)
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for.

    Attributes
    ----------
    folder : Path
    kind : str, such as "extract" or "train"
    request : dict, JSON values only
    created : float, seconds since 1970
    """

    folder: Path
    kind: str
    request: dict[str, Any]
    created: float

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def events(self) -> Path:
        return self.folder / EVENTS

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def asked(self) -> Path:
        """Its time is that of the last request for this job."""
        return self.folder / "asked"

    @property
    def cancel(self) -> Path:
        return self.folder / "cancel"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"


def new_id() -> str:
    """An id that sorts by time: ``20260131-142501-4f2a``."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def claim(kind: str, request: dict[str, Any], jobs: Path) -> tuple[Job, bool]:
    """The job for a request, asked for once however often a button is pressed.

    Parameters
    ----------
    kind : str
    request : dict; dataclasses and paths are written as JSON
    jobs : folder of the workspace's jobs

    Returns
    -------
    job : Job; one that is queued or running on an equal request, else the last equal one that did not end well, to go on where
        it stopped, else a new one
    mine : bool, whether the caller is to start it
    """
    request, jobs = to_json(request), jobs.absolute()
    make_folder(jobs)
    with FileLock(jobs / ".claim"):
        job = next((job for job in list_jobs(jobs) if job.kind == kind and job.request == request), None)
        if job is not None and (state := status(job)) != DONE:
            if state in ACTIVE:
                return job, False
            job.cancel.unlink(missing_ok=True)
            _queue(job)
        else:
            job = Job(jobs / new_id(), kind, request, time.time())
            make_folder(job.folder)
            try:
                _queue(job)  # before it can be found: a job always has a status
                write_json(job.folder / SPEC, {"job_id": job.id, "kind": kind, "created": job.created, "request": request})
            except OSError:
                shutil.rmtree(job.folder, ignore_errors=True)
                raise
    return job, True


def start(job: Job) -> None:
    """Give a claimed job a process of its own, which outlives this one.

    Raises
    ------
    JobError
        The system refuses another process.
    """
    try:
        with job.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "core.worker", str(job.folder)],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,  # a file: a pipe would fill up, or break with its reader
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
    except OSError as error:
        reason = f"no process could be started ({error.strerror})"
        with EventLog(job.events) as events:
            events.append(JobFailed(reason))
        raise JobError(f"job {job.id}: {reason}") from None
    threading.Thread(target=_see_off, args=(process, job), daemon=True).start()


def submit(kind: str, request: dict[str, Any], jobs: Path) -> Job:
    """Claim and start. Parameters as ``claim``."""
    job, mine = claim(kind, request, jobs)
    if mine:
        start(job)
    return job


def status(job: Job) -> str:
    """The one status of a job, from its files."""
    last, at = last_job_event(job.events)
    if type(last) in _ENDS:
        return _ENDS[type(last)]
    held, beat = _look_at(job.lock)
    if held and time.time() - max(at, beat) < SILENCE_S:
        return RUNNING
    last, at = last_job_event(job.events)  # it may have ended between the two looks
    if type(last) in _ENDS:
        return _ENDS[type(last)]
    if isinstance(last, JobQueued) and time.time() - at < START_S:
        return QUEUED
    return CANCELLED if job.cancel.exists() else LOST


def why_failed(job: Job) -> str:
    """The reason of a failed job, in words."""
    last, _ = last_job_event(job.events)
    return last.reason if isinstance(last, JobFailed) else "no reason was recorded"


def cancel(job: Job) -> None:
    """Ask a job to stop."""
    if not job.cancel.exists():
        job.cancel.touch()


def escalate_cancel(job: Job) -> None:
    """Where a job was asked to stop seconds ago, in vain, tell its process by signal, then end it."""
    try:
        asked_s = time.time() - job.cancel.stat().st_mtime
    except FileNotFoundError:  # nobody asked, or it is gone on with
        return
    if asked_s > _SIGTERM_AFTER_S and status(job) == RUNNING:
        started = next((one.event for one in reversed(read_events(job.events)[0]) if isinstance(one.event, JobStarted)), None)
        if started is not None and started.host == platform.node():
            try:
                os.kill(started.pid, signal.SIGKILL if asked_s > _SIGKILL_AFTER_S else signal.SIGTERM)
            except (ProcessLookupError, PermissionError):  # ended meanwhile, or another user's
                return


def follow(job: Job, *, poll_s: float = 0.2) -> Iterator[Recorded]:
    """Events of a job from its first one on, as they come, until it is no longer queued or running."""
    offset = 0
    while True:
        active = status(job) in ACTIVE
        recorded, offset = read_events(job.events, offset)
        yield from recorded
        if not active:
            return
        time.sleep(poll_s)


def is_job(folder: Path) -> bool:
    """Whether a job was asked for there; a run that a script made is none."""
    return (folder / SPEC).exists()


def read_job(folder: Path) -> Job:
    """Read the folder of a job.

    Raises
    ------
    JobError
        There is no spec.json, or it is damaged.
    """
    path = folder / SPEC
    try:
        spec = read_json(path)
    except FileNotFoundError:
        raise JobError(f"{folder}: no job ({SPEC} is missing)") from None
    except FileError as error:
        raise JobError(f"{error.path}: not the description of a job ({error.reason})") from None
    if problem := next(_problems(spec), None):
        raise JobError(f"{path}: not the description of a job (expected {problem})")
    return Job(folder.absolute(), spec["kind"], rename_sections(spec["request"]), float(spec["created"]))


def _problems(spec: Any) -> Iterator[str]:
    """What is wrong with the description of a job, in words. Of a request: what is named as kinds of jobs share it."""
    if not isinstance(spec, dict):
        yield "an object"
        return
    if not isinstance(spec.get("kind"), str):
        yield "a text at kind"
    created = spec.get("created")
    if not isinstance(created, int | float) or isinstance(created, bool) or not 0 <= created < 1e11:
        yield "seconds since 1970 at created"
    request = spec.get("request")
    if not isinstance(request, dict):
        yield "an object at request"
        return
    for kind, what, names in _REQUESTED:
        for name in names:
            value = request.get(name)
            if value is not None and not isinstance(value, kind):
                yield f"{what} at request.{name}"
            elif isinstance(value, list) and not all(isinstance(item, str) for item in value):
                yield f"texts at request.{name}"


def list_jobs(jobs: Path) -> list[Job]:
    """Jobs of a workspace, the one that was asked for last first; a damaged one is left out."""
    found = []
    for spec in jobs.glob(f"*/{SPEC}"):
        try:
            found.append(read_job(spec.parent))
        except JobError:
            continue
    return by_request(found)


def by_request(found: Iterable[Job]) -> list[Job]:
    """Jobs in the order in which they were last asked for, newest first."""

    def asked(job: Job) -> tuple[float, str]:
        try:
            return job.asked.stat().st_mtime, job.id
        except OSError:
            return job.created, job.id

    return sorted(found, key=asked, reverse=True)


def result(job: Job) -> Any:
    """What came of a job that is done.

    Raises
    ------
    JobError
        The result is missing or damaged.
    """
    try:
        return read_json(job.folder / RESULT)
    except FileNotFoundError:
        raise JobError(f"{job.folder / RESULT}: the result is missing; run the job again") from None
    except FileError as error:
        raise JobError(f"{error.path}: the result cannot be read ({error.reason}); run the job again") from None


def os_error_message(error: OSError) -> str:
    """What the system refused, in words."""
    where = f" {error.filename}" if error.filename else ""
    return f"the system refused{where}: {error.strerror or error}; fix that and try again"


def _queue(job: Job) -> None:
    job.asked.touch()
    with EventLog(job.events) as log:
        log.append(JobQueued())


def _see_off(process: subprocess.Popen[bytes], job: Job) -> None:
    """Wait for a worker; one that ended before it could take its job has left its reason in the log only."""
    if process.wait() != 0 and isinstance(last_job_event(job.events)[0], JobQueued):
        with EventLog(job.events) as log:
            log.append(JobFailed(f"its process ended before the job began; {job.log} has what it printed"))


def _look_at(lock: Path) -> tuple[bool, float]:
    """Whether a process holds the lock of a job, and when it last showed itself there, in seconds since 1970.

    A shared lock is asked for, so that those who look do not take each other for the holder; FileLock holds an exclusive one.
    """
    try:
        file = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False, 0.0
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True, os.fstat(file).st_mtime
    else:
        return False, os.fstat(file).st_mtime
    finally:
        os.close(file)
