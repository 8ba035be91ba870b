"""Which channel of a recording is analysed, and how far it is slowed down."""

import numpy as np
import pytest
import soundfile

from core import features
from core.data.audio import clip_deadline_s, clip_warnings, mean_seconds, read_clip
from core.data.fingerprints import fingerprint
from core.data.treatment import AS_RECORDED, Treatment, parse_channel
from core.errors import AudioError, ParameterError
from tests.conftest import tone, write_clip

SR = 22050
BAT_SR = 192_000


def many_tones(path, *, channels=6, sr=SR):
    """A tone of 100 Hz on the first channel, of 200 Hz on the second, and so on."""
    return write_clip(path / "tones.wav", np.column_stack([tone(100 * (1 + at), sr=sr) for at in range(channels)]), sr=sr)


def frequency_hz(clip):
    return float(np.abs(np.fft.rfft(clip.mono)).argmax() * clip.sample_rate_hz / len(clip.mono))


@pytest.mark.parametrize(("channel", "hz"), [("left", 100), ("right", 200), ("3", 300), ("6", 600)])
def test_a_channel_is_taken_by_its_name_or_its_number(tmp_path, channel, hz):
    clip = read_clip(many_tones(tmp_path), treatment=Treatment(channel))
    assert clip.samples.shape == (SR, 1)
    assert frequency_hz(clip) == hz


def test_the_loudest_channel_has_the_highest_rms_over_what_is_analysed_whatever_its_offset(tmp_path):
    late = np.concatenate([np.zeros(SR), tone(300, amplitude=0.9)])
    quiet, louder = 0.7 + tone(200, seconds=2, amplitude=0.01), tone(500, seconds=2, amplitude=0.1)
    path = write_clip(tmp_path / "three.wav", np.column_stack([quiet, louder, late]))
    assert frequency_hz(read_clip(path, treatment=Treatment("loudest"))) == 300
    assert frequency_hz(read_clip(path, max_seconds=1, treatment=Treatment("loudest"))) == 500


def test_a_channel_of_a_file_is_the_same_as_that_channel_in_a_file_of_its_own(tmp_path, rng):
    left, right = (0.1 * rng.normal(size=SR).astype(np.float32) for _ in range(2))
    both = write_clip(tmp_path / "both.wav", np.column_stack([left, right]), subtype="FLOAT")
    alone = write_clip(tmp_path / "alone.wav", right, subtype="FLOAT")
    clip = read_clip(both, treatment=Treatment("right"))
    assert np.array_equal(clip.samples, read_clip(alone).samples)
    vectors = [features.extract(each, ("ultra",))["ultra"] for each in (clip, read_clip(alone))]
    assert np.array_equal(*vectors, equal_nan=True)


@pytest.mark.parametrize(("channels", "channel", "has"), [(1, "right", "has 1 channel,"), (2, "3", "has 2 channels,")])
def test_a_clip_that_lacks_a_channel_says_how_many_it_has(tmp_path, channels, channel, has):
    path = many_tones(tmp_path, channels=channels)
    with pytest.raises(AudioError, match=f"{has} so there is no channel {2 if channel == 'right' else 3}; choose another"):
        read_clip(path, treatment=Treatment(channel))


def test_of_one_channel_nothing_is_said_of_the_others(tmp_path):
    opposite = write_clip(tmp_path / "opposite.wav", np.column_stack([tone(440), -tone(440)]))
    assert "inverted" in clip_warnings(read_clip(opposite))[0]
    clip = read_clip(opposite, treatment=Treatment("right"))
    assert clip_warnings(clip) == []
    assert np.allclose(clip.mono, -tone(440), atol=2**-15)


def test_a_call_of_a_bat_slowed_down_ten_times_is_heard_a_tenth_as_high_and_ten_times_as_long(tmp_path):
    path = write_clip(tmp_path / "bat.wav", tone(45_000, seconds=0.2, sr=BAT_SR), sr=BAT_SR)
    clip = read_clip(path, treatment=Treatment(slow_down=10))
    assert (clip.sample_rate_hz, clip.duration_s, clip.seconds) == (19_200, 2.0, 2.0)
    assert clip_warnings(clip) == []
    vectors = features.extract(clip, ("ultra", "metadata"))
    values = {name: dict(zip(features.names(name), vectors[name].tolist(), strict=True)) for name in vectors}
    assert values["ultra"]["centroid_mean_hz"] == pytest.approx(4500, rel=0.01)
    assert values["ultra"]["duration_s"] == 2.0
    assert values["metadata"]["duration_s"] == 2.0
    assert values["metadata"]["sample_rate_hz"] == 19_200


def test_seconds_count_the_slowed_sound(tmp_path):
    path = write_clip(tmp_path / "long.wav", tone(1000, seconds=2, sr=BAT_SR), sr=BAT_SR)
    treatment = Treatment(slow_down=10)
    clip = read_clip(path, max_seconds=5, treatment=treatment)
    assert (clip.seconds, clip.duration_s) == (5.0, 20.0)
    told = clip_warnings(clip, max_seconds=5)
    assert told == ["longer than 5 s (20.0 s, slowed down 10 times): features see the first 5 s"]
    assert mean_seconds([path], treatment=treatment) == 20.0
    assert mean_seconds([path], max_seconds=5, treatment=treatment) == 5.0
    assert clip_deadline_s(path, treatment=treatment) == pytest.approx(clip_deadline_s(path) + 18, abs=0.1)


def test_what_is_slowed_down_and_still_too_high_is_to_be_slowed_down_more(tmp_path):
    path = write_clip(tmp_path / "high.wav", tone(45_000, sr=BAT_SR), sr=BAT_SR)
    (told,) = clip_warnings(read_clip(path, treatment=Treatment(slow_down=2)))
    assert told.endswith("to analyse it, use --slow-down 20")


def test_a_rate_below_1_khz_is_refused_with_what_would_do(tmp_path):
    path = write_clip(tmp_path / "clip.wav", tone(440))
    with pytest.raises(AudioError, match=r"slowed down 30 times, 22050 Hz leave .* under 1000 Hz; at most 22 times will do"):
        read_clip(path, treatment=Treatment(slow_down=30))
    assert read_clip(path, treatment=Treatment(slow_down=22)).sample_rate_hz == 1002


def test_the_fingerprint_is_of_the_file_whatever_is_analysed_of_it(tmp_path):
    path = many_tones(tmp_path, channels=2)
    as_recorded = fingerprint(read_clip(path))
    assert np.array_equal(fingerprint(read_clip(path, max_seconds=1, treatment=Treatment("left", 3))), as_recorded)


def test_the_mix_at_its_own_speed_is_bit_for_bit_what_it_was(tmp_path, rng):
    samples = 0.1 * rng.normal(size=(SR, 2)).astype(np.float32)
    path = write_clip(tmp_path / "clip.wav", samples, subtype="FLOAT")
    clip = read_clip(path, treatment=Treatment("mix", 1.0))
    assert clip.treatment == AS_RECORDED
    assert np.array_equal(clip.samples, soundfile.read(path, dtype="float32")[0])
    assert Treatment("mix", 1.0).definition() == {}


@pytest.mark.parametrize("text", ["", "middle", "0", "-1", "1.5", "left right", "²"])
def test_what_names_no_channel_is_refused(text):
    with pytest.raises(ParameterError, match="must be mix, left, right, loudest, or the number of a channel"):
        parse_channel(text)
