"""Frozen facts about work in progress. Work reports them through a ``Notify``; whoever listens draws, prints or records.

A job's facts also stand in its ``events.jsonl``, one line each, only ever appended to: ``EventLog`` writes them, ``read_events``
follows them from another process. Seconds are wall-clock time. Standard library only.
"""

import dataclasses
import json
import math
import os
import sys
import threading
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from core.ladder_events import LadderPlanned as LadderPlanned, LadderStepDone as LadderStepDone


@dataclass(frozen=True, slots=True)
class JobQueued:
    """Somebody asked for the job; a process will take it."""


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A process works on the job from here on; ``pid`` is its number on the machine ``host``."""

    pid: int
    host: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The process is alive, whether or not there is something else to tell."""


@dataclass(frozen=True, slots=True)
class JobDone:
    """The job ended as it should; its result is on disk."""


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The job could not be done, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class JobCancelled:
    """The job was stopped on request."""


@dataclass(frozen=True, slots=True)
class CheckStarted:
    """How many clips are to be decoded for the report on a data set."""

    clips: int


@dataclass(frozen=True, slots=True)
class ExtractionStarted:
    """What extraction found before its first clip."""

    clips: int
    cached: int
    to_do: int


@dataclass(frozen=True, slots=True)
class CompilingStarted:
    """The extractor is compiled for this machine: once, and for about half a minute."""


@dataclass(frozen=True, slots=True)
class ClipExtracted:
    """The vectors of a clip are stored; seconds are those of one of the processes that work side by side."""

    file: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ClipSetAside:
    """A clip gives no vector, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClipChecked:
    """A clip was decoded for the report on a data set."""

    file: str


@dataclass(frozen=True, slots=True)
class TrainingStarted:
    """How many models are to be fitted."""

    fits: int


@dataclass(frozen=True, slots=True)
class LeakGapFound:
    """What a cheap model says of the folds: its RMSE where rows of one group stand on both sides, and where none do."""

    random_rmse: float
    grouped_rmse: float
    groups: str


@dataclass(frozen=True, slots=True)
class RoundsScored:
    """A boosted model after ``rounds`` rounds; ``rmse`` is on the rows that early stopping looks at, which are training rows."""

    model: str
    repeat: int
    fold: int
    rounds: int
    rmse: float


@dataclass(frozen=True, slots=True)
class FitFinished:
    """A member is fitted on one fold of one repeat; ``rmse`` is on the fold's own rows, which it has not seen.

    ``oof_rmse`` is the error so far: of the mean of the members that are fitted, over the rows that any of them has scored.
    ``constant_rmse`` is that of the mean label of the other folds, over the same rows.
    """

    model: str
    fold: int
    rmse: float
    rounds: int | None
    seconds: float
    oof_rmse: float
    constant_rmse: float
    repeat: int = 0
    sets: str = ""


@dataclass(frozen=True, slots=True)
class FoldScored:
    """All members of a fold are fitted; ``rmse`` is that of their blend."""

    fold: int
    rmse: float
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class ExplainStarted:
    """How many parts an explanation has: a member of a fold each, and what is made of them together."""

    parts: int


@dataclass(frozen=True, slots=True)
class PartExplained:
    """A part of an explanation is there; ``what`` names it for people."""

    what: str
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LayersStarted:
    """How many pairs of a layer and a head are to be scored."""

    parts: int


@dataclass(frozen=True, slots=True)
class LayerScored:
    """Out-of-fold RMSE of a head, such as ridge, on what one layer of an encoder says of the clips."""

    layer: int
    head: str
    rmse: float


@dataclass(frozen=True, slots=True)
class DeviceChosen:
    """Where the sets that PyTorch computes are computed: ``cuda`` or ``cpu``, and what it is called."""

    device: str
    name: str


@dataclass(frozen=True, slots=True)
class BatchComputed:
    """So many clips were computed together for a set, by PyTorch with all it has, in so many seconds."""

    set_name: str
    clips: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BatchHalved:
    """The memory of the device did not hold a batch: from here on ``set_name`` runs at most ``batch`` pieces at once."""

    set_name: str
    batch: int


@dataclass(frozen=True, slots=True)
class BegunAnew:
    """What earlier attempts at a fine-tuning have left was made of other clips, labels, texts or weights: it is gone."""


@dataclass(frozen=True, slots=True)
class FinetuneStarted:
    """How many folds are to be trained, of how many epochs at most; how many of the parameters are trained."""

    folds: int
    epochs: int
    trained: int
    parameters: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step of a fold's training: the mean loss since the last one that was told, on rows that are fitted on; memory in GB."""

    fold: int
    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    memory_gb: float


@dataclass(frozen=True, slots=True)
class EpochScored:
    """A fold after an epoch: error and loss on the validation rows that find the best epoch, which are training rows."""

    fold: int
    epoch: int
    rmse: float
    loss: float


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A part of the work beside the ensemble itself begins, such as a self-test or the run without a switch."""

    what: str


@dataclass(frozen=True, slots=True)
class LabelStarted:
    """The training on one of several labels begins; ``number`` counts from 1, ``job`` is its id, whose events tell the rest."""

    label: str
    number: int
    labels: int
    job: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that whoever reads the result should know; the work goes on."""

    text: str


JobEvent = JobQueued | JobStarted | Heartbeat | JobDone | JobFailed | JobCancelled
WorkEvent = (
    CheckStarted | ClipChecked | ExtractionStarted | CompilingStarted | ClipExtracted | ClipSetAside | TrainingStarted
    | LeakGapFound | RoundsScored | FitFinished | FoldScored | ExplainStarted | PartExplained | LayersStarted | LayerScored
    | DeviceChosen | BatchComputed | BatchHalved | BegunAnew | FinetuneStarted | StepDone | EpochScored | StageStarted
    | LabelStarted | LadderPlanned | LadderStepDone | Warned
)  # fmt: skip
Event = JobEvent | WorkEvent
Notify = Callable[[Event], None]

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (*JobEvent.__args__, *WorkEvent.__args__)}
REASON_CHARACTERS = 2000  # fits into what last_job_event looks at, whatever is escaped
_FIELDS = {name: {field.name: field.type for field in dataclasses.fields(kind)} for name, kind in _KINDS.items()}
_UNREADABLE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_TAIL_BYTES = 1 << 14
_LATEST_S = 1e11  # the year 5138: what is later is no time
_LARGEST_INTEGER = 1 << 53


def ignore(event: Event) -> None:
    """Ignore the event."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event and when it was written, in seconds since 1970."""

    at: float
    event: Event


class EventLog:
    """Appends events to a file, one JSON object a line, from any thread and any process: a line is written at once, at the end.

    Parameters
    ----------
    path : of events.jsonl
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._torn = _ends_torn(self._file)

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)

    def append(self, event: Event) -> None:
        """Write one event; a job's start and end are on the disk when this returns.

        Raises
        ------
        OSError
            The disk is full or gone; a part that was written is closed off by the next event.
        """
        fields = {field.name: _finite(getattr(event, field.name)) for field in dataclasses.fields(event)}
        line = json.dumps({"at": round(time.time(), 3), "event": type(event).__name__} | fields) + "\n"
        with self._lock:
            data = (b"\n" if self._torn else b"") + line.encode()
            self._torn = True
            while data:
                data = data[os.write(self._file, data) :]
            self._torn = False
            if isinstance(event, JobEvent) and not isinstance(event, Heartbeat):
                os.fsync(self._file)


def read_events(path: Path, offset: int = 0) -> tuple[list[Recorded], int]:
    """Events that were appended since the last look.

    Parameters
    ----------
    path : of events.jsonl; where it is missing, or may not be read, there are none
    offset : int, bytes that were read before

    Returns
    -------
    recorded : list of Recorded; a line that is not finished is left for the next look, one that is damaged or of another version
        is left out
    offset : int, where to go on
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except _UNREADABLE:
        return [], 0
    whole = data[: data.rfind(b"\n") + 1]
    recorded = [event for line in whole.splitlines() if (event := _parse(line)) is not None]
    return recorded, offset + len(whole)


def unread_lines(path: Path) -> int:
    """How many lines ``read_events`` leaves out."""
    try:
        data = path.read_bytes()
    except _UNREADABLE:
        return 0
    return sum(_parse(line) is None for line in data[: data.rfind(b"\n") + 1].splitlines() if line)


def last_job_event(path: Path) -> tuple[JobEvent | None, float]:
    """The last event of the job itself, and when any event was last written: seconds since 1970, 0 where there is none.

    Only the end of the file is read, up to what holds an event at all: None also says that so much work was told of since the
    job was started.
    """
    recorded: list[Recorded] = []
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            tail = _TAIL_BYTES
            while left > 0 and not recorded:  # a damaged line may be longer than all that stands in front of it
                left = max(0, file.seek(0, os.SEEK_END) - tail)
                file.seek(left)
                recorded = [event for line in file.read().splitlines() if (event := _parse(line)) is not None]
                tail *= 16
    except _UNREADABLE:
        return None, 0.0
    of_job = [record.event for record in recorded if isinstance(record.event, JobEvent) and not isinstance(record.event, Heartbeat)]
    return (of_job[-1] if of_job else None), (recorded[-1].at if recorded else 0.0)


def _parse(line: bytes) -> Recorded | None:
    """The event of a line, with fields of the types that it declares; None where the line is damaged or of another version."""
    try:
        record = json.loads(line)
        at, kind = record.pop("at"), record.pop("event")
        fields = _FIELDS[kind]
        if not _fits(at, float) or not 0 <= at < _LATEST_S or not all(_fits(value, fields[name]) for name, value in record.items()):
            return None
        return Recorded(float(at), _KINDS[kind](**{name: _stored(value, fields[name]) for name, value in record.items()}))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value from JSON is of the type of a field; a number that was not finite is written as null."""
    if isinstance(kind, types.UnionType):
        return any(_fits(value, choice) for choice in kind.__args__)
    if kind is float:
        return value is None or (type(value) in (int, float) and abs(value) <= sys.float_info.max)
    return type(value) is kind and (kind is not int or abs(value) < _LARGEST_INTEGER)


def _stored(value: Any, kind: Any) -> Any:
    return value if kind is not float else math.nan if value is None else float(value)


def _ends_torn(file: int) -> bool:
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
