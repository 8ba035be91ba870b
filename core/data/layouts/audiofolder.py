"""Hugging Face's audiofolder: ``metadata.csv`` or ``metadata.jsonl`` with a column ``file_name``, one for all or one a split."""

from dataclasses import replace
from pathlib import Path

from core.data.layouts.source import Source
from core.data.layouts.table import Table
from core.data.layouts.tables import read_called

NAME = "Hugging Face audiofolder"
FILENAME = "file_name"


def read(root: Path) -> Source | None:
    """As ``Reader.read``. In a table of all clips, those in the folder ``test`` are the test clips."""
    for folder in (root, root / "data"):
        train, test = (read_called(folder / split, "metadata") for split in ("train", "test"))
        if train is not None and FILENAME in train.columns:
            return Source(NAME, train, folder / "train", folder / "test", test, filename=FILENAME)
        table = read_called(folder, "metadata")
        if table is not None and FILENAME in table.columns:
            train, test = _split(table)
            return Source(NAME, train, folder, folder, test, filename=FILENAME)
    return None


def _split(table: Table) -> tuple[Table, Table | None]:
    test = tuple(line for line in table.lines if line.cells[FILENAME].strip().removeprefix("./").startswith("test/"))
    if not test or len(test) == len(table.lines):
        return table, None
    return replace(table, lines=tuple(line for line in table.lines if line not in test)), replace(table, lines=test)
