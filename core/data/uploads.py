"""A zip of a data set in, a folder with its clips and tables out. Sizes in bytes.

Nothing is trusted that the archive says of itself: bytes are counted as they come out, names are kept inside of the folder, links
and devices are never made. The folder appears whole or not at all.
"""

import os
import re
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from core.data.kinds import SUFFIXES, USUAL
from core.data.layouts.recognise import is_read
from core.data.layouts.tables import SUFFIXES as TABLES
from core.errors import DataError
from core.workspace import make_folder

MAX_BYTES = 20 * 10**9
RESERVE_BYTES = 10**9  # of the disk, that stay free
MAX_RATIO = 200  # of what comes out to what went in: sound does not shrink like that, but for silence
RATIO_FROM_BYTES = 10**9  # up to here silence may
MAX_ENTRIES = 200_000
MAX_DEPTH = 12  # folders in each other

_BLOCK_BYTES = 1 << 20
_STALE_S = 3600.0
_UNWRAPPED_AS = ("csvs", "audios")  # folders of a data set itself, not one around it
_UTF8 = 0x800
_ENCRYPTED = 0x1
_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive.

    Attributes
    ----------
    folder : Path
    files : int, clips and tables
    skipped : tuple of str, names of what was left out: neither a clip nor a table, or no plain file
    """

    folder: Path
    files: int
    skipped: tuple[str, ...]


def unpack(archive: str | Path | IO[bytes], folder: Path, *, max_bytes: int = MAX_BYTES) -> Unpacked:
    """Unpack the clips and tables of a zip.

    A folder around everything is taken off. What macOS and editors leave beside files (``__MACOSX``, names that begin with a point)
    is skipped silently.

    Parameters
    ----------
    archive : path, or a binary file that can be sought in
    folder : Path, to be made; where it is there already, it is what an earlier call left
    max_bytes : int, that all files together may have

    Raises
    ------
    DataError
        It is no zip, damaged or encrypted, holds no clip and no table, leads out of the folder, or is larger than it may be.
    """
    if folder.is_dir():
        return Unpacked(folder, sum(1 for path in folder.rglob("*") if path.is_file()), ())
    make_folder(folder.parent)
    _sweep(folder.parent)
    limit = min(max_bytes, shutil.disk_usage(folder.parent).free - RESERVE_BYTES)
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
    try:
        try:
            with zipfile.ZipFile(archive) as opened:
                entries, skipped = _entries(opened)
                _write(opened, entries, temporary, limit)
        except zipfile.BadZipFile:
            raise DataError("this is no zip archive, or a damaged one; pack the folder again") from None
        os.chmod(temporary, 0o755)  # mkdtemp makes folders that only their owner may read
        try:
            os.rename(_unwrapped(temporary), folder)
        except OSError:
            if not folder.is_dir():  # else another session was here first, with the same bytes
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Unpacked(folder, len(entries), tuple(skipped))


def _entries(opened: zipfile.ZipFile) -> tuple[dict[PurePosixPath, zipfile.ZipInfo], list[str]]:
    """What is to be written, by its name below the folder, and the names of what is not."""
    if len(opened.infolist()) > MAX_ENTRIES:
        raise DataError(
            f"the zip has {len(opened.infolist()):,} entries, at most {MAX_ENTRIES:,} are unpacked; open the folder by path"
        )
    entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
    skipped = []
    for info in opened.infolist():
        name = _name(info)
        path = PurePosixPath(name)
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in path.parts:
            raise DataError(f"the zip has an entry {name!r} that leads out of its folder; nothing was unpacked")
        if name.endswith("/") or not path.parts or any(part == "__MACOSX" or part.startswith(".") for part in path.parts):
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or not (path.suffix.lower() in SUFFIXES or is_read(path.name)):
            skipped.append(name)
            continue
        if len(path.parts) > MAX_DEPTH:
            raise DataError(f"the zip has folders {len(path.parts) - 1} deep, at most {MAX_DEPTH - 1} are unpacked: {name[:80]!r}")
        if info.flag_bits & _ENCRYPTED:
            raise DataError(f"{name!r} in the zip is encrypted; pack it without a password")
        if path in entries:
            raise DataError(f"the zip holds {name!r} twice; pack it again")
        entries[path] = info
    if inside := next((path for path in entries if any(parent in entries for parent in path.parents)), None):
        raise DataError(f"the zip has a file and a folder of one name, around {str(inside)!r}; pack it again")
    if not entries:
        raise DataError(f"the zip holds no clips and no tables ({USUAL}; {', '.join(TABLES)})")
    return entries, skipped


def _write(opened: zipfile.ZipFile, entries: dict[PurePosixPath, zipfile.ZipInfo], folder: Path, limit: int) -> None:
    packed = written = 0
    for path, info in entries.items():
        goal = folder.joinpath(*path.parts)
        try:
            goal.parent.mkdir(parents=True, exist_ok=True)
            target = goal.open("xb")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{str(path)[:80]!r} of the zip cannot be written ({getattr(error, 'strerror', None) or error})"
            ) from None
        packed += info.compress_size
        with target:
            try:
                source = opened.open(info)
                while block := source.read(_BLOCK_BYTES):
                    written += len(block)
                    if written > limit:
                        raise _TooMuch(
                            f"the zip unpacks to more than {limit / 1e9:,.1f} GB, which is all that it may; open the folder by path"
                        )
                    if written > RATIO_FROM_BYTES and written > MAX_RATIO * max(1, packed):
                        raise _TooMuch(
                            f"the zip unpacks to more than {MAX_RATIO} times its size: no recordings do that; nothing was kept"
                        )
                    target.write(block)
            except _TooMuch as error:
                raise DataError(str(error)) from None
            except _DAMAGES as error:
                raise DataError(f"{str(path)!r} in the zip is damaged, or cannot be written ({error}); pack it again") from None


class _TooMuch(Exception):
    """More bytes have come out than may."""


def _name(info: zipfile.ZipInfo) -> str:
    """The name of an entry with slashes. Many programs write UTF-8 and do not say so; ``zipfile`` reads that as code page 437."""
    name = info.orig_filename.split("\0")[0]
    if not info.flag_bits & _UTF8:
        with suppress(UnicodeError):  # it is of that code page, or of none that is known
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _unwrapped(folder: Path) -> Path:
    """The folder inside, as long as nothing stands beside it."""
    inside = list(folder.iterdir())
    while len(inside) == 1 and inside[0].is_dir() and inside[0].name not in _UNWRAPPED_AS:
        folder = inside[0]
        inside = list(folder.iterdir())
    return folder


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed while unpacking has left."""
    for left in folder.glob(".unpacking-*"):
        if time.time() - left.stat().st_mtime > _STALE_S:
            shutil.rmtree(left, ignore_errors=True)
