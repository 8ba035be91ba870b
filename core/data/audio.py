"""Audio file in, samples out. Samples are float32 in [-1, 1]; time is in seconds, rates in Hz.

What a file is, its content decides, not its name: WAV, FLAC, OGG (Vorbis, Opus) and MP3 are read.
"""

import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

from core.data.mpeg import with_length
from core.errors import AudioError, ParameterError

ANALYSIS_RATE_HZ = 22050
MAX_SECONDS = 45.0
MIN_SAMPLES = 2048
MIN_RATE_HZ = 1000
MAX_RATE_HZ = 1_000_000
MAX_AMPLITUDE = 1e6  # times full scale; beyond it squares of float32 sums overflow
WHOLE_SHARE = 0.9  # a file that holds less of the length that its header names counts as truncated
CONTAINERS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

_LEAST_DEADLINE_S = 10.0
_LEAST_BYTES_PER_S = 1000.0  # of the thinnest stream of speech
_HASHED_BYTES_PER_S = 2e7  # of a slow disk

_STREAMED_WAV_BYTES = 0x7FFFF000  # writers that cannot seek put this or more for "length not known"
_UNKNOWN_FRAMES = 1 << 60  # libsndfile's answer for a FLAC stream whose header leaves the length open
_BLOCK_FRAMES = 1 << 14
_SMALL_BLOCK_FRAMES = 1 << 10


@dataclass(frozen=True, slots=True)
class Clip:
    """The decoded start of an audio file.

    Attributes
    ----------
    path : Path
    samples : np.ndarray [shape=(n, channels)], float32, at the rate of the file, at most ``max_seconds`` long
    sample_rate_hz : int > 0
    duration_s : float, length of the whole file
    file_size_bytes : int
    """

    path: Path
    samples: np.ndarray
    sample_rate_hz: int
    duration_s: float
    file_size_bytes: int

    @property
    def mono(self) -> np.ndarray:
        """Mean of the channels [shape=(n,)], float32, at the rate of the file."""
        return self.samples.mean(axis=1, dtype=np.float32)

    @property
    def seconds(self) -> float:
        """Length of the decoded part."""
        return len(self.samples) / self.sample_rate_hz


def read_clip(path: str | Path, *, max_seconds: float = MAX_SECONDS) -> Clip:
    """Decode the first ``max_seconds`` of a file.

    Parameters
    ----------
    path : file of any name; WAV, FLAC, OGG or MP3 by content
    max_seconds : float > 0

    Returns
    -------
    clip : Clip

    Raises
    ------
    AudioError
        The file is missing, empty, not audio, without samples, shorter than 2048 samples, truncated below 90 % of the length
        that its header names, or has samples that are not finite.
    """
    path = Path(path)
    check_regular(path)
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise AudioError(path, "the file is empty (0 bytes)")
        _check_wav_length(path, file, size)
        try:
            with _sound(file) as sound:
                return _decode(path, sound, size, max_seconds)
        except soundfile.LibsndfileError as error:
            raise AudioError(path, f"not audio that can be read as WAV, FLAC, OGG or MP3 ({_plain(error)})") from None


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
    warnings = []
    if clip_is_silent(clip):
        warnings.append("silent: no sample is louder than -80 dBFS")
    clipped = clipped_share(clip)
    if clipped > 0.001:
        warnings.append(f"clipped: {100 * clipped:.1f} % of the samples are at full scale")
    if clip.duration_s > max_seconds:
        warnings.append(f"longer than {max_seconds:g} s ({clip.duration_s:.1f} s): features see the first {max_seconds:g} s")
    return warnings


def clip_is_silent(clip: Clip) -> bool:
    """Whether no sample reaches -80 dBFS."""
    return bool(np.abs(clip.samples).max() < 1e-4)


def clipped_share(clip: Clip) -> float:
    """Share of the decoded samples, of any channel, at or above 0.999 of full scale."""
    return float((np.abs(clip.samples) >= 0.999).mean())


def header_seconds(path: Path) -> float | None:
    """How long a file lasts, as its header says; None where it says nothing."""
    try:
        return float(soundfile.info(str(path)).duration)
    except (soundfile.LibsndfileError, OverflowError, ZeroDivisionError):
        return None


def mean_seconds(paths: Sequence[Path], *, max_seconds: float = MAX_SECONDS, sample: int = 100) -> float:
    """Mean length of clips by the headers of about as many as ``sample``, evenly spaced; each counts at most ``max_seconds``.

    Returns
    -------
    seconds : float >= 0; 0 where no header says a length
    """
    lengths = [header_seconds(path) for path in paths[:: max(1, len(paths) // sample)]]
    known = [min(max_seconds, seconds) for seconds in lengths if seconds is not None]
    return float(np.mean(known)) if known else 0.0


def clip_deadline_s(path: Path, *, max_seconds: float = MAX_SECONDS) -> float:
    """Seconds that a clip may take: ten, and as long as the part of it lasts that is analysed.

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
    if head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt ":
        bytes_per_s = struct.unpack_from("<I", head, 28)[0]
        longest_s = size / max(bytes_per_s, _LEAST_BYTES_PER_S)
    elif head[:4] == b"fLaC":
        fields = int.from_bytes(head[18:26], "big")  # rate in 20 bits, 8 bits of other things, length in 36
        rate_hz, frames = fields >> 44, fields & (1 << 36) - 1
        longest_s = frames / rate_hz if rate_hz and frames else longest_s
    return _LEAST_DEADLINE_S + min(longest_s, max_seconds) + size / _HASHED_BYTES_PER_S


def _open(path: Path) -> IO[bytes]:
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


def _sound(file: IO[bytes]) -> soundfile.SoundFile:
    """The file as sound; an MP3 that does not say how long it is, with its frames counted."""
    sound = soundfile.SoundFile(file.fileno(), closefd=False)
    if sound.format != "MP3":
        return sound
    sound.close()
    return soundfile.SoundFile(with_length(file) or file.fileno(), closefd=False)


def _decode(path: Path, sound: soundfile.SoundFile, size: int, max_seconds: float) -> Clip:
    if sound.format not in CONTAINERS:
        raise AudioError(path, f"this is {sound.format}; WAV, FLAC, OGG and MP3 are read, so convert it first")
    rate = sound.samplerate
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise AudioError(path, f"its header names a sample rate of {rate} Hz; {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are read")
    header_frames = sound.frames if sound.frames < _UNKNOWN_FRAMES else None
    if header_frames == 0:
        raise AudioError(path, "has a header but no samples")
    wanted = max(1, round(max_seconds * rate))
    samples, damage = _read_frames(sound, wanted)
    decoded = len(samples)
    if header_frames is not None:
        total = header_frames
        if not _reaches(sound, int(WHOLE_SHARE * total), decoded, ended=decoded < min(wanted, total)):
            there = f"{decoded / rate:.2f} s can be read" if decoded < wanted else "less than 90 % of that is there"
            raise AudioError(path, f"truncated or damaged: its header names {total / rate:.2f} s, {there}")
    elif damage:
        raise AudioError(path, f"damaged after {decoded / rate:.2f} s ({damage})")
    else:
        total = decoded + _count_frames(sound)
    if decoded == 0:
        raise AudioError(path, "has a header but no samples")
    if total < MIN_SAMPLES:
        raise AudioError(path, f"too short: {total} samples, at least {MIN_SAMPLES} are needed")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(path, f"{bad} of {samples.size} samples are not finite numbers")
    if (peak := float(np.abs(samples).max())) > MAX_AMPLITUDE:
        raise AudioError(path, f"its samples reach {peak:.1e} times full scale: damaged, or not scaled to [-1, 1]")
    return Clip(path, samples, rate, total / rate, size)


def _read_frames(sound: soundfile.SoundFile, frames: int) -> tuple[np.ndarray, str | None]:
    """Read up to ``frames``, and what stopped the decoder where something did.

    Blocks: a header that promises far too much must not reserve memory for it. A block that holds a damage is read again in
    small ones, so that what stands before the damage is kept.
    """
    blocks = [np.zeros((0, sound.channels), np.float32)]
    size, done = _BLOCK_FRAMES, 0
    while done < frames:
        try:
            block = sound.read(min(frames - done, size), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            if size == _SMALL_BLOCK_FRAMES or not _seek(sound, done):
                return np.concatenate(blocks), _plain(error)
            size = _SMALL_BLOCK_FRAMES
            continue
        if len(block) == 0:
            break
        blocks.append(block)
        done += len(block)
    return np.concatenate(blocks), None


def _seek(sound: soundfile.SoundFile, frame: int) -> bool:
    try:
        sound.seek(frame)
    except soundfile.LibsndfileError:
        return False
    return True


def _count_frames(sound: soundfile.SoundFile) -> int:
    count = 0
    while block := len(sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
        count += block
    return count


def _reaches(sound: soundfile.SoundFile, frame: int, decoded: int, *, ended: bool) -> bool:
    """Whether a frame can be decoded; ``ended`` says that nothing stands behind the frames that were decoded."""
    if decoded > frame or ended:
        return decoded > frame
    try:
        return _seek(sound, frame) and len(sound.read(1, dtype="float32")) == 1
    except soundfile.LibsndfileError:
        return False


def _check_wav_length(path: Path, file: IO[bytes], size: int) -> None:
    """Compare the bytes of sound that a RIFF header names with those that are there.

    libsndfile shortens such a file silently to what it finds, so the header is read here (RIFF: Multimedia Programming
    Interface 1.0, 1991; RF64: EBU Tech 3306).
    """
    head = file.read(12)
    long_bytes = None
    if len(head) == 12 and head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == b"ds64" and len(sizes := file.read(16)) == 16:
                long_bytes = struct.unpack("<8xQ", sizes)[0]
                file.seek(length - 16 + length % 2, os.SEEK_CUR)
            elif name == b"data":
                named = long_bytes if head[:4] == b"RF64" and long_bytes is not None else length
                there = size - file.tell()
                known = long_bytes is not None or 0 < named < _STREAMED_WAV_BYTES
                if known and there < WHOLE_SHARE * named:
                    raise AudioError(path, f"truncated: its header names {named} bytes of sound, {there} are there")
                break
            else:
                file.seek(length + length % 2, os.SEEK_CUR)
    file.seek(0)


def _plain(error: soundfile.LibsndfileError) -> str:
    text = str(error.error_string).strip().rstrip(".")
    return "no whole frame of sound in it" if "does not exist" in text else text  # said of MP3; the file is open
