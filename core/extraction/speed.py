"""Clips in, how long their extraction will take: a few of them are extracted for it. Times and lengths of audio in seconds.

What is extracted goes into the cache, so an estimate costs no work that extraction would not do anyway.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.data.audio import header_seconds
from core.errors import DataError
from core.events import ClipExtracted, CompilingStarted, Event, ExtractionStarted, JobStarted, Notify, Recorded, ignore
from core.extraction.config import ExtractSettings
from core.extraction.extract import extract_clips, find_cached
from core.extraction.texts import Texts
from core.runtime.pool import cores

FEWEST = 6  # clips that an estimate rests on; fewer are extracted as fast as estimated
_SAMPLE = 200  # clips whose length stands for that of all


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast this machine extracts the clips of a set.

    Attributes
    ----------
    clip_seconds : float >= 0, of one process for one clip, in the mean over clips that were not cached
    start_seconds : float >= 0, in which no clip is worked on: looking at the files, starting processes
    workers : int >= 0, processes side by side; 0 is this process alone
    clips : int >= 0, that were measured
    """

    clip_seconds: float
    start_seconds: float
    workers: int
    clips: int

    def seconds(self, clips: int) -> float:
        """Time for so many clips.

        Examples
        --------
        >>> Speed(clip_seconds=0.5, start_seconds=4.0, workers=2, clips=6).seconds(100)
        29.0
        """
        return self.start_seconds + clips * self.clip_seconds / max(1, min(self.workers, clips)) if clips else 0.0


def probe_size(settings: ExtractSettings) -> int:
    """How many clips a probe extracts: each process has at least two, side by side as in the work itself."""
    return max(FEWEST, 2 * workers(settings))


def probe_speed(
    paths: Sequence[Path],
    settings: ExtractSettings,
    *,
    cache_path: Path,
    texts: Texts = MappingProxyType({}),
    notify: Notify = ignore,
) -> Speed:
    """Extract a few of the clips that are not cached, and say how fast that went.

    The clips stand at evenly spaced ranks of length, so that their mean time is that of the set; what their mean length differs
    from that of the set is put right in proportion, for the time of a clip grows with its length.

    Parameters
    ----------
    paths : of audio files
    settings : ExtractSettings
    cache_path : SQLite file; the vectors are put there
    texts : as of ``extract_clips``
    notify : called as by ``extract_clips``

    Returns
    -------
    speed : Speed; of no clips where all are cached

    Raises
    ------
    DataError
        None of the clips that were tried can be read.
    """
    lengths_s = _lengths_to_do(list(dict.fromkeys(paths)), settings, cache_path, texts)
    if not lengths_s:
        return Speed(0.0, 0.0, workers(settings), 0)
    chosen = _spread(sorted(lengths_s, key=lambda path: lengths_s[path]), probe_size(settings))
    began = time.perf_counter()
    events: list[tuple[float, Event]] = []

    def record(event: Event) -> None:
        events.append((time.perf_counter() - began, event))
        notify(event)

    done = extract_clips(chosen, settings, cache_path=cache_path, texts=texts, notify=record)
    if not done.vectors:
        path, reason = next(iter(done.failures.items()))
        raise DataError(f"none of the {len(chosen)} clips that were tried can be read (first: {path.name}: {reason})")
    speed = _speed(events, workers(settings))
    known = [lengths_s[path] for path in chosen if path in done.vectors]
    share = (sum(lengths_s.values()) / len(lengths_s)) / (sum(known) / len(known)) if sum(known) > 0 else 1.0
    return Speed(speed.clip_seconds * share, speed.start_seconds, speed.workers, speed.clips)


def speed_of_job(recorded: Sequence[Recorded], settings: ExtractSettings) -> Speed | None:
    """How fast an extraction went, or None where it computed too few clips to tell."""
    began = next((record.at for record in recorded if isinstance(record.event, JobStarted)), None)
    events = [(record.at - began, record.event) for record in recorded] if began is not None else []
    if sum(isinstance(event, ClipExtracted) for _, event in events) < FEWEST:
        return None
    return _speed(events, workers(settings))


def workers(settings: ExtractSettings) -> int:
    """Processes that an extraction with these settings uses here."""
    return cores() if settings.workers is None else settings.workers


def _speed(events: Sequence[tuple[float, Event]], workers: int) -> Speed:
    """From events and when they came, in seconds from the start of the work."""
    extracted = [(at, event.seconds) for at, event in events if isinstance(event, ClipExtracted)]
    looked = next((at for at, event in events if isinstance(event, ExtractionStarted)), 0.0)
    if not extracted:
        return Speed(0.0, looked, workers, 0)
    total_s = sum(seconds for _, seconds in extracted)
    once = any(isinstance(event, CompilingStarted) for _, event in events)  # it does not come again
    started = looked if once else max(looked, extracted[-1][0] - total_s / max(1, workers))
    return Speed(total_s / len(extracted), started, workers, len(extracted))


def _lengths_to_do(paths: Sequence[Path], settings: ExtractSettings, cache_path: Path, texts: Texts) -> dict[Path, float]:
    """Clips that are not cached and the seconds of them that are analysed: of a sample, or of all where there are few."""
    order = random.Random(0).sample(paths, len(paths))
    lengths_s: dict[Path, float] = {}
    for start in range(0, len(order), _SAMPLE):
        sample = order[start : start + _SAMPLE]
        cached = find_cached(sample, settings, cache_path=cache_path, texts=texts)
        for path in sample:
            if path not in cached and path.is_file():
                lengths_s[path] = settings.treatment.analysed_seconds(
                    header_seconds(path) or 0.0,
                    settings.max_seconds,  # 0 for a file that cannot be read
                )
        if len(lengths_s) >= probe_size(settings):
            break
    return lengths_s


def _spread(items: Sequence[Any], wanted: int) -> list[Any]:
    """Items in the middle of so many equal parts of their order.

    Examples
    --------
    >>> _spread("abcdefghi", 3)
    ['b', 'e', 'h']
    """
    if len(items) <= wanted:
        return list(items)
    return [items[int((part + 0.5) * len(items) / wanted)] for part in range(wanted)]
