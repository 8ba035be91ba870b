"""Settings of an ensemble."""

from typing import Annotated, ClassVar

from pydantic import Field, Strict, field_validator

from core.ensemble.blend import BLENDS
from core.ensemble.label_transform import LABEL_TRANSFORMS, NONE
from core.ensemble.members import parse_members
from core.ensemble.models import CATALOGUE, PRESETS, SCALINGS
from core.scoring.folds import FoldSettings
from core.scoring.losses import CHOICES
from core.scoring.metrics import METRICS
from core.section import Choices, Flag


class EnsembleSettings(FoldSettings):
    """How an ensemble is trained."""

    section: ClassVar[str] = "ensemble"

    members: Annotated[
        tuple[str, ...],
        Strict(False),
        Flag(("--member",), metavar="SPEC", repeated=True),
        Field(
            title="Members",
            description="MODEL[:SETS][:KEY=VALUE,...], such as svr:mfcc or lightgbm:ultra,mfcc:seed=7; may be given several times, "
            "and without sets, they are chosen inside each fold.",
        ),
    ] = tuple(CATALOGUE)
    preset: Annotated[
        str,
        Choices(PRESETS),
        Field(
            title="Preset",
            description="How thoroughly models are fitted. Fast: coarse histogram bins, a share of the columns, up to 600 trees. "
            "Classic: the libraries' usual bins, up to 2000 rounds; several times slower.",
        ),
    ] = "fast"
    repeats: Annotated[
        int,
        Field(
            ge=1,
            title="Repeats",
            description="How often the folds are drawn anew. The score is the mean; it depends less on the luck of one draw, and "
            "the time grows as much.",
        ),
    ] = 1
    scaling: Annotated[
        str,
        Choices(SCALINGS),
        Field(
            title="Scaling",
            description="How features are scaled. Robust: by median and quartiles, and outliers are brought in. Standard: by mean "
            "and standard deviation.",
        ),
    ] = "robust"
    blend: Annotated[
        str,
        Choices(BLENDS),
        Field(
            title="Blend",
            description="How members are combined. Mean: all members count alike. Weights: learned inside each fold. Best: the "
            "best member of an inner split. Auto: whichever of these does best there, with bad members left out of the mean.",
        ),
    ] = "auto"
    metric: Annotated[
        str,
        Choices(CHOICES, tuple(METRICS[name].label for name in CHOICES)),
        Field(
            title="Metric",
            description="Score that choices inside the folds follow, and by which runs are ranked. Feature sets, searched settings "
            "and the blend are chosen by it on an inner split; the models themselves are fitted to the squared error.",
        ),
    ] = "rmse"
    label_transform: Annotated[
        str,
        Choices(LABEL_TRANSFORMS, ("None", "Log", "Yeo-Johnson")),
        Field(
            title="Label transform",
            description="Scale of the labels on which members are fitted; predictions and scores keep the labels' own scale. Log: "
            "for positive labels that span decades. Yeo-Johnson: a power learned inside each fold, for heavy tails of any sign. "
            "All members are fitted once more without, to compare.",
        ),
    ] = NONE
    round_labels: Annotated[
        bool,
        Field(
            title="Round predictions",
            description="Bring predictions to the grid on which the labels stand, such as half points. The RMSE is usually better "
            "without.",
        ),
    ] = False
    augment: Annotated[
        int, Flag(metavar="K"), Field(ge=0, title="Augmentation", description="Augmented copies of each training clip.")
    ] = 0
    tta: Annotated[
        int,
        Flag(metavar="K"),
        Field(
            ge=0,
            title="Test-time augmentation",
            description="Augmented copies of each scored clip, whose predictions are averaged with its own.",
        ),
    ] = 0
    pseudo_labels: Annotated[
        bool, Field(title="Pseudo-labels", description="Fit again with the test clips, as the fold's own first fit labels them.")
    ] = False
    rater_bias: Annotated[
        bool,
        Field(
            title="Rater offsets",
            description="Take the raters' offsets out of the labels that models are fitted on, as the training rows of each fold "
            "show them. What is scored stays the mean rating.",
        ),
    ] = False
    self_test: Annotated[
        bool, Field(title="Self-test", description="Train on permuted labels too: there must be nothing to learn.")
    ] = False
    trials: Annotated[
        int,
        Field(
            ge=0,
            title="Trials",
            description="Settings that each member tries on an inner split of each fold; 0 takes its own. Each trial costs a fit.",
        ),
    ] = 0
    minutes: Annotated[
        float | None,
        Flag(metavar="M"),
        Field(
            gt=0,
            title="Minutes",
            description="Time for the fits; cheap members come first, and those that are not complete by then are left out.",
        ),
    ] = None
    workers: Annotated[
        int | None,
        Field(ge=0, title="Workers", description="Worker processes (default: one for each core; 0: this one)."),
    ] = None

    @field_validator("members")
    @classmethod
    def _are_members(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        parse_members(members)
        return members

    @property
    def copies(self) -> int:
        """Augmented copies of each training clip that are needed."""
        return max(self.augment, self.tta)

    @property
    def plan_count(self) -> int:
        """One a repeat."""
        return self.repeats
