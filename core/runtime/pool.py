"""Map a function over items in worker processes: one outcome an item, in the order in which they end.

A worker that dies or hangs costs its own item, never the others: pebble's pool ends it at the deadline and starts another.
"""

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Generic, TypeVar

from filelock import FileLock

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
_WATCH_S = 5.0
_POOL_ATTEMPTS = 3  # of a pool in which not one item is begun
_LOST_STARTS = 4  # times as many workers may end while they start
_main_lock = threading.Lock()


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
    suspects: list[Item] = []
    yield from _run_pool(function, items, min(workers, max(1, len(items))), deadline_s, prepare, suspects)
    while suspects:
        item = suspects.pop()
        again: list[Item] = []
        yield from _run_pool(function, [item], 1, deadline_s, prepare, again)
        if again:
            limit = deadline_s(item) if deadline_s else None
            why = "its worker process died twice" + (f" or ran past its deadline of {limit:.0f} s" if limit else "")
            yield [Outcome(item, None, why, 0.0)]


def _run_pool(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    workers: int,
    deadline_s: Callable[[Item], float] | None,
    prepare: Callable[[bool], None] | None,
    suspects: list[Item],
) -> Iterator[list[Outcome[Item, Value]]]:
    """Outcomes of items; what dies or hangs is left in ``suspects``. A pool that breaks is replaced as long as work goes on."""
    waiting = deque(items)
    failures = 0
    while waiting:
        left = len(waiting)
        with TemporaryDirectory(prefix="earmark-") as folder:
            gate = Path(folder)
            yield from _until_it_breaks(function, waiting, workers, deadline_s, prepare, suspects, gate)
            failures = failures + 1 if len(waiting) == left else 0
            if failures == _POOL_ATTEMPTS:
                raise JobError(f"the worker processes end before they begin{_said(gate)}; try fewer workers, or see earmark doctor")


def _until_it_breaks(
    function: Callable[[Item], Value],
    waiting: deque[Item],
    workers: int,
    deadline_s: Callable[[Item], float] | None,
    prepare: Callable[[bool], None] | None,
    suspects: list[Item],
    gate: Path,
) -> Iterator[list[Outcome[Item, Value]]]:
    """Run one pool; items that it did not come to stay in ``waiting``."""
    from pebble import ProcessExpired, ProcessPool

    running: dict[Any, Item] = {}
    start = (os.getpid(), gate, prepare)
    pool = ProcessPool(max_workers=workers, context=_Context(), initializer=_start_worker, initargs=start)
    try:
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                timeout = deadline_s(waiting[0]) if deadline_s else None
                try:
                    running[pool.schedule(_outcome, args=[function, waiting[0]], timeout=timeout)] = waiting[0]
                except RuntimeError:  # pebble closes a pool whose worker died between two items
                    waiting.extend(running.values())
                    return
                waiting.popleft()
            outcomes = []
            for future in wait(running, timeout=_WATCH_S, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenExecutor):
                    waiting.append(item)
                elif isinstance(error, (ProcessExpired, TimeoutError)):
                    suspects.append(item)
                else:
                    outcomes.append(future.result())
            if outcomes:
                yield outcomes
            if len(list(gate.glob("starting-*"))) > _LOST_STARTS * workers:
                raise JobError(f"worker processes end again and again while they start{_said(gate)}; try fewer workers")
    finally:
        pool.stop()
        pool.join()


def _said(gate: Path) -> str:
    """What a worker could still say of why it ended."""
    error = gate / "error"
    return f" ({error.read_text()})" if error.exists() else ""


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


def _start_worker(parent: int, gate: Path, prepare: Callable[[bool], None] | None) -> None:
    os.environ.update(WORKER_ENVIRONMENT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    if prepare is None:
        return
    mark, ready = gate / f"starting-{os.getpid()}", gate / "ready"
    mark.touch()  # stays where the process ends before it is ready
    try:
        with FileLock(gate / "lock"):  # the system frees it when its holder dies
            first = not ready.exists()
            if first:
                prepare(True)
                ready.touch()
        if not first:
            prepare(False)
    except Exception as problem:
        (gate / "error").write_text(_in_words(problem))
        raise
    mark.unlink()


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
