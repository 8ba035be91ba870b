"""A file that libsndfile reads in, its samples out. Samples are float32, rates in Hz."""

import os
from collections.abc import Iterator
from typing import IO

import numpy as np
import soundfile

from core.data import flac, headers, mpeg, ogg
from core.data.kinds import Kind
from core.data.parts import Damage, Decoded, Part, PartFile, Parts, buffered

CONTAINERS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "CAF", "W64", "AU", "NIST")
WHOLE_NUMBERS = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32")
MIN_RATE_HZ = 1000
MAX_RATE_HZ = 1_000_000

_SPLITTERS = {"FLAC": flac.split, "Ogg": ogg.split, "MP3": mpeg.split, "unknown": mpeg.split}  # the others are siblings of WAV
_UNKNOWN_FRAMES = 1 << 60  # libsndfile's answer for FLAC in Ogg whose header leaves the length open
_NO_SUCH_CODEC = 4  # its number for a known container with a codec that it has not
_BLOCK_FRAMES = 1 << 14
_SMALL_BLOCK_FRAMES = 1 << 10


class Unsupported(Exception):
    """libsndfile cannot open a file; ``is_codec`` says that it knows the container."""

    def __init__(self, reason: str, *, is_codec: bool):
        super().__init__(reason)
        self.is_codec = is_codec


def decode(file: IO[bytes], kind: Kind, *, max_seconds: float) -> Decoded:
    """Decode a file: of all its parts together the first ``max_seconds`` are kept, the rest is counted.

    Parameters
    ----------
    file : open for reading in binary, without a buffer
    kind : Kind
    max_seconds : float > 0

    Raises
    ------
    Unsupported
    Damage
        It has no samples, an odd sample rate, parts of different rates or channels, or less than 90 % of the length that a header
        names can be decoded.
    """
    size = os.fstat(file.fileno()).st_size
    parts = split(file, kind)
    blocks: list[np.ndarray] = []
    rate = channels = frames = kept = 0
    for part in parts.parts:
        with _open(file, part, size) as sound:
            _check_header(sound)
            if not blocks:
                rate, channels = sound.samplerate, sound.channels
            elif (sound.samplerate, sound.channels) != (rate, channels):
                raise Damage(
                    f"joined from parts that differ: {rate} Hz with {channels} channels, then {sound.samplerate} Hz with "
                    f"{sound.channels}; bring them to one rate and one number of channels, or cut them apart"
                )
            samples, length = _decode_part(sound, max(1, round(max_seconds * rate)) - kept)
        blocks.append(samples)
        kept += len(samples)
        frames += length
    warnings = [f"{len(parts.parts)} recordings joined end to end: all are read"] if len(parts.parts) > 1 else []
    return Decoded(np.concatenate(blocks), rate, frames, (*warnings, *parts.warnings))


def stream(file: IO[bytes], kind: Kind) -> Iterator[tuple[np.ndarray, int, str]]:
    """All of a file, a block at a time: samples [shape=(n, channels)], rate in Hz and subtype, as libsndfile names it.

    Samples are int32 where the subtype has whole numbers, so that they can be written again as they were, else float32.

    Raises
    ------
    Unsupported, Damage
        As ``decode``, but for lengths: what a header names and the file has not is not missed here.
    """
    size, form = os.fstat(file.fileno()).st_size, None
    for part in split(file, kind).parts:
        with _open(file, part, size) as sound:
            _check_header(sound)
            if form not in (None, (sound.samplerate, sound.channels)):
                raise Damage("joined from parts of different rates or channels; cut them apart")
            form = sound.samplerate, sound.channels
            dtype = "int32" if sound.subtype in WHOLE_NUMBERS else "float32"
            while len(block := sound.read(_BLOCK_FRAMES, dtype=dtype, always_2d=True)):
                yield block, sound.samplerate, sound.subtype


def split(file: IO[bytes], kind: Kind) -> Parts:
    """The parts of a file, as its kind lays them out.

    Raises
    ------
    Damage
        Its header names more than is there.
    """
    return _SPLITTERS.get(kind.name, headers.split)(buffered(file), os.fstat(file.fileno()).st_size)


def header_seconds(path: str) -> float | None:
    """How long a file lasts, as its header says; None where it says nothing, or where libsndfile cannot read it."""
    try:
        about = soundfile.info(path)
    except (soundfile.LibsndfileError, OverflowError, ZeroDivisionError):
        return None
    return float(about.duration) if 0 < about.frames < _UNKNOWN_FRAMES else None


def header_rate_hz(path: str) -> int | None:
    """The sample rate that a header says; None where libsndfile cannot read it."""
    try:
        return int(soundfile.info(path).samplerate)
    except soundfile.LibsndfileError:
        return None


def _open(file: IO[bytes], part: Part, size: int) -> soundfile.SoundFile:
    file.seek(0)
    try:
        if part == Part(0, size):
            return soundfile.SoundFile(file.fileno(), closefd=False)  # goes on at the position of the descriptor
        return soundfile.SoundFile(PartFile(file, part))
    except soundfile.LibsndfileError as error:
        raise Unsupported(_plain(error), is_codec=error.code == _NO_SUCH_CODEC) from None


def _check_header(sound: soundfile.SoundFile) -> None:
    if sound.format not in CONTAINERS:
        raise Damage(f"this is {sound.format}, which is not read; convert it to WAV or FLAC first")
    if not MIN_RATE_HZ <= sound.samplerate <= MAX_RATE_HZ:
        raise Damage(f"its header names a sample rate of {sound.samplerate} Hz; {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are read")
    if sound.frames >= _UNKNOWN_FRAMES:
        raise Unsupported("its header leaves the length open", is_codec=True)


def _decode_part(sound: soundfile.SoundFile, wanted: int) -> tuple[np.ndarray, int]:
    """Up to so many frames of a part, and how many it has."""
    total, rate = sound.frames, sound.samplerate
    if total == 0:
        raise Damage("has a header but no samples")
    samples = _read_frames(sound, wanted)
    decoded = len(samples)
    if not _reaches(sound, int(headers.WHOLE_SHARE * total), decoded, ended=decoded < min(wanted, total)):
        there = f"{decoded / rate:.2f} s can be read" if decoded < wanted else "less than 90 % of that is there"
        raise Damage(f"truncated or damaged: its header names {total / rate:.2f} s, {there}")
    return samples, total


def _read_frames(sound: soundfile.SoundFile, frames: int) -> np.ndarray:
    """Read up to ``frames``.

    Blocks: a header that promises far too much must not reserve memory for it. A block that holds a damage is read again in
    small ones, so that what stands before the damage is kept.
    """
    blocks = [np.zeros((0, sound.channels), np.float32)]
    size, done = _BLOCK_FRAMES, 0
    while done < frames:
        try:
            block = sound.read(min(frames - done, size), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            if size == _SMALL_BLOCK_FRAMES or not _seek(sound, done):
                break
            size = _SMALL_BLOCK_FRAMES
            continue
        if len(block) == 0:
            break
        blocks.append(block)
        done += len(block)
    return np.concatenate(blocks)


def _seek(sound: soundfile.SoundFile, frame: int) -> bool:
    try:
        sound.seek(frame)
    except soundfile.LibsndfileError:
        return False
    return True


def _reaches(sound: soundfile.SoundFile, frame: int, decoded: int, *, ended: bool) -> bool:
    """Whether a frame can be decoded; ``ended`` says that nothing stands behind the frames that were decoded."""
    if decoded > frame or ended:
        return decoded > frame
    try:
        return _seek(sound, frame) and len(sound.read(1, dtype="float32")) == 1
    except soundfile.LibsndfileError:
        return False


def _plain(error: soundfile.LibsndfileError) -> str:
    text = str(error.error_string).strip().rstrip(".")
    return "no whole frame of sound in it" if "does not exist" in text else text  # said of MP3; the file is open
