"""Audio file in, samples out. Samples are float32 in [-1, 1]; time is in seconds, rates in Hz.

What a file is, its content decides, not its name. libsndfile reads WAV and its siblings, FLAC, Ogg and MP3; the program ``ffmpeg``,
where it is on the path, reads what phones, browsers and recorders write besides.
"""

import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from core.data import ffmpeg, levels, native
from core.data.kinds import SUFFIXES as SUFFIXES, Kind, recognise
from core.data.parts import Damage, Decoded
from core.data.treatment import AS_RECORDED, Treatment, text_of
from core.errors import AudioError, ParameterError

ANALYSIS_RATE_HZ = 22050
MAX_SECONDS = 45.0
UNHEARD_SHARE = 0.1  # of the energy, above half of that rate, from which on a clip is warned of
MIN_SAMPLES = 2048
MAX_AMPLITUDE = 1e6  # times full scale; beyond it squares of float32 sums overflow

NEEDS_FFMPEG = "the program ffmpeg is needed"  # begins the reason why a clip is not read without it
_LEAST_DEADLINE_S = 10.0
_LEAST_BYTES_PER_S = 1000.0  # of the thinnest stream of speech
_HASHED_BYTES_PER_S = 2e7  # of a slow disk


@dataclass(frozen=True, slots=True)
class Clip:
    """The decoded start of an audio file.

    Attributes
    ----------
    path : Path
    samples : np.ndarray [shape=(n, channels)], float32, as in the file, of ``max_seconds`` or less; see ``levels``
    sample_rate_hz : int > 0, that of the file, divided where it is slowed down
    duration_s : float, length of the whole file, longer where it is slowed down
    file_size_bytes : int
    warnings : tuple of str, what decoding has shown to be odd about the file
    offset : float, that was taken off the mean of the channels
    treatment : Treatment, which channel this is, and how far it is slowed down
    """

    path: Path
    samples: np.ndarray
    sample_rate_hz: int
    duration_s: float
    file_size_bytes: int
    warnings: tuple[str, ...] = ()
    offset: float = 0.0
    treatment: Treatment = AS_RECORDED

    @property
    def mono(self) -> np.ndarray:
        """Mean of the channels [shape=(n,)], float32, at ``sample_rate_hz``."""
        return self.samples.mean(axis=1, dtype=np.float32)

    @property
    def seconds(self) -> float:
        """Length of the decoded part."""
        return len(self.samples) / self.sample_rate_hz


def read_clip(path: str | Path, *, max_seconds: float = MAX_SECONDS, treatment: Treatment = AS_RECORDED) -> Clip:
    """Decode the first ``max_seconds`` of a file, counted at the speed at which it is analysed.

    Parameters
    ----------
    path : file of any name
    max_seconds : float > 0
    treatment : Treatment, which channel is taken, and how far it is slowed down

    Returns
    -------
    clip : Clip

    Raises
    ------
    AudioError
        The file is missing, empty, not audio, without samples, shorter than 2048 samples, truncated below 90 % of the length
        that its header names, joined from parts of different rates or channels, or has samples that are not finite; or it takes
        ``ffmpeg``, which is missing; or it lacks the channel, or is slowed down below a rate of 1 kHz.
    """
    path = Path(path)
    with open_clip(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise AudioError(path, "the file is empty (0 bytes)")
        try:
            decoded = _decode(path, file, treatment.file_seconds(max_seconds))
            _check_decoded(decoded)
            rate_hz, samples = treatment.slow(decoded.sample_rate_hz), treatment.take_channel(decoded.samples)
        except Damage as damage:
            raise AudioError(path, str(damage)) from None
    mended = levels.mend(samples, decoded.sample_rate_hz)
    if (peak := float(np.abs(mended.samples).max())) > MAX_AMPLITUDE:
        raise AudioError(path, f"its samples reach {peak:.1e} times full scale: damaged, or not scaled to [-1, 1]")
    warnings = (*decoded.warnings, *mended.warnings)
    return Clip(path, mended.samples, rate_hz, decoded.frames / rate_hz, size, warnings, mended.offset, treatment)


def to_analysis_rate(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Resample a mono signal to 22 050 Hz with soxr's high-quality filter, as ``librosa.load`` does.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
    sample_rate_hz : int > 0

    Returns
    -------
    y : np.ndarray [shape=(ceil(n * 22050 / sample_rate_hz),)], float32
    """
    import librosa

    y = librosa.resample(samples, orig_sr=sample_rate_hz, target_sr=ANALYSIS_RATE_HZ, res_type="soxr_hq")
    return np.ascontiguousarray(y, dtype=np.float32)


def clip_warnings(clip: Clip, *, max_seconds: float = MAX_SECONDS) -> list[str]:
    """What is odd about a clip that can be used all the same, in words."""
    warnings = list(clip.warnings)
    if clip_is_silent(clip):
        warnings.append("silent: no sample is louder than -80 dBFS")
    warnings += levels.level_warnings(clip.samples)
    above = levels.share_above(clip.mono, clip.sample_rate_hz, ANALYSIS_RATE_HZ / 2)
    if above > UNHEARD_SHARE:
        advice = f"to analyse it, use --slow-down {text_of(10 * clip.treatment.slow_down)}"
        warnings.append(
            f"{above:.0%} of its energy lies above 11 kHz, where features, at a rate of 22.05 kHz, hear nothing; {advice}"
        )
    if clip.duration_s > max_seconds:
        length = f"{clip.duration_s:.1f} s" + (f", {speed}" if (speed := clip.treatment.speed) else "")
        warnings.append(f"longer than {max_seconds:g} s ({length}): features see the first {max_seconds:g} s")
    return warnings


def clip_is_silent(clip: Clip) -> bool:
    """Whether no sample reaches -80 dBFS."""
    return bool(np.abs(clip.samples).max() < 1e-4)


def clipped_share(clip: Clip) -> float:
    """Share of the decoded samples, of any channel, at or above 0.999 of full scale."""
    return float((np.abs(clip.samples) >= 0.999).mean())


def header_seconds(path: Path) -> float | None:
    """How long a file lasts, as its header says, or the first of its parts; None where it says nothing."""
    try:
        with open_clip(path) as file:
            kind = recognise(file)
    except (AudioError, OSError):  # a folder, or what nobody can read
        return None
    seconds = native.header_seconds(str(path)) if kind.is_native else None
    return ffmpeg.seconds(path, kind.demuxer) if seconds is None and kind.demuxer else seconds


def mean_seconds(
    paths: Sequence[Path], *, max_seconds: float = MAX_SECONDS, treatment: Treatment = AS_RECORDED, sample: int = 100
) -> float:
    """Mean length of what is analysed of clips, by the headers of about as many as ``sample``, evenly spaced.

    Returns
    -------
    seconds : float >= 0; 0 where no header says a length
    """
    lengths = [header_seconds(path) for path in paths[:: max(1, len(paths) // sample)]]
    known = [treatment.analysed_seconds(seconds, max_seconds) for seconds in lengths if seconds is not None]
    return float(np.mean(known)) if known else 0.0


def clip_deadline_s(path: Path, *, max_seconds: float = MAX_SECONDS, treatment: Treatment = AS_RECORDED) -> float:
    """Seconds that a clip may take: ten, and as long as what is analysed of it lasts.

    No decoder is asked for the length, because the process that watches the others must not hang itself. WAV and FLAC say in
    their first bytes how long they last; of other files the size tells how long they can be.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError):  # the worker gives the reason
        return _LEAST_DEADLINE_S
    longest_s = size / _LEAST_BYTES_PER_S
    if head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt " and len(head) >= 32:
        bytes_per_s = struct.unpack_from("<I", head, 28)[0]
        longest_s = size / max(bytes_per_s, _LEAST_BYTES_PER_S)
    elif head[:4] == b"fLaC" and len(head) >= 26:
        fields = int.from_bytes(head[18:26], "big")  # rate in 20 bits, 8 bits of other things, length in 36
        rate_hz, frames = fields >> 44, fields & (1 << 36) - 1
        longest_s = frames / rate_hz if rate_hz and frames else longest_s
    return _LEAST_DEADLINE_S + treatment.analysed_seconds(longest_s, max_seconds) + size / _HASHED_BYTES_PER_S


def open_clip(path: Path) -> IO[bytes]:
    """Open a file for a decoder.

    Raises
    ------
    AudioError
        It is missing, a folder, a pipe or a device, or may not be opened.
    """
    check_regular(path)
    try:
        return path.open("rb", buffering=0)  # libsndfile goes on at the position of the descriptor
    except FileNotFoundError:
        raise AudioError(path, "no such file") from None
    except IsADirectoryError:
        raise AudioError(path, "this is a folder, not an audio file") from None
    except OSError as error:
        raise AudioError(path, f"cannot be opened ({error.strerror})") from None
    except ValueError as error:  # a zero byte in the name
        raise AudioError(path, f"not a file name ({error})") from None


def check_regular(path: Path) -> None:
    """Refuse a pipe or a device, which could be read for ever.

    Raises
    ------
    AudioError
        The path is something else than a file or a folder; what is missing is left to the one who opens it.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise AudioError(path, "a pipe or a device, not a regular file; save the sound to a file first")


def check_max_seconds(max_seconds: float) -> None:
    """Refuse an invalid length of analysis.

    Raises
    ------
    ParameterError
        It is under 1 s or not a finite number.
    """
    if not 1 <= max_seconds < float("inf"):
        raise ParameterError(f"max_seconds={max_seconds} must be a finite number of 1 or more")


def _decode(path: Path, file: IO[bytes], max_seconds: float) -> Decoded:
    """By libsndfile where it can, else by ffmpeg."""
    kind = recognise(file)
    if kind.refusal:
        raise Damage(f"not audio that can be read: {kind.refusal}")
    if not kind.is_native:
        return _decode_by_ffmpeg(path, kind, max_seconds)
    try:
        return native.decode(file, kind, max_seconds=max_seconds)
    except native.Unsupported as error:
        refused = Damage(f"not audio that can be read ({error})")
        if not kind.demuxer or not (error.is_codec or ffmpeg.programs()):
            raise refused from None
        try:
            return _decode_by_ffmpeg(path, kind, max_seconds)
        except Damage as damage:
            raise (damage if error.is_codec else refused) from None


def _decode_by_ffmpeg(path: Path, kind: Kind, max_seconds: float) -> Decoded:
    try:
        return ffmpeg.decode(
            path, kind.demuxer, max_seconds=max_seconds, limit_s=0.9 * clip_deadline_s(path, max_seconds=max_seconds)
        )
    except ffmpeg.Missing:
        raise Damage(f"{NEEDS_FFMPEG} to read {kind.name}; earmark doctor says how to install it") from None


def _check_decoded(decoded: Decoded) -> None:
    samples, frames = decoded.samples, decoded.frames
    if len(samples) == 0:
        raise Damage("has a header but no samples")
    if frames < MIN_SAMPLES:
        raise Damage(f"too short: {frames} samples, at least {MIN_SAMPLES} are needed")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise Damage(f"{bad} of {samples.size} samples are not finite numbers")
