"""Map a function over items in worker processes: one outcome an item, in the order in which they end.

A worker that dies or hangs costs its own item, never the others: each has a pipe of its own, and no lock that another waits for.
"""

import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from queue import SimpleQueue
from types import ModuleType
from typing import Any, Generic, TypeVar

from core.errors import AudioError, EarmarkError, JobError

Item = TypeVar("Item")
Value = TypeVar("Value")

# Spinning threads of one model library slow all others down several times; one thread a worker is enough.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
_PARENT_POLL_S = 0.5
_START_ATTEMPTS = 4
_main_lock = threading.Lock()
_processes = threading.Lock()  # of two threads that ask after one ended process, one would hear that it lives


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Value]):
    """What became of an item: a value, or an error in words."""

    item: Item
    value: Value | None
    error: str | None
    seconds: float


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_unordered(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    deadline_s: Callable[[Item], float] | None = None,
    prepare: Callable[[bool], None] | None = None,
) -> Iterator[Outcome[Item, Value]]:
    """Apply a function to each item, each result as soon as it is there.

    Parameters
    ----------
    function : importable by name from a module other than ``__main__``
    items : sequence, picklable
    workers : int >= 0, processes; 0 works in this process, None takes one for each core
    deadline_s : seconds after which an item is given up, by item; None waits for ever
    prepare : called once in each worker before its first item, outside any deadline; told whether it is the first of them. The
        others wait until the first is ready

    Yields
    ------
    outcome : Outcome, ``error`` set where the function raised, its worker died or its deadline passed. An item whose worker
        died or hung is tried once more, alone, before it is given up: its neighbour may have been the cause.
    """
    for outcomes in map_batches(function, items, workers=workers, deadline_s=deadline_s, prepare=prepare):
        yield from outcomes


def map_batches(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    deadline_s: Callable[[Item], float] | None = None,
    prepare: Callable[[bool], None] | None = None,
) -> Iterator[list[Outcome[Item, Value]]]:
    """As ``map_unordered``, with all results at once that came while the caller was busy: it can write them down together."""
    workers = cores() if workers is None else workers
    if workers == 0:
        if prepare is not None and len(items):
            prepare(True)
        for item in items:
            yield [_outcome(function, item)]
        return
    suspects = yield from _run_pool(function, items, min(workers, max(1, len(items))), deadline_s, prepare)
    for item in suspects:
        if (yield from _run_pool(function, [item], 1, deadline_s, prepare)):
            limit = deadline_s(item) if deadline_s else None
            why = "its worker process died twice" + (f" or ran past its deadline of {limit:.0f} s" if limit else "")
            yield [Outcome(item, None, why, 0.0)]


def _run_pool(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    workers: int,
    deadline_s: Callable[[Item], float] | None,
    prepare: Callable[[bool], None] | None,
) -> Generator[list[Outcome[Item, Value]], None, list[Item]]:
    """Yield the outcomes of items; return those whose worker died or hung."""
    pool: _Pool[Item, Value] = _Pool(items, workers, deadline_s, (function, prepare))
    try:
        yield from pool.outcomes()
    finally:
        pool.stop()
    return pool.suspects


class _Pool(Generic[Item, Value]):
    """Worker processes, each served by a thread of this process."""

    def __init__(self, items: Sequence[Item], workers: int, deadline_s: Callable[[Item], float] | None, work: tuple[Any, Any]):
        self.suspects: list[Item] = []
        self._waiting = deque(items)
        self._deadline_s = deadline_s
        self._work = work
        self._ended: SimpleQueue[Outcome[Item, Value] | BaseException | None] = SimpleQueue()  # None from a thread that is done
        self._room = threading.Semaphore(2 * workers)  # for outcomes that wait for the caller
        self._workers: list[_Worker] = []
        self._starting, self._preparing = threading.Lock(), threading.Lock()
        self._is_prepared = self._is_stopped = False
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def outcomes(self) -> Iterator[list[Outcome[Item, Value]]]:
        """As they come, all at once that came while the caller was busy."""
        left = len(self._threads)
        while left:
            ended = [self._ended.get()]
            while not self._ended.empty():
                ended.append(self._ended.get())
            left -= ended.count(None)
            if outcomes := [outcome for outcome in ended if isinstance(outcome, Outcome)]:
                self._room.release(len(outcomes))
                yield outcomes
            for problem in ended:
                if isinstance(problem, BaseException):
                    raise problem

    def stop(self) -> None:
        """End all processes, whatever they are at."""
        with self._starting:
            self._is_stopped = True
            for worker in self._workers:
                worker.process.kill()
        self._room.release(len(self._threads))
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        """Keep one worker at work until nothing waits."""
        worker: _Worker | None = None
        try:
            while self._room.acquire() and not self._is_stopped:
                try:
                    item = self._waiting.popleft()
                except IndexError:
                    break
                if worker is not None and not worker.is_alive():
                    self._end(worker)
                    worker = None
                worker = worker or self._start()
                outcome = worker.outcome(item, self._deadline_s(item) if self._deadline_s else None)
                if outcome is not None:
                    self._ended.put(outcome)
                else:
                    self._end(worker)
                    worker = None
                    self.suspects.append(item)
                    self._room.release()
            self._ended.put(None)
        except BaseException as problem:  # it is raised in the caller's thread
            self._ended.put(problem)
        finally:
            if worker is not None:
                self._end(worker)

    def _start(self) -> "_Worker":
        """A worker that is ready; one that ends while it starts is replaced a few times."""
        said = ""
        for _ in range(_START_ATTEMPTS):
            with self._starting:
                if self._is_stopped:
                    break
                try:
                    self._workers.append(worker := _Worker())
                except OSError as problem:  # no memory, too many files or processes
                    said = f" ({_in_words(problem)})"
                    continue
            with self._preparing:  # the others wait until the first is ready
                is_first = not self._is_prepared
                error = worker.begin((*self._work, True)) if is_first else None
                self._is_prepared = self._is_prepared or error is None
            if not is_first:
                error = worker.begin((*self._work, False))
            if error is None:
                return worker
            self._end(worker)
            said = f" ({error})" if error else said
        raise JobError(f"worker processes end again and again while they start{said}; try fewer workers, or see earmark doctor")

    def _end(self, worker: "_Worker") -> None:
        with self._starting:
            self._workers.remove(worker)
        worker.end()


class _Worker:
    """A process that works on one item after another, and the pipe to it."""

    def __init__(self) -> None:
        context = _Context()
        self._pipe, its_end = context.Pipe()
        self.process = context.Process(target=_serve_parent, args=(its_end, os.getpid()), daemon=True)
        try:
            with _processes:
                self.process.start()
        finally:
            its_end.close()

    def is_alive(self) -> bool:
        with _processes:
            return self.process.is_alive()

    def begin(self, work: tuple[Any, Any, bool]) -> str | None:
        """Send what it is to do; None when it is ready, else why not, in words if it had any."""
        try:
            self._pipe.send(work)
            return self._pipe.recv()
        except (EOFError, OSError):
            return ""

    def outcome(self, item: Item, deadline_s: float | None) -> Outcome[Item, Any] | None:
        """What becomes of an item; None where the process died or hung over it."""
        try:
            self._pipe.send(item)
            return self._pipe.recv() if self._pipe.poll(deadline_s) else None
        except (EOFError, OSError):
            return None

    def end(self) -> None:
        """End the process: there is nothing that it could lose."""
        with _processes:
            self.process.kill()
            self.process.join()
            self.process.close()
        self._pipe.close()


def _outcome(function: Callable[[Item], Value], item: Item) -> Outcome[Item, Value]:
    """Apply the function where it runs: words cross to the parent, not exceptions, of which some cannot be unpickled there."""
    started = time.perf_counter()
    value, error = None, None
    try:
        value = function(item)
    except Exception as problem:  # whatever a library makes of one item is that item's outcome, in words
        error = problem.reason if isinstance(problem, AudioError) else _in_words(problem)
    return Outcome(item, value, error, time.perf_counter() - started)


def _in_words(problem: Exception) -> str:
    return str(problem) if isinstance(problem, EarmarkError) else f"{type(problem).__name__}: {problem}"


def _serve_parent(pipe: Connection, parent: int) -> None:
    """The life of a worker process: it hears what to do, says that it is ready, then answers each item with its outcome."""
    os.environ.update(WORKER_ENVIRONMENT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    with suppress(EOFError, BrokenPipeError):  # the parent has what it wanted
        try:
            function, prepare, is_first = pipe.recv()
            if prepare is not None:
                prepare(is_first)
        except Exception as problem:  # of a library or of the machine: the parent says it
            pipe.send(_in_words(problem))
            return
        pipe.send(None)
        while True:
            outcome = _outcome(function, pipe.recv())
            try:
                pipe.send(outcome)
            except (AttributeError, TypeError, pickle.PicklingError) as problem:
                pipe.send(Outcome(outcome.item, None, _in_words(problem), outcome.seconds))


def _end_with_parent(parent: int) -> None:
    """A killed parent cannot stop its workers, so they look whether it still is their parent."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """A new process runs the parent's main script again, unless there is none: a plain script needs no main guard so."""
    with _main_lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _main_hidden():
            return SpawnProcess._Popen(process_obj)


class _Context(SpawnContext):
    Process = _Process
