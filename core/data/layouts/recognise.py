"""A path in, the layout that is recognised there and its tables out."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from core.data.layouts import audiofolder, beside, competition, kaldi, manifest, standard
from core.data.layouts.layout import Layout
from core.data.layouts.source import Reader, Source, clip_folder
from core.data.layouts.tables import FORMATS, SUFFIXES, read_table
from core.errors import DataError

READERS: tuple[Reader, ...] = (standard, kaldi, audiofolder, competition, manifest, beside)
NAMED = "tables that are named"


def recognise(path: Path, layout: Layout) -> Source:
    """The tables of a data set: those that the settings name, else those of the first layout that fits.

    Parameters
    ----------
    path : folder of the data set, or a table whose clips lie below its folder
    layout : Layout

    Raises
    ------
    DataError
        There is no such path, no layout fits, or a table cannot be read.
    """
    if not path.is_dir():
        found = _one_table(path)
    elif layout.train is not None:
        found = replace(beside.source(path, read_table(_named(path, layout.train))), layout=NAMED)
    else:
        found = recognise_folder(path) or _none(path)
    if layout.test is not None:
        root = path if path.is_dir() else path.parent
        test = read_table(_named(root, layout.test))
        found = replace(found, test=test, test_audio=clip_folder(root, test, "test"))
    return found


def recognise_folder(root: Path) -> Source | None:
    """The tables of a folder by the first layout that fits; None where none does, as in a folder of clips alone.

    Raises
    ------
    DataError
        As ``recognise``.
    """
    return next((source for reader in READERS if (source := reader.read(root)) is not None), None)


def is_read(name: str) -> bool:
    """Whether a file of this name may be a table in one of the layouts.

    Examples
    --------
    >>> is_read("train.CSV"), is_read("wav.scp"), is_read("read.me")
    (True, True, False)
    """
    return name.lower().endswith((*SUFFIXES, ".json")) or kaldi.has_file(name)


def tables_and_folders(root: Path, *, depth: int = 2) -> Iterator[Path]:
    """What decides how a folder is read, but for the clips: its tables and folders, down to folders in folders of a folder."""
    for here, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in (*folders, *sorted(filter(is_read, names))))
        if len(Path(here).relative_to(root).parts) >= depth:
            folders.clear()


def _one_table(path: Path) -> Source:
    if not path.is_file() or path.suffix.lower() not in FORMATS:
        what = "a file, but no table" if path.is_file() else "no such folder"
        raise DataError(f"{path}: {what}; name the folder of a data set, or a table ({', '.join(FORMATS)}) and its clips")
    return beside.source(path.parent, read_table(path))


def _named(root: Path, name: str) -> Path:
    if not (root / name).is_file():
        raise DataError(f"{root / name}: no such file; name a table in {root.name}, or by its whole path")
    return root / name


def _none(root: Path) -> Source:
    raise DataError(
        f"{root}: expected csvs/train.csv, or one table beside the clips; found neither. Other layouts that are read: "
        f"{'; '.join(reader.NAME for reader in READERS[1:-1])}"
    )
