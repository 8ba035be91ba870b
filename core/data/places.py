"""The rows of a table in, where the sound of each is out: a clip, or a segment of a recording, which is cut out of it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data.audio import header_seconds
from core.data.layouts.clips import ClipIndex
from core.data.layouts.layout import AUTO, SECONDS, Layout
from core.data.layouts.roles import Roles
from core.data.layouts.table import Table
from core.data.layouts.times import SLACK_S, Span, in_seconds
from core.data.native import header_rate_hz
from core.data.segments import Segment, cut, segment_of
from core.errors import AudioError

_MOSTLY = 0.9  # of the segments lie within their recordings
_LEAST_WINDOW = 0.5  # of a window is left at the end of a recording


@dataclass(frozen=True, slots=True)
class Place:
    """Where the sound of a row is.

    Attributes
    ----------
    clip : Path, or half a sentence on why there is none
    recording : Path of the recording that it was cut out of, or None
    span : (start, end) in the recording, in seconds, or None
    """

    clip: Path | str
    recording: Path | None = None
    span: Span | None = None


def find_places(table: Table, roles: Roles, layout: Layout, index: ClipIndex, folder: Path) -> tuple[list[Place], list[str]]:
    """The place of each row, and what a user should know of the times.

    Parameters
    ----------
    table : Table
    roles : Roles of its columns
    layout : Layout
    index : ClipIndex
    folder : where segments are cut to; those that are there already are not cut again

    Raises
    ------
    DataError
        The unit of the times cannot be told.
    """
    clips, note = index.match(table.cells(roles.filename))
    notes = [note] if note is not None else []
    whole = [Place(clip) for clip in clips]
    if roles.times is None:
        return whole, notes
    spans = [roles.times.span(line.cells) for line in table.lines]
    by_recording: dict[Path, list[Span]] = defaultdict(list)
    for clip, span in zip(clips, spans, strict=True):
        if isinstance(clip, Path) and isinstance(span, tuple):
            by_recording[clip].append(span)
    lengths = {path: known for path in by_recording if (known := length_of(path)) is not None}
    if (why := _why_whole(by_recording, lengths, roles, layout)) is not None:
        return whole, [*notes, *([why] if why else [])]
    unit = layout.time_unit if layout.time_unit != AUTO else roles.times.unit or AUTO
    seconds, unit = in_seconds(by_recording, lengths, unit)
    if unit != SECONDS and not roles.times.unit and layout.time_unit == AUTO:
        notes.append(f"times are read as {unit}, which the lengths of the recordings leave; --time-unit says otherwise")
    return _cut(clips, spans, seconds, folder), notes


def window_places(recordings: Sequence[Path], window_s: float, folder: Path) -> dict[Path, list[tuple[Span, Place]]]:
    """Windows over recordings, one behind the other; the last one is shorter, or left out where it is less than half as long."""
    spans: dict[Path, list[Span]] = {}
    for path in recordings:
        length = length_of(path)
        if length is None:
            spans[path] = []
            continue
        count = max(1, int(length[0] / window_s + 1 - _LEAST_WINDOW))
        ends = [min((number + 1) * window_s, length[0]) for number in range(count)]
        spans[path] = [(number * window_s, end) for number, end in enumerate(ends)]
    flat = [(path, span) for path, of_path in spans.items() for span in of_path]
    places = _cut([path for path, _ in flat], [span for _, span in flat], lambda path, time: time, folder)
    windows: dict[Path, list[tuple[Span, Place]]] = {path: [] for path in recordings}
    for (path, span), place in zip(flat, places, strict=True):
        windows[path].append((span, place))
    return windows


def length_of(path: Path) -> tuple[float, int] | None:
    """Length in seconds and rate in Hz (0 where it is not known) of a recording, as its header says; None where it does not."""
    seconds = header_seconds(path)
    return None if seconds is None else (seconds, header_rate_hz(str(path)) or 0)


def _why_whole(
    by_recording: dict[Path, list[Span]], lengths: dict[Path, tuple[float, int]], roles: Roles, layout: Layout
) -> str | None:
    """Why rows are whole clips although they have times: "" where these are those of the clips; None where they are segments.

    Where each row has a clip of its own, times may tell where in a longer recording it was cut out once.
    """
    assert roles.times is not None
    single = all(len(spans) == 1 for spans in by_recording.values())
    if not single or not lengths or layout.start_column is not None or layout.time_unit != AUTO:
        return None
    scale = in_seconds({}, lengths, roles.times.unit or SECONDS)[0]
    spans = {path: [scale(path, time) for time in by_recording[path][0]] for path in lengths}
    inside = [path for path, (_, end) in spans.items() if end <= lengths[path][0] + SLACK_S]
    if all(start < 0.05 and end > lengths[path][0] - 0.05 for path, (start, end) in spans.items()):
        return ""
    if len(inside) >= _MOSTLY * len(lengths):
        return None
    names = ", ".join(roles.times.roles())
    return f"the times in {names} lie behind the ends of the clips: each clip is used whole; --start-column says otherwise"


def _cut(
    clips: Sequence[Path | str], spans: Sequence[Span | str], seconds: Callable[[Path, float], float], folder: Path
) -> list[Place]:
    segments: list[Segment | str] = []
    for clip, span in zip(clips, spans, strict=True):
        if isinstance(clip, str) or isinstance(span, str):
            segments.append(clip if isinstance(clip, str) else str(span))
            continue
        try:
            segments.append(segment_of(clip, seconds(clip, span[0]), seconds(clip, span[1]), folder))
        except AudioError as error:
            segments.append(error.reason)
    failures = cut([segment for segment in segments if isinstance(segment, Segment)])
    return [
        Place(segment)
        if isinstance(segment, str)
        else Place(failures.get(segment.path, segment.path), segment.recording, (segment.start_s, segment.end_s))
        for segment in segments
    ]
