"""Settings of a search for the best experiment."""

from typing import Annotated, ClassVar

from pydantic import Field, Strict

from core.scoring.folds import FoldSettings
from core.scoring.losses import CHOICES
from core.scoring.metrics import METRICS
from core.section import Choices, Flag

FRESH_SEED = 100_000  # what is added to the seed for the folds of the last figure


class AutoSettings(FoldSettings):
    """How the best experiment is searched for: each step on the same folds, the last figure on folds that no step has used."""

    section: ClassVar[str] = "auto"

    repeats: Annotated[
        int, Field(ge=1, title="Repeats", description="How often the folds are drawn anew, for each step and for the last figure.")
    ] = 3
    metric: Annotated[
        str,
        Choices(CHOICES, tuple(METRICS[name].label for name in CHOICES)),
        Field(
            title="Metric",
            description="Score by which steps are compared, and which choices inside the folds follow. A step is kept where it "
            "surely makes this score better.",
        ),
    ] = "rmse"
    minutes: Annotated[
        float,
        Flag(metavar="M"),
        Field(
            gt=0,
            title="Minutes",
            description="Time for the steps, the last training aside; a step that would take longer is passed over.",
        ),
    ] = 60.0
    models: Annotated[
        tuple[str, ...],
        Strict(False),
        Flag(("--model", "--fetch"), metavar="MODEL", repeated=True),
        Field(
            title="Models",
            description="Audio model that is tried besides those on this machine, by its folder or hub id; may be given several "
            "times. One that is not here is fetched.",
        ),
    ] = ()
    patience: Annotated[
        int,
        Field(ge=1, title="Patience", description="The search ends after so many steps in a row that cannot be told from noise."),
    ] = 3
    workers: Annotated[
        int | None,
        Field(ge=0, title="Workers", description="Worker processes (default: one for each core; 0: this one)."),
    ] = None

    @property
    def plan_count(self) -> int:
        """One a repeat."""
        return self.repeats
