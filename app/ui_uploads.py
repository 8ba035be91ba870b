"""What the browser sends, on disk at once: bytes are named by their content, so the same clip is kept once."""

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from core.workspace import write_whole


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
