"""A file in, its table out, whatever program wrote it; and the tables that lie in a folder."""

from collections.abc import Callable
from pathlib import Path

from core.data.layouts.delimited import read_delimited
from core.data.layouts.records import read_json_lines, read_parquet, read_sheet
from core.data.layouts.table import Table
from core.errors import DataError

FORMATS: dict[str, Callable[[Path], Table]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".xlsx": read_sheet,
    ".parquet": read_parquet,
    ".jsonl": read_json_lines,
    ".json": read_json_lines,
    ".txt": read_delimited,
}
SUFFIXES = (".csv", ".tsv", ".xlsx", ".parquet", ".jsonl")  # taken for tables without being named; the others are often notes


def read_table(path: Path) -> Table:
    """Read a table.

    Raises
    ------
    DataError
        Its extension is none of ``FORMATS``, or as its reader.
    """
    read = FORMATS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path.name}: expected a table ({', '.join(FORMATS)}); save it as one of these")
    return read(path)


def is_table(path: Path) -> bool:
    """Whether this is a file that is taken for a table; what Excel and editors leave beside files is not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith((".", "~$")) and path.is_file()


def table_called(folder: Path, stem: str) -> Path | None:
    """The table of a folder with this name, whatever its extension; of several, the one that comes first in ``SUFFIXES``."""
    if not folder.is_dir():
        return None
    called = [path for path in folder.iterdir() if path.stem.lower() == stem and is_table(path)]
    return min(called, key=lambda path: SUFFIXES.index(path.suffix.lower()), default=None)


def read_called(folder: Path, stem: str) -> Table | None:
    """The content of ``table_called``, where there is one."""
    path = table_called(folder, stem)
    return None if path is None else read_table(path)
