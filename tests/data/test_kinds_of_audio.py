"""Every kind of file that a folder of audio may hold: each ends in values or in a reason that can be understood.

A case is a row of ``KINDS``: a name, a function that makes the file in a folder, and what is expected of it. Where values are
expected, a NaN stands exactly where the ``nan_when`` column of FEATURES.csv has a rule that applies.
"""

import io
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from core import features
from core.data.audio import read_clip, to_analysis_rate
from core.errors import AudioError
from core.events import ClipSetAside
from core.extraction.config import ExtractSettings
from core.extraction.extract import extract_clips
from tests.conftest import ROOT

RATE_HZ = 22050
VOICE_HZ = 150.0
HANG_S = 60  # a case takes well under a second

NO_VOICE = ("no voiced frame", "no voiced run of 0.1 s", "under 3 periods", "under 6 periods")
SILENT = ("silent clip", *NO_VOICE)
FLEETING = ("under 9 frames", "no voiced run of 0.1 s")  # 93 ms: long enough for an F0, too short for what needs a stretch


@dataclass(frozen=True)
class Values:
    """Vectors are expected: ``missing`` names the rules by which columns are NaN, ``says`` gives values known beforehand.

    "fewer than three beats" is not listed: librosa's tracker, run on the same samples, decides whether it applies.
    """

    missing: tuple[str, ...] = ()
    says: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Reason:
    """A refusal is expected, in words that match ``text``."""

    text: str


@dataclass(frozen=True)
class Kind:
    name: str
    make: Callable[[Path], Path]
    expected: Values | Reason


# --- sounds


def voice(seconds: float = 0.5, *, sr: int = RATE_HZ, f0_hz: float = VOICE_HZ) -> np.ndarray:
    """Eight harmonics, as far as the rate holds them, at a steady level well below full scale."""
    t = np.arange(round(seconds * sr)) / sr
    harmonics = [h for h in range(1, 9) if h * f0_hz < 0.45 * sr]
    return 0.15 * sum(np.sin(2 * np.pi * h * f0_hz * t + h) / h for h in harmonics)


def syllables(seconds: float = 3.0, *, sr: int = RATE_HZ) -> np.ndarray:
    """A voice that starts anew twice a second, so that there are beats to follow."""
    t = np.arange(round(seconds * sr)) / sr
    return voice(seconds, sr=sr) * np.where(t % 0.5 < 0.35, 1.0, 0.01)


PEAK = float(np.abs(voice()).max())
STEP_16 = 2.0**-15


def heard(seconds: float = 0.5, *, sr: int = RATE_HZ, f0_hz: float = VOICE_HZ, blocks_s: float = 0.0, **more: object) -> Values:
    """Values of a voice; ``blocks_s`` is by how much a codec that writes whole blocks may lengthen it."""
    return Values(
        says={
            "sample_rate_hz": sr,
            "duration_s": pytest.approx(seconds + blocks_s / 2, rel=1e-6, abs=1e-6 + blocks_s / 2),  # float32
            "f0_median_hz": pytest.approx(f0_hz, rel=0.01),  # coarse steps and lossy codecs add noise, not another period
            **more,
        }
    )


# --- files


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def encode(samples: np.ndarray, format: str = "WAV", subtype: str | None = None, *, sr: int = RATE_HZ, **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, sr, format=format, subtype=subtype, **options)
    return file.getvalue()


@cache
def sample_file(format: str) -> bytes:
    """Half a second of voice; the OGG holds three seconds of two channels, so that its pages (4 kB) are small beside it."""
    if format == "OGG":
        noise = 0.02 * np.random.default_rng(0).normal(size=(3 * 44100, 2))
        return encode(voice(3.0, sr=44100)[:, None] + noise, "OGG", sr=44100)
    return encode(voice(), format)


HEADER_BYTES = {"WAV": 44, "FLAC": 86, "OGG": 58, "MP3": 208}  # up to the first sample, audio frame or second page


def holding(data: Callable[[], bytes], name: str = "clip.wav") -> Callable[[Path], Path]:
    return lambda folder: save(folder / name, data())


def sound(samples: Callable[[], np.ndarray], format: str = "WAV", subtype: str | None = None, **options) -> Callable[[Path], Path]:
    return holding(lambda: encode(samples(), format, subtype, **options), f"clip.{format.lower()}")


def named(name: str, format: str = "WAV") -> Callable[[Path], Path]:
    return holding(lambda: sample_file(format), name)


def cut(folder: Path, *, format: str, tenth: int) -> Path:
    data = sample_file(format)
    return save(folder / f"clip.{format.lower()}", data[: len(data) * tenth // 10])


def cut_in_half(format: str) -> Callable[[Path], Path]:
    return holding(lambda: (whole := encode(voice(), format))[: len(whole) // 2], f"clip.{format.lower()}")


def noise_behind_the_header(folder: Path, *, format: str) -> Path:
    data, header = sample_file(format), HEADER_BYTES[format]
    return save(folder / f"clip.{format.lower()}", data[:header] + np.random.default_rng(0).bytes(len(data) - header))


def patched(offset: int, layout: str, value: int) -> bytes:
    """The sample WAV with another value in its header."""
    data = bytearray(sample_file("WAV"))
    struct.pack_into(layout, data, offset, value)
    return bytes(data)


def with_chunks_in_front() -> bytes:
    """A comment, and a chunk of odd length with its padding, between the format and the sound."""
    data = sample_file("WAV")
    chunks = b"LIST" + struct.pack("<I", 16) + b"INFOICMT" + struct.pack("<I", 3) + b"odd\0"
    chunks += b"junk" + struct.pack("<I", 3) + b"odd\0"
    return data[:4] + struct.pack("<I", len(data) - 8 + len(chunks)) + data[8:36] + chunks + data[36:]


def mp3_without_its_info_frame(bitrate_mode: str) -> bytes:
    """As cut out of a stream: no frame says how long it is, the first one is already sound."""
    data = encode(voice(3.0), "MP3", bitrate_mode=bitrate_mode, compression_level=0.5)
    return data[data.index(data[:2], 4) :]  # each frame starts with the same sync word


def with_an_id3_picture() -> bytes:
    picture = b"APIC" + struct.pack(">I", 70000) + bytes(2) + bytes(70000)
    size = len(picture)
    synchsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + synchsafe + picture + sample_file("MP3")


def png() -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0:~\x9bU"
        b"\0\0\0\nIDATx\x9cc`\0\0\0\2\0\1H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82"
    )


def zip_of_a_clip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clip.wav", sample_file("WAV"))
    return file.getvalue()


def with_sample(value: float) -> np.ndarray:
    samples = voice()
    samples[1000] = value
    return samples


def three_hours_of_wav(folder: Path) -> Path:
    """A second of voice and a hole: the file system stores almost nothing of it."""
    start = encode(voice(1.0, sr=8000), sr=8000)
    sound_bytes = 3 * 3600 * 8000 * 2
    path = save(folder / "clip.wav", start[:4] + struct.pack("<I", 36 + sound_bytes) + start[8:40] + struct.pack("<I", sound_bytes))
    with path.open("r+b") as file:
        file.seek(44)
        file.write(start[44:])
        file.truncate(44 + sound_bytes)
    return path


def three_hours_of_flac(folder: Path) -> Path:
    path = folder / "clip.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(3 * 60):
            file.write(np.zeros(60 * 8000, np.int16))
    return path


def linked(target: str, link: Callable[[Path, Path], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        save(folder / "there.wav", sample_file("WAV"))
        link(folder / target, folder / "clip.wav")
        return folder / "clip.wav"

    return make


def symlink(target: Path, path: Path) -> None:
    path.symlink_to(target)


def loop(folder: Path) -> Path:
    (folder / "other.wav").symlink_to(folder / "clip.wav")
    (folder / "clip.wav").symlink_to(folder / "other.wav")
    return folder / "clip.wav"


def folder_called_wav(folder: Path) -> Path:
    (folder / "x.wav").mkdir()
    return folder / "x.wav"


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "clip.wav")
    return folder / "clip.wav"


def local_socket(folder: Path) -> Path:
    """Bound from inside the folder: the path of a socket has room for about a hundred bytes."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("clip.wav")
    finally:
        os.chdir(here)
    return folder / "clip.wav"


# --- the table

NOT_AUDIO = "^not audio that can be read"
NOT_BY_FFMPEG = "^ffmpeg cannot read it|^the program ffmpeg is needed"
TRUNCATED = "^truncated"

KINDS = [
    # nothing, or hardly anything
    Kind("no such file", lambda folder: folder / "clip.wav", Reason("^no such file$")),
    Kind("empty file", holding(lambda: b""), Reason(r"^the file is empty \(0 bytes\)$")),
    Kind("one byte", holding(lambda: b"R"), Reason(NOT_AUDIO)),
    Kind("WAV header of no samples", sound(lambda: np.zeros(0)), Reason("^has a header but no samples$")),
    Kind("WAV header only", holding(lambda: sample_file("WAV")[:44]), Reason(TRUNCATED)),
    Kind("FLAC header only", holding(lambda: sample_file("FLAC")[:86], "clip.flac"), Reason(TRUNCATED)),
    Kind("OGG first page only", holding(lambda: sample_file("OGG")[:58], "clip.ogg"), Reason(NOT_AUDIO)),
    Kind("MP3 frame header only", holding(lambda: sample_file("MP3")[:4], "clip.mp3"), Reason(NOT_AUDIO)),
    Kind("MP3 info frame only", holding(lambda: sample_file("MP3")[:208], "clip.mp3"), Reason(NOT_AUDIO)),
    Kind("one sample", sound(lambda: np.array([0.5])), Reason("^too short: 1 samples, at least 2048 are needed$")),
    Kind("2047 samples", sound(lambda: voice()[:2047]), Reason("^too short: 2047 samples, at least 2048 are needed$")),
    Kind("2048 samples", sound(lambda: voice(f0_hz=200.0)[:2048]), Values(FLEETING, {"duration_s": np.float32(2048 / RATE_HZ)})),
    Kind("2048 samples of zeros", sound(lambda: np.zeros(2048)), Values((*SILENT, "under 9 frames"))),
    # cut off: WAV, FLAC and MP3 name their length; OGG does not, so what is there is all that there is
    *(
        Kind(f"{format} cut to {tenth}0 %", partial(cut, format=format, tenth=tenth), Reason(TRUNCATED))
        for format in ("WAV", "FLAC")
        for tenth in range(1, 10)
    ),
    *(
        Kind(f"MP3 cut to {tenth}0 %", partial(cut, format="MP3", tenth=tenth), Reason(f"{NOT_AUDIO}|{TRUNCATED}"))
        for tenth in range(1, 9)
    ),
    Kind("MP3 cut to 90 %", partial(cut, format="MP3", tenth=9), heard()),  # that takes a twentieth of the sound
    Kind("OGG cut to 10 %", partial(cut, format="OGG", tenth=1), Reason("^has a header but no samples$")),
    *(
        Kind(
            f"OGG cut to {tenth}0 %",
            partial(cut, format="OGG", tenth=tenth),
            # Its tables come first, and the page that is cut is lost: 0.4 s at most.
            heard(0.3 * tenth - 0.4, sr=44100, blocks_s=0.4),
        )
        for tenth in range(2, 10)
    ),
    # not what the header or the name says
    Kind("random bytes behind a WAV header", partial(noise_behind_the_header, format="WAV"), Values(NO_VOICE, {"duration_s": 0.5})),
    Kind("random bytes behind a FLAC header", partial(noise_behind_the_header, format="FLAC"), Reason(f"{NOT_AUDIO}|{TRUNCATED}")),
    Kind("random bytes behind an OGG header", partial(noise_behind_the_header, format="OGG"), Reason(NOT_AUDIO)),
    Kind("random bytes behind an MP3 header", partial(noise_behind_the_header, format="MP3"), Reason(NOT_AUDIO)),
    Kind("FLAC called .wav", named("clip.wav", "FLAC"), heard()),
    Kind("WAV called .mp3", named("clip.mp3", "WAV"), heard()),
    Kind("MP3 called .ogg", named("clip.ogg", "MP3"), heard()),
    Kind("OGG called .flac", named("clip.flac", "OGG"), heard(3.0, sr=44100)),
    Kind("WAV called .txt", named("clip.txt", "WAV"), heard()),
    Kind("text", holding(lambda: b"so much to say\n" * 2000), Reason(f"{NOT_AUDIO}: this is text")),
    Kind(
        "web page called .mp3",
        holding(lambda: b"<!doctype html><title>404</title>" * 99, "clip.mp3"),
        Reason(f"{NOT_AUDIO}: this is a web page"),
    ),
    Kind("PNG image", holding(png, "clip.png"), Reason(rf"{NOT_AUDIO}: this is an image \(PNG\)")),
    Kind("zip", holding(zip_of_a_clip, "clip.zip"), Reason(f"{NOT_AUDIO}: this is a zip archive")),
    Kind("zeros without a header", holding(lambda: bytes(40000)), Reason(NOT_AUDIO)),
    Kind(
        "MPEG-4 audio", holding(lambda: b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(5000), "clip.m4a"), Reason(NOT_BY_FFMPEG)
    ),
    Kind("Git LFS pointer", holding(lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0"), Reason("git lfs pull")),
    Kind("VOC", sound(partial(voice, sr=44100), "VOC", sr=44100), Reason("^this is VOC, which is not read; convert it")),
    # headers that are damaged, or seldom seen
    Kind("sample rate 0 in the header", holding(lambda: patched(24, "<I", 0)), Reason(NOT_AUDIO)),
    Kind("sample rate 2 GHz in the header", holding(lambda: patched(24, "<I", 2**31 - 1)), Reason("sample rate|too short")),
    Kind("no channels in the header", holding(lambda: patched(22, "<H", 0)), Reason(NOT_AUDIO)),
    Kind("300 channels in the header", holding(lambda: patched(22, "<H", 300)), Reason("^too short: 36 samples")),
    Kind("unknown codec in the header", holding(lambda: patched(20, "<H", 0x55)), Reason(NOT_AUDIO)),
    Kind("length left open by a stream", holding(lambda: patched(40, "<I", 0xFFFFFFFF)), heard()),
    Kind("header that promises 2 GB", holding(lambda: patched(40, "<I", 0x7FFFEFFF)), Reason(TRUNCATED)),
    Kind("chunks in front of the sound", holding(with_chunks_in_front), heard()),
    Kind("bytes behind the sound", holding(lambda: sample_file("WAV") + b"TAG" + bytes(125)), heard()),
    Kind("ID3 picture in front of an MP3", holding(with_an_id3_picture, "clip.mp3"), heard()),
    *(
        Kind(
            f"MP3 of {mode.lower()} bit rate without its info frame",
            holding(lambda mode=mode: mp3_without_its_info_frame(mode), "clip.mp3"),
            heard(3.0, blocks_s=0.12),  # the padding of the encoder is not known to be one
        )
        for mode in ("CONSTANT", "VARIABLE")
    ),
    Kind("RF64", sound(voice, "RF64"), heard()),
    Kind("WAVE_FORMAT_EXTENSIBLE", sound(voice, "WAVEX"), heard()),
    Kind("big-endian RIFX", sound(voice, endian="BIG"), heard()),
    # samples
    Kind("NaN sample", sound(lambda: with_sample(np.nan), subtype="FLOAT"), Reason("^1 of 11025 samples are not finite numbers$")),
    Kind("infinite sample", sound(lambda: with_sample(-np.inf), subtype="FLOAT"), Reason("^1 of 11025 samples are not finite")),
    Kind("beyond float32", sound(lambda: with_sample(1e300), subtype="DOUBLE"), Reason("^1 of 11025 samples are not finite")),
    Kind("huge samples", sound(lambda: 1e9 * voice(), subtype="FLOAT"), Reason(r"^its samples reach .* times full scale")),
    Kind("all zeros", sound(lambda: np.zeros(11025)), Values(SILENT, {"mfcc0_std": 0.0, "rms_max": 0.0, "silence_ratio": 1.0})),
    Kind("all zeros in FLAC", sound(lambda: np.zeros(11025), "FLAC"), Values(SILENT, {"silence_ratio": 1.0})),
    Kind("all zeros in 8 bits", sound(lambda: np.zeros(11025), subtype="PCM_U8"), Values(SILENT, {"peak_amplitude": 0.0})),
    Kind("constant", sound(lambda: np.full(11025, 0.25)), Values(SILENT, {"amplitude_mean": 0.25, "amplitude_std": 0.0})),
    Kind("one click", sound(lambda: np.eye(1, 11025, 5000)[0]), Values(NO_VOICE, {"peak_time_ratio": np.float32(5000 / 11025)})),
    Kind("noise", sound(lambda: 0.1 * np.random.default_rng(0).normal(size=11025)), Values(NO_VOICE)),
    Kind("at -160 dBFS", sound(lambda: 1e-8 * voice(), subtype="FLOAT"), heard(silence_ratio=1.0)),
    Kind("clipped", sound(lambda: np.clip(20 * voice(), -1, 1)), heard(clipping_ratio=pytest.approx(0.9, abs=0.1))),
    Kind("full recording", sound(syllables), heard(3.0)),
    Kind("three hours of WAV", three_hours_of_wav, heard(10800.0, sr=8000)),
    Kind("three hours of zeros in FLAC", three_hours_of_flac, Values(SILENT, {"duration_s": 10800.0, "sample_rate_hz": 8000})),
    # rates, channels, codecs
    *(
        Kind(f"{sr / 1000:g} kHz", sound(partial(voice, sr=sr), sr=sr), heard(round(sr / 2) / sr, sr=sr))
        for sr in (8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000)
    ),
    *(
        Kind(
            f"{channels} channels",
            sound(lambda channels=channels: np.tile(voice()[:, None], channels)),
            heard(peak_amplitude=pytest.approx(PEAK, abs=STEP_16)),
        )
        for channels in range(1, 9)
    ),
    Kind("64 channels", sound(lambda: np.tile(voice()[:, None], 64)), heard(peak_amplitude=pytest.approx(PEAK, abs=STEP_16))),
    Kind("8 channels of FLAC", sound(lambda: np.tile(voice()[:, None], 8), "FLAC"), heard()),
    Kind(
        "one dead channel",
        sound(lambda: np.column_stack([voice(), np.zeros(11025)])),
        heard(peak_amplitude=pytest.approx(PEAK / 2, abs=STEP_16)),
    ),
    Kind(
        "channels that cancel",
        sound(lambda: np.column_stack([voice(), -voice()]), subtype="FLOAT"),
        heard(peak_amplitude=pytest.approx(PEAK, abs=STEP_16)),
    ),
    Kind(
        "integers in a file of floats",
        sound(lambda: np.round(32768 * voice()), subtype="FLOAT"),
        heard(peak_amplitude=pytest.approx(PEAK, abs=STEP_16)),
    ),
    Kind(
        "offset",
        sound(lambda: 0.1 + voice()),
        heard(peak_amplitude=pytest.approx(PEAK, abs=2e-3), amplitude_mean=pytest.approx(0.1, abs=2e-3)),
    ),
    *(
        Kind(f"WAV {subtype}", sound(voice, subtype=subtype), heard(peak_amplitude=pytest.approx(PEAK, abs=step)))
        for subtype, step in (
            ("PCM_U8", 2.0**-7),
            ("PCM_16", STEP_16),
            ("PCM_24", 2.0**-23),
            ("PCM_32", 2.0**-23),  # read as float32
            ("FLOAT", 2.0**-23),
            ("DOUBLE", 2.0**-23),
            ("ALAW", PEAK / 32),  # steps of a sixteenth of an octave
            ("ULAW", PEAK / 32),
        )
    ),
    *(
        Kind(f"WAV {subtype}", sound(partial(voice, sr=8000), subtype=subtype, sr=8000), heard(sr=8000, blocks_s=0.1))
        for subtype in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32")
    ),
    *(Kind(f"FLAC {subtype}", sound(voice, "FLAC", subtype), heard()) for subtype in ("PCM_S8", "PCM_16", "PCM_24")),
    Kind("OGG Opus", sound(partial(voice, sr=48000), "OGG", "OPUS", sr=48000), heard(sr=48000)),
    Kind("OGG Vorbis", sound(voice, "OGG", "VORBIS"), heard()),
    Kind("MP3", sound(voice, "MP3"), heard()),
    *(Kind(format, sound(voice, format), heard()) for format in ("AIFF", "CAF", "W64", "AU", "NIST")),
    *(
        Kind(f"{format} cut to half", cut_in_half(format), Reason("^truncated: its header names 22050 bytes of sound"))
        for format in ("AIFF", "CAF", "W64", "AU", "NIST", "RF64")
    ),
    # names
    *(
        Kind(f"name with {what}", named(name), heard())
        for what, name in (
            ("spaces", "  my best  take .wav"),
            ("quotes", 'it\'s "the" `one`.wav'),
            ("emoji", "🎹🔥.wav"),
            ("255 bytes", "é" * 125 + "a.wav"),
            ("a leading dash", "-rf.wav"),
            ("a newline", "two\nlines.wav"),
            ("a percent sign", "100%s%20.wav"),
            ("bytes that are not UTF-8", os.fsdecode(b"caf\xe9 \xff.wav")),
            ("a suffix alone", ".wav"),
        )
    ),
    Kind("text named in bytes that are not UTF-8", holding(lambda: b"text", os.fsdecode(b"\xff.wav")), Reason(NOT_AUDIO)),
    Kind("text named over two lines", holding(lambda: b"text", "two\nlines.wav"), Reason(NOT_AUDIO)),
    Kind("name of 256 bytes", lambda folder: folder / ("a" * 252 + ".wav"), Reason("^cannot be opened .*too long")),
    Kind("name with a zero byte", lambda folder: folder / "a\0.wav", Reason("^not a file name")),
    # links and what is no file
    Kind("symbolic link", linked("there.wav", symlink), heard()),
    Kind("hard link", linked("there.wav", os.link), heard()),
    Kind("dangling link", linked("gone.wav", symlink), Reason("^no such file$")),
    Kind("link loop", loop, Reason("^cannot be opened .*symbolic links")),
    Kind("link to a folder", linked(".", symlink), Reason("^this is a folder, not an audio file$")),
    Kind("file taken for a folder", lambda folder: named("a.wav")(folder) / "b.wav", Reason("^cannot be opened .*Not a directory")),
    Kind("folder called x.wav", folder_called_wav, Reason("^this is a folder, not an audio file$")),
    Kind("FIFO", fifo, Reason("^a pipe or a device, not a regular file")),
    Kind("socket", local_socket, Reason("^a pipe or a device, not a regular file")),
    Kind("device", lambda folder: Path("/dev/zero"), Reason("^a pipe or a device, not a regular file")),
]


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    features.prepare()


@pytest.fixture(autouse=True)
def no_hang():
    """A file that is waited for ends its own case, not the whole run."""

    def end(*_: object) -> None:
        raise TimeoutError(f"still at it after {HANG_S} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(HANG_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def kinds(expected: type) -> pytest.MarkDecorator:
    rows = [kind for kind in KINDS if isinstance(kind.expected, expected)]
    return pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in rows])


def beats(path: Path) -> int:
    clip = read_clip(path)
    return len(librosa.beat.beat_track(y=to_analysis_rate(clip.mono, clip.sample_rate_hz), sr=RATE_HZ)[1])


def test_the_table_holds_at_least_sixty_kinds_each_under_its_own_name():
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 60


def test_the_table_knows_every_rule_by_which_a_column_is_missing():
    rules = {column.nan_when for name in features.SET_VERSIONS for column in features.columns(name)}
    assert rules == {"never", "fewer than three beats", *SILENT, *FLEETING}


@kinds(Values)
@pytest.mark.filterwarnings("ignore:n_fft=.* is too large", "ignore:Trying to estimate tuning from empty")  # librosa alone
def test_a_value_is_missing_exactly_where_a_rule_says_so(tmp_path, kind):
    path = kind.make(tmp_path)
    settings = ExtractSettings(workers=0)
    extraction = extract_clips([path], settings, cache_path=tmp_path / "cache.sqlite")
    assert extraction.failures == {}
    rules = {*kind.expected.missing, *(["fewer than three beats"] if beats(path) < 3 else [])}
    values = {}
    for name, vector in extraction.vectors[path].items():
        assert vector.any(), f"{name} is a row of zeros"
        for column, value in zip(features.columns(name), vector, strict=True):
            assert not np.isinf(value), column.name
            assert np.isnan(value) == (column.nan_when in rules), f"{name}.{column.name} is {value}, NaN when {column.nan_when}"
            values[column.name] = value
    assert values["file_size_bytes"] == np.float32(path.stat().st_size)
    for column, expected in kind.expected.says.items():
        assert values[column] == expected, column


@kinds(Reason)
def test_a_file_without_values_has_a_reason_under_its_name(tmp_path, kind):
    path = kind.make(tmp_path)
    with pytest.raises(AudioError, match=re.escape(path.name)) as refusal:
        read_clip(path)
    reason = refusal.value.reason
    assert str(refusal.value) == f"{path.name}: {reason}"
    assert refusal.value.path == path
    assert re.search(kind.expected.text, reason)
    if os.path.lexists(path) and not path.is_symlink():
        assert "not exist" not in reason

    told = []
    settings = ExtractSettings(workers=0)
    extraction = extract_clips([path], settings, cache_path=tmp_path / "cache.sqlite", notify=told.append)
    assert extraction.failures == {path: reason}
    assert extraction.vectors == {}
    assert [event for event in told if isinstance(event, ClipSetAside)] == [ClipSetAside(path.name, reason)]


def test_a_full_recording_lacks_no_value(tmp_path):
    path = sound(syllables)(tmp_path)
    vectors = features.extract(read_clip(path), tuple(features.SET_VERSIONS))
    assert all(np.isfinite(vector).all() for vector in vectors.values())


READ_AS_ANOTHER_USER = """
import os, pathlib, sys
from core.data.audio import read_clip
from core.errors import AudioError
from core.extraction.extract import extract_clips
from core.extraction.config import ExtractSettings
folder = pathlib.Path(sys.argv[1])
settings = ExtractSettings(features=("metadata",), workers=0)
extract_clips([folder / "open.wav"], settings, cache_path=folder / "first.sqlite")  # imports all that another user may not
if os.getuid() == 0:  # to whom every file is open
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
assert read_clip(folder / "open.wav").seconds == 0.5
path = folder / sys.argv[2]
try:
    read_clip(path)
except AudioError as error:
    print(error)
print(extract_clips([path], settings, cache_path=folder / "second.sqlite").failures[path])
"""


@pytest.mark.parametrize("locked", ["locked.wav", "locked/clip.wav"], ids=["file", "folder"])
def test_a_file_that_may_not_be_read_is_refused_with_that_reason(locked):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to other users
        folder = Path(name)
        folder.chmod(0o777)
        save(folder / "open.wav", sample_file("WAV")).chmod(0o644)
        path = folder / locked
        path.parent.mkdir(exist_ok=True)
        save(path, sample_file("WAV")).chmod(0o644)
        (folder / Path(locked).parts[0]).chmod(0)
        child = subprocess.run(
            [sys.executable, "-c", READ_AS_ANOTHER_USER, folder, locked],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
        (folder / Path(locked).parts[0]).chmod(0o755)
    assert child.stdout.splitlines() == [
        f"{path.name}: cannot be opened (Permission denied)",
        "cannot be opened (Permission denied)",
    ], child.stderr
