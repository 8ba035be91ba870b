"""MPEG audio (MP3) whose header does not say how long it is: count its frames, and put a header in front that does.

An encoder that writes a variable bit rate leaves the number of frames in a first frame without sound (its mark is Xing, Info or
VBRI). Where a tool has cut that frame off, decoders guess the length from the first bit rate, and stop there. Frame headers: ISO
11172-3, 2.4.2.3; the mark: G. Nilsson, "MP3 Info Tag revision 1".
"""

import io
import os
import struct
from dataclasses import dataclass
from typing import IO

_KBIT = {
    # (version is 1, layer): bit rates by index
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version field: 1, 2, 2.5
_MARKS = (b"Xing", b"Info", b"VBRI")
_VBRI_OFFSET = 36
_LAYER_3_KBIT_INDEX = 9  # of the frame that is put in front: room for its mark at any rate
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Frame:
    header: bytes
    version: int
    layer: int
    bytes: int
    samples: int
    side_bytes: int


def with_length(file: IO[bytes]) -> io.RawIOBase | None:
    """The file with its number of frames in front, where it has none: a pass over the headers of its frames.

    Parameters
    ----------
    file : MP3, open for reading in binary, seekable; its position is at the start again afterwards

    Returns
    -------
    file : the same bytes behind a frame that names their number; None where the file has such a frame, or is no chain of frames
    """
    try:
        buffered = io.BufferedReader(_Borrowed(file), _BUFFER_BYTES)
        start = _tag_bytes(buffered, 0)
        buffered.seek(start)
        first = _read_frame(buffered.read(4))
        if first is None or first.layer != 3:
            return None
        buffered.seek(start)
        body = buffered.read(first.bytes)
        if any(body[4 + first.side_bytes :].startswith(mark) or body[_VBRI_OFFSET:].startswith(mark) for mark in _MARKS):
            return None
        return _Prefixed(_info_frame(first, _count_frames(buffered, start, first)), file, start)
    finally:
        file.seek(0)


def _count_frames(file: IO[bytes], start: int, first: _Frame) -> int:
    """Frames from a position on; what stands between them, such as a tag or a few damaged bytes, is passed over."""
    frames = 0
    position: int | None = start
    while position is not None:
        frame = _frame_at(file, position, first)
        if frame is None:
            position = _find_frame(file, position, first)
        else:
            frames += 1
            position += frame.bytes
    return frames


def _frame_at(file: IO[bytes], position: int, like: _Frame) -> _Frame | None:
    """A frame at a position, if its version, layer and rate are those of another one."""
    file.seek(position)  # stays inside the buffer for most frames
    frame = _read_frame(file.read(4))
    same = frame is not None and frame.header[1] & 0x1E == like.header[1] & 0x1E and frame.header[2] & 0x0C == like.header[2] & 0x0C
    return frame if same else None


def _find_frame(file: IO[bytes], position: int, like: _Frame) -> int | None:
    """Where the next frame begins that has another one, or the end of the file, behind it."""
    position += _tag_bytes(file, position)
    end = file.seek(0, os.SEEK_END)
    while position < end:
        file.seek(position)
        block = file.read(_BUFFER_BYTES)
        place = block.find(b"\xff")
        while place >= 0:
            frame = _frame_at(file, position + place, like)
            if frame is not None:
                behind = position + place + frame.bytes
                if behind == end or _frame_at(file, behind, like) is not None:
                    return position + place
            place = block.find(b"\xff", place + 1)
        position += len(block)
    return None


def _tag_bytes(file: IO[bytes], position: int) -> int:
    """Length of an ID3v2 tag at a position, 0 where there is none."""
    file.seek(position)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _read_frame(header: bytes) -> _Frame | None:
    """What four bytes say of a frame; None where they are no header, or leave the bit rate open."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbit_index, rate_index = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or kbit_index in (0, 15) or rate_index == 3:
        return None
    bits = 1000 * _KBIT[version == 3, layer][kbit_index]
    rate_hz = _RATES_HZ[version][rate_index]
    padding = header[2] >> 1 & 1
    mono = header[3] >> 6 == 3
    if layer == 1:
        return _Frame(header, version, layer, (12 * bits // rate_hz + padding) * 4, 384, 0)
    samples = 576 if layer == 3 and version != 3 else 1152
    side_bytes = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return _Frame(header, version, layer, samples // 8 * bits // rate_hz + padding, samples, side_bytes)


def _info_frame(like: _Frame, frames: int) -> bytes:
    """A frame without sound that names how many follow it."""
    second = like.header[1] | 1  # no checksum
    third = _LAYER_3_KBIT_INDEX << 4 | like.header[2] & 0x0C  # no padding
    header = bytes((0xFF, second, third, like.header[3]))
    frame = _read_frame(header)
    assert frame is not None
    body = header + bytes(frame.side_bytes) + b"Xing" + struct.pack(">II", 1, frames)
    return body.ljust(frame.bytes, b"\0")


class _Borrowed(io.RawIOBase):
    """A file that is read through a buffer and not closed with it."""

    def __init__(self, file: IO[bytes]):
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # any writable buffer
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Prefixed(_Borrowed):
    """Some bytes, then a file from a position on."""

    def __init__(self, prefix: bytes, file: IO[bytes], start: int):
        super().__init__(file)
        self._prefix = prefix
        self._start = start
        self._size = len(prefix) + max(0, os.fstat(file.fileno()).st_size - start)
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # any writable buffer
        data = self._prefix[self._position : self._position + len(buffer)]
        if not data:
            self._file.seek(self._start + self._position - len(self._prefix))
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
