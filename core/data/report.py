"""A data set in, what its audio shows out: every clip is heard to its end. Lengths in seconds, rates in Hz, levels in dBFS."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from core.data.audio import ANALYSIS_RATE_HZ, NEEDS_FFMPEG, clip_deadline_s, clip_warnings, read_clip
from core.data.bandwidth import Bandwidths, bandwidth_hz, summarise
from core.data.dataset import Dataset, describe_labels, why_not_trainable
from core.data.duplicates import NEAR_AUDIO, SAME_AUDIO, Twins, copied_pairs
from core.data.ffmpeg import install_command
from core.data.fingerprints import SIZE, fingerprint, whole_file
from core.data.rows import ERROR, WARNING, Column, Problem, Row
from core.data.treatment import AS_RECORDED, Treatment
from core.events import CheckStarted, ClipChecked, Notify, ignore
from core.runtime.pool import map_unordered


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What was heard of a clip that can be used.

    Attributes
    ----------
    file : str, as the table spells it
    split : str, "train" or "test"
    seconds : float, its length
    sample_rate_hz : int
    channels : int
    peak_dbfs : float or None, level of its loudest sample in the first 45 s; None for digital silence
    rms_dbfs : float or None, root of the mean squared sample there, over all channels; a sine at full scale has -3.0
    bandwidth_hz : float or None, up to which there is sound; None where that cannot be told
    """

    file: str
    split: str
    seconds: float
    sample_rate_hz: int
    channels: int
    peak_dbfs: float | None
    rms_dbfs: float | None
    bandwidth_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What ``check`` says of a data set.

    Attributes
    ----------
    clips : tuple of ClipFacts, each usable clip once for each table that names it
    labels : np.ndarray [shape=(train_clips,)]
    problems : tuple of Problem
    twins : tuple of Twins, clips with the same sound or nearly, each with the first that has it
    layout : str, name of the layout that was recognised
    columns : tuple of Column, and what each is for
    treatment : Treatment, that the warnings suppose
    """

    clips: tuple[ClipFacts, ...]
    labels: np.ndarray
    problems: tuple[Problem, ...]
    twins: tuple[Twins, ...] = ()
    layout: str = ""
    columns: tuple[Column, ...] = ()
    treatment: Treatment = AS_RECORDED

    @property
    def train_clips(self) -> int:
        return len(self.labels)

    @property
    def test_clips(self) -> int:
        return sum(clip.split == "test" for clip in self.clips)

    @property
    def seconds(self) -> float:
        """Length of all usable clips."""
        return sum(clip.seconds for clip in self.clips)

    @property
    def sample_rates(self) -> dict[int, int]:
        """Number of clips by rate in Hz."""
        return dict(Counter(clip.sample_rate_hz for clip in self.clips))

    @property
    def bandwidths(self) -> Bandwidths:
        """What the clips hold, beside what their sample rates promise."""
        return bandwidths_of(self.clips, self.treatment)

    @property
    def why_not(self) -> str | None:
        """Why no model can be trained on this, or None."""
        return why_not_trainable(self.labels)

    def as_json(self) -> dict[str, object]:
        """The record that ``earmark check --json`` prints."""
        return {
            "clips": len(self.clips),
            "seconds": self.seconds,
            "sample_rates": self.sample_rates,
            "bandwidths": self.bandwidths,
            "labels": describe_labels(self.labels),
            "problems": [{"file": p.file, "level": p.level, "reason": p.reason} for p in self.problems],
            "layout": self.layout,
            "columns": [{"table": c.table, "column": c.name, "role": c.role} for c in self.columns],
        }


def check_dataset(
    dataset: Dataset, *, treatment: Treatment = AS_RECORDED, workers: int | None = None, notify: Notify = ignore
) -> Report:
    """Decode every clip and add what the audio itself shows to the problems of the tables.

    Parameters
    ----------
    dataset : Dataset
    treatment : Treatment, what is analysed of the clips: warnings are of that; lengths, rates and levels are of the files
    workers : int >= 0, processes; None takes one for each core
    notify : called with CheckStarted, then a ClipChecked after each clip

    Returns
    -------
    report : Report
    """
    problems = list(dataset.problems)
    paths = list(dict.fromkeys(row.path for row in (*dataset.train, *dataset.test)))
    notify(CheckStarted(len(paths)))
    heard: dict[Path, _Heard] = {}
    failed: dict[Path, str] = {}
    hear = partial(_hear, treatment=treatment)
    for outcome in map_unordered(hear, paths, workers=_few(workers, len(paths)), deadline_s=clip_deadline_s):
        if outcome.value is None:
            failed[outcome.item] = outcome.error or ""
        else:
            heard[outcome.item] = outcome.value
        notify(ClipChecked(outcome.item.name))

    copy_of = _find_copies([path for path in paths if path in heard], heard)
    place: dict[Path, tuple[str, str]] = {}
    twins: list[Twins] = []
    clips: list[ClipFacts] = []
    for split, rows in (("train", dataset.train), ("test", dataset.test)):
        for row in _each_clip(rows):
            if row.path in failed:
                reasons = [(ERROR, failed[row.path])]
            else:
                clips.append(heard[row.path].facts(row.name, split))
                reasons = [(WARNING, reason) for reason in heard[row.path].warnings]
                if row.path in copy_of and row.path not in place:
                    kind, original = copy_of[row.path]
                    reasons.append((WARNING, f"{'the ' if kind == SAME_AUDIO else ''}{kind} as {place[original][1]}"))
                    twins.append(Twins(kind, *place[original], split, row.name))
            if row.path not in place:
                problems += [Problem(row.name, level, reason, split) for level, reason in reasons]
            place.setdefault(row.path, (split, row.name))
    if unread := sum(reason.startswith(NEEDS_FFMPEG) for reason in failed.values()):
        problems.append(Problem(dataset.root.name, WARNING, f"{unread} clips need the program ffmpeg: {install_command()}"))
    if mixed := bandwidths_of(clips, treatment).mixed:
        problems.append(Problem(dataset.root.name, WARNING, mixed))
    labels = np.array([row.label for row in dataset.train if row.path in heard])
    return Report(tuple(clips), labels, tuple(problems), tuple(twins), dataset.recognised, dataset.columns, treatment)


def bandwidths_of(clips: Sequence[ClipFacts], treatment: Treatment = AS_RECORDED) -> Bandwidths:
    """What clips hold, beside what their sample rates promise; what features do not hear makes no difference."""
    limit_hz = treatment.slow_down * ANALYSIS_RATE_HZ / 2
    return summarise([clip.sample_rate_hz for clip in clips], [clip.bandwidth_hz for clip in clips], limit_hz=limit_hz)


@dataclass(frozen=True, slots=True)
class _Heard:
    sound: bytes
    fingerprint: np.ndarray
    seconds: float
    sample_rate_hz: int
    channels: int
    peak_dbfs: float | None
    rms_dbfs: float | None
    bandwidth_hz: float | None
    warnings: tuple[str, ...]

    def facts(self, file: str, split: str) -> ClipFacts:
        levels = self.peak_dbfs, self.rms_dbfs
        return ClipFacts(file, split, self.seconds, self.sample_rate_hz, self.channels, *levels, self.bandwidth_hz)


def _find_copies(paths: Sequence[Path], heard: Mapping[Path, _Heard]) -> dict[Path, tuple[str, Path]]:
    """Of each clip that sounds like an earlier one the kind of likeness, and the first that it is like."""
    first: dict[bytes, Path] = {}
    for path in paths:
        first.setdefault(heard[path].sound, path)
    same = {path: (SAME_AUDIO, first[heard[path].sound]) for path in paths}
    different = list(first.values())
    prints = np.array([heard[path].fingerprint for path in different], np.float32).reshape(len(different), SIZE)
    near = {different[copy]: (NEAR_AUDIO, different[original]) for original, copy in reversed(copied_pairs(prints))}
    return {path: found for path, found in (same | near).items() if found[1] != path}


def _hear(path: Path, *, treatment: Treatment) -> _Heard:
    clip = read_clip(path)
    analysed = clip if treatment.is_plain else read_clip(path, treatment=treatment)
    digest = hashlib.blake2b(digest_size=16, key=f"{clip.sample_rate_hz} Hz, {clip.duration_s:.6f} s".encode())
    for block in whole_file(clip):
        digest.update(block.tobytes())
    peak = float(np.abs(clip.samples).max())
    rms = math.sqrt(float(np.mean(np.square(clip.samples, dtype=np.float64))))
    return _Heard(
        digest.digest(),
        fingerprint(clip),
        clip.duration_s,
        clip.sample_rate_hz,
        clip.samples.shape[1],
        _dbfs(peak),
        _dbfs(rms),
        bandwidth_hz(clip.mono, clip.sample_rate_hz),
        tuple(clip_warnings(analysed)),
    )


def _dbfs(amplitude: float) -> float | None:
    return 20 * math.log10(amplitude) if amplitude > 0 else None


def _each_clip(rows: Iterable[Row]) -> Iterable[Row]:
    """The first row of each clip: a test table may name one twice."""
    seen: set[Path] = set()
    for row in rows:
        if row.path not in seen:
            seen.add(row.path)
            yield row


KINDS = (  # of problems, with what their reasons look like
    ("no such file", r"^missing:|^the row names no file|^not a file name|^the name (leaves|fits)"),
    ("label", r"^label|with different labels|^the row has"),
    ("named twice", r"^named \d+ times with the same"),
    ("same audio", r"^the same audio as"),
    ("nearly the same audio", r"^nearly the same audio as"),
    ("name of a copy", r"^the name looks like a copy"),
    ("silent", r"^silent"),
    ("clipped", r"^clipped"),
    ("beyond full scale", r"^beyond full scale"),
    ("scale", r"^integers of \d+ bits"),
    ("offset", r"^offset of"),
    ("channels", r"^channel [\d, ]+ is |^its channels differ|so there is no channel"),
    ("long", r"^longer than"),
    ("above the band", r"of its energy lies above"),
    ("two bandwidths", r"^two bandwidths"),
    ("in no table", r"^no table names"),
    ("needs ffmpeg", r"^the program ffmpeg is needed|need the program ffmpeg"),
    ("joined", r"recordings joined end to end|^joined from parts"),
    ("length left open", r"^its header leaves the length open"),
    ("perhaps not whole", r"^no last page ends|^partly damaged|bytes behind the sound"),
    ("several streams", r"audio streams: the first"),
    ("submission", r"asks for it|of the submission|they follow at the end"),
    ("reading the table", r"^read as|^column |similar names of clips"),
)


def kind_of(reason: str) -> str:
    """The kind of a problem, by its reason.

    Examples
    --------
    >>> kind_of("clipped: 1.3 % of the samples are at full scale"), kind_of("the file is empty (0 bytes)")
    ('clipped', 'unreadable')
    """
    return next((kind for kind, pattern in KINDS if re.search(pattern, reason)), "unreadable")


def _few(workers: int | None, items: int) -> int | None:
    """Starting processes costs more than a handful of clips does."""
    return 0 if workers is None and items <= 4 else workers
