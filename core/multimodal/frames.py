"""Clips in, what is heard in them out, on the disk: frames of an encoder in half precision, or waveforms at 16 kHz.

A file a clip, ``cache/audio_<hash>.npy`` in the workspace, named by the content of the clip and by what was made of it. It is
written once, whole, and then read as a memory map: an epoch decodes and encodes nothing. ``core.extraction.machine`` makes them.
"""

import hashlib
import os
import shutil
import time
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from core.data.audio import header_seconds, read_clip
from core.data.treatment import AS_RECORDED, Treatment
from core.encoders import pretrained
from core.encoders.batches import BatchWork
from core.encoders.source import Load
from core.errors import AudioError, DataError
from core.events import DeviceChosen, Notify, ignore
from core.extraction.definitions import decoding, digest
from core.extraction.machine import Decoded, Finished, Part, Production, Task, make, read_contents
from core.runtime.cache import VectorCache, content_hash
from core.runtime.device import Device
from core.runtime.weights import Checkpoint, encoder_shape
from core.workspace import Workspace, write_whole

# Raise it whenever what is stored changes: files of other versions are not read any more.
VERSION = 1
_FRAMES_PER_S = 50
_DIGEST_BYTES = 16
_TORN_AFTER_S = 3600.0
_SPARE_BYTES = 1 << 28  # that a disk is to have left
_FRAMES: Part = (0, "frames")
_NOT_FINITE = "the encoder says what is not finite of it"


@dataclass(frozen=True, slots=True)
class FrameStore:
    """What is on the disk of clips.

    Attributes
    ----------
    files : dict of Path of the clip to Path of its array: frames [shape=(t, width)] float16, or a waveform [shape=(n,)] float32
    failures : dict of Path to the reason why there is none
    computed : int, clips that were not there before
    """

    files: dict[Path, Path]
    failures: dict[Path, str]
    computed: int


def encode_clips(
    paths: Sequence[Path],
    checkpoint: Checkpoint,
    workspace: Workspace,
    how: Production,
    *,
    layer: int | None = None,
    encode: bool = True,
    notify: Notify = ignore,
) -> FrameStore:
    """Have what is heard of clips on the disk; a kill loses only what was not reported.

    Parameters
    ----------
    paths : of audio files; one that stands twice is looked at once
    checkpoint : Checkpoint of the encoder
    workspace : Workspace
    how : Production: where the encoder computes, how much of a clip is read, how many processes decode
    layer : int >= 0, whose frames are kept; None takes the last
    encode : bool, keep frames of the encoder; else waveforms as it reads them
    notify : called with ExtractionStarted, then ClipExtracted or ClipSetAside for each clip that is not there yet

    Returns
    -------
    heard : FrameStore

    Raises
    ------
    DataError
        The disk has no room for it.
    """
    definition = definition_hash(
        checkpoint, device=how.device, layer=layer, encode=encode, max_seconds=how.max_seconds, treatment=how.treatment
    )
    files = _FrameFiles(_FrameWork(checkpoint, layer), workspace.frames, definition, encode, partial(_announce, how.device, notify))
    with VectorCache(workspace.cache) as store:
        contents = read_contents(list(dict.fromkeys(paths)), store, how)
        made = make(contents, files, store, how, notify)
    whole = {path: files.path(content) for path, content in contents.items() if path not in made.failures}
    return FrameStore(whole, made.failures, made.computed)


def _announce(device: Device, notify: Notify) -> None:
    notify(DeviceChosen(device.kind, device.name))


@dataclass(frozen=True, slots=True)
class _FrameWork:
    """Frames of a layer of an encoder, in half precision, as work in batches."""

    checkpoint: Checkpoint
    layer: int | None
    cuts_windows: bool = True

    @property
    def name(self) -> str:
        return self.checkpoint.model

    def load(self, how: Load) -> "_FrameExtractor":
        return _FrameExtractor(pretrained.load(self.checkpoint, how), self.layer)

    def flaw(self, value: np.ndarray) -> str | None:
        return None if np.isfinite(value).all() else _NOT_FINITE


class _FrameExtractor:
    def __init__(self, encoder: pretrained.Extractor, layer: int | None):
        self._encoder, self._layer = encoder, layer
        self.seconds = encoder.seconds

    def __call__(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        with np.errstate(over="ignore"):  # what does not fit is infinite, and is seen as such
            return [frames.astype(np.float16) for frames in self._encoder.frames(items, layer=self._layer)]


class _FrameFiles:
    """Frames or waveforms as a product: a file for each content."""

    def __init__(self, work: _FrameWork, folder: Path, definition: bytes, encode: bool, announce: Callable[[], None]):
        self._work, self._folder, self._definition, self._encode = work, folder, definition, encode
        self._announce = announce

    def path(self, content: bytes) -> Path:
        """File of a content."""
        return self._folder / f"audio_{hashlib.blake2b(content + self._definition, digest_size=16).hexdigest()}.npy"

    def missing(self, content: bytes) -> tuple[Part, ...]:
        return () if content and is_whole(self.path(content)) else (_FRAMES,)

    def begin(self, tasks: Sequence[Task]) -> None:
        lengths = ((task, header_seconds(task.paths[0])) for task in tasks)
        seconds = sum(
            task.max_seconds if length is None else task.treatment.analysed_seconds(length, task.max_seconds)
            for task, length in lengths
        )
        check_room(seconds, self._work.checkpoint, self._folder, encode=self._encode)
        self._announce()

    @property
    def decode(self) -> Callable[[Task], Decoded]:
        return partial(_decode, checkpoint=self._work.checkpoint, encode=self._encode)

    def works(self, names: set[str]) -> Mapping[str, BatchWork]:
        return {_FRAMES[1]: self._work} if self._encode else {}

    def keep(self, finished: Sequence[Finished]) -> None:
        for part in finished:
            for array in part.arrays.values():
                write_frames(self.path(part.task.content), array)


def _decode(task: Task, *, checkpoint: Checkpoint, encode: bool) -> Decoded:
    """Waveform of a clip at 16 kHz, as it is kept or as the encoder reads it; runs in a decode worker."""
    path = task.paths[0]
    y = pretrained.prepare_clip(read_clip(path, max_seconds=task.max_seconds, treatment=task.treatment), checkpoint)
    if content_hash(path) != task.content:
        raise AudioError(path, "the file changed while it was read; run again")
    if encode:
        return {}, {_FRAMES: y}
    if not np.isfinite(y).all():
        raise AudioError(path, _NOT_FINITE)
    return {_FRAMES: y}, {}


def definition_hash(
    checkpoint: Checkpoint,
    *,
    device: Device,
    layer: int | None,
    encode: bool,
    max_seconds: float,
    treatment: Treatment = AS_RECORDED,
) -> bytes:
    """Hash of everything besides the audio that a file depends on [16 bytes]."""
    read = pretrained.definition(checkpoint, precision=device.precision if encode else "fp32")
    if not encode:
        read = {name: read[name] for name in ("encoder", "sample_rate_hz", "normalised")}
    return digest({"frames": VERSION, "layer": layer, "encoded": encode} | read | decoding(max_seconds, treatment=treatment))


def write_frames(path: Path, array: np.ndarray) -> None:
    """Write an array with a hash of its numbers behind it, whole or not at all."""
    array = np.ascontiguousarray(array)

    def write(file: Any) -> None:
        np.save(file, array)
        file.write(_digest(array))

    write_whole(path, write)


def read_frames(path: Path) -> np.ndarray:
    """A file that ``encode_clips`` wrote, mapped into memory.

    Raises
    ------
    DataError
        It is gone or damaged.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:  # the last two of a damaged header
        raise DataError(f"{path}: cannot be read ({error}); run the same again, and it is made anew") from None


def is_whole(path: Path) -> bool:
    """Whether a file is there, with its numbers as they were written."""
    try:
        array = read_frames(path)
        with path.open("rb") as file:
            file.seek(-_DIGEST_BYTES, os.SEEK_END)
            return file.read() == _digest(array)
    except (DataError, OSError):
        return False


def torn_frames(folder: Path) -> list[Path]:
    """What writers that were killed have left half written, an hour ago or more."""
    return [path for path in folder.glob(".audio_*.npy.*") if time.time() - path.stat().st_mtime > _TORN_AFTER_S]


def bytes_of(seconds: float, checkpoint: Checkpoint, *, encode: bool) -> int:
    """What sound of such a length takes on the disk."""
    return round(seconds * (_FRAMES_PER_S * encoder_shape(checkpoint)[1] * 2 if encode else pretrained.SAMPLE_RATE_HZ * 4))


def check_room(seconds: float, checkpoint: Checkpoint, folder: Path, *, encode: bool) -> None:
    """Refuse what would fill the disk.

    Raises
    ------
    DataError
        There may be too little room for sound of such a length.
    """
    home = next(place for place in (folder, *folder.parents) if place.is_dir())
    needed, free = bytes_of(seconds, checkpoint, encode=encode), shutil.disk_usage(home).free
    if needed + _SPARE_BYTES > free:
        raise DataError(
            f"{folder}: what is heard takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
            "make room, name another --workspace, or analyse less of each clip with --max-seconds"
        )


def _digest(array: np.ndarray) -> bytes:
    return hashlib.blake2b(array.data, digest_size=_DIGEST_BYTES).digest()
