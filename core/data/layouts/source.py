"""What each reader of a layout returns, and what readers share: where the clips of a table are."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from core.data.audio import SUFFIXES
from core.data.layouts.table import Table

_CLIPS = ("audio", "audios", "clips", "wav", "wavs", "recordings")  # usual names of a folder of clips
_SAMPLE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Source:
    """The tables of a data set and the folders of their clips.

    Attributes
    ----------
    layout : str, name of the layout
    train : Table
    train_audio, test_audio : Path, folders of the clips
    test : Table, or None
    sample : Table, or None: the sample submission, whose rows and columns the submission has
    filename : str, column that names the clips in this layout; empty where that is open
    ids : str, column that names the rows of a submission in this layout; empty for that of the clips
    defined : frozenset of str, columns that this layout gives a meaning of their own, so that none is the label
    """

    layout: str
    train: Table
    train_audio: Path
    test_audio: Path
    test: Table | None = None
    sample: Table | None = None
    filename: str = ""
    ids: str = ""
    defined: frozenset[str] = field(default_factory=frozenset)


class Reader(Protocol):
    """A layout: a module with its name, and with a function that reads a folder laid out like that."""

    NAME: str

    def read(self, root: Path) -> Source | None:
        """The tables of a folder; None where it is laid out otherwise.

        Raises
        ------
        DataError
            The folder is laid out like this, and a table in it cannot be read.
        """


def clip_folders(root: Path, train: Table, test: Table | None) -> tuple[Path, Path]:
    """The folders of the training clips and of the test clips, which may be one."""
    train_audio = clip_folder(root, train, "train")
    return train_audio, train_audio if test is None else clip_folder(root, test, "test")


def clip_folder(root: Path, table: Table, split: str) -> Path:
    """The folder in which most of the first rows of a table name a file: of its split, of all clips, or the data set itself."""
    folders = [root / inside / split for inside in ("", *_CLIPS)] + [root / f"{split}_{name}" for name in _CLIPS]
    folders = [folder for folder in (*folders, *(root / name for name in _CLIPS), root) if folder.is_dir()]
    return max(folders, key=lambda folder: _named(folder, table))


def _named(folder: Path, table: Table) -> tuple[int, int, bool]:
    """How many of the first rows name a file in a folder: as they stand, and by the last part alone; and whether it has clips."""
    below = {name for _, _, names in os.walk(folder, followlinks=False) for name in names}
    rows = [[cell.strip() for cell in line.cells.values()] for line in table.lines[:_SAMPLE_ROWS]]
    whole = sum(any(_is_clip(folder, cell) for cell in row) for row in rows)
    last = sum(any(re.split(r"[\\/]", cell)[-1] + suffix in below for cell in row for suffix in ("", *SUFFIXES)) for row in rows)
    return whole, last, any(name.lower().endswith(SUFFIXES) for name in below)


def _is_clip(folder: Path, cell: str) -> bool:
    inside = bool(cell) and not os.path.isabs(cell) and ".." not in cell
    return inside and any(os.path.isfile(os.path.join(folder, cell + suffix)) for suffix in ("", *SUFFIXES))
