import json

import numpy as np
import pytest

from core.encoders import voices
from core.encoders.batches import Batches, SetWork
from core.errors import AudioError, JobError, ParameterError
from core.events import BatchHalved, ClipExtracted, ClipSetAside, DeviceChosen, ExtractionStarted
from core.extraction.config import ExtractSettings
from core.extraction.extract import column_names, definition_hash, extract_clips, find_cached, is_current
from core.features import canonical, set_of
from core.runs import find_run
from core.runtime.cache import VectorCache
from core.runtime.device import CPU, choose, in_batches
from tests.conftest import write_clip
from tests.tiny_models import KINDS, tiny_encoder, tiny_whisper, voice

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return f"encoder:{tiny_encoder('wav2vec2', tmp_path_factory.mktemp('models') / 'tiny.v1')}"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    lengths = (1.0, 2.5, 12.0, 1.0)
    return [
        write_clip(folder / f"{seed}.wav", voice(seconds, seed=seed), sr=16000, subtype="FLOAT")
        for seed, seconds in enumerate(lengths)
    ]


def extract(clips, cache, *names, **options):
    told = []
    settings = ExtractSettings(features=names, workers=0, **options)
    return extract_clips(clips, settings, cache_path=cache, notify=told.append), told


def test_an_encoder_is_a_set_like_any_other(clips, encoder, tmp_path):
    done, told = extract(clips, tmp_path / "c.sqlite", "metadata", encoder)
    assert done.computed == 4
    assert {name: len(vector) for name, vector in done.vectors[clips[0]].items()} == {"metadata": 9, encoder: 48}
    assert [event.file for event in told if isinstance(event, ClipExtracted)] == [clip.name for clip in clips]
    assert DeviceChosen("cpu", "processor") in told

    again, told = extract(clips, tmp_path / "c.sqlite", "metadata", encoder)
    assert told == [ExtractionStarted(clips=4, cached=4, to_do=0)]
    for clip in clips:
        np.testing.assert_array_equal(again.vectors[clip][encoder], done.vectors[clip][encoder])


def test_all_layers_are_stored_so_that_others_cost_nothing(clips, encoder, tmp_path):
    cache = tmp_path / "c.sqlite"
    extract(clips, cache, encoder)
    layers, told = extract(clips, cache, *(f"{encoder}@L{layer}" for layer in range(4)), f"{encoder}@L1-2", encoder)
    assert told == [ExtractionStarted(clips=4, cached=4, to_do=0)]
    of = layers.vectors[clips[2]]
    np.testing.assert_allclose(of[f"{encoder}@L1-2"], (of[f"{encoder}@L1"] + of[f"{encoder}@L2"]) / 2, atol=1e-6)
    np.testing.assert_array_equal(of[encoder], of[f"{encoder}@L2"])  # of 3 layers, 7/12 and 8/12 of the depth are layer 2
    assert not np.array_equal(of[f"{encoder}@L0"], of[f"{encoder}@L3"])


def test_what_workers_prepare_gives_what_this_process_gives(clips, encoder, tmp_path):
    here, _ = extract(clips, tmp_path / "a.sqlite", encoder)
    settings = ExtractSettings(features=(encoder,), workers=2)
    there = extract_clips(clips, settings, cache_path=tmp_path / "b.sqlite")
    for clip in clips:
        np.testing.assert_allclose(there.vectors[clip][encoder], here.vectors[clip][encoder], atol=2e-5)


@pytest.mark.parametrize("kind", [*KINDS, "whisper"])
def test_an_interrupted_extraction_keeps_every_clip_that_it_reported(clips, kind, tmp_path):
    folder = tiny_whisper(tmp_path / kind) if kind == "whisper" else tiny_encoder(kind, tmp_path / kind)
    encoder, cache, done = f"encoder:{folder}", tmp_path / "c.sqlite", []

    def stop_after_two(event):
        if isinstance(event, ClipExtracted):
            done.append(event.file)
            if len(done) == 2:
                raise KeyboardInterrupt

    settings = ExtractSettings(features=(encoder,), workers=0, batch=1)
    with pytest.raises(KeyboardInterrupt):
        extract_clips(clips, settings, cache_path=cache, notify=stop_after_two)
    assert find_cached(clips, settings, cache_path=cache) >= {clip for clip in clips if clip.name in done}
    resumed, told = extract(clips, cache, encoder)
    assert told[0].cached >= 2
    undisturbed, _ = extract(clips, tmp_path / "other.sqlite", encoder)
    for clip in clips:
        np.testing.assert_allclose(resumed.vectors[clip][encoder], undisturbed.vectors[clip][encoder], atol=2e-5)


def test_a_clip_that_cannot_be_read_is_set_aside_and_the_others_are_not(clips, encoder, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    done, told = extract([clips[0], broken, clips[1]], tmp_path / "c.sqlite", encoder)
    assert set(done.vectors) == {clips[0], clips[1]}
    [aside] = [event for event in told if isinstance(event, ClipSetAside)]
    assert aside.file == "broken.wav"


def test_copies_of_a_clip_have_embeddings_of_their_own(clips, encoder, tmp_path):
    settings = ExtractSettings(features=(encoder,), workers=0)
    done = extract_clips(clips[:1], settings, cache_path=tmp_path / "c.sqlite", copies=2)
    own, one, other = done.vectors[clips[0]][encoder], *(copy[encoder] for copy in done.copies[clips[0]])
    assert not np.allclose(own, one)
    assert not np.allclose(one, other)


def test_memory_that_runs_out_costs_time_and_no_clip(clips, encoder, tmp_path, monkeypatch):
    from transformers import Wav2Vec2Model

    expected, _ = extract(clips, tmp_path / "a.sqlite", encoder)
    forward = Wav2Vec2Model.forward

    def crowded(self, read, **options):
        if len(read) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, read, **options)

    monkeypatch.setattr(Wav2Vec2Model, "forward", crowded)
    done, told = extract(clips, tmp_path / "b.sqlite", encoder)
    assert BatchHalved(encoder, 1) in told
    for clip in clips:
        np.testing.assert_allclose(done.vectors[clip][encoder], expected.vectors[clip][encoder], atol=2e-5)


def test_a_set_of_whisper_extracts(clips, tmp_path):
    name = f"encoder:{tiny_whisper(tmp_path / 'whisper')}"
    done, _ = extract(clips[:2], tmp_path / "c.sqlite", name)
    assert all(np.isfinite(vectors[name]).all() for vectors in done.vectors.values())
    assert len(column_names((name,))) == 48


def test_definitions_follow_the_weights_and_the_precision_not_the_folder(encoder, tmp_path):
    from dataclasses import replace

    same = f"encoder:{tiny_encoder('wav2vec2', tmp_path / 'same')}"
    other = f"encoder:{tiny_encoder('wav2vec2', tmp_path / 'other', seed=3)}"
    one = definition_hash(encoder, 45.0)
    assert definition_hash(same, 45.0) == one
    assert definition_hash(f"{same}@L1", 45.0) == one
    assert definition_hash(other, 45.0) != one
    assert definition_hash(encoder, 30.0) != one
    assert definition_hash(encoder, 45.0, device=replace(CPU, precision="bf16")) != one


def test_vectors_stay_in_use_while_their_weights_are_away(clips, tmp_path):
    folder = tiny_encoder("hubert", tmp_path / "model")
    extract(clips[:1], tmp_path / "c.sqlite", f"encoder:{folder}")
    with VectorCache(tmp_path / "c.sqlite") as store:
        [stored] = store.stored()
    assert is_current(stored)
    moved = folder.rename(tmp_path / "elsewhere")
    assert is_current(stored)
    moved.rename(folder)
    tiny_encoder("hubert", folder, seed=5)
    assert not is_current(stored)


def test_names_of_columns_lead_back_to_their_set(encoder):
    assert encoder.endswith("tiny.v1")  # a point in the name of the folder
    for name in (encoder, f"{encoder}@L1-2", "wavlm", "wavlm@L7"):
        assert set_of(f"{name}.mean0") == name


def test_a_folder_is_named_from_the_root(tmp_path, monkeypatch):
    (tmp_path / "models/tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert canonical("encoder:models/tiny@L2") == f"encoder:{tmp_path}/models/tiny@L2"
    assert canonical("encoder:facebook/wav2vec2-base") == "encoder:facebook/wav2vec2-base"
    assert ExtractSettings(features=("encoder:models/tiny",)).features == (f"encoder:{tmp_path}/models/tiny",)


def test_weights_that_are_nowhere_are_asked_for_before_any_clip_is_read(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("EARMARK_MODELS", str(tmp_path))
    monkeypatch.setattr("core.runtime.weights._download", lambda model: (_ for _ in ()).throw(OSError("no network")))
    settings = ExtractSettings(features=("encoder:nobody/nothing",), workers=0)
    assert find_cached(clips, settings, cache_path=tmp_path / "c.sqlite") == set()
    with pytest.raises(ParameterError, match=r"could not be fetched \(no network\); put config.json"):
        extract_clips(clips, settings, cache_path=tmp_path / "c.sqlite")


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ParameterError, match="not among auto, cuda, cpu"):
        choose("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ParameterError, match="finds no GPU on this machine"):
            choose("cuda")
        assert choose("auto") == CPU


def test_batches_shrink_until_they_fit_and_stay_so():
    seen, told = [], []

    def double(some):
        seen.append(len(some))
        if len(some) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [2 * one for one in some]

    assert in_batches(double, range(10), batch=8, halved=told.append) == [2 * one for one in range(10)]
    assert seen == [8, 4, 2, 2, 2, 2, 2]
    assert told == [4, 2]
    with pytest.raises(RuntimeError, match="other"):
        in_batches(lambda some: (_ for _ in ()).throw(RuntimeError("other")), [1], batch=1, halved=told.append)


def test_one_clip_that_fails_in_a_batch_costs_no_other(encoder):
    class Odd:
        def seconds(self, item):
            return 1.0

        def __call__(self, items):
            if -1 in items:
                raise AudioError("odd.wav", "odd")
            return [np.full(48, item, np.float32) for item in items]

    batches = Batches(SetWork(encoder), device=CPU, batch=None, notify=lambda event: None)
    batches._extractor = Odd()
    assert [batches.add(key, key) for key in (1, -1, np.inf)] == [[], [], []]
    done = {one.key: one for one in batches.flush()}
    assert done[1].error is None
    assert done[-1].error == "odd"
    assert "not finite" in done[np.inf].error


def test_no_memory_for_a_single_piece_ends_the_job(encoder):
    class Full:
        def __call__(self, items):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(JobError, match="does not hold a single piece"):
        in_batches(Full(), [1], batch=1, halved=lambda batch: None)


def test_the_command_prints_the_columns_of_any_set(encoder, clips, capsys):
    from core.cli.commands import main

    assert main(["features", str(clips[0]), "--set", f"{encoder}@L1", "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert len(line) == 49
    assert np.isfinite([value for name, value in line.items() if name != "file"]).all()
    assert main(["features", str(clips[0]), "--set", "table:age"]) == 1
    assert "is of a table, not of a clip" in capsys.readouterr().err


def test_the_quick_start_has_the_gpu_features(clips, tmp_path, monkeypatch):
    from core.quickstart import extract_gpu_features

    monkeypatch.setenv("EARMARK_WORKSPACE", str(tmp_path))
    vector = extract_gpu_features(clips[1])
    assert vector.shape == (200,)
    extraction, _ = extract(clips[1:2], tmp_path / "other.sqlite", "torch200")
    np.testing.assert_array_equal(vector, extraction.vectors[clips[1]]["torch200"])


def test_training_takes_any_mixture_and_scores_new_clips_with_it(encoder, make_dataset, tmp_path):
    from core.cli.commands import main

    root = make_dataset(12, test=3)
    sets = ["metadata", "torch200", f"{encoder}@L1-2", "transcript:describe", *(["voice256"] if voices.is_installed() else [])]
    options = ["--workspace", str(tmp_path / "w"), "--workers", "0"]
    assert main(["train", str(root), "--features", ",".join(sets), "--models", "ridge", "--folds", "3", *options]) == 0
    run = find_run("latest", tmp_path / "w/jobs")
    assert {set_of(name) for name in run.record.columns} == set(sets)
    matrix = run.load_matrix()
    assert np.isfinite(matrix.X[:, [name.startswith("encoder:") for name in matrix.names]]).all()
    clip = write_clip(tmp_path / "new.wav", voice(1.0), sr=16000)
    assert main(["predict", "latest", str(clip), "--workspace", str(tmp_path / "w")]) == 0


def test_only_layers_of_an_encoder_are_scored(make_dataset, tmp_path, capsys):
    from core.cli.commands import main

    for name in ("ultra", "transcript:describe", "transcript:whisper=somewhere"):
        assert main(["layers", str(make_dataset(6, test=0)), "--encoder", name, "--workspace", str(tmp_path / "w")]) == 1
        assert "is no encoder; name wav2vec2, hubert, wavlm or encoder:MODEL" in capsys.readouterr().err
