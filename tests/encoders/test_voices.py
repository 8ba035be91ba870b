import sys
import types

import numpy as np
import pytest
import soundfile

from core.data.audio import Clip, read_clip
from core.encoders import voices
from core.errors import ParameterError
from core.features import columns
from tests.conftest import PIANO, tone, write_clip
from tests.tiny_models import voice

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not voices.is_installed(), reason="Resemblyzer is not installed (make offline)")


@pytest.fixture(scope="module")
def encoder():
    return voices.Extractor(device="cpu")


@pytest.fixture(scope="module")
def package():
    """Resemblyzer itself, with the name that SciPy has given up."""
    morphology = types.ModuleType("scipy.ndimage.morphology")
    from scipy.ndimage import binary_dilation

    morphology.binary_dilation = binary_dilation
    sys.modules["scipy.ndimage.morphology"] = morphology
    import resemblyzer

    return resemblyzer


def spoken(seconds, *, seed=0):
    """Syllables with pauses: the detector takes most of it for a voice."""
    t = np.arange(round(seconds * 16000)) / 16000
    return (voice(seconds, seed=seed) * (np.sin(2 * np.pi * 2 * t) > -0.6)).astype(np.float32)


def clip_of(y, tmp_path, name="a.wav"):
    return read_clip(write_clip(tmp_path / name, y, sr=16000, subtype="FLOAT"))


@pytest.mark.parametrize("seconds", [0.4, 1.7, 6.0])
def test_a_voice_is_what_the_package_itself_says_of_it(encoder, package, tmp_path, seconds):
    y = spoken(seconds)
    wav = package.preprocess_wav(y)
    expected = package.VoiceEncoder("cpu", verbose=False).embed_utterance(wav if len(wav) else y)
    [found] = encoder([voices.prepare_clip(clip_of(y, tmp_path))])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_recording_is_heard_as_by_the_package(encoder, package):
    path = sorted((PIANO / "audios/train").glob("*"))[0]
    clip = read_clip(path)
    y, sr = soundfile.read(path, dtype="float32", always_2d=True)
    mono = y.mean(axis=1)[: len(clip.samples)]
    import librosa

    wav = librosa.resample(mono, orig_sr=sr, target_sr=16000, res_type="soxr_hq")
    heard = package.preprocess_wav(wav)
    heard = heard if len(heard) else package.audio.normalize_volume(wav, -30, increase_only=True)
    expected = package.VoiceEncoder("cpu", verbose=False).embed_utterance(heard)
    np.testing.assert_allclose(encoder([voices.prepare_clip(clip)])[0], expected, atol=1e-4)


def test_neighbours_and_order_change_no_voice(encoder, tmp_path):
    items = [
        voices.prepare_clip(clip_of(spoken(seconds, seed=seed), tmp_path)) for seed, seconds in enumerate((1.0, 5.0, 2.0, 0.3))
    ]
    alone = [encoder([item])[0] for item in items]
    np.testing.assert_allclose(encoder(items), alone, atol=1e-5)
    np.testing.assert_allclose(encoder(items[::-1])[::-1], alone, atol=1e-5)


def test_voices_have_length_one_and_named_columns(encoder, tmp_path):
    [vector] = encoder([voices.prepare_clip(clip_of(spoken(2.0), tmp_path))])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert [column.name for column in columns("voice256")] == [f"voice{unit}" for unit in range(256)]


def test_a_clip_without_a_voice_is_taken_whole(encoder, tmp_path):
    hum = clip_of(tone(4000, seconds=2.0, sr=16000, amplitude=0.01).astype(np.float32), tmp_path)
    raised = voices.raise_level(hum.mono)
    assert not voices.voiced_samples(np.zeros_like(raised)).any()
    assert np.isfinite(encoder([voices.prepare_clip(hum)])[0]).all()


def test_quiet_clips_are_raised_and_loud_ones_stay():
    quiet, loud = (np.full(1000, level, np.float32) for level in (0.001, 0.5))
    assert np.sqrt(np.mean(voices.raise_level(quiet) ** 2)) == pytest.approx(10 ** (-30 / 20), rel=1e-4)
    assert voices.raise_level(loud) is loud
    assert not voices.raise_level(np.zeros(10, np.float32)).any()


def test_parts_are_cut_as_the_package_cuts_them(package):
    for samples in (1, 400, 16_000, 25_600, 30_000, 48_000, 100_001):
        _, expected = package.VoiceEncoder.compute_partial_slices(samples, 1.3, 0.75)
        assert voices.part_starts(samples) == [one.start for one in expected]


def test_where_it_is_not_installed_one_sentence_says_what_to_run(monkeypatch, tmp_path):
    monkeypatch.setattr(voices, "find_spec", lambda name: None)
    clip = Clip(tmp_path / "a.wav", np.zeros((4000, 1), np.float32), 16000, 0.25, 0)
    for asked in (lambda: voices.prepare_clip(clip), lambda: voices.Extractor(device="cpu")):
        with pytest.raises(ParameterError, match="run: make offline"):
            asked()
