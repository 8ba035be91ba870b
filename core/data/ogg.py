"""Ogg in, its parts out: a chained stream, as joined files are one, has first pages in its middle (RFC 3533, 4).

FLAC in Ogg becomes plain FLAC: the packets behind each other are one (Ogg FLAC mapping 1.0).
"""

import io
from typing import IO

from core.data import flac
from core.data.parts import Part, Parts, find_all, read_at

_FIRST_PAGE = b"OggS\0\x02" + bytes(8)  # version, the flag of a first page, and the position 0
_LAST_PAGE_FLAG = 4
_FLAC_MARK = b"\x7fFLAC"
_FLAC_LEAD_BYTES = 9  # the mark, the version of the mapping and a number of packets
_HEAD_BYTES = 27  # and in the last of them how many lengths follow
_LONGEST_PAGE_BYTES = _HEAD_BYTES + 255 + 255 * 255
_NOT_ENDED = "no last page ends its Ogg stream: the recording may have been cut"


def split(file: IO[bytes], size: int) -> Parts:
    """The parts of an Ogg file.

    First pages that stand side by side begin streams of one part, such as sound and pictures.

    Parameters
    ----------
    file : buffered, open for reading in binary
    size : int, bytes

    Returns
    -------
    parts : Parts, with a warning where the last page does not end its stream

    Raises
    ------
    Damage
        FLAC in it leaves its length open, and its last frame is not whole.
    """
    starts: list[int] = []
    behind = 0
    for place in find_all(file, _FIRST_PAGE, 0):
        if not starts or place != behind:
            starts.append(place)
        behind = place + _page_bytes(file, place)
    starts = starts or [0]
    parts = tuple(_plain(file, Part(start, stop)) for start, stop in zip(starts, [*starts[1:], size], strict=True))
    return Parts(parts, () if _is_ended(file, size) else (_NOT_ENDED,))


def _plain(file: IO[bytes], part: Part) -> Part:
    """A part as it stands; of FLAC in Ogg all its bytes without the pages, in front of nothing."""
    if read_at(file, part.start + 28, len(_FLAC_MARK)) != _FLAC_MARK:
        return part
    pages, position = [], part.start
    while position < part.stop:
        page = read_at(file, position, _page_bytes(file, position))
        if len(page) <= _HEAD_BYTES or position + _page_bytes(file, position) > part.stop:
            break  # cut off
        pages.append(page[_HEAD_BYTES + page[_HEAD_BYTES - 1] :])
        position += len(page)
    stream = b"".join(pages)[_FLAC_LEAD_BYTES:]
    named = flac.with_length(io.BytesIO(stream), Part(0, len(stream)))
    return Part(part.stop, part.stop, named.prefix + stream[named.start :])


def _page_bytes(file: IO[bytes], position: int) -> int:
    head = read_at(file, position, _HEAD_BYTES)
    lengths = file.read(head[-1]) if len(head) == _HEAD_BYTES else b""
    return _HEAD_BYTES + len(lengths) + sum(lengths)


def _is_ended(file: IO[bytes], size: int) -> bool:
    tail = read_at(file, max(0, size - 2 * _LONGEST_PAGE_BYTES), 2 * _LONGEST_PAGE_BYTES)
    last = tail.rfind(b"OggS\0")
    return last < 0 or bool(tail[last + 5 : last + 6] and tail[last + 5] & _LAST_PAGE_FLAG)
