"""What a browser is given to play."""

import io

import numpy as np
import pytest
import soundfile

from core.data import ffmpeg
from core.data.audio import read_clip
from core.data.playback import playable
from core.data.treatment import Treatment
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


def both_ears(path, *, seconds=1.0, sr=22050):
    """440 Hz on the left, 880 Hz on the right."""
    samples = np.stack([tone(440, seconds=seconds, sr=sr), tone(880, seconds=seconds, sr=sr)], axis=1)
    return write_clip(path, samples, sr=sr, format="WAV", subtype="PCM_16")


def heard(sound):
    samples, sr = soundfile.read(io.BytesIO(sound), dtype="float32", always_2d=True)
    spectrum = np.abs(np.fft.rfft(samples[:, 0] * np.hanning(len(samples))))
    return samples.shape[1], len(samples) / sr, spectrum.argmax() * sr / len(samples)


@pytest.mark.parametrize(("channel", "hz"), [("left", 440), ("right", 880)])
def test_the_channel_that_is_analysed_is_played(tmp_path, channel, hz):
    sound, mime = playable(both_ears(tmp_path / "clip.wav"), Treatment(channel))
    assert mime == "audio/wav"
    assert heard(sound) == (1, 1.0, hz)  # a whole second: bins of 1 Hz


@pytest.mark.parametrize("sr", [96000, 44100])  # slowed down 44,100 Hz are 4,410 Hz, which no browser need play
def test_a_recording_that_is_slowed_down_10_times_plays_a_tenth_as_high_and_ten_times_as_long(tmp_path, sr):
    path = write_clip(tmp_path / "clip.wav", tone(10000, seconds=0.5, sr=sr), sr=sr, format="WAV", subtype="PCM_16")
    sound, _ = playable(path, Treatment(slow_down=10))
    _, seconds, hz = heard(sound)
    assert seconds == pytest.approx(5, abs=1e-3)
    assert hz == pytest.approx(1000, abs=0.2)  # bins of 0.2 Hz
    assert soundfile.info(io.BytesIO(sound)).samplerate >= 8000


def test_a_channel_that_a_recording_lacks_is_not_played(tmp_path):
    path = write_clip(tmp_path / "clip.wav", tone(440), format="WAV", subtype="PCM_16")
    with pytest.raises(AudioError, match="there is no channel 2"):
        playable(path, Treatment("right"))


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
