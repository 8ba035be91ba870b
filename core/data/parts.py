"""What readers of files share: a file is cut into its parts, of which one that was joined end to end has several, and decoded.

Positions and sizes are in bytes, samples are float32, rates in Hz.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

_BUFFER_BYTES = 1 << 20
_FARTHEST = 1 << 62


@dataclass(frozen=True, slots=True)
class Part:
    """One recording in a file.

    Attributes
    ----------
    start, stop : int, its first byte and the one behind its last
    prefix : bytes that a decoder reads in front of these, such as a header whose length is mended
    """

    start: int
    stop: int
    prefix: bytes = b""


@dataclass(frozen=True, slots=True)
class Parts:
    """The recordings in a file, in their order, and what is odd about them in words."""

    parts: tuple[Part, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """The decoded start of a file.

    Attributes
    ----------
    samples : np.ndarray [shape=(n, channels)], float32
    sample_rate_hz : int > 0
    frames : int, of the whole file
    warnings : tuple of str, what is odd about the file
    """

    samples: np.ndarray
    sample_rate_hz: int
    frames: int
    warnings: tuple[str, ...]


class Damage(Exception):
    """What is wrong with a file, in half a sentence; who knows the name of the file adds it."""


class PartFile(io.RawIOBase):
    """A part as a file of its own, to be read through a buffer; the file below it stays open.

    Parameters
    ----------
    file : open for reading in binary, seekable
    part : Part; None stands for the whole file
    """

    def __init__(self, file: IO[bytes], part: Part | None = None):
        part = part or Part(0, file.seek(0, os.SEEK_END))
        self._file = file
        self._prefix = part.prefix
        self._start = part.start
        self._size = len(part.prefix) + max(0, part.stop - part.start)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # any writable buffer
        wanted = max(0, min(len(buffer), self._size - self._position))
        data = self._prefix[self._position : self._position + wanted]
        if not data and wanted:
            self._file.seek(self._start + self._position - len(self._prefix))
            data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def buffered(file: IO[bytes], part: Part | None = None) -> io.BufferedReader:
    """A file, or a part of it, to be looked at in many small steps; the file itself stays open."""
    return io.BufferedReader(PartFile(file, part), _BUFFER_BYTES)


def read_at(file: IO[bytes], position: int, count: int) -> bytes:
    """Bytes from a position on, fewer at the end of the file, none behind it, however far a damaged header leads."""
    if not 0 <= position < _FARTHEST:
        return b""
    file.seek(position)
    return file.read(count)


def find_all(file: IO[bytes], mark: bytes, start: int) -> Iterator[int]:
    """Where a mark stands, from a position on."""
    position = start
    while len(block := read_at(file, position, _BUFFER_BYTES)) >= len(mark):
        place = block.find(mark)
        while place >= 0:
            yield position + place
            place = block.find(mark, place + 1)
        position += len(block) - len(mark) + 1  # a mark may stand across two blocks


def tag_bytes(file: IO[bytes], position: int) -> int:
    """Length of an ID3v2 tag at a position, 0 where there is none."""
    head = read_at(file, position, 10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if head[5] & 0x10 else 0)
