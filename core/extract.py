"""Clips in, feature vectors out: what is stored is read, what is not is computed once and stored before it is reported.

Owns ``FEATURE_SETS``, the registry of what can be extracted.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from core import features
from core.audio import ANALYSIS_RATE_HZ, MAX_SECONDS, MIN_SAMPLES, check_max_seconds, clip_deadline_s, read_clip
from core.cache import Stored, VectorCache, content_hash, file_state, is_settled, vector_key
from core.engine import map_batches
from core.errors import AudioError, ParameterError
from core.events import ClipExtracted, ClipSetAside, CompilingStarted, ExtractionStarted, Notify, ignore

FEATURE_SETS = tuple(features.SET_VERSIONS)
_NUMERIC_LIBRARIES = ("numpy", "scipy", "librosa", "soxr", "soundfile", "numba")


@dataclass(frozen=True, slots=True)
class ExtractSettings:
    """What is extracted from each clip.

    Attributes
    ----------
    features : tuple of str, names of feature sets
    max_seconds : float >= 1, only the start of a longer clip is analysed
    workers : int >= 0, processes; None takes one for each core, 0 works in this process
    rehash : bool, read every file instead of trusting its size and times to tell whether it is known
    """

    features: tuple[str, ...] = FEATURE_SETS
    max_seconds: float = MAX_SECONDS
    workers: int | None = None
    rehash: bool = False

    def __post_init__(self) -> None:
        if not self.features:
            raise ParameterError(f"features='': name at least one of {', '.join(FEATURE_SETS)}")
        if unknown := [name for name in self.features if name not in FEATURE_SETS]:
            raise ParameterError(f"features={','.join(self.features)!r}: {unknown} not among {', '.join(FEATURE_SETS)}")
        if len(set(self.features)) < len(self.features):
            raise ParameterError(f"features={','.join(self.features)!r} names a set twice")
        check_max_seconds(self.max_seconds)
        if self.workers is not None and self.workers < 0:
            raise ParameterError(f"workers={self.workers} must be 0 or more")


@dataclass(frozen=True, slots=True)
class Extraction:
    """What came of a list of clips.

    Attributes
    ----------
    vectors : dict of Path to dict of set name to np.ndarray [shape=(d,)], float32
    contents : dict of Path to the hash of the file's bytes, in hexadecimal
    failures : dict of Path to the reason why there is no vector
    computed : int, clips whose vectors were computed this time
    """

    vectors: dict[Path, dict[str, np.ndarray]]
    contents: dict[Path, str]
    failures: dict[Path, str]
    computed: int


def column_names(sets: Sequence[str]) -> tuple[str, ...]:
    """Names of a matrix of these sets, ``set.name``: some bare names stand in two sets."""
    return tuple(f"{set_name}.{name}" for set_name in sets for name in features.names(set_name))


def extract_clips(
    paths: Iterable[Path],
    settings: ExtractSettings,
    *,
    cache_path: Path,
    notify: Notify = ignore,
    now_ns: Callable[[], int] = time.time_ns,
) -> Extraction:
    """Vectors of clips, from the cache or computed and put there before they are reported: a kill loses only what was not.

    Parameters
    ----------
    paths : of audio files; one that stands twice is looked at once
    settings : ExtractSettings
    cache_path : SQLite file
    notify : called with ExtractionStarted, then ClipExtracted or ClipSetAside for each clip that is not cached
    now_ns : the clock, in nanoseconds since 1970

    Returns
    -------
    extraction : Extraction
    """
    paths = list(dict.fromkeys(paths))
    definitions = {name: definition_hash(name, settings.max_seconds) for name in settings.features}
    with VectorCache(cache_path) as store:
        # A file that cannot be read has no content yet: the worker tries again and gives the reason.
        contents = dict.fromkeys(paths, b"") | hash_files(paths, store, rehash=settings.rehash, now_ns=now_ns)
        known = {content for content in contents.values() if content}
        stored = store.get(vector_key(content, definition) for content in known for definition in definitions.values())

        def missing(content: bytes) -> tuple[str, ...]:
            return tuple(name for name, definition in definitions.items() if vector_key(content, definition) not in stored)

        to_do: dict[bytes, list[Path]] = {}
        for path in paths:
            if not contents[path]:
                to_do[os.fsencode(path)] = [path]
            elif missing(contents[path]):
                to_do.setdefault(contents[path], []).append(path)
        left = sum(len(same) for same in to_do.values())
        notify(ExtractionStarted(clips=len(paths), cached=len(paths) - left, to_do=left))
        tasks = [_Task(tuple(same), contents[same[0]], missing(contents[same[0]]), settings.max_seconds) for same in to_do.values()]
        failures: dict[Path, str] = {}
        if tasks:
            for name, definition in definitions.items():
                store.put_definition(definition, name, settings.max_seconds)
            if not features.is_compiled():
                notify(CompilingStarted())
        for outcomes in map_batches(
            _compute,
            tasks,
            workers=settings.workers,
            deadline_s=lambda task: clip_deadline_s(task.paths[0], max_seconds=task.max_seconds),
            prepare=features.prepare,
        ):
            fresh = {
                vector_key(outcome.item.content, definitions[name]): vector
                for outcome in outcomes
                for name, vector in (outcome.value or {}).items()
            }
            store.put(fresh)
            stored |= fresh
            store.forget(_states(path for outcome in outcomes if outcome.value is None for path in outcome.item.paths).values())
            for outcome in outcomes:
                for path in outcome.item.paths:
                    if outcome.value is None:
                        failures[path] = outcome.error or "no reason was given"
                        notify(ClipSetAside(path.name, failures[path]))
                    else:
                        notify(ClipExtracted(path.name, outcome.seconds))

    vectors = {
        path: {name: stored[vector_key(contents[path], definition)] for name, definition in definitions.items()}
        for path in paths
        if path not in failures
    }
    return Extraction(vectors, {path: content.hex() for path, content in contents.items()}, failures, left - len(failures))


def hash_files(
    paths: Sequence[Path], store: VectorCache, *, rehash: bool = False, now_ns: Callable[[], int] = time.time_ns
) -> dict[Path, bytes]:
    """Content hashes of files; one that is in a state in which it was hashed before is not read.

    Parameters
    ----------
    paths : of files
    store : VectorCache, which keeps the hashes
    rehash : bool, read every file
    now_ns : the clock, in nanoseconds since 1970

    Returns
    -------
    contents : dict of path to hash; what is no regular file or cannot be read is not in it
    """
    states = _states(paths)
    known = {} if rehash else store.contents(set(states.values()))
    contents, learnt = {}, {}
    for path, state in states.items():
        try:
            if state in known:
                contents[path] = known[state]
                continue
            settled = is_settled(path.stat(), now_ns())
            contents[path] = content_hash(path)
            if settled and file_state(path.stat()) == state:
                learnt[state] = contents[path]
        except OSError:
            continue
    store.put_contents(learnt)
    return contents


def _states(paths: Iterable[Path]) -> dict[Path, bytes]:
    """State of each regular file that is there."""
    states = {}
    for path in paths:
        try:
            status = path.stat()
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(status.st_mode):
            states[path] = file_state(status)
    return states


def find_cached(paths: Sequence[Path], settings: ExtractSettings, *, cache_path: Path) -> set[Path]:
    """Those of the files that have all their vectors in the cache.

    Files are read only where the cache has vectors of these settings, and does not know the file by its size and times.

    Parameters
    ----------
    paths : of files; what cannot be read has no vectors
    settings : ExtractSettings
    cache_path : SQLite file; nothing is created where it is missing
    """
    if not paths or not cache_path.is_file():
        return set()
    definitions = [definition_hash(name, settings.max_seconds) for name in settings.features]
    with VectorCache(cache_path) as store:
        if not set(definitions) <= store.definitions():
            return set()
        contents = hash_files(paths, store)
        stored = store.present({vector_key(content, definition) for content in contents.values() for definition in definitions})
    return {path for path, content in contents.items() if all(vector_key(content, one) in stored for one in definitions)}


@cache
def definition_hash(set_name: str, max_seconds: float) -> bytes:
    """Hash of everything that a set's numbers depend on besides the audio [16 bytes].

    Columns with their definitions, the version of the set's code, the parameters of decoding, and the versions of the libraries
    that compute.
    """
    import soundfile

    definition = {
        "set": set_name,
        "version": features.SET_VERSIONS[set_name],
        "columns": [(column.name, column.unit, column.definition, column.nan_when) for column in features.columns(set_name)],
        "analysis_rate_hz": ANALYSIS_RATE_HZ,
        "max_seconds": max_seconds,
        "min_samples": MIN_SAMPLES,
        "libraries": {name: version(name) for name in _NUMERIC_LIBRARIES} | {"libsndfile": soundfile.__libsndfile_version__},
    }
    return hashlib.blake2b(json.dumps(definition, sort_keys=True).encode(), digest_size=16).digest()


def is_current(stored: Stored) -> bool:
    """Whether vectors would be used by this version: what they are of is defined as it was when they were computed."""
    return stored.set_name in FEATURE_SETS and definition_hash(stored.set_name, stored.max_seconds) == stored.definition


@dataclass(frozen=True, slots=True)
class _Task:
    paths: tuple[Path, ...]  # files of one content
    content: bytes
    sets: tuple[str, ...]
    max_seconds: float


def _compute(task: _Task) -> dict[str, np.ndarray]:
    path = task.paths[0]
    clip = read_clip(path, max_seconds=task.max_seconds)
    vectors = features.extract(clip, task.sets)
    if content_hash(path) != task.content:
        raise AudioError(path, "the file changed while it was read; run again")
    return vectors
