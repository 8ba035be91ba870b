"""Clips in, feature vectors out: what is stored is read, what is not is computed once and stored before it is reported.

A worker process decodes a clip once: it computes the handcrafted sets, and prepares what PyTorch then computes in this process, in
batches. A clip can also have augmented copies, numbered from 1: their vectors are stored like its own.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from core import features
from core.data import augment
from core.data.audio import ANALYSIS_RATE_HZ, Clip, read_clip, to_analysis_rate
from core.data.fingerprints import LONGEST_S, fingerprint
from core.encoders.batches import BatchWork, SetWork, check_installed
from core.encoders.registry import SOURCES, source_of
from core.encoders.spoken import Spoken
from core.errors import AudioError, DataError, ParameterError
from core.events import CompilingStarted, DeviceChosen, Notify, Warned, ignore
from core.extraction.config import ExtractSettings
from core.extraction.contents import hash_files
from core.extraction.definitions import FINGERPRINT, definition_hash, definitions_of, is_current, stored_name
from core.extraction.machine import Decoded, Finished, Part, Production, Task, make, read_contents, split_text
from core.extraction.texts import Texts, content_with
from core.runtime.cache import VectorCache, content_hash, vector_key
from core.runtime.device import Device

__all__ = [
    "Extraction",
    "column_names",
    "definition_hash",
    "definitions_of",
    "extract_clips",
    "find_cached",
    "hash_files",
    "is_current",
    "stored_texts",
]

OF_THE_FILE = ("metadata", FINGERPRINT)  # a copy is no other file: what describes the file is the clip's own


@dataclass(frozen=True, slots=True)
class Extraction:
    """What came of a list of clips.

    Attributes
    ----------
    vectors : dict of Path to dict of set name to np.ndarray [shape=(d,)], float32, of the sets that are computed from the clip; a
        set that reads a text stands under its name and the text, as ``with_text`` joins them
    contents : dict of Path to the hash of the file's bytes, in hexadecimal
    failures : dict of Path to the reason why there is no vector
    computed : int, clips of which vectors were computed this time
    copies : dict of Path to the vectors of its copies, each like those of the clip; only of clips of which copies were asked for
    fingerprints : dict of Path to np.ndarray [shape=(2401,)], float32; empty where they were not asked for
    """

    vectors: dict[Path, dict[str, np.ndarray]]
    contents: dict[Path, str]
    failures: dict[Path, str]
    computed: int
    copies: dict[Path, tuple[dict[str, np.ndarray], ...]] = field(default_factory=dict)
    fingerprints: dict[Path, np.ndarray] = field(default_factory=dict)


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
    texts: Texts = MappingProxyType({}),
    fingerprints: bool = False,
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
    texts : as ``texts_of`` gives them, for sets that read a text of the table
    fingerprints : bool, also the fingerprint of each clip, where clips are decoded
    notify : called with ExtractionStarted, then ClipExtracted or ClipSetAside for each clip that is not cached with all its copies;
        with Warned where a text was too long to be read
    now_ns : the clock, in nanoseconds since 1970

    Returns
    -------
    extraction : Extraction; a clip of which a copy fails is among the failures
    """
    paths = list(dict.fromkeys(paths))
    count = {path: copies if isinstance(copies, int) else copies.get(path, 0) for path in paths}
    check_installed(settings.on_device)
    device, options = settings.choose_device(), (settings.workers, settings.batch, settings.rehash)
    how = Production(device, settings.max_seconds, *options, now_ns, settings.treatment)
    with VectorCache(cache_path) as store:
        contents = read_contents(paths, store, how)
        wanted: dict[bytes, _Wanted] = {}  # of a content, which two files may share
        for path in paths:
            of_content = wanted.setdefault(contents[path], _Wanted())
            of_content.copies = max(of_content.copies, count[path])
            of_content.texts |= dict.fromkeys(texts.get(path, ()))
        vectors = _Vectors(settings, how.device, wanted, store, notify, fingerprints=fingerprints)
        made = make(contents, vectors, store, how, notify)
    whole = [path for path in paths if path not in made.failures]
    _warn_of_unread({path: vectors.read(contents[path], 0) for path in whole if texts.get(path)}, notify)
    return Extraction(
        {path: vectors.read(contents[path], 0) for path in whole},
        {path: content.hex() for path, content in contents.items()},
        made.failures,
        made.computed,
        {path: tuple(vectors.read(contents[path], 1 + copy) for copy in range(count[path])) for path in whole if count[path]},
        {path: vectors.fingerprint(contents[path]) for path in whole} if fingerprints and settings.stored else {},
    )


@dataclass(slots=True)
class _Wanted:
    """What is made of a content besides the sets that it is asked for: copies, and in the order of ``texts`` what needs a text."""

    copies: int = 0
    texts: dict[str, None] = field(default_factory=dict)


class _Vectors:
    """Vectors as a product: kept in the cache, by content and definition, and where a text is read also by that.

    Parameters
    ----------
    settings : ExtractSettings
    device : Device
    wanted : dict of content to what is made of it
    store : VectorCache
    notify : called with CompilingStarted and DeviceChosen
    fingerprints : bool
    """

    def __init__(
        self,
        settings: ExtractSettings,
        device: Device,
        wanted: Mapping[bytes, _Wanted],
        store: VectorCache,
        notify: Notify,
        *,
        fingerprints: bool,
    ):
        self._settings, self._device, self._store, self._notify = settings, device, store, notify
        self._definitions: dict[Part, bytes] = {
            (copy, name): definition_hash(
                name,
                settings.max_seconds,
                copy,
                device=device,
                encoder_window=settings.encoder_window,
                treatment=settings.treatment,
            )
            for copy in range(1 + max((of.copies for of in wanted.values()), default=0))
            for name in (*settings.stored, *((FINGERPRINT,) if fingerprints and settings.stored else ()))
            if copy == 0 or name not in OF_THE_FILE
        }
        self._keys = {content: self._keys_of(content, of) for content, of in wanted.items()}
        self._stored = store.get(key for content, keys in self._keys.items() if content for key in keys.values())
        self._takes = [
            (name, features.parse_set(name).stored, features.chooser(name))
            for name in settings.of_audio
            if not features.parse_set(name).reads_text
        ]

    def missing(self, content: bytes) -> tuple[Part, ...]:
        return tuple(part for part, key in self._keys[content].items() if key not in self._stored)

    def begin(self, tasks: Sequence[Task]) -> Callable[[bool], None] | None:
        parts = {(copy, split_text(name)[0]) for task in tasks for copy, name in task.wanted}
        for copy, name in parts:
            if name == FINGERPRINT:
                noted, seconds = FINGERPRINT, LONGEST_S
            else:
                noted, seconds = stored_name(name, copy, self._settings.treatment), self._settings.max_seconds
            self._store.put_definition(self._definitions[copy, name], noted, seconds)
        compiled = any(features.parse_set(name).is_compiled for _, name in parts if name != FINGERPRINT)
        if compiled and not features.is_compiled():
            self._notify(CompilingStarted())
        if any(name in self._settings.on_device for _, name in parts):
            self._notify(DeviceChosen(self._device.kind, self._device.name))
        return features.prepare if compiled else None

    @property
    def decode(self) -> Callable[[Task], Decoded]:
        return _decode

    def works(self, names: set[str]) -> dict[str, BatchWork]:
        on_device = sorted(self._settings.on_device, key=lambda name: features.parse_set(name).reads_text)  # after the encoders
        return {name: SetWork(name, encoder_window=self._settings.encoder_window) for name in on_device if name in names}

    def keep(self, finished: Sequence[Finished]) -> None:
        fresh = {self._keys[part.task.content][what]: vector for part in finished for what, vector in part.arrays.items()}
        self._store.put_texts({self._keys[part.task.content][what]: text for part in finished for what, text in part.texts.items()})
        self._store.put(fresh)
        self._stored |= fresh

    def read(self, content: bytes, copy: int) -> dict[str, np.ndarray]:
        """Vectors of a clip or of one of its copies; what describes the file is the clip's own."""
        keys = self._keys[content]
        vectors = {name: take(self._stored[keys.get((copy, stored), keys[0, stored])]) for name, stored, take in self._takes}
        return vectors | {name: self._stored[key] for (number, name), key in keys.items() if number == copy and split_text(name)[1]}

    def fingerprint(self, content: bytes) -> np.ndarray:
        return self._stored[self._keys[content][0, FINGERPRINT]]

    def _keys_of(self, content: bytes, wanted: _Wanted) -> dict[Part, bytes]:
        keys: dict[Part, bytes] = {}
        for (copy, name), definition in self._definitions.items():
            if copy > wanted.copies:
                continue
            if name == FINGERPRINT or not features.parse_set(name).reads_text:
                keys[copy, name] = vector_key(content, definition)
                continue
            for made in wanted.texts:
                stored, text = split_text(made)
                if stored == name:
                    keys[copy, made] = vector_key(content_with(content, text), definition)
        return keys


def _warn_of_unread(vectors: Mapping[Path, Mapping[str, np.ndarray]], notify: Notify) -> None:
    """Tell of clips whose text was not read along: all their values are NaN."""
    unread: dict[str, list[Path]] = {}
    for path, by_name in vectors.items():
        for name, vector in by_name.items():
            stored, text = split_text(name)
            if text and np.isnan(vector).all():
                unread.setdefault(stored, []).append(path)
    for stored, paths in unread.items():
        notify(Warned(f"{stored}: {len(paths)} clips have no values (first: {paths[0].name}), because {source_of(stored).unread}"))


def stored_texts(
    paths: Sequence[Path], set_name: str, settings: ExtractSettings, extraction: Extraction, *, cache_path: Path
) -> dict[Path, str]:
    """The texts of which the vectors of a set were made, as they were stored with them.

    Raises
    ------
    DataError
        One is missing: the cache is damaged.
    """
    device, window = settings.choose_device(), settings.encoder_window
    definition = definition_hash(set_name, settings.max_seconds, device=device, encoder_window=window, treatment=settings.treatment)
    keys = {path: vector_key(bytes.fromhex(extraction.contents[path]), definition) for path in paths}
    with VectorCache(cache_path) as store:
        texts = store.get_texts(set(keys.values()))
    if lost := [path.name for path, key in keys.items() if key not in texts]:
        raise DataError(f"{cache_path}: the words of {len(lost)} clips are missing (first: {lost[0]}); run: earmark cache prune")
    return {path: texts[key] for path, key in keys.items()}


def find_cached(
    paths: Sequence[Path], settings: ExtractSettings, *, cache_path: Path, texts: Texts = MappingProxyType({})
) -> set[Path]:
    """Those of the files that have all their vectors in the cache.

    Files are read only where the cache has vectors of these settings, and does not know the file by its size and times.

    Parameters
    ----------
    paths : of files; what cannot be read has no vectors
    settings : ExtractSettings
    cache_path : SQLite file; nothing is created where it is missing
    texts : as ``texts_of`` gives them, for sets that read a text of the table
    """
    if not settings.of_audio:
        return {path for path in paths if path.is_file()}
    device = settings.choose_device()
    try:
        definitions = {
            name: definition_hash(
                name, settings.max_seconds, device=device, encoder_window=settings.encoder_window, treatment=settings.treatment
            )
            for name in settings.stored
        }
    except ParameterError:  # the weights of an encoder are not here yet, or no longer
        return set()
    if not paths or not cache_path.is_file():
        return set()
    with VectorCache(cache_path) as store:
        if not set(definitions.values()) <= store.definitions():
            return set()
        keys = {
            path: _keys_of_file(content, definitions, texts.get(path, ())) for path, content in hash_files(paths, store).items()
        }
        stored = store.present({key for of_file in keys.values() for key in of_file})
    return {path for path, of_file in keys.items() if of_file <= stored}


def _keys_of_file(content: bytes, definitions: Mapping[str, bytes], texts: Sequence[str]) -> set[bytes]:
    """Keys of all vectors of a file itself."""
    plain = {vector_key(content, definition) for name, definition in definitions.items() if not features.parse_set(name).reads_text}
    read = [(name, text) for name, text in map(split_text, texts) if name in definitions]
    return plain | {vector_key(content_with(content, text), definitions[name]) for name, text in read}


def _decode(task: Task) -> Decoded:
    """Vectors of a clip, and what was prepared of it for the sets that PyTorch computes."""
    path = task.paths[0]
    clip = read_clip(path, max_seconds=task.max_seconds, treatment=task.treatment)
    vectors: dict[Part, np.ndarray] = {}
    prepared: dict[Part, Any] = {}
    if (0, FINGERPRINT) in task.wanted:
        vectors[0, FINGERPRINT] = fingerprint(clip)
    for copy in task.copies:
        names = [name for number, name in task.wanted if number == copy and name != FINGERPRINT]
        try:
            sound = _copy(clip, task.content, copy) if copy else clip
            handcrafted = tuple(name for name in names if features.parse_set(split_text(name)[0]).base not in SOURCES)
            if handcrafted:
                vectors |= {(copy, name): vector for name, vector in features.extract(sound, handcrafted).items()}
            for made in names:
                if made not in handcrafted:
                    name, text = split_text(made)
                    feature_set = features.parse_set(name)
                    parts: dict[Part, Any] = prepared if feature_set.on_device else vectors
                    value = source_of(name).prepare(sound, feature_set)
                    parts[copy, made] = Spoken(value, text) if text else value
        except AudioError as error:
            raise AudioError(path, f"copy {copy}: {error.reason}" if copy else error.reason) from None
    if content_hash(path) != task.content:
        raise AudioError(path, "the file changed while it was read; run again")
    return vectors, prepared


def _copy(clip: Clip, content: bytes, copy: int) -> Clip:
    """An augmented copy of a clip: length and size of the file stay, for it is no other file."""
    seed = int.from_bytes(hashlib.blake2b(content + copy.to_bytes(4, "little"), digest_size=8).digest(), "little")
    y = augment.augment(to_analysis_rate(clip.mono, clip.sample_rate_hz), ANALYSIS_RATE_HZ, seed=seed)
    return replace(clip, samples=y[:, None], sample_rate_hz=ANALYSIS_RATE_HZ)
