"""One table beside its clips, or above a folder of them: as CSV, TSV, Excel, Parquet or JSON lines."""

from pathlib import Path

from core.data.layouts.source import Source, clip_folders
from core.data.layouts.table import Table
from core.data.layouts.tables import is_table, read_called, read_table
from core.errors import DataError

NAME = "one table with its clips"


def read(root: Path) -> Source | None:
    """As ``Reader.read``. A sample submission may lie there too."""
    tables = sorted(path for path in root.iterdir() if is_table(path) and path.stem.lower() != "sample_submission")
    if not tables:
        return None
    if len(tables) > 1:
        found = ", ".join(path.name for path in tables[:5])
        raise DataError(
            f"{root}: expected csvs/train.csv, or one table beside the clips; found {len(tables)}: {found}. Name them with --train "
            "FILE and --test FILE, or beside the path in the app"
        )
    sample = read_called(root, "sample_submission")
    return source(root, read_table(tables[0]), sample, sample)


def source(root: Path, train: Table, test: Table | None = None, sample: Table | None = None) -> Source:
    """Tables whose clips lie anywhere below a folder."""
    return Source(NAME, train, *clip_folders(root, train, test), test, sample)
