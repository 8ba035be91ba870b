"""The headers of WAV and its siblings in, the parts of the file out, each with a header that names its true length.

libsndfile shortens a file silently to what it finds, and takes a length that was never filled in for the truth, so the headers are
read here. RIFF: Multimedia Programming Interface 1.0 (1991); RF64: EBU Tech 3306; AIFF: Apple, AIFF-C draft (1991); CAF: Apple Core
Audio Format 1.0; Wave64: Sony Pictures Digital; AU: Sun; NIST: SPHERE.
"""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from core.data import mpeg
from core.data.parts import Damage, Part, Parts, buffered, find_all, read_at

WHOLE_SHARE = 0.9  # a file that holds less of the length that its header names counts as truncated

_MP3_IN_WAV = 0x55
_AU_HEAD_BYTES = 24
_PLACEHOLDERS = (0, 2_000_000_000)  # what programs write that do not know the length yet,
_LEAST_PLACEHOLDER = 0x7FFFF000  # and they write this or more
_LONGEST_32_BIT = 0xFFFFFFFF
_LONGEST_TAG_BYTES = 4096  # behind the sound, of a kind that is not known
_OPEN = "its header leaves the length open, as a stream or a recorder that was not closed does: read to the end of the file"


@dataclass(frozen=True, slots=True)
class _Family:
    """How a kind of file lays out its chunks.

    Attributes
    ----------
    chunk : str, name and length of a chunk as ``struct`` reads them
    first : int, where the first chunk stands
    align : int, to what the length of a chunk is filled up
    data : bytes, name of the chunk with the sound
    lead : int, bytes at the start of that chunk that are no sound
    counts_itself : bool, whether the length covers the head of the chunk
    """

    chunk: str
    first: int
    align: int
    data: bytes
    lead: int = 0
    counts_itself: bool = False

    @property
    def head_bytes(self) -> int:
        return struct.calcsize(self.chunk)


_FAMILIES = {
    b"RIFF": _Family("<4sI", 12, 2, b"data"),
    b"RF64": _Family("<4sI", 12, 2, b"data"),
    b"RIFX": _Family(">4sI", 12, 2, b"data"),
    b"FORM": _Family(">4sI", 12, 2, b"SSND", lead=8),
    b"caff": _Family(">4sq", 8, 1, b"data", lead=4),
    b"riff": _Family("<4s12xQ", 40, 8, b"data", counts_itself=True),
}


@dataclass(frozen=True, slots=True)
class _Chunk:
    name: bytes
    start: int
    body: int
    length: int


@dataclass(frozen=True, slots=True)
class _Sound:
    """Where the sound of a part is.

    Attributes
    ----------
    start : int, its first byte
    named : int, bytes that the header names
    length_at : int, where the header names it
    length_as : str, how ``struct`` writes it
    extra : int, by how much the number there is larger than ``named``
    chunks : dict of _Chunk, those in front of the sound, by name
    """

    start: int
    named: int
    length_at: int
    length_as: str
    extra: int
    chunks: dict[bytes, _Chunk]


def split(file: IO[bytes], size: int) -> Parts:
    """The parts of a WAV, RF64, AIFF, CAF, Wave64, AU or NIST file.

    Parameters
    ----------
    file : buffered, open for reading in binary
    size : int, bytes

    Returns
    -------
    parts : Parts, with a warning where a header leaves the length open, or where bytes behind the sound are no part of it

    Raises
    ------
    Damage
        Less than 90 % of the bytes of sound that a header names are there.
    """
    parts: list[Part] = []
    warnings: list[str] = []
    base: int | None = 0
    while base is not None:
        sound = _find_sound(file, base, size)
        if sound is None:
            return Parts((*parts, Part(base, size)), tuple(warnings))
        family = _FAMILIES.get(read_at(file, base, 4))
        there, end = max(0, size - sound.start), sound.start + sound.named
        following, rest = _look_behind(file, end, size, family) if 0 <= sound.named <= there else (None, 0)
        if _is_open(sound.named, there, rest):
            following = _next_riff(file, sound.start, size)
            end = size if following is None else following
            parts.append(_mended(file, base, end, sound))
            warnings.append(_OPEN)
        elif there < WHOLE_SHARE * sound.named:
            raise Damage(f"truncated: its header names {sound.named} bytes of sound, {there} are there")
        else:
            parts += _closed(file, base, size if following is None else following, sound)
            if rest > _LONGEST_TAG_BYTES and following is None:
                warnings.append(f"{rest} bytes behind the sound that its header names are not read")
        base = following
    return Parts(tuple(parts), tuple(dict.fromkeys(warnings)))


def _find_sound(file: IO[bytes], base: int, size: int) -> _Sound | None:
    head = read_at(file, base, 16)
    if head[:4] in (b".snd", b"dns.") and len(head) == 16:
        order = ">" if head[:4] == b".snd" else "<"
        start, named = struct.unpack_from(f"{order}II", head, 4)
        return _Sound(base + start, named, base + 8, f"{order}I", 0, {}) if start >= _AU_HEAD_BYTES else None
    if head[:8] == b"NIST_1A\n":
        return _find_nist(file, head)
    family = _FAMILIES.get(head[:4])
    if family is None:
        return None
    chunks: dict[bytes, _Chunk] = {}
    for chunk in _walk(file, base + family.first, size, family):
        if chunk.name == family.data:
            named = chunk.length - family.lead
            if head[:4] == b"RF64" and b"ds64" in chunks:
                named = struct.unpack("<Q", read_at(file, chunks[b"ds64"].body + 8, 8))[0]
            extra = family.lead + (family.head_bytes if family.counts_itself else 0)
            length_as = family.chunk[0] + family.chunk[-1]
            at = chunk.body - struct.calcsize(length_as)
            return _Sound(chunk.body + family.lead, named, at, length_as, extra, chunks)
        chunks[chunk.name] = chunk
    return None


def _find_nist(file: IO[bytes], head: bytes) -> _Sound | None:
    start = int(head[8:16]) if re.fullmatch(rb" *\d+\n?", head[8:16]) else 0
    text = read_at(file, 0, start)
    coding = re.search(rb"sample_coding -s\d+ (\S+)", text)
    if coding and coding[1] not in (b"pcm", b"ulaw", b"alaw"):
        return None  # compressed: the length of the sound is not that of the file
    fields = [re.search(rb"%s -i (\d+)" % name, text) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    if fields[0] is None:
        return None
    return _Sound(start, math.prod(int(field[1]) for field in fields if field), 0, "", 0, {})


def _walk(file: IO[bytes], position: int, size: int, family: _Family) -> Iterator[_Chunk]:
    """Chunks from a position on, as long as their names are readable."""
    while len(head := read_at(file, position, family.head_bytes)) == family.head_bytes and position < size:
        name, length = struct.unpack(family.chunk, head)
        if not all(0x20 <= byte < 0x7F for byte in name):
            return
        if family.counts_itself:
            length -= family.head_bytes
        yield _Chunk(name, position, position + family.head_bytes, length)
        position += family.head_bytes + max(0, length) + -length % family.align


def _look_behind(file: IO[bytes], end: int, size: int, family: _Family | None) -> tuple[int | None, int]:
    """Where another file begins behind the sound, and how many bytes there are no chunks."""
    if family is None:
        return None, size - end
    for start in dict.fromkeys((end + -end % family.align, end)):  # not every program fills up
        position = start
        for chunk in _walk(file, start, size, family):
            if chunk.name in _FAMILIES:
                return chunk.start, 0
            if chunk.body + chunk.length > size:
                break
            position = chunk.body + chunk.length + -chunk.length % family.align
        if position > start or start >= size:
            break
    return None, max(0, size - position)


def _is_open(named: int, there: int, rest: int) -> bool:
    """Whether a length stands for one that is not known; 0 is one where sound stands behind it."""
    if named <= 0:
        return named < 0 or rest > 0
    return there < named and (named in _PLACEHOLDERS or named >= _LEAST_PLACEHOLDER)


def _next_riff(file: IO[bytes], start: int, size: int) -> int | None:
    """Where the header of another WAV stands in sound of open length."""
    for place in find_all(file, b"WAVEfmt ", start):
        if read_at(file, place - 8, 4) == b"RIFF":
            return place - 8
    return None


def _mended(file: IO[bytes], base: int, end: int, sound: _Sound) -> Part:
    """A part whose header names how much is there."""
    head = bytearray(read_at(file, base, sound.start - base))
    there = max(0, end - sound.start)
    value = there + sound.extra
    if sound.length_as[1:] == "I":
        value = min(value, _LONGEST_32_BIT)
    if sound.length_as:
        struct.pack_into(sound.length_as, head, sound.length_at - base, value)
    if head[:4] == b"RF64":
        head[:4] = b"RIFF"
        if b"ds64" in sound.chunks:
            place = sound.chunks[b"ds64"].start - base
            head[place : place + 4] = b"JUNK"
    if head[:4] == b"FORM" and b"COMM" in sound.chunks:
        place = sound.chunks[b"COMM"].body - base
        channels, bits = struct.unpack_from(">h4xh", head, place)
        struct.pack_into(">I", head, place + 2, min(_LONGEST_32_BIT, there // max(1, channels * -(-bits // 8))))
    return Part(sound.start, end, bytes(head))


def _closed(file: IO[bytes], base: int, end: int, sound: _Sound) -> tuple[Part, ...]:
    """The part as it stands; the MP3 inside of a WAV that holds one (RFC 2361), whose delay is known only to itself."""
    kind = sound.chunks.get(b"fmt ")
    if kind is None or read_at(file, base, 4) != b"RIFF" or read_at(file, kind.body, 2) != struct.pack("<H", _MP3_IN_WAV):
        return (Part(base, end),)
    stop = min(end, sound.start + sound.named)
    inside = buffered(file, Part(sound.start, stop))
    parts = mpeg.split(inside, stop - sound.start).parts
    return tuple(Part(part.start + sound.start, part.stop + sound.start, part.prefix) for part in parts)
