"""The columns of a table that say where in its recording a row's clip begins and ends, and in which unit."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from core.data.layouts.layout import AUTO, MILLISECONDS, SAMPLES, SECONDS
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
_MOSTLY = 0.9  # of the recordings are as long as a unit says
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
    """

    start: str
    end: str = ""
    duration: str = ""
    unit: str = ""

    def roles(self) -> dict[str, str]:
        """What each column is for."""
        roles = {self.start: "begins the segment", self.end: "ends the segment", self.duration: "length of the segment"}
        return {name: role for name, role in roles.items() if name}


def find_times(columns: Sequence[str]) -> Times | None:
    """The columns of a start and of an end or a duration, by their names.

    Examples
    --------
    >>> find_times(["file", "Begin Time (s)", "End Time (s)", "label"])
    Times(start='Begin Time (s)', end='End Time (s)', duration='', unit='seconds')
    >>> find_times(["audio_filepath", "offset", "duration"])
    Times(start='offset', end='', duration='duration', unit='')
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


def find_steps(columns: Sequence[str], cells: Callable[[str], Sequence[float | None]], clips: Sequence[object]) -> Times | None:
    """The column of the times of a table with a row a second, or another even step: each recording has a row for each.

    Parameters
    ----------
    columns : sequence of str
    cells : gives the numbers in a column, None where there is none
    clips : the recording of each row
    """
    for name in columns:
        words, unit = set(re.findall(r"[a-z]+", name.lower())), _words(name)[1]
        if not words or not words <= _STEPS | _UNITS.get(unit, set()):
            continue
        by_clip: dict[object, list[float | None]] = defaultdict(list)
        for clip, value in zip(clips, cells(name), strict=True):
            by_clip[clip].append(value)
        steps = {
            round(later - earlier, 6) if earlier is not None and later is not None else None
            for values in by_clip.values()
            for earlier, later in pairwise(values)
        }
        if len(steps) == 1 and (steps.pop() or 0) > 0 and len(clips) >= _LEAST_STEPS * len(by_clip):
            return Times(name, unit=unit)
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
    """What brings a time into seconds, and the unit; where nobody says it, the lengths of the recordings may leave one only.

    Parameters
    ----------
    spans : dict of recording to its spans
    lengths : dict of recording to its length in seconds and its rate in Hz, where they are known
    unit : str, or "auto"

    Raises
    ------
    DataError
        Several units could be meant, or none fits the recordings.
    """
    readings: dict[str, Callable[[Path, float], float]] = {
        SECONDS: lambda path, time: time,
        MILLISECONDS: lambda path, time: time / 1000,
        SAMPLES: lambda path, time: time / lengths[path][1] if path in lengths else time,
    }
    if unit != AUTO:
        return readings[unit], unit
    known = [path for path in spans if path in lengths]
    latest = {path: max(end for _, end in spans[path]) for path in known}

    def fits(name: str) -> bool:
        inside = sum(readings[name](path, latest[path]) <= lengths[path][0] + 1 for path in known)
        return inside >= _MOSTLY * len(known)

    if not known or fits(SECONDS):
        return readings[SECONDS], SECONDS
    possible = [name for name in (MILLISECONDS, SAMPLES) if fits(name)]
    if len(possible) == 1:
        return readings[possible[0]], possible[0]
    path = max(known, key=lambda path: latest[path] / lengths[path][0])
    says = "milliseconds or samples" if possible else "neither seconds, milliseconds nor samples"
    raise DataError(
        f"the times of segments could be {says}: {path.name} lasts {lengths[path][0]:.2f} s, and a segment of it ends at "
        f"{latest[path]:g}; say which with --time-unit"
    )


def _words(name: str) -> tuple[set[str], str]:
    """The words of a column's name without units and what says nothing, and its unit."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = set(re.findall(r"[a-z]+", spaced))
    unit = next((unit for unit, known in _UNITS.items() if words & known), "")
    rest = words - _UNITS.get(unit, set())
    return rest - _BESIDE, unit
