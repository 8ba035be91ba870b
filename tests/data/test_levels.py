"""What is mended of levels and channels, what is only said, and what is left as it is."""

import numpy as np
import pytest
import soundfile

from core.data.audio import clip_warnings, read_clip
from core.data.levels import mend, share_above
from core.data.report import kind_of
from tests.conftest import tone, write_clip

SR = 22050


def stereo(*channels):
    return np.column_stack(channels).astype(np.float32)


def read(path, samples, **options):
    return read_clip(write_clip(path / "clip.wav", samples, subtype="FLOAT", **options))


@pytest.mark.parametrize(
    "samples",
    [
        stereo(tone(440)),
        stereo(tone(440), 0.5 * tone(440)),
        stereo(tone(440), tone(660)),
        stereo(np.zeros(SR), np.zeros(SR)),
        stereo(tone(440, amplitude=1.9)),
        stereo(tone(440, amplitude=12.0)),
        stereo(tone(31)[: SR // 20]),  # half a period too much: its mean is no offset
        stereo(0.004 + tone(440, amplitude=0.1)),
        np.random.default_rng(0).normal(size=(SR, 6)).astype(np.float32),
    ],
    ids=["mono", "one louder", "two tones", "silence", "beyond", "far beyond", "part of a period", "little offset", "noise"],
)
def test_what_is_in_order_stays_bit_for_bit(samples):
    mended = mend(samples, SR)
    assert mended.samples is samples
    assert (mended.offset, mended.warnings) == (0.0, ())


@pytest.mark.parametrize("gain", [-1.0, -0.3])
def test_an_inverted_channel_does_not_cancel(tmp_path, gain):
    clip = read(tmp_path, stereo(tone(440), gain * tone(440)))
    assert np.allclose(clip.mono, (1 - gain) / 2 * tone(440), atol=1e-6)
    advice = "to analyse one channel alone, use --channel left"
    assert clip_warnings(clip) == [f"channel 2 is inverted: turned around before the mix; {advice}"]


def test_which_of_two_channels_is_inverted_the_louder_one_decides(tmp_path):
    clip = read(tmp_path, stereo(-0.5 * tone(440), tone(440)))
    assert np.allclose(clip.mono, 0.75 * tone(440), atol=1e-6)


def test_a_quarter_of_a_period_between_channels_is_no_inversion(tmp_path):
    y = tone(441, seconds=1.1)
    assert read(tmp_path, stereo(y[:SR], y[12 : SR + 12])).warnings == ()  # a period has 50 samples


def test_a_dead_channel_is_said_and_mixed_as_it_is(tmp_path):
    clip = read(tmp_path, stereo(tone(440), 1e-4 * tone(440)))
    assert np.allclose(clip.mono, tone(440) / 2, atol=1e-4)
    advice = "to leave it out, use --channel loudest"
    assert clip.warnings == (f"channel 2 is (nearly) silent: the mix is -6.0 dB lower for it; {advice}",)


def test_a_speaker_on_each_channel_is_said(tmp_path):
    turn = np.arange(2 * SR) // (SR // 4) % 2
    clip = read(tmp_path, stereo(turn * tone(300, seconds=2), (1 - turn) * tone(200, seconds=2)))
    assert clip.warnings[0].startswith("its channels differ by over 20 dB in ")
    assert clip.warnings[0].endswith("to analyse one of them, use --channel left or --channel right")
    assert read(tmp_path, stereo(tone(300), 0.2 * tone(200))).warnings == ()


@pytest.mark.parametrize("offset", [0.006, 0.2, -0.2])
def test_an_offset_is_taken_off_and_kept_as_a_number(tmp_path, offset):
    clip = read(tmp_path, offset + tone(440, amplitude=0.3))
    assert np.allclose(clip.mono, tone(440, amplitude=0.3), atol=1e-5)
    assert clip.offset == pytest.approx(offset, abs=1e-5)
    assert clip_warnings(clip) == [f"offset of {100 * offset:+.1f} % of full scale: taken off"]


def test_an_offset_of_one_channel_is_taken_off_that_channel(tmp_path):
    clip = read(tmp_path, stereo(0.1 + tone(440), tone(440)))
    assert np.allclose(clip.samples[:, 0], clip.samples[:, 1], atol=1e-5)
    assert clip.offset == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize(("scale", "bits"), [(1 << 15, 16), (1 << 23, 24)])
def test_integers_in_a_file_of_floats_are_scaled_back(tmp_path, scale, bits):
    clip = read(tmp_path, np.round((scale - 1) * tone(440, amplitude=0.9)))
    assert np.allclose(clip.mono, tone(440, amplitude=0.9), atol=2 / scale + 1e-7)
    assert [warning.split(",")[0] for warning in clip_warnings(clip)] == [f"integers of {bits} bits in a file of floats"]


def test_integers_that_were_resampled_are_no_longer_whole_and_scaled_back_too(tmp_path):
    clip = read(tmp_path, 33000.7 * tone(440, amplitude=1.0))
    assert np.allclose(clip.mono, 33000.7 / 32768 * tone(440, amplitude=1.0), atol=1e-5)


def test_samples_beyond_full_scale_are_not_called_clipped(tmp_path):
    clip = read(tmp_path, tone(440, amplitude=2.0))
    assert clip.samples.max() == pytest.approx(2.0, abs=0.01)
    told = clip_warnings(clip)
    assert len(told) == 1
    assert told[0].startswith("beyond full scale: 66.")  # asin(1 / 2) is a third of a quarter
    assert told[0].endswith("up to 2.00 times (+6.0 dBFS)")
    assert clip_warnings(read(tmp_path, np.clip(tone(440, amplitude=2.0), -1, 1)))[0].startswith("clipped: 66.")


def test_every_warning_has_a_kind(tmp_path):
    sounds = [
        stereo(tone(440), -tone(440)),
        stereo(tone(440), np.zeros(SR)),
        0.1 + tone(440),
        np.round(32767 * tone(440)),
        tone(440, amplitude=2),
    ]
    kinds = [kind_of(clip_warnings(read(tmp_path, samples))[0]) for samples in sounds]
    assert kinds == ["channels", "channels", "offset", "scale", "beyond full scale"]


def test_energy_above_the_band_of_the_features_is_told(tmp_path):
    """Two tones of one amplitude at 48 kHz, of which 22.05 kHz hold one; and a call of a bat at 192 kHz."""
    time_s = np.arange(48000) / 48000
    both = 0.3 * (np.sin(2 * np.pi * 1000 * time_s) + np.sin(2 * np.pi * 15000 * time_s))
    assert share_above(both, 48000, 11025) == pytest.approx(0.5, abs=0.01)
    assert share_above(both, 22050, 11025) == 0
    assert share_above(np.zeros(48000), 48000, 11025) == 0
    bat = 0.3 * np.sin(2 * np.pi * 45000 * np.arange(192000) / 192000)
    soundfile.write(tmp_path / "bat.wav", bat, 192000)
    (told,) = clip_warnings(read_clip(tmp_path / "bat.wav"))
    unheard = "100% of its energy lies above 11 kHz, where features, at a rate of 22.05 kHz, hear nothing"
    assert told == f"{unheard}; to analyse it, use --slow-down 10"
    soundfile.write(tmp_path / "low.wav", 0.3 * np.sin(2 * np.pi * 1000 * time_s), 48000)
    assert clip_warnings(read_clip(tmp_path / "low.wav")) == []
