import numpy as np
import pytest

from core.features.cycles import find_pulses, jitter, shimmer
from core.features.pitch import track_pitch
from tests.conftest import tone

SR = 22050


def voice(periods_s, amplitudes=None, *, rng=None, noise=0.0):
    """A train of damped pulses, one a period, like a voice with one formant; and the instants of the pulses."""
    amplitudes = np.ones(len(periods_s)) if amplitudes is None else amplitudes
    instants = 0.05 + np.r_[0, np.cumsum(periods_s)[:-1]]
    t = np.arange(round((instants[-1] + 0.1) * SR)) / SR
    y = np.zeros(len(t))
    for instant, amplitude in zip(instants, amplitudes, strict=True):
        since = t - instant
        on = since >= 0
        y[on] += amplitude * np.exp(-since[on] * 300) * np.sin(2 * np.pi * 700 * since[on])
    if noise:
        y += noise * rng.normal(size=len(y))
    return (0.5 * y / np.abs(y).max()).astype(np.float32), instants


@pytest.mark.parametrize("f0_hz", [70, 110, 220, 333.3, 480])
def test_a_tone_has_its_own_pitch(f0_hz):
    track = track_pitch(tone(f0_hz), sr=SR)
    assert track.voiced.mean() > 0.95
    assert np.allclose(track.f0_hz[track.voiced], f0_hz, rtol=2e-3)
    assert np.nanmedian(track.hnr_db) > 30


@pytest.mark.parametrize("f0_hz", [80, 120, 250, 400])
def test_a_pulse_train_has_the_pitch_of_its_pulses(f0_hz):
    y, _ = voice(np.full(round(f0_hz), 1 / f0_hz))
    track = track_pitch(y, sr=SR)
    assert np.nanmedian(track.f0_hz) == pytest.approx(f0_hz, rel=2e-3)


def test_noise_and_silence_are_unvoiced(rng):
    assert track_pitch(0.1 * rng.normal(size=SR), sr=SR).voiced.mean() < 0.1
    assert track_pitch(np.zeros(SR), sr=SR).voiced.sum() == 0
    assert len(track_pitch(np.zeros(900), sr=SR).times_s) == 0  # shorter than one window


def test_the_level_of_a_voice_does_not_change_its_track():
    y, _ = voice(np.full(150, 1 / 150))
    loud, quiet = track_pitch(y, sr=SR), track_pitch(y / 64, sr=SR)
    assert np.allclose(loud.f0_hz, quiet.f0_hz, rtol=1e-6, equal_nan=True)  # float rounding only


@pytest.mark.parametrize("snr_db", [5, 10, 20])
def test_harmonics_to_noise_ratio_is_that_of_the_mixture(rng, snr_db):
    """A sine in white noise has HNR = SNR (Boersma 1993): r_max = S / (S + N)."""
    y = tone(200, seconds=3)
    noise = rng.normal(size=len(y)) * np.sqrt((y**2).mean() / 10 ** (snr_db / 10))
    assert np.nanmedian(track_pitch(y + noise, sr=SR).hnr_db) == pytest.approx(snr_db, abs=1.5)


def test_pulses_stand_one_period_apart():
    y, instants = voice(np.full(120, 1 / 120))
    pulses = find_pulses(y, track_pitch(y, sr=SR), sr=SR)
    assert len(pulses) == pytest.approx(len(instants), abs=6)  # the outer ones lie beyond the first and last frame
    assert np.allclose(np.diff(pulses), 1 / 120, atol=2e-5)  # half a sample


@pytest.mark.parametrize("amount", [0.002, 0.005, 0.01, 0.02])
def test_jitter_is_that_of_the_pulse_train(rng, amount):
    periods = (1 + amount * rng.normal(size=200)) / 120
    y, _ = voice(periods)
    measured = jitter(find_pulses(y, track_pitch(y, sr=SR), sr=SR))
    truth = np.abs(np.diff(periods)).mean() / periods.mean()
    # The neighbourhood that is correlated reaches half a period into the next cycle, which smooths: Praat too finds 10-20 % less.
    assert measured["local"] == pytest.approx(truth, rel=0.2)


def test_jitter_of_known_instants_is_exact():
    periods = np.array([10, 10.2, 10, 10.2, 10, 10.2, 10]) / 1000
    measured = jitter(np.r_[0, np.cumsum(periods)])
    assert measured["local"] == pytest.approx(0.2e-3 / periods.mean())
    expected = np.mean([abs(periods[i] - periods[i - 2 : i + 3].mean()) for i in (2, 3, 4)]) / periods.mean()
    assert measured["ppq5"] == pytest.approx(expected)


def test_a_gap_between_two_voiced_stretches_is_not_a_period():
    stretch = np.arange(6) * 0.01
    assert jitter(np.r_[stretch, 1 + stretch])["local"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("amount", [0.02, 0.1])
def test_shimmer_is_that_of_the_pulse_train(amount):
    amplitudes = 1 + amount * (-1.0) ** np.arange(150)
    y, _ = voice(np.full(150, 1 / 120), amplitudes)
    measured = shimmer(y, find_pulses(y, track_pitch(y, sr=SR), sr=SR), sr=SR)
    assert measured["local"] == pytest.approx(2 * amount, rel=0.15)


def test_too_few_periods_give_no_perturbation():
    pulses = np.arange(3) * 0.01  # two periods
    assert np.isnan(list(jitter(pulses).values())).all()
    assert np.isnan(list(shimmer(np.ones(1000), pulses, sr=SR).values())).all()
    five = jitter(np.arange(6) * 0.01)
    assert five["local"] == pytest.approx(0, abs=1e-12)
    assert np.isnan(five["ppq5"])
