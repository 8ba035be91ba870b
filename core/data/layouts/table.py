"""A table as every reader of files leaves it: the names of its columns and its lines, each cell as text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import DataError

MISSING = ("", "na", "n/a", "nan", "null", "none", "-")
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table.

    Attributes
    ----------
    number : int, the line of the file with which it begins
    cells : dict of str to str, by column
    problem : str or None, what keeps the whole row from being used
    inner : tuple of dict, the further lines of a row that goes over several, as they would read as rows of their own
    """

    number: int
    cells: dict[str, str]
    problem: str | None = None
    inner: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table with named columns.

    Attributes
    ----------
    path : Path, absolute
    columns : tuple of str, different from each other
    lines : tuple of Line, in the order of the file
    notes : tuple of str, what a user should know of how the file was read
    """

    path: Path
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.path.name

    def cells(self, column: str) -> list[str]:
        """The cells of a column, in the order of the lines."""
        return [line.cells[column] for line in self.lines]


def is_missing(cell: str) -> bool:
    """Whether a cell stands for a value that is not there, also where a program wrote that in words.

    Examples
    --------
    >>> is_missing(" NaN"), is_missing("-"), is_missing("0")
    (True, True, False)
    """
    return cell.strip().casefold() in MISSING


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Refuse names that stand twice.

    Raises
    ------
    DataError
    """
    named = [name for name in columns if name]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise DataError(f"{path.name}: two columns are named {twice!r}; rename one")


def as_number(text: str) -> float | None:
    """The number that a cell holds: digits with a decimal point, finite; None for anything else.

    Examples
    --------
    >>> as_number(" -2.5e1 "), as_number("1_0"), as_number("nan"), as_number("3,5")
    (-25.0, None, None, None)
    """
    return float(text) if _NUMBER.fullmatch(text) and text.isascii() else None
