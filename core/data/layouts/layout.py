"""Settings of how a data set is read."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from core.errors import ParameterError
from core.section import Flag, Section


class Layout(Section):
    """How a folder is read."""

    section: ClassVar[str] = "layout"

    filename_column: Annotated[
        str, Flag(metavar="NAME"), Field(title="Column of the names", description="Column with the names of the clips.")
    ] = "filename"
    label_column: Annotated[
        str, Flag(metavar="NAME"), Field(title="Column of the labels", description="Column with the labels.")
    ] = "label"
    audio: Annotated[
        str | None,
        Flag(metavar="DIR"),
        Field(
            title="Folder of the clips",
            description="Folder with the clips, absolute or in the data set, where it is neither audios/train and audios/test nor "
            "the folder itself.",
        ),
    ] = None

    @model_validator(mode="after")
    def _has_two_columns(self) -> Self:
        if self.filename_column == self.label_column:
            raise ParameterError(f"the column {self.label_column!r} cannot hold both names and labels; name two columns")
        return self
