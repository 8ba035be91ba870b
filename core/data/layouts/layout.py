"""Settings of how a data set is read."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Self

from pydantic import Field, Strict, model_validator

from core.errors import ParameterError
from core.section import Choices, Flag, Section

ASK, AVERAGE, SET_ASIDE = "ask", "average", "set-aside"
AUTO, SECONDS, MILLISECONDS, SAMPLES = "auto", "seconds", "milliseconds", "samples"


class Layout(Section):
    """How a folder is read."""

    section: ClassVar[str] = "layout"

    filename_column: Annotated[
        str,
        Flag(metavar="NAME"),
        Field(
            title="Column of the names",
            description="Column with the names of the clips. Where there is none called filename, the one whose cells name clips.",
        ),
    ] = "filename"
    label_column: Annotated[
        str,
        Flag(metavar="NAME"),
        Field(
            title="Column of the labels",
            description="Column with the labels. Where there is none called label, the only one with numbers. Several between "
            "commas are several labels, and earmark train trains a run for each.",
        ),
    ] = "label"
    other_labels: Annotated[
        tuple[str, ...],
        Strict(False),
        Flag(metavar="A,B"),
        Field(
            title="Columns of other labels",
            description="Columns that are labels too, between commas, and so neither features nor groups of this one. The Train "
            "page trains all of them.",
        ),
    ] = ()
    audio: Annotated[
        str | None,
        Flag(metavar="DIR"),
        Field(
            title="Folder of the clips",
            description="Folder with the clips, absolute or in the data set, where it is neither audios/train and audios/test nor "
            "the folder itself.",
        ),
    ] = None
    rater_column: Annotated[
        str | None,
        Flag(("--rater",), metavar="COLUMN"),
        Field(
            title="Column of the raters",
            description="Column that says who rated, where a clip has a row for each of its ratings. The label is their mean. A "
            "column that is called as raters are is found by itself.",
        ),
    ] = None
    rating_columns: Annotated[
        tuple[str, ...],
        Strict(False),
        Flag(metavar="A,B,C"),
        Field(
            title="Columns of ratings",
            description="Columns of ratings that stand side by side, one a rater, between commas. The label is their mean, and the "
            "column of the labels is not needed.",
        ),
    ] = ()
    repeated: Annotated[
        str,
        Choices((ASK, AVERAGE, SET_ASIDE)),
        Field(
            title="Clips named several times",
            description="What different labels of one clip are, where no column names raters. Ask: stop and ask, unless it is one "
            "clip alone. Average: ratings, whose mean is the label. Set aside: mistakes; such clips are left out.",
        ),
    ] = ASK

    start_column: Annotated[
        str | None,
        Flag(metavar="COLUMN"),
        Field(
            title="Column of the starts",
            description="Column that says where in its recording a labelled segment begins. Columns that are called start and end, "
            "onset and offset, or start and duration are found by themselves.",
        ),
    ] = None
    end_column: Annotated[
        str | None,
        Flag(metavar="COLUMN"),
        Field(title="Column of the ends", description="Column that says where in its recording a segment ends."),
    ] = None
    time_unit: Annotated[
        str,
        Choices((AUTO, SECONDS, MILLISECONDS, SAMPLES)),
        Field(
            title="Unit of the times",
            description="Unit of starts, ends and durations. Auto: as the header says, else seconds, unless the recordings are too "
            "short.",
        ),
    ] = AUTO
    split_recordings: Annotated[
        bool,
        Field(
            title="Split recordings",
            description="Let segments of one recording stand in several folds. The score is then that of recordings already heard.",
        ),
    ] = False
    windows: Annotated[
        float | None,
        Flag(metavar="SECONDS"),
        Field(
            ge=0.5,
            title="Windows",
            description="Cut recordings without labels into windows of so many seconds, to predict over time.",
        ),
    ] = None
    train: Annotated[
        str | None,
        Flag(metavar="FILE"),
        Field(
            title="Training table",
            description="Table with the labelled clips, absolute or in the data set, where its place does not say which one it is.",
        ),
    ] = None
    test: Annotated[
        str | None,
        Flag(metavar="FILE"),
        Field(
            title="Test table",
            description="Table with the clips to be predicted, absolute or in the data set, where its place does not say which one "
            "it is.",
        ),
    ] = None

    def with_label(self, label: str, labels: Iterable[str]) -> Self:
        """The same for one of several labels; the others are neither features nor groups of it.

        Examples
        --------
        >>> layout = Layout().with_label("accuracy", ["fluency", "accuracy"])
        >>> layout.label_column, layout.other_labels
        ('accuracy', ('fluency',))
        """
        return self.replace(label_column=label, other_labels=tuple(sorted({*labels} - {label})))

    @model_validator(mode="after")
    def _has_two_columns(self) -> Self:
        if self.filename_column == self.label_column:
            raise ParameterError(f"the column {self.label_column!r} cannot hold both names and labels; name two columns")
        if self.end_column and not self.start_column:
            raise ParameterError("end_column needs start_column: name both")
        if self.rater_column and self.rating_columns:
            raise ParameterError("ratings stand one a row, with a column of raters, or side by side in columns; name one of both")
        return self
