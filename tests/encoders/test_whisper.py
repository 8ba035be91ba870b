import numpy as np
import pytest

from core.encoders.pretrained import Extractor
from core.encoders.whisper import FRAME_SAMPLES, load_features, read_samples, shortened, spectrograms
from core.extraction.config import ExtractSettings
from core.extraction.definitions import definition_hash
from core.extraction.extract import extract_clips, find_cached, is_current
from core.runtime.cache import VectorCache
from core.runtime.weights import find
from tests.conftest import write_clip
from tests.tiny_models import tiny_encoder, tiny_whisper, voice

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_whisper(tmp_path_factory.mktemp("whisper") / "tiny")


def load(folder, *, to_clip):
    return Extractor(find(str(folder)), device="cpu", to_clip=to_clip)


def test_a_clip_of_thirty_seconds_gives_what_the_whole_window_gives(folder):
    y = voice(30.0)
    np.testing.assert_array_equal(load(folder, to_clip=True)([y]), load(folder, to_clip=False)([y]))


def test_a_spectrogram_of_a_clip_is_the_beginning_of_that_of_thirty_seconds(folder):
    features = load_features(find(str(folder)))
    y = voice(3.2)
    samples = read_samples(len(y))
    [short], [whole] = (spectrograms(features, [y], samples=length) for length in (samples, 480_000))
    assert short.shape == (80, 400)
    np.testing.assert_allclose(short, whole[:, :400], atol=1e-6)  # of one Fourier transform, in batches of two sizes


def test_an_encoder_without_attention_hears_the_same_however_long_its_window_is(folder):
    """Frames influence each other by attention alone, and by convolutions that reach one frame: with attention off they agree."""
    extractors = [load(folder, to_clip=to_clip) for to_clip in (True, False)]
    for extractor in extractors:
        for layer in extractor._model.layers:
            torch.nn.init.zeros_(layer.self_attn.out_proj.weight)
            torch.nn.init.zeros_(layer.self_attn.out_proj.bias)
    [short], [whole] = (extractor([voice(4.0)]) for extractor in extractors)
    np.testing.assert_allclose(short, whole, atol=1e-5)


def test_of_a_longer_clip_the_last_window_is_cut(folder):
    read = []
    extractor = load(folder, to_clip=True)
    forward = extractor._model.forward

    def watched(spectrogram, **options):
        read.append(spectrogram.shape[-1] / 100)
        return forward(spectrogram, **options)

    extractor._model.forward = watched
    extractor([voice(62.0)])
    assert sorted(read) == [2.5, 30.0]  # the two whole windows share a batch


def test_an_encoder_has_all_its_positions_again_when_a_window_is_read(folder):
    model = load(folder, to_clip=True)._model
    positions = model.embed_positions
    with shortened(model, 10 * FRAME_SAMPLES):
        assert model.embed_positions.weight.shape[0] == 10
    with pytest.raises(ZeroDivisionError), shortened(model, 10 * FRAME_SAMPLES):
        _ = 1 / 0
    assert model.embed_positions is positions
    assert model.config.max_source_positions == 1500


def test_the_window_is_part_of_the_key_of_whisper_alone(folder, tmp_path):
    encoder = f"encoder:{tiny_encoder('wavlm', tmp_path / 'wavlm')}"
    for name, windows in ((f"encoder:{folder}", 2), (encoder, 1), ("mfcc", 1)):
        assert len({definition_hash(name, 45.0, encoder_window=window) for window in ("clip", "30")}) == windows


def test_both_windows_are_stored_side_by_side(folder, tmp_path):
    name, cache = f"encoder:{folder}", tmp_path / "c.sqlite"
    clip = write_clip(tmp_path / "a.wav", voice(2.0), sr=16000)
    short, whole = (ExtractSettings(features=(name,), workers=0, encoder_window=window) for window in ("clip", "30"))
    vectors = [extract_clips([clip], short, cache_path=cache).vectors[clip][name]]
    assert find_cached([clip], whole, cache_path=cache) == set()
    vectors.append(extract_clips([clip], whole, cache_path=cache).vectors[clip][name])
    assert not np.allclose(*vectors, atol=1e-3)
    for settings in (short, whole):
        assert find_cached([clip], settings, cache_path=cache) == {clip}
    with VectorCache(cache) as store:
        assert [is_current(stored) for stored in store.stored()] == [True, True]
