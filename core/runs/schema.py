"""What ``run.json`` says, as types: a record that does not fit is refused with the name of the field that is wrong.

Errors are in units of the label, times in seconds. Fields that Earmark writes and nobody reads from here, such as the labels of the
data set, are kept by ``RunRecord.as_json`` and have no type.
"""

from datetime import datetime
from math import prod
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from core.data.treatment import Treatment
from core.runs.kinds import ENSEMBLE, RUN_KINDS
from core.scoring.losses import CHOICES
from core.scoring.metrics import METRICS

_POINTS = 0.05  # that the coverage of a bin may be off


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class DatasetRecord(_Record):
    """What a run was trained on."""

    path: str
    name: str
    fingerprint: str
    train_clips: int


class ExtractRecord(_Record):
    """Settings of the extraction; a run that does not name a window of Whisper read 30 s."""

    features: list[str] = Field(min_length=1)
    max_seconds: float
    encoder_window: Literal["clip", "30"] = "30"
    channel: str = Field("mix", pattern="^(mix|left|right|loudest|[1-9][0-9]*)$")
    slow_down: float = Field(1.0, ge=1)

    @property
    def treatment(self) -> Treatment:
        """Which channel was analysed, and how far it was slowed down."""
        return Treatment(self.channel, self.slow_down)


class EnsembleRecord(_Record):
    """Settings of the folds and the members: of a fine-tuning its folds, of a blend its runs are the members."""

    members: list[str] = Field(min_length=1)
    folds: int = Field(ge=1)
    repeats: int = Field(1, ge=1)
    stratified: bool = False
    group_by: str | None = None
    seed: int | None = None
    preset: str | None = None
    tta: int = 0
    metric: str = "rmse"
    label_transform: str = "none"

    @field_validator("metric")
    @classmethod
    def _is_a_metric(cls, value: str) -> str:
        if value not in METRICS:
            raise PydanticCustomError("metric", "one of {metrics}", {"metrics": ", ".join(METRICS)})
        return value


class SettingsRecord(_Record):
    """Settings by section; ``layout`` and ``finetune`` as ``core.settings.build`` reads them."""

    layout: dict[str, Any] = {}
    extract: ExtractRecord
    ensemble: EnsembleRecord
    finetune: dict[str, Any] | None = None


class MemberScore(_Record):
    """Error of one member by itself; ``fold_rmse`` has the folds of the first repeat first."""

    oof_rmse: float
    fold_rmse: list[float]
    fold_rmse_mean: float
    fold_rmse_std: float
    sets: list[str] = []
    settings: list[dict[str, Any]] = []


class CoverageRecord(_Record):
    """The interval coverage of clips with predictions between two values."""

    low: float
    high: float
    share: float


class IntervalRecord(_Record):
    """The share of labels that intervals are to cover, how wide they are, and the coverage where predictions are alike."""

    level: float
    mean_width: float
    fitted_widths: bool = False
    by_prediction: list[CoverageRecord] = []

    def words(self) -> str:
        """Where predictions are alike and the coverage is not what was asked for; empty where that is not known.

        Examples
        --------
        >>> bins = [{"low": 1.0, "high": 2.5, "share": 0.8}, {"low": 2.5, "high": 4.0, "share": 0.92}]
        >>> IntervalRecord(level=0.9, mean_width=1.0, by_prediction=bins).words()
        'predictions of 1 to 2.5 hold 80% of labels; the others are within 5 points of 90%'
        """
        if not self.by_prediction:
            return ""
        off = [one for one in self.by_prediction if abs(one.share - self.level) > _POINTS + 1e-9]
        within = f"within {100 * _POINTS:.0f} points of {self.level:.0%}"
        if not off:
            return f"low and high predictions alike are {within}"
        named = ", ".join(f"{one.low:.3g} to {one.high:.3g} hold {one.share:.0%}" for one in off)
        rest = f"; the others are {within}" if len(off) < len(self.by_prediction) else ""
        return f"predictions of {named} of labels{rest}"


class ConfidenceRecord(_Record):
    """The confidence interval of each score by name: a bootstrap of so many clips or groups; null where a score is undefined."""

    level: float
    draws: int
    units: int
    by_group: bool
    ends: dict[str, tuple[float | None, float | None]]

    @field_validator("ends", mode="before")
    @classmethod
    def _are_pairs(cls, value: Any) -> Any:
        return (
            {name: tuple(ends) if isinstance(ends, list) else ends for name, ends in value.items()}
            if isinstance(value, dict)
            else value
        )

    def of(self, metric: str) -> tuple[float, float] | None:
        """Both ends of a score's interval; None where it has none."""
        low, high = self.ends.get(metric, (None, None))
        return None if low is None or high is None else (low, high)


class GroupLevelRecord(_Record):
    """Scores of the groups' means: mean label against mean out-of-fold prediction."""

    groups: int
    rmse: float
    mae: float
    pearson: float | None
    r2: float | None
    spearman: float | None
    kendall: float | None
    ccc: float | None
    confidence: ConfidenceRecord


class LeakRecord(_Record):
    """RMSE of a cheap model where clips of one group stand on both sides, and where none do."""

    groups: str
    chosen: bool
    random_rmse: float
    grouped_rmse: float
    gap: float


class CeilingRecord(_Record):
    """What raters' disagreement allows, with 95 % intervals over clips, and how far they agree."""

    rmse: float
    rmse_low: float
    rmse_high: float
    pearson: float
    pearson_low: float
    pearson_high: float
    is_panel: bool
    sentence: str
    ratings: int
    raters: int
    icc_1k: float | None
    icc_2k: float | None
    alpha: float | None


class SelfTestRecord(_Record):
    """Error on permuted labels, as a share of the baseline's."""

    ratio: float
    ratios: list[float] = []
    passed: bool


class VerdictRecord(_Record):
    """What a change did to the RMSE, with its interval."""

    verdict: str
    sentence: str
    difference: float
    low: float
    high: float
    clips: int


class Scores(_Record):
    """Figures of a run; ``badges`` says of each whether it is nested, out-of-fold or in-sample."""

    oof_rmse: float
    oof_rmse_by_repeat: list[float]
    oof_mae: float
    oof_pearson: float | None
    oof_r2: float | None
    oof_spearman: float | None = None
    oof_kendall: float | None = None
    oof_ccc: float | None = None
    confidence: ConfidenceRecord | None = None
    group_level: GroupLevelRecord | None = None
    constant_rmse: float
    fold_rmse: list[float]
    fold_rmse_mean: float
    fold_rmse_std: float
    models: dict[str, MemberScore]
    blend: dict[str, float] = {}
    blend_rules: dict[str, int] = {}
    interval_coverage: float
    interval: IntervalRecord
    leak_gap: float | None = None
    leak: LeakRecord | None = None
    ceiling: CeilingRecord | None = None
    self_test: SelfTestRecord | None = None
    verdicts: dict[str, VerdictRecord] = {}
    badges: dict[str, str]
    trained_share: float | None = None
    trained_parameters: int | None = None
    parameters: int | None = None

    def score(self, metric: str) -> float | None:
        """The out-of-fold score of a metric; None where it is undefined, or the run is older than the metric."""
        value: float | None = getattr(self, f"oof_{metric}")
        return value

    def ends(self, metric: str) -> tuple[float, float] | None:
        """The confidence interval of a metric; None where there is none."""
        return None if self.confidence is None else self.confidence.of(metric)


class GroupsRecord(_Record):
    """What ties the clips that stay in one fold, where a column or ``auto`` was chosen, and how many groups there are."""

    source: str | None = Field(None, alias="from")
    count: int | None = None


class ProposedGroups(_Record):
    """Clips that may belong together and were not kept in one fold."""

    kind: str
    tied: int
    reason: str


class LabelLeak(_Record):
    """A column of the table that holds the label."""

    column: str
    reason: str


class SetAside(_Record):
    """A clip that was not used."""

    file: str
    reason: str


class PredictionsRecord(_Record):
    """Predictions of the test table; None where it has no clips."""

    count: int
    min: float | None
    max: float | None
    mean: float | None
    median: float | None
    std: float | None
    filled_with_training_median: list[str] = []


class AboutRecord(_Record):
    """The content of about.json: what people call a run."""

    name: str = ""
    notes: str = ""


class LadderRecord(_Record):
    """One step of a search for the best experiment; its figures are of the folds that the steps were chosen on.

    ``score``, its interval and ``difference`` are of ``metric``; a record from before searches had one says the RMSE.
    """

    name: str
    title: str
    sets: list[str] = []
    members: list[str] = []
    metric: str = Field("rmse", pattern=f"^({'|'.join(CHOICES)})$")
    score: float | None = None
    rmse: float | None = None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    kept: bool = False
    skipped: bool = False
    reason: str = ""
    seconds: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _score_is_rmse(cls, record: Any) -> Any:
        """The score of a record that has none is its RMSE."""
        return {"score": record.get("rmse")} | record if isinstance(record, dict) else record


class RunRecord(_Record):
    """The content of run.json."""

    run_id: str
    kind: str = ENSEMBLE
    created: str
    versions: dict[str, str] = {}
    dataset: DatasetRecord
    settings: SettingsRecord
    scores: Scores
    columns: list[str] = Field(min_length=1)
    model_files: dict[str, str] = Field(min_length=1)
    fold_plan: dict[str, int] = {}
    groups: GroupsRecord | None = None
    proposed_groups: list[ProposedGroups] = []
    label_leaks: list[LabelLeak] = []
    set_aside: list[SetAside] = []
    ladder: list[LadderRecord] = []
    epochs: list[float | None] | None = None
    test: PredictionsRecord | None = None
    submission: str | None = None
    seconds: float

    _json: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def grouped_by(self) -> str | None:
        """What kept clips together in the folds: what was asked for, or the recordings that they are segments of."""
        return self.settings.ensemble.group_by or (self.groups.source if self.groups is not None else None)

    def as_json(self) -> dict[str, Any]:
        """The record as it stands in the file, for those who show all of it; not to be changed."""
        return self._json

    @model_validator(mode="wrap")
    @classmethod
    def _keep_json(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        record = handler(value)
        if isinstance(value, dict):
            record._json = value
        return record

    @field_validator("kind")
    @classmethod
    def _is_a_kind(cls, value: str) -> str:
        if value not in RUN_KINDS:
            *others, last = RUN_KINDS
            raise PydanticCustomError("kind", "{kinds}", {"kinds": f"{', '.join(others)} or {last}"})
        return value

    @field_validator("created")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        folds = self.settings.ensemble.folds * self.settings.ensemble.repeats
        by_fold = {"scores": self.scores.fold_rmse}
        by_fold |= {f"scores.models.{name}": member.fold_rmse for name, member in self.scores.models.items()}
        for name, figures in by_fold.items():
            if len(figures) != folds:
                raise ValueError(f"{folds} numbers at {name}.fold_rmse")
        if getattr(self.settings, self.kind, self.settings) is None:  # a kind with a section of its own
            raise ValueError(f"settings at settings.{self.kind}")
        if self.kind == ENSEMBLE and len(self.model_files) != prod((2, folds, len(self.scores.models))) + 1:
            raise ValueError("a hash at model_files for each file of the models")
        return self


_EXPECTED = {
    "missing": "a value",
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "too_short": "a name or more",
    "value_error": "an ISO time",
}


def expected(error: ValidationError) -> str:
    """What the first field that is wrong should be, and its name.

    Examples
    --------
    >>> try:
    ...     MemberScore.model_validate({"oof_rmse": 0.5, "fold_rmse": [0.5, "?"], "fold_rmse_mean": 1, "fold_rmse_std": 0})
    ... except ValidationError as error:
    ...     expected(error)
    'a number at fold_rmse.1'
    """
    first = error.errors(include_url=False, include_input=False)[0]
    if not first["loc"]:
        return str(first["ctx"]["error"]) if first["type"] == "value_error" else "an object"
    return f"{_EXPECTED.get(first['type'], first['msg'])} at {'.'.join(map(str, first['loc']))}"
