"""Frozen facts about a search for the best experiment, beside those of ``core.events``. Standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LadderPlanned:
    """A step that a search is going to try: about how many seconds it takes, or why it cannot be tried (NaN seconds then)."""

    name: str
    title: str
    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LadderStepDone:
    """A step of a search: its out-of-fold score with a 95 % interval, and whether it is kept; NaN where it was passed over.

    ``metric`` is what the search goes by, ``ceiling`` the RMSE that the raters' disagreement allows, where that is known.
    """

    name: str
    title: str
    score: float
    low: float
    high: float
    kept: bool
    reason: str
    seconds: float
    metric: str = "rmse"
    ceiling: float | None = None
