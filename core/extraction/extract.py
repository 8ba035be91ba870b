"""Clips in, feature vectors out: what is stored is read, what is not is computed once and stored before it is reported.

A worker process decodes a clip once: it computes the
handcrafted sets, and prepares what PyTorch then computes in this process, in batches. Of a clip there can also be varied copies,
numbered from 1: their vectors are stored like its own.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from core import features
from core.data import augment
from core.data.audio import (
    ANALYSIS_RATE_HZ,
    MIN_SAMPLES,
    Clip,
    clip_deadline_s,
    read_clip,
    to_analysis_rate,
)
from core.encoders import batches, transcripts
from core.errors import AudioError, DataError, ParameterError
from core.events import (
    BatchComputed,
    ClipExtracted,
    ClipSetAside,
    CompilingStarted,
    DeviceChosen,
    ExtractionStarted,
    Notify,
    ignore,
)
from core.extraction.config import ExtractSettings
from core.runtime.cache import Stored, VectorCache, content_hash, file_state, is_settled, vector_key
from core.runtime.device import CPU, Device
from core.runtime.pool import cores, map_batches
from core.runtime.weights import is_here

OF_THE_FILE = "metadata"  # a copy is no other file: what describes the file is the clip's own
_COPY = ", copy "
_NUMERIC_LIBRARIES = ("numpy", "scipy", "librosa", "soxr", "soundfile", "numba")


@dataclass(frozen=True, slots=True)
class Extraction:
    """What came of a list of clips.

    Attributes
    ----------
    vectors : dict of Path to dict of set name to np.ndarray [shape=(d,)], float32, of the sets that are computed from the clip
    contents : dict of Path to the hash of the file's bytes, in hexadecimal
    failures : dict of Path to the reason why there is no vector
    computed : int, clips of which vectors were computed this time
    copies : dict of Path to the vectors of its copies, each like those of the clip; only of clips of which copies were asked for
    """

    vectors: dict[Path, dict[str, np.ndarray]]
    contents: dict[Path, str]
    failures: dict[Path, str]
    computed: int
    copies: dict[Path, tuple[dict[str, np.ndarray], ...]] = field(default_factory=dict)


def column_names(sets: Sequence[str]) -> tuple[str, ...]:
    """Names of a matrix of these sets, ``prefix.name``: some bare names stand in two sets.

    Examples
    --------
    >>> column_names(("table:age", "metadata"))[:2]
    ('table.age', 'metadata.file_size_bytes')
    >>> column_names(("metadata", "mfcc@2.5s"))[9]
    'mfcc_2_5s.mfcc0_mean_mean'
    """
    return tuple(f"{features.parse_set(set_name).prefix}.{name}" for set_name in sets for name in features.names(set_name))


def extract_clips(
    paths: Iterable[Path],
    settings: ExtractSettings,
    *,
    cache_path: Path,
    copies: int | Mapping[Path, int] = 0,
    notify: Notify = ignore,
    now_ns: Callable[[], int] = time.time_ns,
) -> Extraction:
    """Vectors of clips, from the cache or computed and put there before they are reported: a kill loses only what was not.

    Where all sets are of the table, clips are read but not decoded.

    A copy is ``core.data.augment`` of the mono waveform at 22 050 Hz; what it is depends on the audio and the number of the copy
    alone. Sets of the sound are computed from it, the length of the file in them excepted; ``metadata`` is the clip's own.

    Parameters
    ----------
    paths : of audio files; one that stands twice is looked at once
    settings : ExtractSettings
    cache_path : SQLite file
    copies : int >= 0, copies of each clip, or their number by path: a path that is not in it has none
    notify : called with ExtractionStarted, then ClipExtracted or ClipSetAside for each clip that is not cached with all its copies
    now_ns : the clock, in nanoseconds since 1970

    Returns
    -------
    extraction : Extraction; a clip of which a copy fails is among the failures
    """
    paths = list(dict.fromkeys(paths))
    of_path = {path: copies if isinstance(copies, int) else copies.get(path, 0) for path in paths}
    batches.check_installed(settings.on_device)
    device = settings.choose_device()
    with VectorCache(cache_path) as store:
        # A file that cannot be read has no content yet: the worker tries again and gives the reason.
        contents = dict.fromkeys(paths, b"") | hash_files(paths, store, rehash=settings.rehash, now_ns=now_ns)
        most: dict[bytes, int] = {}  # copies of a content, which two files may share
        for path in paths:
            most[contents[path]] = max(most.get(contents[path], 0), of_path[path])
        definitions = _definitions(settings, max(most.values(), default=0), device)
        wanted = {content: _keys(content, definitions, count) for content, count in most.items()}
        stored = store.get(key for content, keys in wanted.items() if content for key in keys.values())

        to_do: dict[bytes, list[Path]] = {}
        for path in paths:
            if not contents[path]:
                to_do[os.fsencode(path)] = [path]
            elif any(key not in stored for key in wanted[contents[path]].values()):
                to_do.setdefault(contents[path], []).append(path)
        left = sum(len(same) for same in to_do.values())
        notify(ExtractionStarted(clips=len(paths), cached=len(paths) - left, to_do=left))
        tasks = []
        for same in to_do.values():
            content = contents[same[0]]
            missing = tuple(what for what, key in wanted[content].items() if key not in stored)
            tasks.append(_Task(tuple(same), content, missing, settings.max_seconds))
        failures: dict[Path, str] = {}
        if tasks:
            for copy, name in {what for task in tasks for what in task.wanted}:
                store.put_definition(definitions[copy, name], f"{name}{_COPY}{copy}" if copy else name, settings.max_seconds)
            if (
                any(features.parse_set(name).is_compiled for task in tasks for _, name in task.wanted)
                and not features.is_compiled()
            ):
                notify(CompilingStarted())
            if any(name in settings.on_device for task in tasks for _, name in task.wanted):
                notify(DeviceChosen(device.kind, device.name))
        for finished in _run(tasks, settings, device, notify):
            fresh = {wanted[one.task.content][what]: vector for one in finished for what, vector in one.vectors.items()}
            store.put_texts({wanted[one.task.content][what]: text for one in finished for what, text in one.texts.items()})
            store.put(fresh)
            stored |= fresh
            store.forget(_states(path for one in finished if one.error for path in one.task.paths).values())
            for one in finished:
                for path in one.task.paths:
                    if one.error:
                        failures[path] = one.error
                        notify(ClipSetAside(path.name, one.error))
                    elif one.is_last:
                        notify(ClipExtracted(path.name, one.seconds))

    takes = [(name, features.parse_set(name).stored, features.chooser(name)) for name in settings.of_audio]

    def vectors(path: Path, copy: int) -> dict[str, np.ndarray]:
        keys = wanted[contents[path]]
        return {name: take(stored[keys.get((copy, kept), keys[0, kept])]) for name, kept, take in takes}

    whole = [path for path in paths if path not in failures]
    return Extraction(
        {path: vectors(path, 0) for path in whole},
        {path: content.hex() for path, content in contents.items()},
        failures,
        left - len(failures),
        {path: tuple(vectors(path, 1 + copy) for copy in range(of_path[path])) for path in whole if of_path[path]},
    )


@dataclass(slots=True)
class _Finished:
    """Vectors of a clip that are ready to be stored, or the reason why there are none; ``is_last`` when no more will come."""

    task: "_Task"
    vectors: dict[tuple[int, str], np.ndarray]
    texts: dict[tuple[int, str], str] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    is_last: bool = True


def _run(tasks: Sequence["_Task"], settings: ExtractSettings, device: Device, notify: Notify) -> Iterator[list[_Finished]]:
    """Decode clips side by side, and compute in batches here what PyTorch computes; the models go when the work is done."""
    running: dict[str, batches.Batches[tuple[_Task, int]]] = {
        name: batches.Batches(name, device=device, batch=settings.batch, notify=notify)
        for name in settings.on_device
        if any(name == wanted for task in tasks for _, wanted in task.wanted)
    }
    side_by_side = max(1, cores() if settings.workers is None else settings.workers)
    open_parts: dict[_Task, int] = {}  # parts of a clip that wait for their batch
    seconds: dict[_Task, float] = {}

    def finish(name: str, computed: Sequence[batches.Computed[tuple[_Task, int]]], took_s: float) -> list[_Finished]:
        done = []
        notify(BatchComputed(name, len(computed), took_s))
        for one in computed:
            task, copy = one.key
            if task not in open_parts:  # another part of it has failed
                continue
            seconds[task] += took_s / len(computed) * side_by_side  # of the time of all processes together
            open_parts[task] -= 1
            if one.vector is None:
                del open_parts[task]
                done.append(_Finished(task, {}, error=one.error))
                continue
            texts = {} if one.text is None else {(copy, name): one.text}
            done.append(_Finished(task, {(copy, name): one.vector}, texts, seconds=seconds[task], is_last=open_parts[task] == 0))
        return done

    try:
        for outcomes in map_batches(
            _compute,
            tasks,
            workers=settings.workers,
            deadline_s=_deadline_s,
            prepare=features.prepare if any(task.is_compiled for task in tasks) else None,
        ):
            ready = []
            for outcome in outcomes:
                if outcome.value is None:
                    ready.append(_Finished(outcome.item, {}, error=outcome.error or "no reason was given"))
                    continue
                vectors, prepared = outcome.value
                ready.append(_Finished(outcome.item, vectors, seconds=outcome.seconds, is_last=not prepared))
                open_parts[outcome.item], seconds[outcome.item] = len(prepared), outcome.seconds
            yield ready
            for outcome in outcomes:
                for (copy, name), part in (outcome.value[1] if outcome.value else {}).items():
                    running[name].load()
                    began = time.perf_counter()
                    if computed := running[name].add((outcome.item, copy), part):
                        yield finish(name, computed, time.perf_counter() - began)
        for name, batch in running.items():
            began = time.perf_counter()
            if computed := batch.flush():
                yield finish(name, computed, time.perf_counter() - began)
    finally:
        for batch in running.values():
            batch.close()


def _definitions(settings: ExtractSettings, copies: int, device: Device) -> dict[tuple[int, str], bytes]:
    """Definition of each vector, by number of the copy, 0 for the clip itself, and what is stored."""
    return {
        (copy, name): definition_hash(name, settings.max_seconds, copy, device=device)
        for copy in range(1 + copies)
        for name in settings.stored
        if copy == 0 or name != OF_THE_FILE
    }


def _keys(content: bytes, definitions: Mapping[tuple[int, str], bytes], copies: int) -> dict[tuple[int, str], bytes]:
    """Key of each vector of a content that has so many copies."""
    return {what: vector_key(content, definition) for what, definition in definitions.items() if what[0] <= copies}


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


def stored_texts(
    paths: Sequence[Path], set_name: str, settings: ExtractSettings, extraction: Extraction, *, cache_path: Path
) -> dict[Path, str]:
    """The texts of which the vectors of a set were made, as they were stored with them.

    Raises
    ------
    DataError
        One is missing: the cache is damaged.
    """
    definition = definition_hash(set_name, settings.max_seconds, device=settings.choose_device())
    keys = {path: vector_key(bytes.fromhex(extraction.contents[path]), definition) for path in paths}
    with VectorCache(cache_path) as store:
        found = store.get_texts(set(keys.values()))
    if lost := [path.name for path, key in keys.items() if key not in found]:
        raise DataError(f"{cache_path}: the words of {len(lost)} clips are missing (first: {lost[0]}); run: earmark cache prune")
    return {path: found[key] for path, key in keys.items()}


def find_cached(paths: Sequence[Path], settings: ExtractSettings, *, cache_path: Path) -> set[Path]:
    """Those of the files that have all their vectors in the cache.

    Files are read only where the cache has vectors of these settings, and does not know the file by its size and times.

    Parameters
    ----------
    paths : of files; what cannot be read has no vectors
    settings : ExtractSettings
    cache_path : SQLite file; nothing is created where it is missing
    """
    if not settings.of_audio:
        return {path for path in paths if path.is_file()}
    device = settings.choose_device()
    try:
        definitions = [definition_hash(name, settings.max_seconds, device=device) for name in settings.stored]
    except ParameterError:  # the weights of an encoder are not here yet, or no longer
        return set()
    if not paths or not cache_path.is_file():
        return set()
    with VectorCache(cache_path) as store:
        if not set(definitions) <= store.definitions():
            return set()
        contents = hash_files(paths, store)
        stored = store.present({vector_key(content, definition) for content in contents.values() for definition in definitions})
    return {path for path, content in contents.items() if all(vector_key(content, one) in stored for one in definitions)}


def definition_hash(set_name: str, max_seconds: float, copy: int = 0, *, device: Device = CPU) -> bytes:
    """Hash of everything that a set's numbers depend on besides the audio [16 bytes].

    Columns with their definitions, the version of the set's code, the parameters of decoding, and the versions of the libraries
    that compute; over windows also their length and how they are pooled, for a copy of the clip also its number and how
    copies are made; of an encoder its weights, the precision of the device, and how clips are cut and normalised, but not which of
    its layers are chosen. A set of the table depends on its name alone.

    Raises
    ------
    ParameterError
        The weights of an encoder are not on this machine.
    """
    of = features.parse_set(set_name)
    if not of.on_device:
        return _definition_hash(of.stored, max_seconds, copy)
    return _hash(decoding(max_seconds, copy) | {"torch": batches.definition(of.stored, device=device)})


def decoding(max_seconds: float, copy: int = 0) -> dict[str, Any]:
    """What a waveform depends on besides the bytes of the file."""
    return _common(max_seconds, copy, ("soxr", "soundfile", "librosa"))


def definitions_of(settings: ExtractSettings) -> dict[str, str]:
    """Definition hash of each feature set, in hexadecimal: equal while numbers that were extracted are what this version computes.

    A set whose weights are not on this machine has none (an empty text).
    """
    device = settings.choose_device()
    found = {}
    for name in settings.features:
        try:
            found[name] = definition_hash(name, settings.max_seconds, device=device).hex()
        except ParameterError:
            found[name] = ""
    return found


@cache
def _definition_hash(set_name: str, max_seconds: float, copy: int) -> bytes:
    of = features.parse_set(set_name)
    if not of.of_audio:
        return hashlib.blake2b(set_name.encode(errors="surrogateescape"), digest_size=16).digest()
    described = {"ultra": features.SET_VERSIONS["ultra"], "words": transcripts.VERSION}
    definition = {
        "set": set_name,
        "version": features.SET_VERSIONS.get(of.base, described),
        "columns": [(column.name, column.unit, column.definition, column.nan_when) for column in features.columns(set_name)],
    } | _common(max_seconds, copy, _NUMERIC_LIBRARIES)
    if of.window_s is not None:
        definition["windows"] = {"version": features.WINDOWS_VERSION, "seconds": of.window_s}
    return _hash(definition)


def _common(max_seconds: float, copy: int, libraries: Sequence[str]) -> dict[str, Any]:
    """What all numbers of audio depend on."""
    import soundfile

    definition: dict[str, Any] = {
        "analysis_rate_hz": ANALYSIS_RATE_HZ,
        "max_seconds": max_seconds,
        "min_samples": MIN_SAMPLES,
        "libraries": {name: version(name) for name in libraries} | {"libsndfile": soundfile.__libsndfile_version__},
    }
    if copy:
        definition["copy"] = {"number": copy, **augment.definition()}
    return definition


def _hash(definition: Mapping[str, Any]) -> bytes:
    return hashlib.blake2b(json.dumps(definition, sort_keys=True).encode(), digest_size=16).digest()


def is_current(stored: Stored) -> bool:
    """Whether vectors would be used by this version: what they are of is defined as it was when they were computed.

    What an encoder said stays, however it was computed, while its weights are not at hand to tell.
    """
    name, _, copy = stored.set_name.partition(_COPY)
    try:
        of = features.parse_set(name)
    except ParameterError:  # of a version that has other sets
        return False
    if of.model and not is_here(of.model):
        return True
    devices = [CPU, replace(CPU, precision="bf16")] if of.model else [CPU]
    try:
        number = int(copy or 0)
    except ValueError:
        return False
    return any(definition_hash(name, stored.max_seconds, number, device=device) == stored.definition for device in devices)


@dataclass(frozen=True, slots=True)
class _Task:
    paths: tuple[Path, ...]  # files of one content
    content: bytes
    wanted: tuple[tuple[int, str], ...]  # number of the copy, 0 for the clip itself, and set
    max_seconds: float

    @property
    def is_compiled(self) -> bool:
        return any(features.parse_set(name).is_compiled for _, name in self.wanted)


def _deadline_s(task: _Task) -> float:
    return len({0, *(copy for copy, _ in task.wanted)}) * clip_deadline_s(task.paths[0], max_seconds=task.max_seconds)


def _compute(task: _Task) -> tuple[dict[tuple[int, str], np.ndarray], dict[tuple[int, str], Any]]:
    """Vectors of a clip, and what was prepared of it for the sets that PyTorch computes."""
    path = task.paths[0]
    clip = read_clip(path, max_seconds=task.max_seconds)
    vectors: dict[tuple[int, str], np.ndarray] = {}
    prepared: dict[tuple[int, str], Any] = {}
    for copy in sorted({copy for copy, _ in task.wanted}):
        sets = [name for number, name in task.wanted if number == copy]
        try:
            heard = _copy(clip, task.content, copy) if copy else clip
            of = {name: features.parse_set(name) for name in sets}
            here = tuple(name for name in sets if of[name].base in features.SET_VERSIONS)
            if here:
                vectors |= {(copy, name): vector for name, vector in features.extract(heard, here).items()}
            for name in sets:
                if of[name].on_device:
                    prepared[copy, name] = batches.prepare(heard, name)
                elif name not in here:
                    text = transcripts.describe_clip(heard)
                    vectors[copy, name] = transcripts.text_columns(text, seconds=heard.seconds)
        except AudioError as error:
            raise AudioError(path, f"copy {copy}: {error.reason}" if copy else error.reason) from None
    if content_hash(path) != task.content:
        raise AudioError(path, "the file changed while it was read; run again")
    return vectors, prepared


def _copy(clip: Clip, content: bytes, copy: int) -> Clip:
    """A varied copy of a clip: length and size of the file stay, for it is no other file."""
    seed = int.from_bytes(hashlib.blake2b(content + copy.to_bytes(4, "little"), digest_size=8).digest(), "little")
    y = augment.augment(to_analysis_rate(clip.mono, clip.sample_rate_hz), ANALYSIS_RATE_HZ, seed=seed)
    return replace(clip, samples=y[:, None], sample_rate_hz=ANALYSIS_RATE_HZ)
