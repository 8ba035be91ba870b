"""Clips in, what is heard in them out, on the disk: frames of an encoder in half precision, or waveforms at 16 kHz.

A file a clip, ``cache/audio_<hash>.npy`` in the workspace, named by the content of the clip and by what was made of it. It is
written once, whole, and then read as a memory map: an epoch decodes and encodes nothing.
"""

import hashlib
import json
import os
import shutil
import time
import tokenize
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.data.audio import clip_deadline_s, header_seconds, read_clip
from core.encoders import pretrained
from core.errors import AudioError, DataError
from core.events import BatchHalved, ClipExtracted, ClipSetAside, DeviceChosen, ExtractionStarted, Notify, ignore
from core.extraction.extract import decoding, hash_files
from core.runtime.cache import VectorCache, content_hash
from core.runtime.device import Device, use_all_cores
from core.runtime.pool import map_unordered
from core.runtime.weights import Checkpoint, encoder_shape
from core.workspace import Workspace, write_whole

# Raise it whenever what is stored changes: files of other versions are not read any more.
VERSION = 1
_FRAMES_PER_S = 50
_DIGEST_BYTES = 16
_TORN_AFTER_S = 3600.0
_SPARE_BYTES = 1 << 28  # that a disk is to have left
_CPU_BATCH_S, _GPU_BATCH_S = 40.0, 1200.0


@dataclass(frozen=True, slots=True)
class Heard:
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


def hear_clips(
    paths: Sequence[Path],
    checkpoint: Checkpoint,
    workspace: Workspace,
    *,
    device: Device,
    layer: int | None = None,
    encode: bool = True,
    max_seconds: float,
    workers: int | None = None,
    batch: int | None = None,
    notify: Notify = ignore,
) -> Heard:
    """Have what is heard of clips on the disk; a kill loses only what was not reported.

    Parameters
    ----------
    paths : of audio files; one that stands twice is looked at once
    checkpoint : Checkpoint of the encoder
    workspace : Workspace
    device : Device on which the encoder computes
    layer : int >= 0, whose frames are kept; None takes the last
    encode : bool, keep frames of the encoder; else waveforms as it reads them
    max_seconds : float, only the start of a longer clip is read
    workers : int >= 0, processes that decode; 0 works in this process, None takes one for each core
    batch : int >= 1, windows that the encoder reads at once; None takes what should fit
    notify : called with ExtractionStarted, then ClipExtracted or ClipSetAside for each clip that is not there yet

    Returns
    -------
    heard : Heard

    Raises
    ------
    DataError
        The disk has no room for it.
    """
    paths = list(dict.fromkeys(paths))
    definition = definition_hash(checkpoint, device=device, layer=layer, encode=encode, max_seconds=max_seconds)
    with VectorCache(workspace.cache) as store:
        contents = dict.fromkeys(paths, b"") | hash_files(paths, store)
    targets = {path: workspace.frames / f"audio_{_name(content, definition)}.npy" for path, content in contents.items()}
    there = {path for path in paths if contents[path] and is_whole(targets[path])}
    to_do: dict[bytes, _Task] = {}
    for path in paths:
        if path not in there:
            content = contents[path] or str(path).encode(errors="surrogateescape")
            same = to_do[content].paths if content in to_do else ()
            to_do[content] = _Task((*same, path), contents[path], checkpoint, max_seconds)
    notify(ExtractionStarted(clips=len(paths), cached=len(there), to_do=len(paths) - len(there)))
    if to_do:
        lengths = (header_seconds(task.paths[0]) for task in to_do.values())
        seconds = sum(max_seconds if length is None else min(length, max_seconds) for length in lengths)
        check_room(seconds, checkpoint, workspace.frames, encode=encode)
        notify(DeviceChosen(device.kind, device.name))
    failures: dict[Path, str] = {}
    writer = _Writer(checkpoint, device, layer, batch, notify) if encode and to_do else None

    def write(task: _Task, array: np.ndarray, seconds: float) -> None:
        if not np.isfinite(array).all():
            refuse(task, "the encoder says what is not finite of it")
            return
        write_frames(targets[task.paths[0]], array)
        for path in task.paths:
            notify(ClipExtracted(path.name, seconds))

    def refuse(task: _Task, reason: str) -> None:
        for path in task.paths:
            failures[path] = reason
            notify(ClipSetAside(path.name, reason))

    for outcome in map_unordered(_prepare, list(to_do.values()), workers=workers, deadline_s=_deadline_s):
        task = outcome.item
        if outcome.value is None:
            refuse(task, outcome.error or "no reason was given")
        elif writer is None:
            write(task, outcome.value, outcome.seconds)
        else:
            for done, array in writer.add(task, outcome.value):
                write(done, array, outcome.seconds)
    for done, array in writer.flush() if writer else ():
        write(done, array, 0.0)
    whole = {path: targets[path] for path in paths if path not in failures}
    return Heard(whole, failures, len(paths) - len(there) - len(failures))


def definition_hash(checkpoint: Checkpoint, *, device: Device, layer: int | None, encode: bool, max_seconds: float) -> bytes:
    """Hash of everything besides the audio that a file depends on [16 bytes]."""
    read = pretrained.definition(checkpoint, precision=device.precision if encode else "fp32")
    if not encode:
        read = {name: read[name] for name in ("encoder", "sample_rate_hz", "normalised")}
    said = {"frames": VERSION, "layer": layer, "encoded": encode} | read | decoding(max_seconds)
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).digest()


def write_frames(path: Path, array: np.ndarray) -> None:
    """Write an array with a hash of its numbers behind it, whole or not at all."""
    array = np.ascontiguousarray(array)

    def write(file: Any) -> None:
        np.save(file, array)
        file.write(_digest(array))

    write_whole(path, write)


def read_frames(path: Path) -> np.ndarray:
    """A file that ``hear_clips`` wrote, mapped into memory.

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


@dataclass(frozen=True, slots=True)
class _Task:
    paths: tuple[Path, ...]  # files of one content
    content: bytes
    checkpoint: Checkpoint
    max_seconds: float

    def __hash__(self) -> int:
        return hash(self.paths)


class _Writer:
    """Collects waveforms, and encodes them when there are enough."""

    def __init__(self, checkpoint: Checkpoint, device: Device, layer: int | None, batch: int | None, notify: Notify):
        def halved(batch: int) -> None:
            notify(BatchHalved(checkpoint.model, batch))

        self._make: Callable[[], Any] = lambda: pretrained.Extractor(
            checkpoint, device=device.kind, precision=device.precision, batch=batch, halved=halved
        )
        self._extractor: Any = None
        self._layer = layer
        self._enough_s = _GPU_BATCH_S if device.kind == "cuda" else _CPU_BATCH_S
        self._waiting: list[tuple[_Task, np.ndarray]] = []

    def add(self, task: _Task, y: np.ndarray) -> list[tuple[_Task, np.ndarray]]:
        self._waiting.append((task, y))
        seconds = sum(len(one) for _, one in self._waiting) / pretrained.SAMPLE_RATE_HZ
        return self.flush() if seconds >= self._enough_s else []

    def flush(self) -> list[tuple[_Task, np.ndarray]]:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        if self._extractor is None:
            use_all_cores()
            self._extractor = self._make()
        found = self._extractor.frames([y for _, y in waiting], layer=self._layer)
        with np.errstate(over="ignore"):  # what does not fit is infinite, and is seen as such
            return [(task, frames.astype(np.float16)) for (task, _), frames in zip(waiting, found, strict=True)]


def _digest(array: np.ndarray) -> bytes:
    return hashlib.blake2b(array.data, digest_size=_DIGEST_BYTES).digest()


def _name(content: bytes, definition: bytes) -> str:
    return hashlib.blake2b(content + definition, digest_size=16).hexdigest()


def _deadline_s(task: _Task) -> float:
    return clip_deadline_s(task.paths[0], max_seconds=task.max_seconds)


def _prepare(task: _Task) -> np.ndarray:
    """Waveform of a clip at 16 kHz; runs in a decode worker."""
    path = task.paths[0]
    y = pretrained.prepare_clip(read_clip(path, max_seconds=task.max_seconds), task.checkpoint)
    if content_hash(path) != task.content:
        raise AudioError(path, "the file changed while it was read; run again")
    return y
