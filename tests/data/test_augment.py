"""A copy of a tone is a tone: of the pitch and the length that were drawn, with the noise that was drawn, whoever makes it."""

import hashlib
import random
import subprocess
import sys

import numpy as np
import pytest

from core.data.augment import MAX_STRETCH, NOISE_STD, Variation, apply, augment, draw
from tests.conftest import ROOT, tone

SR = 22050


def frequency_hz(y):
    """The strongest frequency, by a parabola through the bins around it."""
    spectrum = np.log(np.abs(np.fft.rfft(y * np.hanning(len(y)))))
    top = int(np.argmax(spectrum))
    left, middle, right = spectrum[top - 1 : top + 2]
    return (top + (left - right) / (left + right - 2 * middle) / 2) * SR / len(y)


def a440(seconds=2.0):
    return tone(440, seconds=seconds).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_a_copy_of_a_tone_is_a_tone_nearby(seed):
    variation, copy = draw(seed), augment(a440(), SR, seed=seed)
    assert copy.dtype == np.float32
    assert len(copy) == pytest.approx(2 * SR / variation.rate, abs=2)
    assert 1 / MAX_STRETCH <= len(copy) / (2 * SR) <= MAX_STRETCH
    shift = 12 * np.log2(frequency_hz(copy) / 440)
    assert shift == pytest.approx(variation.semitones, abs=0.1)  # of the phase vocoder's bins
    assert 0.05 < abs(shift) < 2.1
    assert np.std(copy) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_what_is_drawn_fills_its_range_evenly():
    drawn = [draw(seed) for seed in range(2000)]
    rates, semitones = np.array([one.rate for one in drawn]), np.array([one.semitones for one in drawn])
    for low, high, values in ((1 / 1.05, 1.05, rates), (-2, 2, semitones)):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    assert np.median(rates) == pytest.approx(1, abs=0.003)  # three standard errors
    assert np.median(semitones) == pytest.approx(0, abs=0.15)
    assert abs(np.corrcoef(rates, semitones)[0, 1]) < 0.07
    assert len({one.noise_seed for one in drawn}) == 2000


def test_without_stretch_and_shift_only_the_noise_is_left():
    y = a440()
    noise = apply(Variation(1.0, 0.0, noise_seed=5), y, SR) - y
    inner = noise[SR // 2 : -SR // 2]  # the transforms fade at the ends
    assert inner.std() == pytest.approx(NOISE_STD, rel=0.03)
    silence = apply(draw(1), np.zeros(SR, np.float32), SR)
    assert silence.std() == pytest.approx(NOISE_STD, rel=0.03)
    assert silence.mean() == pytest.approx(0, abs=4 * NOISE_STD / np.sqrt(SR))


def test_the_seed_alone_decides(monkeypatch):
    first = augment(a440(0.5), SR, seed=7)
    assert not np.array_equal(first, augment(a440(0.5), SR, seed=8)[: len(first)])
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is what must not matter
    assert np.array_equal(first, augment(a440(0.5), SR, seed=7))
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    augment(a440(0.5), SR, seed=7)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_another_process_makes_the_same_bits():
    code = (
        "import hashlib, numpy as np; from core.data.augment import augment; from tests.data.test_augment import a440\n"
        "print(hashlib.md5(augment(a440(), 22050, seed=3).tobytes()).hexdigest())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
    assert said == hashlib.md5(augment(a440(), SR, seed=3).tobytes()).hexdigest()


@pytest.mark.parametrize("n", [46, 236, 2048, 3000])
def test_short_clips_have_copies_too(n, rng):
    copy = augment(0.1 * rng.normal(size=n).astype(np.float32), SR, seed=2)
    assert np.isfinite(copy).all()
    assert len(copy) == pytest.approx(n, rel=0.08)


def test_audiomentations_is_loaded_only_where_a_copy_is_made():
    code = "import sys, core.extraction.extract; print([name for name in ('audiomentations', 'librosa') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"
