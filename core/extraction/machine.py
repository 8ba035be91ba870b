"""Clips in, what is made of them on the disk: what is there is kept, what is not is made once and stored before it is reported.

A ``Product`` says what is made: vectors in the cache (``extract``) or files of frames (``core.multimodal.frames``). Clips of one
content are one task. A worker process decodes a clip once, and makes or prepares all that is missing of it; what needs a model is
computed in this process, in batches. A clip can also have augmented copies, numbered from 1.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from core.data.audio import clip_deadline_s
from core.data.treatment import AS_RECORDED, Treatment
from core.encoders.batches import Batches, BatchWork, Computed
from core.encoders.shared_pass import EncodedWindows
from core.events import BatchComputed, ClipExtracted, ClipSetAside, ExtractionStarted, Notify
from core.extraction.contents import forget_files, hash_files
from core.runtime.cache import VectorCache
from core.runtime.device import Device
from core.runtime.pool import cores, map_batches

Part = tuple[int, str]  # number of the copy, 0 for the clip itself, and what is made of it, with the text that it needs
_BREAK = "\n"  # before a text, which has none itself


@dataclass(frozen=True, slots=True)
class Task:
    """What is missing of the files of one content."""

    paths: tuple[Path, ...]
    content: bytes
    wanted: tuple[Part, ...]
    max_seconds: float
    treatment: Treatment = AS_RECORDED

    @property
    def copies(self) -> list[int]:
        """Numbers of the copies that are wanted, 0 for the clip itself."""
        return sorted({copy for copy, _ in self.wanted})


@dataclass(slots=True)
class Finished:
    """Parts of a task that are ready to be stored, or the reason why there are none; ``is_last`` when no more will come."""

    task: Task
    arrays: dict[Part, np.ndarray] = field(default_factory=dict)
    texts: dict[Part, str] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    is_last: bool = True


Decoded = tuple[dict[Part, np.ndarray], dict[Part, Any]]  # what a worker made, and what it prepared for a model


def with_text(name: str, text: str) -> str:
    """What is made of a clip and a text, whose runs of blanks count as one: a clip may have a vector for each of several texts.

    Examples
    --------
    >>> split_text(with_text("reading:/models/whisper", "two  words"))
    ('reading:/models/whisper', 'two words')
    """
    return f"{name}{_BREAK}{' '.join(text.split())}"


def split_text(name: str) -> tuple[str, str]:
    """What is made of a clip, and the text that it needs; empty where it needs none."""
    name, _, text = name.partition(_BREAK)
    return name, text


class Product(Protocol):
    """What is made of clips, and where it is kept."""

    def missing(self, content: bytes) -> tuple[Part, ...]:
        """What of a content is not there yet; of a file that could not be read (an empty content) all of it."""
        ...

    def begin(self, tasks: Sequence[Task]) -> Callable[[bool], None] | None:
        """Say what is about to be made; what each worker is to call first, if anything.

        Raises
        ------
        DataError
            There is no room for it.
        """
        ...

    @property
    def decode(self) -> Callable[[Task], Decoded]:
        """Runs in a worker: a function that can be pickled."""
        ...

    def works(self, names: set[str]) -> Mapping[str, BatchWork]:
        """What is computed in batches, among these names, which have no texts any more, in the order of their turns."""
        ...

    def keep(self, finished: Sequence[Finished]) -> None:
        """Store what is ready; when this returns it is on the disk."""
        ...


@dataclass(frozen=True, slots=True)
class Production:
    """How a product is made.

    Attributes
    ----------
    device : Device, where models compute
    max_seconds : float, only the start of a longer clip is read
    workers : int >= 0, processes that decode; 0 works in this process, None takes one for each core
    batch : int >= 1, pieces at once; None takes what should fit
    rehash : bool, read every file instead of trusting its size and times
    now_ns : the clock, in nanoseconds since 1970
    treatment : Treatment, which channel is read, and how far it is slowed down
    """

    device: Device
    max_seconds: float
    workers: int | None = None
    batch: int | None = None
    rehash: bool = False
    now_ns: Callable[[], int] = time.time_ns
    treatment: Treatment = AS_RECORDED


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a list of clips: failures with their reason, and how many were made this time."""

    failures: dict[Path, str]
    computed: int


def read_contents(paths: Sequence[Path], store: VectorCache, how: Production) -> dict[Path, bytes]:
    """Content hash of each file; empty for one that cannot be read: the worker tries again and gives the reason."""
    return dict.fromkeys(paths, b"") | hash_files(paths, store, rehash=how.rehash, now_ns=how.now_ns)


def make(contents: Mapping[Path, bytes], product: Product, store: VectorCache, how: Production, notify: Notify) -> Made:
    """Make what is missing of clips.

    Parameters
    ----------
    contents : dict of path to content, as ``read_contents`` gives it
    product : Product
    store : VectorCache, which forgets the content of a file that fails
    how : Production
    notify : called with ExtractionStarted, then ClipExtracted or ClipSetAside for each clip of which something is missing
    """
    tasks = _tasks(contents, product, how)
    left = sum(len(task.paths) for task in tasks)
    notify(ExtractionStarted(clips=len(contents), cached=len(contents) - left, to_do=left))
    if not tasks:
        return Made({}, 0)
    prepare = product.begin(tasks)
    failures: dict[Path, str] = {}
    for finished in _run(tasks, product, how, prepare, notify):
        product.keep(finished)
        forget_files((path for part in finished if part.error for path in part.task.paths), store)
        for part in finished:
            for path in part.task.paths:
                if part.error:
                    failures[path] = part.error
                    notify(ClipSetAside(path.name, part.error))
                elif part.is_last:
                    notify(ClipExtracted(path.name, part.seconds))
    return Made(failures, left - len(failures))


def _tasks(contents: Mapping[Path, bytes], product: Product, how: Production) -> list[Task]:
    """One task for the files of one content; a file that could not be read is one of its own."""
    alike: dict[bytes, list[Path]] = {}
    missing: dict[bytes, tuple[Part, ...]] = {}
    for path, content in contents.items():
        if content not in missing:
            missing[content] = product.missing(content)
        if missing[content] or not content:
            alike.setdefault(content or os.fsencode(path), []).append(path)
    return [
        Task(tuple(paths), contents[paths[0]], missing[contents[paths[0]]], how.max_seconds, how.treatment)
        for paths in alike.values()
    ]


def _deadline_s(task: Task) -> float:
    return len({0, *task.copies}) * clip_deadline_s(task.paths[0], max_seconds=task.max_seconds, treatment=task.treatment)


def _run(
    tasks: Sequence[Task], product: Product, how: Production, prepare: Callable[[bool], None] | None, notify: Notify
) -> Iterator[list[Finished]]:
    """Decode clips side by side, and compute in batches here what a model computes; the models go when the work is done."""
    line = _Line(product.works({split_text(name)[0] for task in tasks for _, name in task.wanted}), how, notify)
    try:
        for outcomes in map_batches(product.decode, tasks, workers=how.workers, deadline_s=_deadline_s, prepare=prepare):
            ready = []
            for outcome in outcomes:
                if outcome.value is None:
                    ready.append(Finished(outcome.item, error=outcome.error or "no reason was given"))
                    continue
                arrays, prepared = outcome.value
                ready.append(Finished(outcome.item, arrays, seconds=outcome.seconds, is_last=not prepared))
                line.open(outcome.item, len(prepared), outcome.seconds)
            yield ready
            for outcome in outcomes:
                prepared = outcome.value[1] if outcome.value else {}
                for part in sorted(prepared, key=line.place):
                    yield from line.add(outcome.item, part, prepared[part])
        yield from line.flush()
    finally:
        line.close()


class _Line:
    """The models of a product, each with what waits for its next batch, and clips of which parts wait."""

    def __init__(self, works: Mapping[str, BatchWork], how: Production, notify: Notify):
        encoded = EncodedWindows() if len(works) > 1 else None
        self._batches: dict[str, Batches[tuple[Task, Part]]] = {
            name: Batches(work, device=how.device, batch=how.batch, notify=notify, encoded=encoded) for name, work in works.items()
        }
        self._places = {name: place for place, name in enumerate(works)}
        self._notify = notify
        self._side_by_side = max(1, cores() if how.workers is None else how.workers)
        self._open_parts: dict[Task, int] = {}
        self._seconds: dict[Task, float] = {}

    def place(self, part: Part) -> int:
        """Whose turn it is among the parts of a task, in the order of the works: a later one may use what an earlier one left."""
        return self._places[split_text(part[1])[0]]

    def open(self, task: Task, parts: int, seconds: float) -> None:
        """So many parts of a task will come, which took so long until here."""
        self._open_parts[task], self._seconds[task] = parts, seconds

    def add(self, task: Task, part: Part, item: Any) -> Iterator[list[Finished]]:
        """Take what was prepared of a part; what is computed meanwhile comes back."""
        batch = self._batches[split_text(part[1])[0]]
        batch.load()
        began = time.perf_counter()
        if computed := batch.add((task, part), item):
            yield self._finish(batch, computed, time.perf_counter() - began)

    def flush(self) -> Iterator[list[Finished]]:
        """Compute what waits."""
        for batch in self._batches.values():
            began = time.perf_counter()
            if computed := batch.flush():
                yield self._finish(batch, computed, time.perf_counter() - began)

    def close(self) -> None:
        """Let go of the models."""
        for batch in self._batches.values():
            batch.close()

    def _finish(
        self, batch: Batches[tuple[Task, Part]], computed: Sequence[Computed[tuple[Task, Part]]], took_s: float
    ) -> list[Finished]:
        finished = []
        self._notify(BatchComputed(batch.work.name, len(computed), took_s))
        for result in computed:
            task, part = result.key
            if task not in self._open_parts:  # another part of it has failed
                continue
            self._seconds[task] += took_s / len(computed) * self._side_by_side  # of the time of all processes together
            self._open_parts[task] -= 1
            if result.vector is None:
                del self._open_parts[task]
                finished.append(Finished(task, error=result.error))
                continue
            texts = {} if result.text is None else {part: result.text}
            is_last = self._open_parts[task] == 0
            finished.append(Finished(task, {part: result.vector}, texts, seconds=self._seconds[task], is_last=is_last))
        return finished
