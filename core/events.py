"""Frozen facts about work in progress. Work reports them through a ``Notify``; whoever listens draws, prints or records.

Seconds are wall-clock time. Standard library only.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExtractionStarted:
    """What extraction found before its first clip."""

    clips: int
    cached: int
    to_do: int


@dataclass(frozen=True, slots=True)
class ClipExtracted:
    """The vectors of a clip are stored."""

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
class FitFinished:
    """A model of one fold is fitted; ``rmse`` is on the fold's own rows, which it has not seen."""

    model: str
    fold: int
    rmse: float
    rounds: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class FoldScored:
    """All models of a fold are fitted; ``rmse`` is that of their mean."""

    fold: int
    rmse: float


Event = ExtractionStarted | ClipExtracted | ClipSetAside | ClipChecked | TrainingStarted | FitFinished | FoldScored
Notify = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of those who do not listen."""
