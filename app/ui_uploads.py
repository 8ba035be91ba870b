"""What the browser sends, on disk at once: bytes are named by their content, so the same clip is kept once."""

import hashlib
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from core.workspace import write_whole


class Upload(Protocol):
    """A file as the browser sends it."""

    name: str

    def getbuffer(self) -> memoryview:
        """Its bytes."""


def keep(uploads: Iterable[Upload], folder: Path) -> list[Path]:
    """Write uploads below a folder.

    Parameters
    ----------
    uploads : files with ``name`` and ``getbuffer()``
    folder : Path

    Returns
    -------
    paths : list of Path, ``<folder>/<hash of the content>/<name>``
    """
    paths = []
    for upload in uploads:
        content = upload.getbuffer()
        path = folder / hashlib.blake2b(content, digest_size=8).hexdigest() / safe_name(upload.name)
        if not path.is_file() or path.stat().st_size != len(content):
            write_whole(path, partial(_write, content))
        paths.append(path)
    return paths


def _write(content: memoryview, file: IO[bytes]) -> None:
    file.write(content)


def safe_name(name: str) -> str:
    """The last part of a name, without what a file system or a shell could take amiss.

    Examples
    --------
    >>> safe_name("../../etc/my clip?.wav")
    'my clip_.wav'
    """
    last = re.split(r"[\\/]", name)[-1]
    return re.sub(r"[^\w .()+-]", "_", last).strip(" .")[-120:] or "clip"
