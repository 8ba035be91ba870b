"""What a browser is given to play."""

import io

import numpy as np
import pytest
import soundfile

from core.data import ffmpeg
from core.data.audio import read_clip
from core.data.playback import playable
from core.errors import AudioError
from tests.conftest import tone, write_clip
from tests.data.test_ffmpeg import made


@pytest.mark.parametrize(
    ("format", "subtype", "mime"),
    [
        ("WAV", "PCM_16", "audio/wav"),
        ("WAV", "FLOAT", "audio/wav"),
        ("WAVEX", "PCM_24", "audio/wav"),
        ("FLAC", "PCM_16", "audio/flac"),
        ("OGG", "VORBIS", "audio/ogg"),
        ("MP3", None, "audio/mpeg"),
    ],
)
def test_what_browsers_know_is_played_as_it_is_under_any_name(tmp_path, format, subtype, mime):
    path = write_clip(tmp_path / "clip.bin", tone(440), format=format, subtype=subtype)
    assert playable(path) == (path, mime)


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("AIFF", None), ("CAF", None), ("W64", None), ("AU", None), ("NIST", None), ("WAV", "ULAW"), ("RF64", None)],
)
def test_what_they_do_not_know_is_played_as_wav(tmp_path, format, subtype):
    path = write_clip(tmp_path / "clip.wav", tone(440), format=format, subtype=subtype)
    assert_plays(path)


def test_a_file_of_two_parts_is_played_to_its_end(tmp_path):
    path = write_clip(tmp_path / "clip.wav", tone(440))
    path.write_bytes(2 * path.read_bytes())
    assert_plays(path)


@pytest.mark.skipif(ffmpeg.programs() is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("name", ["a.m4a", "a.wma", "recorder.webm"])
def test_what_ffmpeg_reads_is_played_as_wav(tmp_path, name):
    (tmp_path / "clip.wav").write_bytes(made(name))
    assert_plays(tmp_path / "clip.wav")


def assert_plays(path):
    sound, mime = playable(path)
    assert mime == "audio/wav"
    samples, sr = soundfile.read(io.BytesIO(sound), dtype="float32", always_2d=True)
    clip = read_clip(path)
    assert sr == clip.sample_rate_hz
    assert np.allclose(samples, clip.samples, atol=2**-15)


def test_what_is_no_recording_is_not_played(tmp_path):
    (tmp_path / "clip.wav").write_bytes(b"<html>")
    with pytest.raises(AudioError, match="this is a web page"):
        playable(tmp_path / "clip.wav")
    with pytest.raises(AudioError, match="no such file"):
        playable(tmp_path / "gone.wav")
