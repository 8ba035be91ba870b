"""What a table says of one clip, and what is wrong with it."""

from dataclasses import dataclass, field
from pathlib import Path

ERROR = "error"
WARNING = "warning"
MAX_LABEL = 1e30  # some model libraries keep labels in single precision


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a clip or a file.

    Attributes
    ----------
    file : str, as the table spells it
    level : str, "error" (set aside) or "warning" (kept)
    reason : str
    split : str, "train" or "test"; empty where it concerns no row of a table
    """

    file: str
    level: str
    reason: str
    split: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table whose clip can be looked for.

    Attributes
    ----------
    name : str, as the table spells it; of a test clip as its submission does
    path : Path
    label : float, NaN in the test table
    columns : dict of str to str, the further columns
    recording : Path of the recording that the clip is a segment of, whose segments belong together; None for a clip of its own
    span : (start, end) of a segment in its recording, in seconds; None for a clip of its own
    ratings : tuple of (rater, value), whose mean the label is; the rater is "" where nobody says who it was, and the tuple empty
        where a clip has one label
    """

    name: str
    path: Path
    label: float
    columns: dict[str, str] = field(default_factory=dict)
    ratings: tuple[tuple[str, float], ...] = ()
    recording: Path | None = None
    span: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, and what it is for."""

    table: str
    name: str
    role: str
