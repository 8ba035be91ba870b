"""What libsndfile cannot read, read by the program ffmpeg; its own encoders make the files."""

import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.cli import doctor
from core.data import ffmpeg
from core.data.audio import header_seconds, read_clip
from core.data.dataset import read_dataset
from core.data.kinds import SUFFIXES
from core.data.report import check_dataset, kind_of
from core.errors import AudioError
from core.workspace import Workspace
from tests.conftest import tone, write_clip, write_table

needs_ffmpeg = pytest.mark.skipif(ffmpeg.programs() is None, reason="ffmpeg is not installed")

SR = 48000
SECONDS = 5.0
MADE = {  # by name: options of ffmpeg that make it
    "a.m4a": [],
    "fast.m4a": ["-movflags", "faststart"],
    "fragments.mp4": ["-movflags", "frag_keyframe+empty_moov"],
    "a.3gp": ["-c:a", "aac"],
    "a.aac": ["-f", "adts"],
    "a.webm": ["-c:a", "libopus"],
    "recorder.webm": ["-c:a", "libopus", "-f", "webm", "-live", "1"],  # names no length, as a browser's recorder
    "a.mka": ["-c:a", "pcm_s16le"],
    "a.wma": [],
    "a.wv": [],
    "a.oga": ["-c:a", "flac"],
    "apple.caf": ["-c:a", "alac"],
}
NAME_NO_LENGTH = ("a.aac", "recorder.webm")


def make(path, options, *, inputs=1, video_s=None):
    """A tone as ffmpeg encodes it; skips where this build of ffmpeg has no such encoder."""
    source = write_clip(path.parent / "source.wav", tone(440, seconds=SECONDS, sr=SR), sr=SR)
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *(["-i", str(source)] * inputs)]
    maps = [part for number in range(inputs) for part in ("-map", f"{number}:a")]
    if video_s is not None:
        command += ["-f", "lavfi", "-i", f"color=black:size=64x64:rate=5:duration={video_s}"]
        maps += ["-map", f"{inputs}:v"]
    done = subprocess.run([*command, *maps, *options, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this ffmpeg does not make it: {done.stderr[:100]}")
    return path


@cache
def made(name):
    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder) / name, MADE[name]).read_bytes()


def pitch_hz(clip):
    return np.abs(np.fft.rfft(clip.mono)).argmax() * clip.sample_rate_hz / len(clip.mono)


@needs_ffmpeg
@pytest.mark.parametrize("format", ["WAV", "FLAC"])
@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 1), ("PCM_16", 2), ("PCM_24", 1), ("PCM_24", 6)])
def test_both_ways_give_the_same_samples(tmp_path, rng, format, subtype, channels):
    samples = rng.uniform(-1, 1, (2 * 44100, channels))
    path = write_clip(tmp_path / "clip", samples, sr=44100, format=format, subtype=subtype)
    expected, sr = soundfile.read(path, dtype="float32", always_2d=True)
    decoded = ffmpeg.decode(path, format.lower(), max_seconds=45.0, limit_s=60.0)
    assert (decoded.sample_rate_hz, decoded.frames, decoded.warnings) == (sr, 2 * 44100, ())
    assert np.array_equal(decoded.samples, expected)
    start = ffmpeg.decode(path, format.lower(), max_seconds=0.5, limit_s=60.0)
    assert start.frames == 2 * 44100
    assert np.array_equal(start.samples, expected[:22050])


@needs_ffmpeg
@pytest.mark.parametrize("name", MADE)
def test_what_phones_browsers_and_recorders_write_is_read_under_any_name(tmp_path, name):
    other = tmp_path / "clip.wav"
    other.write_bytes(made(name))
    clip = read_clip(other)
    assert clip.sample_rate_hz == SR
    assert pitch_hz(clip) == pytest.approx(440, abs=1)
    assert clip.duration_s == pytest.approx(SECONDS, abs=0.1)  # codecs fill up blocks
    assert clip.warnings == ()
    assert Path(name).suffix in SUFFIXES
    start = read_clip(other, max_seconds=1.0)
    assert (start.seconds, start.duration_s) == (1.0, clip.duration_s)
    if name not in NAME_NO_LENGTH:
        assert header_seconds(other) == pytest.approx(SECONDS, abs=0.1)


@needs_ffmpeg
@pytest.mark.parametrize("name", MADE)
def test_such_a_file_that_was_cut_is_refused(tmp_path, name):
    data = made(name)
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2])
    if name == "a.oga":  # as any Ogg whose header names no length
        assert read_clip(path).warnings == ("no last page ends its Ogg stream: the recording may have been cut",)
        return
    with pytest.raises(AudioError, match=r"truncated|cannot read it|reads no sound"):
        read_clip(path)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.m4a", "fast.m4a", "a.wma", "a.webm", "a.aac"])
def test_of_two_recordings_joined_end_to_end_no_sound_is_lost_without_a_word(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(2 * made(name))
    if name in ("a.webm", "a.aac"):
        assert read_clip(path).duration_s == pytest.approx(2 * SECONDS, abs=0.2)
        return
    with pytest.raises(AudioError, match="joined end to end, of which ffmpeg reads only the first"):
        read_clip(path)


@needs_ffmpeg
def test_of_a_video_the_sound_is_read_and_its_own_length_counts(tmp_path):
    clip = read_clip(make(tmp_path / "a.mp4", [], video_s=9))
    assert clip.duration_s == pytest.approx(SECONDS, abs=0.1)
    assert clip.warnings == ()


@needs_ffmpeg
def test_a_video_without_sound_is_called_one(tmp_path):
    with pytest.raises(AudioError, match="a video without sound"):
        read_clip(make(tmp_path / "a.mp4", [], inputs=0, video_s=2))


@needs_ffmpeg
def test_of_several_streams_the_first_is_read_and_said(tmp_path):
    clip = read_clip(make(tmp_path / "a.mka", ["-c:a", "pcm_s16le"], inputs=2))
    assert clip.warnings == ("2 audio streams: the first is read",)
    assert clip.duration_s == pytest.approx(SECONDS, abs=0.01)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["-y.m4a", "two\nlines.m4a", "100%d.m4a", "http:a.m4a", "concat:a|b.m4a"])
def test_a_name_is_never_an_option_or_an_address(tmp_path, name):
    make(tmp_path / "plain.m4a", []).rename(tmp_path / name)
    assert read_clip(tmp_path / name).duration_s == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:5,\nplain.m4a\n", "ffconcat version 1.0\nfile plain.m4a\n"])
def test_a_playlist_opens_no_other_file(tmp_path, text):
    write_clip(tmp_path / "plain.m4a", tone(440), format="WAV")
    (tmp_path / "list.m4a").write_text(text)
    with pytest.raises(AudioError, match="this is text"):
        read_clip(tmp_path / "list.m4a")


@needs_ffmpeg
def test_a_program_that_hangs_is_ended(tmp_path, monkeypatch):
    path = make(tmp_path / "a.m4a", [])
    sleeper = tmp_path / "sleeper"
    sleeper.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(3600)\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "programs", lambda: (str(sleeper), shutil.which("ffprobe")))
    with pytest.raises(ffmpeg.Damage, match="ffmpeg was still reading it after 1 s"):
        ffmpeg.decode(path, "mov", max_seconds=45.0, limit_s=1.5)


FAKE_M4A = b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(5000)


def test_without_ffmpeg_a_format_is_named_and_the_command_that_installs_it_said_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    names = [f"clip{number}" for number in range(5)]
    for name in names:
        (tmp_path / "set/audios/train").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"set/audios/train/{name}.m4a").write_bytes(FAKE_M4A)
    write_table(tmp_path / "set/csvs/train.csv", ["filename", "label"], [[name, 1] for name in names])
    reason = "the program ffmpeg is needed to read MPEG-4 (M4A, MP4, 3GP); earmark doctor says how to install it"
    with pytest.raises(AudioError) as refusal:
        read_clip(tmp_path / "set/audios/train/clip0.m4a")
    assert refusal.value.reason == reason
    assert header_seconds(tmp_path / "set/audios/train/clip0.m4a") is None

    problems = check_dataset(read_dataset(tmp_path / "set"), workers=0).problems
    assert [problem.file for problem in problems if problem.reason == reason] == names
    commands = [problem for problem in problems if ffmpeg.install_command() in problem.reason]
    assert [(one.file, one.reason) for one in commands] == [("set", f"5 clips need the program ffmpeg: {ffmpeg.install_command()}")]
    assert {kind_of(problem.reason) for problem in problems} == {"needs ffmpeg"}

    told = {finding.name: finding for finding in doctor.examine(Workspace(tmp_path / "workspace"))}["ffmpeg"]
    assert told.problem == ""
    assert ffmpeg.install_command() in told.value


@needs_ffmpeg
def test_the_doctor_names_the_version_of_ffmpeg(tmp_path):
    told = {finding.name: finding for finding in doctor.examine(Workspace(tmp_path))}["ffmpeg"]
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"ffmpeg version {told.value} ")


def test_a_wav_is_read_without_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_clip(write_clip(tmp_path / "a.wav", tone(440))).duration_s == 1.0
    (tmp_path / "bad.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:20])
    with pytest.raises(AudioError, match="not audio that can be read"):
        read_clip(tmp_path / "bad.wav")


@needs_ffmpeg
@pytest.mark.parametrize(
    ("magic", "header", "payload", "rate_hz"),
    [(b"#!AMR\n", 0x3C, 31, 8000), (b"#!AMR-WB\n", 0x44, 60, 16_000)],  # 12.2 kbit/s, and wide band at 23.85 kbit/s (RFC 4867)
)
def test_amr_of_phones_is_read_to_its_last_frame_whatever_its_name(tmp_path, rng, magic, header, payload, rate_hz):
    """Frames of 20 ms of chance bits: no encoder is at hand, but each frame is as long as the standard says."""
    frames = [bytes([header]) + rng.bytes(payload) for _ in range(150)]
    (tmp_path / "call.wav").write_bytes(magic + b"".join(frames))
    clip = read_clip(tmp_path / "call.wav")
    assert (clip.sample_rate_hz, clip.samples.shape) == (rate_hz, (3 * rate_hz, 1))
    assert clip.samples.std() > 0
