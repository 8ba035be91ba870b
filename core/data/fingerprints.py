"""A clip in, a vector out that hardly differs between copies of a recording, and differs between recordings.

A copy may have another level, format, bit rate, sample rate or metadata, and a few milliseconds more or less at its ends. The
vector is made of magnitudes of the Fourier transform of the whole recording, which a shift in time leaves as they are. Three steps
come before:

- The short-time spectrum is flattened: each cell is divided by its magnitude, so level and timbre play no part, and what tells two
  strikes of one key apart, between the partials, counts as much as the partials.
- The ends are faded over the whole length: what was cut off or put in front has hardly any weight.
- The signal is folded onto one second: its transform at whole hertz is that of the folded signal, however long it is.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import IO

import numpy as np
import soundfile

from core.data import native
from core.data.audio import Clip, read_clip
from core.data.kinds import Kind, recognise

VERSION = 1  # raise it whenever the code changes what a fingerprint is: stored ones are then computed anew
LOW_HZ, HIGH_HZ = 100, 2500  # what codecs of low bit rates and telephones keep
LONGEST_S = 3600.0  # of a recording that is heard: what goes on for longer is another one within its first hour
SIZE = HIGH_HZ - LOW_HZ + 1

_RATE_HZ = 8000
_FRAME, _HOP = 2048, 512
_BINS = slice(LOW_HZ * _FRAME // _RATE_HZ, HIGH_HZ * _FRAME // _RATE_HZ)
_WINDOW = np.sin(np.pi * np.arange(_FRAME) / _FRAME).astype(np.float32)  # its squares overlap to a constant
_FRAMES_AT_ONCE = 1024
_FLOOR = 1e-3  # of the largest magnitude: 60 dB below it is where noise of 16 bits and of codecs begins
_QUIET = 0.1  # of the root mean square magnitude at whole hertz, below which differences count linearly
_AROUND_HZ = 10  # a magnitude is compared with the mean of those so far around it


def fingerprint(clip: Clip) -> np.ndarray:
    """Fingerprint of a whole file as it was recorded, of which ``clip`` may be the start or a channel; an hour is heard at most.

    Two fingerprints are compared by their scalar product: 1 for the same sound, about 0 for sounds that have nothing in common.

    Returns
    -------
    vector : np.ndarray [shape=(2401,)], float32, of length 1; zeros for silence

    Raises
    ------
    AudioError
        The rest of the file cannot be read.
    """
    y = _resampled(clip if clip.treatment.is_plain else read_clip(clip.path))
    flat = _flattened(y) * np.sin(np.pi * (np.arange(len(y)) + 0.5) / len(y)) ** 2
    folded = np.pad(flat, (0, -len(flat) % _RATE_HZ)).reshape(-1, _RATE_HZ).sum(axis=0)
    magnitudes = np.abs(np.fft.rfft(folded))[LOW_HZ : HIGH_HZ + 1]
    level = np.sqrt(np.mean(magnitudes**2))
    if level == 0:
        return np.zeros(SIZE, np.float32)
    loudness = np.log1p(magnitudes / (_QUIET * level))
    width = 2 * _AROUND_HZ + 1
    around = np.convolve(np.pad(loudness, _AROUND_HZ, mode="edge"), np.full(width, 1 / width), mode="valid")
    vector = loudness - around
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def whole_file(clip: Clip) -> Iterator[np.ndarray]:
    """All samples of the file that a clip is the start of, for an hour at most, in blocks [shape=(n, channels)], float32.

    Raises
    ------
    AudioError
        The rest of the file cannot be read.
    """
    if clip.seconds >= clip.duration_s:
        yield clip.samples
        return
    with clip.path.open("rb", buffering=0) as file:
        if (kind := recognise(file)).is_native:
            try:
                yield from _streamed(file, kind, round(LONGEST_S * clip.sample_rate_hz))
                return
            except native.Unsupported:  # so ffmpeg has decoded the clip
                pass
    yield read_clip(clip.path, max_seconds=LONGEST_S).samples


def _streamed(file: IO[bytes], kind: Kind, frames: int) -> Iterator[np.ndarray]:
    """Up to so many frames of a file that libsndfile reads."""
    with suppress(soundfile.LibsndfileError):  # as in a clip, what stands behind a damage is not heard
        for block, _, _ in native.stream(file, kind):
            yield (block if block.dtype == np.float32 else block.astype(np.float32) / 2**31)[:frames]
            frames -= len(block)
            if frames <= 0:
                return


def _resampled(clip: Clip) -> np.ndarray:
    """The file, mono, at 8 kHz [shape=(n,)], float32."""
    import soxr

    stream = soxr.ResampleStream(clip.sample_rate_hz, _RATE_HZ, 1, dtype="float32")
    parts = [stream.resample_chunk(block.mean(axis=1, dtype=np.float32)) for block in whole_file(clip)]
    parts.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(parts)


def _flattened(y: np.ndarray) -> np.ndarray:
    """A signal whose short-time spectrum has magnitudes near 1 wherever that of ``y`` is within 60 dB of its largest."""
    padded = np.pad(y, (_FRAME, _FRAME + -len(y) % _HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    starts = range(0, len(frames), _FRAMES_AT_ONCE)
    largest = max(float(np.abs(_spectra(frames[start : start + _FRAMES_AT_ONCE])).max()) for start in starts)
    flat = np.zeros(len(padded), np.float32)
    if largest == 0:
        return flat[: len(y)]
    for start in starts:
        spectra = _spectra(frames[start : start + _FRAMES_AT_ONCE])
        spectra /= np.abs(spectra) + _FLOOR * largest
        whole = np.zeros((len(spectra), _FRAME // 2 + 1), spectra.dtype)
        whole[:, _BINS] = spectra
        for place, frame in enumerate(np.fft.irfft(whole, _FRAME, axis=1) * _WINDOW, start):
            flat[place * _HOP : place * _HOP + _FRAME] += frame
    return flat[_FRAME : _FRAME + len(y)]


def _spectra(frames: np.ndarray) -> np.ndarray:
    return np.fft.rfft(frames * _WINDOW, axis=1)[:, _BINS]
