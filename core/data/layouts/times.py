"""The columns of a table that say where in its recording a row's clip begins and ends, and in which unit."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from core.data.layouts.layout import AUTO, MILLISECONDS, SAMPLES, SECONDS
from core.data.layouts.table import Table
from core.errors import DataError

_UNITS = {
    SECONDS: {"s", "sec", "secs", "second", "seconds"},
    MILLISECONDS: {"ms", "msec", "millis", "millisecond", "milliseconds"},
    SAMPLES: {"sample", "samples"},
}
_BESIDE = {"time", "times", "segment", "seg", "clip", "audio", "position", "at", "in", "t"}
_STARTS = {"start", "starts", "begin", "begins", "beginning", "onset", "from", "tmin", "xmin", "starttime", "begintime"}
_ENDS = {"end", "ends", "stop", "offset", "to", "tmax", "xmax", "endtime", "stoptime"}
_DURATIONS = {"duration", "dur", "length", "len"}
_STEPS = {"second", "seconds", "sec", "time", "timestamp", "t"}  # of a table with a row a second
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d*)?)")
SLACK_S = 1.0  # by which a segment may end behind its recording without a doubt about the unit
_LEAST_STEPS = 3  # rows of a recording that make a row a second

Span = tuple[float, float]  # start and end


@dataclass(frozen=True, slots=True)
class Times:
    """Columns of times.

    Attributes
    ----------
    start : str
    end : str; "" where there is a duration, or a row for each step
    duration : str, or ""
    unit : str, as the header says it, or ""
    step : float, length of each segment in a table with a row for each step
    """

    start: str
    end: str = ""
    duration: str = ""
    unit: str = ""
    step: float = 0.0

    def span(self, cells: Mapping[str, str]) -> Span | str:
        """Start and end of a row's segment, in the unit of the table; or why it has none."""
        times = {name: read_time(cells[name]) for name in self.roles()}
        if wrong := next((name for name, time in times.items() if time is None), None):
            return f"{wrong} {cells[wrong]!r} is not a time" if cells[wrong].strip() else f"{wrong} is missing"
        start, end, duration = (times.get(name) or 0.0 for name in (self.start, self.end, self.duration))
        end = end if self.end else start + (duration if self.duration else self.step)
        return (start, end) if 0 <= start < end else f"its segment goes from {start:g} to {end:g}: nothing is there"

    def roles(self) -> dict[str, str]:
        """What each column is for."""
        roles = {self.start: "begins the segment", self.end: "ends the segment", self.duration: "length of the segment"}
        return {name: role for name, role in roles.items() if name}


def find_times(columns: Sequence[str]) -> Times | None:
    """The columns of a start and of an end or a duration, by their names.

    Examples
    --------
    >>> find_times(["file", "Begin Time (s)", "End Time (s)", "label"])
    Times(start='Begin Time (s)', end='End Time (s)', duration='', unit='seconds', step=0.0)
    >>> find_times(["audio_filepath", "offset", "duration"])
    Times(start='offset', end='', duration='duration', unit='', step=0.0)
    >>> find_times(["file", "duration", "label"]) is None
    True
    """
    words = {name: _words(name) for name in columns}
    named: dict[str, list[str]] = {
        role: [name for name in columns if words[name][0] and words[name][0] <= known]
        for role, known in (("start", _STARTS), ("end", _ENDS), ("duration", _DURATIONS))
    }
    if not named["start"] and named["duration"]:
        named["start"] = [name for name in named["end"] if words[name][0] == {"offset"}]
        named["end"] = []
    if not named["start"] or not (named["end"] or named["duration"]):
        return None
    for unit in (SECONDS, "", MILLISECONDS, SAMPLES):
        of_unit = {role: [name for name in names if words[name][1] == unit] for role, names in named.items()}
        if of_unit["start"] and (of_unit["end"] or of_unit["duration"]):
            end = of_unit["end"][0] if of_unit["end"] else ""
            return Times(of_unit["start"][0], end, "" if end else of_unit["duration"][0], unit)
    return None


def find_duration(columns: Sequence[str]) -> str:
    """The column that is called as durations are; empty where there is none."""
    return next((name for name in columns if _words(name)[0] and _words(name)[0] <= _DURATIONS), "")


def find_steps(table: Table, filename: str, columns: Sequence[str]) -> Times | None:
    """The column of the times of a table with a row a second, or another even step: each recording has a row for each.

    Parameters
    ----------
    table : Table
    filename : str, column that names the recordings
    columns : sequence of str, those that may hold times
    """
    for name in columns:
        words, unit = set(re.findall(r"[a-z]+", name.lower())), _words(name)[1]
        if not words or not words <= _STEPS | _UNITS.get(unit, set()):
            continue
        by_recording: dict[str, list[float | None]] = defaultdict(list)
        for recording, cell in zip(table.cells(filename), table.cells(name), strict=True):
            by_recording[recording].append(read_time(cell))
        steps = {
            round(later - earlier, 6) if earlier is not None and later is not None else 0.0
            for times in by_recording.values()
            for earlier, later in pairwise(times)
        }
        if len(steps) == 1 and (step := steps.pop()) > 0 and len(table.lines) >= _LEAST_STEPS * len(by_recording):
            return Times(name, unit=unit, step=step)
    return None


def read_time(text: str) -> float | None:
    """A time as a number, or as minutes and seconds, or hours, minutes and seconds.

    Examples
    --------
    >>> read_time("1:02:03.5"), read_time("2:30"), read_time("12,5"), read_time("late")
    (3723.5, 150.0, 12.5, None)
    """
    if match := _CLOCK.fullmatch(text.strip()):
        hours, minutes, seconds = match.groups()
        return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds.replace(",", "."))
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def in_seconds(
    spans: Mapping[Path, Sequence[Span]], lengths: Mapping[Path, tuple[float, int]], unit: str
) -> tuple[Callable[[Path, float], float], str]:
    """What brings a time into seconds, and the unit; where nobody says it, the first in which most of them lie in the recordings.

    Parameters
    ----------
    spans : dict of recording to its spans
    lengths : dict of recording to its length in seconds and its rate in Hz, where they are known
    unit : str, or "auto"

    Raises
    ------
    DataError
        None fits the recordings.
    """
    readings: dict[str, Callable[[Path, float], float]] = {
        SECONDS: lambda path, time: time,
        MILLISECONDS: lambda path, time: time / 1000,
        SAMPLES: lambda path, time: time / lengths[path][1] if path in lengths else time,
    }
    if unit != AUTO:
        return readings[unit], unit
    ends = [(path, end) for path in spans if path in lengths for _, end in spans[path]]
    for name, reading in readings.items():
        if sum(reading(path, end) <= lengths[path][0] + SLACK_S for path, end in ends) >= len(ends) / 2:
            return reading, name
    path, end = max(ends, key=lambda of: of[1] / lengths[of[0]][0])
    raise DataError(
        f"the times of segments are neither seconds, milliseconds nor samples: {path.name} lasts {lengths[path][0]:.2f} s, and a "
        f"segment of it ends at {end:g}; name other columns with --start-column and --end-column, or the unit with --time-unit"
    )


def _words(name: str) -> tuple[set[str], str]:
    """The words of a column's name without units and what says nothing, and its unit."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = set(re.findall(r"[a-z]+", spaced))
    unit = next((unit for unit, known in _UNITS.items() if words & known), "")
    rest = words - _UNITS.get(unit, set())
    return rest - _BESIDE, unit
