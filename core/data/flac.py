"""FLAC in, its parts out; where a stream leaves its length open, its last frame says it. Format: RFC 9639."""

from functools import cache
from typing import IO

from core.data.parts import Damage, Part, Parts, find_all, read_at, tag_bytes

_MARK = b"fLaC"
_STREAMINFO = b"\0\0\0\x22"  # the first block of a stream: its kind and its length
_FIELDS = slice(18, 26)  # rate in 20 bits, channels and depth in 8, samples in 36
_LONGEST_FRAME_BYTES = 1 << 20
_BLOCK_SAMPLES = {1: 192, **{code: 144 << code for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}  # by code


def split(file: IO[bytes], size: int) -> Parts:
    """The parts of a FLAC file; a part whose header leaves its length open gets a header that names it.

    Parameters
    ----------
    file : buffered, open for reading in binary
    size : int, bytes

    Returns
    -------
    parts : Parts

    Raises
    ------
    Damage
        A header leaves the length open, and the last frame behind it is not whole.
    """
    start = tag_bytes(file, 0)
    starts = [start, *find_all(file, _MARK + _STREAMINFO, start + 1)]
    return Parts(tuple(with_length(file, Part(*ends)) for ends in zip(starts, [*starts[1:], size], strict=True)))


def with_length(file: IO[bytes], part: Part) -> Part:
    """A part with a header that names its length, where its own leaves that open.

    Raises
    ------
    Damage
        As ``split``.
    """
    head = bytearray(read_at(file, part.start, _FIELDS.stop))
    fields = int.from_bytes(head[_FIELDS], "big")
    if len(head) < _FIELDS.stop or head[: len(_MARK)] != _MARK or fields & (1 << 36) - 1:
        return part
    head[_FIELDS] = (fields | _count_samples(file, part, int.from_bytes(head[10:12], "big"))).to_bytes(8, "big")
    return Part(part.start + len(head), part.stop, bytes(head))


def _count_samples(file: IO[bytes], part: Part, fixed_block: int) -> int:
    """Samples up to the end of the last frame: the search goes back from the end until header and frame have their checksums."""
    start = max(part.start, part.stop - _LONGEST_FRAME_BYTES)
    tail = read_at(file, start, part.stop - start)
    if tail[-128:-125] == b"TAG":  # ID3v1
        tail = tail[:-128]
    place = tail.rfind(b"\xff")
    while place >= 0:
        frame = tail[place:]
        end = _behind_last_sample(frame, fixed_block)
        if end is not None and _crc(frame, 16, 0x8005) == 0:  # the checksum stands at the end and takes itself to 0
            return end
        place = tail.rfind(b"\xff", 0, place)
    raise Damage("truncated or damaged: its header leaves the length open, and its last frame is not whole")


def _behind_last_sample(frame: bytes, fixed_block: int) -> int | None:
    """Number of the first sample behind a frame; None where no header stands at its start (RFC 9639, 9.1)."""
    if len(frame) < 16 or frame[1] & 0xFE != 0xF8:
        return None
    lead = frame[4]  # the number is coded as UTF-8 codes a letter
    more = max(0, 7 - (lead ^ 0xFF).bit_length())  # bytes that follow
    number = lead & (0x3F >> more) if more else lead
    for byte in frame[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    position = 5 + more
    block_code, rate_code = frame[2] >> 4, frame[2] & 15
    block = _BLOCK_SAMPLES.get(block_code)
    if block_code in (6, 7):
        width = block_code - 5
        block = int.from_bytes(frame[position : position + width], "big") + 1
        position += width
    position += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if block is None or _crc(frame[: position + 1], 8, 0x07) != 0:
        return None
    is_variable = frame[1] & 1
    return (number if is_variable else number * fixed_block) + block


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    """Checksum of so many bits, most significant first, from 0."""
    table, rest = _crc_table(bits, polynomial), 0
    for byte in data:
        rest = (rest << 8 ^ table[rest >> (bits - 8) ^ byte]) & (1 << bits) - 1
    return rest


@cache
def _crc_table(bits: int, polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> (bits - 1) & 1 else 0)
        table.append(value & (1 << bits) - 1)
    return tuple(table)
