import json

import numpy as np
import pytest

from core.data.audio import read_clip
from core.encoders.pretrained import Extractor, Pooled, join_windows, normalise, prepare_clip
from core.errors import AudioError, JobError, ParameterError
from core.features import canonical, chooser, columns, parse_set, set_of
from core.runtime import weights as weights_module
from core.runtime.weights import find
from tests.conftest import write_clip
from tests.tiny_models import KINDS, tiny_encoder, tiny_whisper, voice

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    return {kind: tiny_encoder(kind, root / kind) for kind in KINDS} | {"whisper": tiny_whisper(root / "whisper")}


def load(folder, **options):
    return Extractor(find(str(folder)), device="cpu", **options)


def states_of(folder, y):
    """All layers of a waveform, by transformers alone [layers, frames, width]."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = model(torch.from_numpy(y)[None], output_hidden_states=True).hidden_states
    return torch.cat(states).double().numpy()


def pooled(states):
    """Mean, standard deviation and mean step over frames of states [layers, frames, width], as one vector."""
    return np.stack([states.mean(axis=1), states.std(axis=1), np.abs(np.diff(states, axis=1)).mean(axis=1)], axis=1).ravel()


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_of_one_window_has_mean_spread_and_step_of_the_models_own_layers(folders, kind):
    y = normalise(voice(10.0))
    [vector] = load(folders[kind])([y])
    states = states_of(folders[kind], y)
    assert vector.shape == (4 * 3 * 16,)
    np.testing.assert_allclose(vector, pooled(states), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_ten_seconds_the_last_one_ends_with_the_clip_and_shared_frames_count_half(folders, kind):
    y = normalise(voice(24.0))
    [vector] = load(folders[kind])([y])
    hop = 160_000 / 499
    starts = (0, 160_000, 224_000)
    states = [states_of(folders[kind], y[start : start + 160_000]) for start in starts]
    weights = []
    for start in starts:
        centres = start + (np.arange(499) + 0.5) * hop
        covers = sum((centres >= other) & (centres < other + 160_000) for other in starts)
        weights.append(1 / covers)
    weight = np.concatenate(weights)
    frames = np.concatenate(states, axis=1)
    mean = np.average(frames, axis=1, weights=weight)
    std = np.sqrt(np.average((frames - mean[:, None]) ** 2, axis=1, weights=weight))
    steps = np.concatenate([np.abs(np.diff(state, axis=1)) for state in states], axis=1)
    step_weight = np.concatenate([np.minimum(of[1:], of[:-1]) for of in weights])
    delta = np.average(steps, axis=1, weights=step_weight)
    np.testing.assert_allclose(vector, np.stack([mean, std, delta], axis=1).ravel(), atol=1e-5)


@pytest.mark.parametrize("kind", [*KINDS, "whisper"])
def test_neighbours_order_and_batch_size_change_no_vector(folders, kind):
    clips = [normalise(voice(seconds, seed=seed)) for seed, seconds in enumerate((3.0, 12.0, 3.0, 31.0, 0.2, 10.0))]
    alone = [load(folders[kind])([y])[0] for y in clips]
    for batch in (1, 2, 16):
        together = load(folders[kind], batch=batch)(clips)
        np.testing.assert_allclose(together, alone, atol=2e-5)
    backwards = load(folders[kind])(clips[::-1])
    np.testing.assert_allclose(backwards[::-1], alone, atol=2e-5)


def test_a_clip_is_normalised_on_its_own_where_the_checkpoint_was_trained_so(folders, tmp_path):
    path = write_clip(tmp_path / "a.wav", 0.2 * voice(1.0) + 0.1, sr=16000, subtype="FLOAT")
    clip = read_clip(path)
    normalised = prepare_clip(clip, find(str(folders["wav2vec2"])))
    assert abs(normalised.mean()) < 1e-6
    assert normalised.std() == pytest.approx(1, abs=1e-4)
    plain = tiny_encoder("wavlm", tmp_path / "wavlm", do_normalize=False)
    np.testing.assert_array_equal(prepare_clip(clip, find(str(plain))), clip.mono)


def test_a_clip_is_normalised_as_transformers_does(rng):
    from transformers import Wav2Vec2FeatureExtractor

    y = rng.normal(3, 2, size=5000).astype(np.float32)
    [expected] = Wav2Vec2FeatureExtractor(do_normalize=True)(y, sampling_rate=16000)["input_values"]
    np.testing.assert_allclose(normalise(y), expected, atol=1e-5)


def test_loudness_changes_nothing_where_clips_are_normalised(folders, tmp_path):
    checkpoint = find(str(folders["hubert"]))
    prepared = [
        prepare_clip(read_clip(write_clip(tmp_path / f"{gain}.wav", gain * voice(2.0), sr=16000, subtype="FLOAT")), checkpoint)
        for gain in (0.05, 0.5)
    ]
    quiet, loud = load(folders["hubert"])(prepared)
    np.testing.assert_allclose(quiet, loud, atol=1e-3)  # 1e-7 in the variance of the quiet one


def test_whisper_leaves_out_frames_past_the_end_of_the_clip(folders):
    from transformers import WhisperFeatureExtractor, WhisperModel

    y = voice(4.0)
    [vector] = load(folders["whisper"])([y])
    features = WhisperFeatureExtractor.from_pretrained(folders["whisper"])(y, sampling_rate=16000, return_tensors="pt")
    encoder = WhisperModel.from_pretrained(folders["whisper"]).get_encoder().eval()
    with torch.inference_mode():
        states = torch.cat(encoder(features["input_features"], output_hidden_states=True).hidden_states).double().numpy()
    heard = states[:, :200]  # 4 s of 50 frames a second, of 1500
    np.testing.assert_allclose(vector, pooled(heard), atol=1e-5)
    assert vector.shape == (3 * 3 * 16,)


def test_a_clip_longer_than_whispers_window_is_read_in_windows(folders):
    y = voice(40.0)
    extractor = load(folders["whisper"])
    [whole], [first], [second] = extractor([y]), extractor([y[:480_000]]), extractor([y[480_000:]])
    joined, early, late = (vector.reshape(3, 3, 16) for vector in (whole, first, second))
    np.testing.assert_allclose(joined[:, 0], (3 * early[:, 0] + late[:, 0]) / 4, atol=1e-5)
    np.testing.assert_allclose(joined[:, 2], (1499 * early[:, 2] + 499 * late[:, 2]) / 1998, atol=1e-5)  # none across the seam


def test_spread_over_windows_is_that_of_all_their_frames(rng):
    frames = rng.normal(size=(30, 2, 4)) + np.arange(30)[:, None, None]
    steps = np.abs(np.diff(frames, axis=0))
    parts = [
        Pooled(len(part), part.mean(axis=0), part.var(axis=0), len(inside), inside.mean(axis=0))
        for part, inside in ((frames[:7], steps[:6]), (frames[7:], steps[7:]))
    ]
    between = np.delete(steps, 6, axis=0)  # without the step from one window to the other
    expected = np.stack([frames.mean(axis=0), frames.std(axis=0), between.mean(axis=0)], axis=1)
    np.testing.assert_allclose(join_windows(parts), expected, atol=1e-12)


def test_a_clip_of_one_frame_has_no_spread_and_no_step(folders):
    [vector] = load(folders["wav2vec2"])([normalise(voice(0.03))])
    assert (vector.reshape(4, 3, 16)[:, 1:] == 0).all()


@pytest.mark.parametrize("kind", [*KINDS, "whisper"])
def test_where_memory_runs_out_the_batch_is_halved_and_nothing_is_lost(folders, kind, monkeypatch):
    clips = [normalise(voice(10.0, seed=seed)) for seed in range(7)]
    expected = load(folders[kind])(clips)
    told = []
    extractor = load(folders[kind], batch=7, halved=told.append)
    forward = extractor._model.forward

    def crowded(read, **options):
        if len(read) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(read, **options)

    monkeypatch.setattr(extractor._model, "forward", crowded)
    np.testing.assert_allclose(extractor(clips), expected, atol=2e-5)
    assert told == [3, 1]
    assert extractor.batch == 1


def test_a_single_window_that_does_not_fit_is_an_error_in_words(folders, monkeypatch):
    extractor = load(folders["wav2vec2"])

    def full(read, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(extractor._model, "forward", full)
    with pytest.raises(JobError, match="does not hold a single piece of a clip"):
        extractor([normalise(voice(1.0))])


def test_a_clip_shorter_than_a_frame_is_named(folders, tmp_path):
    clip = read_clip(write_clip(tmp_path / "short.wav", voice(1.0)[:2100], sr=96000))
    with pytest.raises(AudioError, match=r"350 samples at 16 kHz; .* reads frames of 400"):
        prepare_clip(clip, find(str(folders["wav2vec2"])))


def test_columns_of_a_set_are_the_mean_of_its_layers(folders):
    name = f"encoder:{folders['wavlm']}"
    assert [column.name for column in columns(name)][::16] == ["mean0", "std0", "delta0"]
    assert "layer 2 of" in columns(f"{name}@L2")[0].definition
    assert "layers 1 to 3, whose mean is taken, of" in columns(f"{name}@L1-3")[0].definition
    with pytest.raises(ParameterError, match="has layers 0 to 3"):
        columns(f"{name}@L4")


def test_layers_stand_side_by_side_each_with_its_own_columns(folders):
    name = f"encoder:{folders['wavlm']}"
    stored = np.arange(4 * 3 * 16, dtype=np.float32)
    np.testing.assert_array_equal(chooser(f"{name}@L1+3")(stored), np.concatenate([stored[48:96], stored[144:]]))
    np.testing.assert_array_equal(chooser(f"{name}@L1-3")(stored), stored[96:144])  # the middle one is their mean
    listed = columns(f"{name}@L1+3")
    assert [column.name for column in listed][::16] == ["L1_mean0", "L1_std0", "L1_delta0", "L3_mean0", "L3_std0", "L3_delta0"]
    assert "layer 3 of" in listed[-1].definition
    assert {set_of(f"{name}@L1+3.{column.name}") for column in listed} == {f"{name}@L1+3"}
    with pytest.raises(ParameterError, match="has layers 0 to 3"):
        columns(f"{name}@L1+4")


def test_the_usual_layers_and_chosen_ones_are_stored_once():
    names = ("wavlm", "wavlm@L3-6", "wavlm@L3+4+5+6")
    assert {parse_set(name).stored for name in names} == {"wavlm"}
    assert [canonical(name) for name in names] == list(names)


WRONG = ["L8-7", "L7-7", "L07", "L4+3", "L3+3", "L3+4-6", "L3-4-5", "L3+04"]


@pytest.mark.parametrize("name", [*(f"wavlm@{layers}" for layers in WRONG), "encoder:", "encoder: a/b", "wavlm@7", "wavlm@L3+"])
def test_a_set_has_one_spelling(name):
    with pytest.raises(ParameterError, match=r"feature set"):
        parse_set(name)


def test_weights_are_told_apart_by_what_is_in_them(folders, tmp_path):
    same = tiny_encoder("wav2vec2", tmp_path / "same")
    other = tiny_encoder("wav2vec2", tmp_path / "other", seed=1)
    revision = find(str(folders["wav2vec2"])).revision
    assert find(str(same)).revision == revision
    assert find(str(other)).revision != revision
    settings = json.loads((same / "preprocessor_config.json").read_text())
    (same / "preprocessor_config.json").write_text(json.dumps(settings | {"do_normalize": False}))
    assert find(str(same)).revision != revision


def test_a_model_that_is_nowhere_is_asked_for_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("EARMARK_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ParameterError) as error:
        find("nobody/nothing")
    assert (
        "put config.json, preprocessor_config.json (a text model has its tokenizer's files instead) and model.safetensors"
        in str(error.value)
    )
    assert f"into {tmp_path}/nobody/nothing" in str(error.value)
    tiny_encoder("hubert", tmp_path / "nobody/nothing")
    assert find("nobody/nothing").architecture == "hubert"


def test_a_damaged_model_is_an_error_in_words(tmp_path):
    folder = tiny_encoder("wav2vec2", tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ParameterError, match=r"the weights in .* cannot be loaded"):
        load(folder)
    weights.unlink()
    with pytest.raises(ParameterError, match=r"has no model.safetensors"):
        find(str(folder))
    (folder / "config.json").write_text("{")
    weights.touch()
    with pytest.raises(ParameterError, match="is not JSON"):
        find(str(folder))


def test_a_model_of_text_is_refused(tmp_path):
    from transformers import BertConfig, BertModel

    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=20)
    ).save_pretrained(tmp_path / "bert")
    with pytest.raises(ParameterError, match="model_type='bert' is no audio encoder"):
        columns(f"encoder:{tmp_path}/bert")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", [*KINDS, "whisper"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_a_gpu_points_where_fp32_does(folders, kind, precision):
    clips = [normalise(voice(8.0, seed=seed)) for seed in range(4)]
    exact = load(folders[kind])(clips)
    half = Extractor(find(str(folders[kind])), device="cuda", precision=precision)(clips)
    for one, other in zip(exact, half, strict=True):
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) >= 0.999


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin", "model-00001-of-00002.safetensors"])
def test_of_a_repository_one_kind_of_weights_is_fetched(tmp_path, monkeypatch, weights):
    import fnmatch

    there = [weights, "config.json", "preprocessor_config.json", "tf_model.h5", "README.md"]
    there += ["pytorch_model.bin"] if weights == "model.safetensors" else []
    fetched = set()

    def snapshot(model, *, allow_patterns):
        assert model == "somebody/something"
        some = {name for name in there for pattern in allow_patterns if fnmatch.fnmatch(name, pattern)}
        fetched.update(some)
        for name in some:
            (tmp_path / name).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    weights_module._download("somebody/something")
    assert fetched == {weights, "config.json", "preprocessor_config.json"}


def test_a_repository_without_weights_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda model, allow_patterns: str(tmp_path))
    monkeypatch.setattr(weights_module, "_folder", lambda model: None)
    with pytest.raises(ParameterError, match=r"could not be fetched \(the hub's repository has none of model.safetensors"):
        weights_module.fetch("somebody/something")
    with pytest.raises(ParameterError, match="no such folder, and not an id of the hub"):
        weights_module.fetch("no/such/folder")


def test_without_a_network_the_sentence_comes_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("EARMARK_MODELS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ParameterError, match=r"could not be fetched \(.*\); put config.json"):
        weights_module.fetch("somebody/something-that-is-not-there")
