"""Worker-side runner: lock, heartbeat, cancellation, final status."""

import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from core.errors import EarmarkError, JobError
from core.events import (
    REASON_CHARACTERS,
    Event,
    EventLog,
    Heartbeat,
    JobCancelled,
    JobDone,
    JobFailed,
    JobStarted,
    Notify,
    ignore,
    last_job_event,
)
from core.jobs.queue import RESULT, Job, os_error_message, result
from core.workspace import write_json

HEARTBEAT_S = 5.0
_CANCEL_POLL_S = 0.1
_CANCEL_GRACE_S = 1.2  # to leave by itself, then the process ends at once: what is finished is on the disk


class Cancelled(BaseException):
    """Unwinds work that somebody asked to stop; like KeyboardInterrupt it is nobody's error to handle."""


def perform(job: Job, work: Callable[[Job, Notify], Any], *, notify: Notify = ignore) -> Any:
    """Do a claimed job in this process, from its main thread.

    Parameters
    ----------
    job : Job
    work : called with the job and where to report; what it returns is the job's result
    notify : is told what the event file is told

    Returns
    -------
    result : what ``work`` returned

    Raises
    ------
    JobError
        Another process works on it.
    Cancelled, KeyboardInterrupt
        Somebody asked to stop.
    EarmarkError, OSError
        As ``work`` raised it; a defect of ours becomes a JobError, with its traceback in the job's log.
    """
    try:
        lock = FileLock(job.lock).acquire(timeout=5)
    except Timeout:
        raise JobError(f"job {job.id}: another process works on it") from None
    with lock, EventLog(job.events) as log:
        if isinstance(last_job_event(job.events)[0], JobDone):  # by another process, while this one waited
            return result(job)
        watch = _Watch(job, log)

        def tell(event: Event) -> None:
            watch.record(event)
            notify(event)

        try:
            log.append(JobStarted(os.getpid(), platform.node()))
            with watch:
                outcome = work(job, tell)
            write_json(job.folder / RESULT, outcome)
        except (Cancelled, KeyboardInterrupt):
            _last_word(log, JobCancelled())
            raise
        except EarmarkError as error:
            _last_word(log, JobFailed(str(error)[:REASON_CHARACTERS]))
            raise
        except OSError as error:
            _last_word(log, JobFailed(os_error_message(error)))
            raise
        except Exception as error:
            with job.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                traceback.print_exc(file=file)
            what = f"an error of Earmark itself, {type(error).__name__}: {error}"[:REASON_CHARACTERS]
            _last_word(log, JobFailed(f"{what}; more in {job.log}"))
            raise JobError(f"{what}; more in {job.log}") from error
        _last_word(log, JobDone())
        return outcome


class _Watch:
    """Beside the work: a heartbeat for those who look, and an eye on the file that asks to stop.

    The main thread is interrupted by a signal; when it cannot leave in time (it may be inside a library), the process ends.
    """

    def __init__(self, job: Job, log: EventLog):
        self._job = job
        self._log = log
        self._armed = False
        self._interrupted_at: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> "_Watch":
        self._before = signal.signal(signal.SIGTERM, self._interrupt)
        self._armed = True
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._armed = False
        self._over.set()
        self._thread.join()
        signal.signal(signal.SIGTERM, self._before)

    def record(self, event: Event) -> None:
        """Write progress; a disk that refuses a line of progress does not stop the work, which has writes of its own."""
        try:
            self._log.append(event)
        except OSError as error:
            print(f"not recorded: {event} ({error.strerror})", file=sys.stderr)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            self._interrupted_at = time.monotonic()
            raise Cancelled

    def _look(self) -> None:
        beat, asked = time.monotonic(), None
        main = threading.main_thread().ident
        assert main is not None
        while not self._over.wait(_CANCEL_POLL_S):
            now = time.monotonic()
            if asked is None and self._job.cancel.exists():
                asked = now
                signal.pthread_kill(main, signal.SIGTERM)
            asked = asked or self._interrupted_at
            if asked is not None and now - asked > _CANCEL_GRACE_S:
                _last_word(self._log, JobCancelled())
                os._exit(130)
            if now - beat >= HEARTBEAT_S:
                beat = now
                os.utime(self._job.lock)  # a full disk has no room for an event
                self.record(Heartbeat())


def _last_word(log: EventLog, event: Event) -> None:
    for _ in range(20):
        try:
            return log.append(event)
        except OSError as error:
            print(f"not recorded: {event} ({error.strerror})", file=sys.stderr)
            time.sleep(0.5)  # a full disk may be given room
