"""MPEG audio (MP3) in, its parts out; where one does not say how long it is, its frames are counted and a header in front says it.

An encoder that writes a variable bit rate leaves the number of frames in a first frame without sound (its mark is Xing, Info or
VBRI). Where a tool has cut that frame off, decoders guess the length from the first bit rate, and stop there. Frame headers: ISO
11172-3, 2.4.2.3; the mark: G. Nilsson, "MP3 Info Tag revision 1".
"""

import os
import struct
from dataclasses import dataclass
from typing import IO

from core.data.parts import Part, Parts, find_all, read_at, tag_bytes

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
_VBRI_OFFSET = 36
_ID3V1_BYTES = 128
_FEWEST_FRAMES = 4  # of a part that no frame announces
_LAYER_3_KBIT_INDEX = 9  # of the frame that is put in front: room for its mark at any rate


@dataclass(frozen=True, slots=True)
class _Frame:
    header: bytes
    version: int
    layer: int
    bytes: int
    samples: int
    side_bytes: int


@dataclass(frozen=True, slots=True)
class _Mark:
    frames: int | None
    bytes: int


def split(file: IO[bytes], size: int) -> Parts:
    """The parts of an MP3; a part that does not say how long it is gets a frame in front that does.

    A part begins at a frame that names a number of frames, or where such a number is reached and sound goes on.

    Parameters
    ----------
    file : buffered, open for reading in binary
    size : int, bytes

    Returns
    -------
    parts : Parts; a single one of all bytes where the file names its length, or is no chain of frames
    """
    whole = Parts((Part(0, size),))
    position: int | None = tag_bytes(file, 0)
    parts: list[Part] = []
    while position is not None:
        begin = position
        first = _read_frame(read_at(file, begin, 4))
        if first is None or first.layer != 3:
            return whole
        mark = _read_mark(file, begin, first)
        if not parts and mark is not None and (mark.frames is None or size - begin - mark.bytes in (0, _ID3V1_BYTES)):
            return whole
        frames, position = _count_frames(file, begin, first, mark)
        end = size if position is None else position
        if mark is None and parts and frames < _FEWEST_FRAMES:
            continue  # more frames than an encoder has counted: it has filled up with them
        parts.append(Part(begin, end, b"" if mark else _info_frame(first, frames)))
    return whole if len(parts) == 1 and not parts[0].prefix else Parts(tuple(parts))


def _count_frames(file: IO[bytes], begin: int, first: _Frame, mark: _Mark | None) -> tuple[int, int | None]:
    """Frames of a part, and where another one begins; what stands between, such as a tag or a few damaged bytes, is passed over."""
    frames = 0
    position: int | None = begin if mark is None else begin + first.bytes
    while position is not None:
        frame = _frame_at(file, position, first)
        if frame is None:
            position = _find_frame(file, position, first)
            if position is not None and _frame_at(file, position, first) is None:
                return frames, position
        elif (mark is not None and frames == mark.frames) or _read_mark(file, position, frame) is not None:
            return frames, position
        else:
            frames += 1
            position += frame.bytes
    return frames, None


def _read_mark(file: IO[bytes], position: int, frame: _Frame) -> _Mark | None:
    """What a frame without sound says of the frames behind it; None of a frame with sound."""
    body = read_at(file, position, _VBRI_OFFSET + 18)
    xing = body[4 + frame.side_bytes :][:16]
    if xing[:4] in (b"Xing", b"Info") and len(xing) == 16:
        flags, *values = struct.unpack(">4xIII", xing)
        frames = values.pop(0) if flags & 1 else None
        return _Mark(frames, values[0] if flags & 2 else 0)
    if body[_VBRI_OFFSET:].startswith(b"VBRI") and len(body) == _VBRI_OFFSET + 18:
        length, frames = struct.unpack_from(">II", body, _VBRI_OFFSET + 10)
        return _Mark(frames, length)
    return None


def _frame_at(file: IO[bytes], position: int, like: _Frame) -> _Frame | None:
    """A frame at a position, if its version, layer and rate are those of another one."""
    frame = _read_frame(read_at(file, position, 4))  # inside the buffer for most frames
    same = frame is not None and frame.header[1] & 0x1E == like.header[1] & 0x1E and frame.header[2] & 0x0C == like.header[2] & 0x0C
    return frame if same else None


def _find_frame(file: IO[bytes], position: int, like: _Frame) -> int | None:
    """Where the next frame begins that has one of its kind, or the end of the file, behind it; two where it is of another kind."""
    position += tag_bytes(file, position)
    end = file.seek(0, os.SEEK_END)
    for place in find_all(file, b"\xff", position):
        frame = _read_frame(read_at(file, place, 4))
        if frame is None or frame.layer != like.layer:
            continue
        behind = place + frame.bytes
        if _frame_at(file, place, like) is not None:
            if behind == end or _frame_at(file, behind, like) is not None:
                return place
        elif (second := _frame_at(file, behind, frame)) and _frame_at(file, behind + second.bytes, frame):
            return place
    return None


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
