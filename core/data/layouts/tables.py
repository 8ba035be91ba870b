"""A folder in, the tables in it and their lines out."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import DataError


def find_tables(root: Path) -> tuple[Path, Path | None]:
    """The training table of a folder, and its test table where there is one.

    Raises
    ------
    DataError
        There is neither csvs/train.csv nor exactly one CSV beside the clips.
    """
    train, test = root / "csvs" / "train.csv", root / "csvs" / "test.csv"
    if train.is_file():
        return train, test if test.is_file() else None
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv" and path.is_file())
    if len(tables) == 1:
        return tables[0], None
    if not tables:
        raise DataError(f"{root}: expected csvs/train.csv, or one CSV file beside the clips; found neither")
    found = ", ".join(path.name for path in tables[:5])
    raise DataError(f"{root}: expected csvs/train.csv, or one CSV file beside the clips; found {len(tables)}: {found}. Name one")


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table; ``problem`` is what keeps the whole row from being used."""

    number: int
    cells: dict[str, str]
    problem: str | None


def read_table(path: Path, needed: Sequence[str]) -> list[Line]:
    """The rows of a CSV with a header.

    Raises
    ------
    DataError
        It cannot be read, or lacks a column that is needed.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next((cells for cells in reader if any(cells)), [])]
            missing = [name for name in needed if name not in header]
            if missing:
                hint = (
                    " (separated by semicolons or tabs? Save it with commas)"
                    if len(header) == 1 and re.search("[;\t]", header[0])
                    else ""
                )
                raise DataError(
                    f"{path.name}: expected a column {missing[0]!r}, found {', '.join(header) or 'no header'}{hint}; "
                    "name your columns with --filename-column and --label-column, or beside the path in the app"
                )
            twice = [name for name, count in Counter(filter(None, header)).items() if count > 1]
            if twice:
                raise DataError(f"{path.name}: two columns are named {twice[0]!r}; rename one")
            return [_line(reader.line_num, cells, header) for cells in reader if any(cells)]
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: byte {error.start} is not UTF-8; save the table as UTF-8 (in Excel: CSV UTF-8)") from None
    except csv.Error as error:
        raise DataError(f"{path.name}: not a CSV table ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _line(number: int, cells: list[str], header: list[str]) -> Line:
    problem = None
    if any(cells[len(header) :]):
        problem = f"the row has {len(cells)} cells, the header {len(header)}: write decimals with a point, quote cells with commas"
    filled = cells + [""] * (len(header) - len(cells))
    return Line(number, {name: cell for name, cell in zip(header, filled, strict=False) if name}, problem)
