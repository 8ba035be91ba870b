"""Labelled parts of long recordings in, a clip of its own for each out.

A segment is cut out of its recording once, in blocks, into a file that keeps its samples. So whatever reads clips reads segments,
and what is made of them is cached by their content. Beside them stands which recording they are of. Times are in seconds.
"""

import hashlib
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

from core.data import native
from core.data.audio import check_regular, read_clip
from core.data.kinds import recognise
from core.data.native import Unsupported
from core.data.parts import Damage
from core.errors import AudioError, FileError
from core.runtime.pool import map_unordered
from core.workspace import make_folder, read_json, write_json

SLACK_S = 0.05  # by which a segment may end behind its recording: times in tables are rounded
_LONGEST_WHOLE_S = 3600.0  # of what is decoded in one piece
_LONGEST_NAME = 80
_RECORDING = ".recording.json"  # in the folder of its segments
_DAY_S = 86_400.0  # no recording is cut for longer


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a recording, and the file that it is cut into."""

    recording: Path
    start_s: float
    end_s: float
    path: Path


def segment_of(recording: Path, start_s: float, end_s: float, folder: Path) -> Segment:
    """A segment, whose file is named by the recording (its place, size and time of change) and by the times.

    Raises
    ------
    AudioError
        The recording is not there.
    """
    try:
        facts = recording.stat()
    except OSError as error:
        raise AudioError(recording, f"cannot be opened ({error.strerror})") from None
    name = f"{recording.stem[:_LONGEST_NAME]}_{start_s:.3f}-{end_s:.3f}.wav"
    return Segment(recording, start_s, end_s, folder / _key(recording, facts) / name)


def _key(recording: Path, facts: os.stat_result) -> str:
    told = f"{recording}\0{facts.st_size}\0{facts.st_mtime_ns}".encode(errors="surrogateescape")
    return hashlib.blake2b(told, digest_size=8).hexdigest()


def cut(segments: Sequence[Segment], *, workers: int | None = None) -> dict[Path, str]:
    """Cut what is not cut yet; each recording is decoded once, by one process, in bounded memory.

    Parameters
    ----------
    segments : sequence of Segment
    workers : int >= 0, processes; None takes one for each core

    Returns
    -------
    failures : dict of the path of a segment to the reason why it is not there
    """
    missing: dict[Path, dict[Path, Segment]] = defaultdict(dict)
    for segment in segments:
        if not segment.path.is_file():
            missing[segment.recording][segment.path] = segment
    for folder, recording in {segment.path.parent: segment.recording for segment in segments}.items():
        if not (folder / _RECORDING).is_file() and (not folder.exists() or os.access(folder, os.W_OK)):
            write_json(make_folder(folder) / _RECORDING, {"recording": str(recording)})
    tasks = [tuple(of_recording.values()) for of_recording in missing.values()]
    failures: dict[Path, str] = {}
    for outcome in map_unordered(_cut_recording, tasks, workers=0 if workers is None and len(tasks) == 1 else workers):
        if outcome.value is None:
            failures |= {segment.path: outcome.error or "" for segment in outcome.item}
        else:
            failures |= outcome.value
    return failures


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed.

    Attributes
    ----------
    recordings : int, whose segments were removed, of so many in ``among``
    bytes : int
    """

    recordings: int
    among: int
    bytes: int


def prune(folder: Path) -> Pruned:
    """Remove segments of recordings that are gone or were changed since, which nothing reads again, and what killed cuts left.

    Segments of which it is not known whose they are stay, as those of an earlier version do until their data set is read again.

    Parameters
    ----------
    folder : as in ``segment_of``; no job may be at work on it
    """
    folders = [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()] if folder.is_dir() else []
    stale = [each for each in folders if _is_stale(each)]
    freed = sum(file.stat().st_size for each in stale for file in each.iterdir())
    for each in stale:
        shutil.rmtree(each)
    for torn in (file for each in folders if each not in stale for file in each.glob(".*.wav")):
        facts = torn.stat()
        if time.time() - facts.st_mtime > _DAY_S:
            torn.unlink()
            freed += facts.st_size
    return Pruned(len(stale), len(folders), freed)


def _is_stale(folder: Path) -> bool:
    """Whether the recording whose segments a folder holds is gone, or has another size or time of change now."""
    try:
        recording = Path(read_json(folder / _RECORDING)["recording"])
    except (FileNotFoundError, FileError, KeyError, TypeError):  # not known, so it stays
        return False
    try:
        return folder.name != _key(recording, recording.stat())
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # such as a folder that may not be looked into: it may still be there
        return False


def _cut_recording(segments: tuple[Segment, ...]) -> dict[Path, str]:
    """Read a recording from its start to the end of its last segment, and write each segment as its samples pass."""
    recording = segments[0].recording
    check_regular(recording)
    with recording.open("rb", buffering=0) as file:
        try:
            return _pass(_blocks(file, recording, max(segment.end_s for segment in segments)), segments)
        except (Damage, Unsupported) as error:
            raise AudioError(recording, f"no segments can be cut out of it: {error}") from None


def _blocks(file: IO[bytes], recording: Path, until_s: float) -> Iterator[tuple[np.ndarray, int, str]]:
    """The recording in blocks of samples, with rate and subtype; what takes ffmpeg comes as one."""
    kind = recognise(file)
    if kind.is_native:
        yield from native.stream(file, kind)
        return
    clip = read_clip(recording, max_seconds=until_s)
    if clip.duration_s > _LONGEST_WHOLE_S:
        raise Damage(f"{kind.name} of more than {_LONGEST_WHOLE_S:g} s is not cut; convert it to FLAC first")
    yield clip.samples, clip.sample_rate_hz, "FLOAT"


def _pass(blocks: Iterator[tuple[np.ndarray, int, str]], segments: Sequence[Segment]) -> dict[Path, str]:
    waiting = sorted(segments, key=lambda segment: segment.start_s, reverse=True)
    writers: dict[Segment, soundfile.SoundFile] = {}
    position, rate = 0, 1
    try:
        for block, rate, subtype in blocks:
            while waiting and round(waiting[-1].start_s * rate) < position + len(block):
                segment = waiting.pop()
                writers[segment] = _writer(segment, rate, block, subtype)
            for segment in list(writers):
                first, last = (round(time * rate) - position for time in (segment.start_s, segment.end_s))
                writers[segment].write(block[max(0, first) : max(0, last)])
                if last <= len(block):
                    _finish(segment, writers.pop(segment))
            position += len(block)
            if not waiting and not writers:
                break
        for segment in list(writers):
            if segment.end_s <= position / rate + SLACK_S:
                _finish(segment, writers.pop(segment))
        lasted = f"the recording lasts {position / rate:.2f} s"
        return {segment.path: f"it ends at {segment.end_s:g} s, {lasted}" for segment in (*waiting, *writers)}
    finally:
        for segment, writer in writers.items():
            writer.close()
            _unfinished(segment).unlink(missing_ok=True)


def _writer(segment: Segment, rate: int, block: np.ndarray, subtype: str) -> soundfile.SoundFile:
    kept = subtype if subtype in native.WHOLE_NUMBERS else "FLOAT"
    kept = "PCM_16" if kept == "PCM_S8" else kept  # which WAV has not
    return soundfile.SoundFile(_unfinished(segment), "w", rate, block.shape[1], kept, format="WAV")


def _unfinished(segment: Segment) -> Path:
    return segment.path.with_name(f".{os.getpid()}-{segment.path.name}")


def _finish(segment: Segment, writer: soundfile.SoundFile) -> None:
    """The file appears whole or not at all."""
    writer.close()
    os.replace(_unfinished(segment), segment.path)
