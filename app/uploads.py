"""What the browser sends, on disk at once: bytes are named by their content, so the same clip is kept once."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Protocol

from core.data.kinds import SUFFIXES, USUAL
from core.data.layouts.tables import SUFFIXES as TABLES
from core.data.uploads import Unpacked, unpack
from core.errors import DataError
from core.workspace import make_folder, write_whole


class Upload(Protocol):
    """A file as the browser sends it."""

    name: str
    file_id: str

    def getbuffer(self) -> memoryview:
        """Its bytes."""


def keep(upload: Upload, folder: Path) -> Path:
    """Write an upload below a folder.

    Parameters
    ----------
    upload : file with ``name`` and ``getbuffer()``
    folder : Path

    Returns
    -------
    path : Path, ``<folder>/<hash of the content>/<name>``
    """
    content = upload.getbuffer()
    path = folder / hashlib.blake2b(content, digest_size=8).hexdigest() / safe_name(upload.name)
    if not path.is_file() or path.stat().st_size != len(content):
        write_whole(path, partial(_write, content))
    return path


def bring(uploads: Sequence[Upload], folder: Path) -> Unpacked:
    """Make a data set of one zip, or of one table and the clips that it names.

    Parameters
    ----------
    uploads : sequence of files
    folder : Path

    Returns
    -------
    unpacked : Unpacked, in ``<folder>/<hash of the content>/<name>``

    Raises
    ------
    DataError
        They are no data set, in words; or as ``unpack``.
    """
    by_kind: dict[str, list[Upload]] = {}
    for one in uploads:
        suffix = Path(one.name).suffix.lower()
        by_kind.setdefault("clip" if suffix in SUFFIXES else "table" if suffix in TABLES else suffix, []).append(one)
    zips, tables, clips = (by_kind.get(kind, []) for kind in (".zip", "table", "clip"))
    if len(zips) > 1 or (zips and len(uploads) > 1):
        raise DataError("upload one zip by itself, or one table with its clips")
    mark = _mark(uploads)
    if zips:
        goal = folder / mark / (Path(safe_name(zips[0].name)).stem.strip(" .") or "dataset")
        return unpack(BytesIO(zips[0].getbuffer()), goal)
    if len(tables) != 1 or not clips:
        found = f"tables: {len(tables)}, clips: {len(clips)}"
        raise DataError(f"a data set is one table with its clips ({USUAL}), or one zip; you uploaded {found}")
    names = [safe_name(one.name) for one in (*tables, *clips)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"two files are called {twice!r}; rename one, or pack their folders into a zip")
    skipped = tuple(one.name for one in uploads if one not in tables and one not in clips)
    goal = folder / mark / (Path(names[0]).stem.strip(" .") or "dataset")
    if not goal.is_dir():
        make_folder(goal.parent)
        temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=goal.parent))
        try:
            for name, one in zip(names, (*tables, *clips), strict=True):
                (temporary / name).write_bytes(one.getbuffer())
            os.chmod(temporary, 0o755)  # mkdtemp makes folders that only their owner may read
            os.rename(temporary, goal)
        except OSError:
            if not goal.is_dir():  # else another session was here first, with the same bytes
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Unpacked(goal, len(names), skipped)


def _mark(uploads: Sequence[Upload]) -> str:
    """A name for the content of all files and, where there are several, for their names."""
    digest = hashlib.blake2b(digest_size=8)
    for one in sorted(uploads, key=lambda one: one.name):
        if len(uploads) > 1:
            digest.update(repr((one.name, len(one.getbuffer()))).encode(errors="replace"))
        digest.update(one.getbuffer())
    return digest.hexdigest()


def safe_name(name: str) -> str:
    """The last part of a name, without what no file name may hold, and short enough for any file system.

    Examples
    --------
    >>> safe_name("../../etc/my clip?.wav")
    'my clip?.wav'
    """
    last = re.sub(r"[\x00-\x1f\x7f]", "_", re.split(r"[\\/]", name)[-1]).strip(" .").encode(errors="replace")
    stem, dot, suffix = last.rpartition(b".")
    short = (stem if dot else last)[:150] + (b"." + suffix[-20:] if dot else b"")
    return short.decode(errors="ignore") or "clip"


def _write(content: memoryview, file: IO[bytes]) -> None:
    file.write(content)
