"""A kind of set is one object and one line in the registry: a toy kind goes through everything that a real one does."""

import json

import numpy as np
import pytest

from core import features
from core.data.audio import read_clip
from core.encoders import registry
from core.encoders.batches import OneByOne, state_of
from core.encoders.source import FeatureSource, WindowModel
from core.errors import ParameterError
from core.events import BatchComputed, BatchHalved, ClipSetAside, ExtractionStarted
from core.extraction.config import ExtractSettings
from core.extraction.export import export_name
from core.extraction.extract import column_names, extract_clips, is_current
from core.features.sets import SetKind, kinds
from core.runtime import weights
from core.runtime.cache import VectorCache
from core.runtime.device import CPU
from tests.conftest import tone, write_clip
from tests.toy_set import Toy

torch = pytest.importorskip("torch")


@pytest.fixture
def toy(monkeypatch):
    kind = Toy()
    monkeypatch.setitem(registry.SOURCES, "toy", kind)
    yield kind
    features.parse_set.cache_clear()


@pytest.fixture
def clips(tmp_path):
    return [write_clip(tmp_path / f"{seconds}.wav", tone(220, seconds=seconds)) for seconds in (1.0, 2.0, 3.0)]


def extract(clips, cache, *names, **options):
    told = []
    done = extract_clips(clips, ExtractSettings(features=names, workers=0, **options), cache_path=cache, notify=told.append)
    return done, told


def test_a_kind_that_is_registered_is_extracted_cached_and_resumed(toy, clips, tmp_path):
    done, told = extract(clips[:2], tmp_path / "c.sqlite", "metadata", "toy")
    assert [done.vectors[clip]["toy"][2] for clip in clips[:2]] == pytest.approx([1.0, 2.0])
    assert [event.set_name for event in told if isinstance(event, BatchComputed)] == ["toy"]
    _, told = extract(clips, tmp_path / "c.sqlite", "toy", "metadata")
    assert told[0] == ExtractionStarted(clips=3, cached=2, to_do=1)
    with VectorCache(tmp_path / "c.sqlite") as store:
        assert {stored.set_name: is_current(stored) for stored in store.stored()} == {"toy": True, "metadata": True}
    assert column_names(("toy",)) == ("toy.peak", "toy.rms", "toy.seconds")
    assert export_name("toy") == "toy_{split}.npz"
    assert state_of("toy").is_ready


def test_copies_failures_and_memory_are_the_business_of_the_machine(toy, clips, tmp_path):
    toy.most = 1
    loud = write_clip(tmp_path / "loud.wav", tone(220, amplitude=0.99))
    done, told = extract([*clips, loud], tmp_path / "c.sqlite", "toy")
    assert BatchHalved("toy", 1) in told
    assert done.failures == {loud: "too loud for a toy"}
    assert ClipSetAside("loud.wav", "too loud for a toy") in told
    copied = extract_clips(clips, ExtractSettings(features=("toy",), workers=0), cache_path=tmp_path / "c.sqlite", copies=1)
    assert copied.copies[clips[2]][0]["toy"].shape == (3,)


def test_a_clip_alone_gives_what_the_extraction_gives(toy, clips, tmp_path):
    done, _ = extract(clips, tmp_path / "c.sqlite", "toy")
    np.testing.assert_array_equal(OneByOne("toy", device=CPU)(read_clip(clips[1])), done.vectors[clips[1]]["toy"])


def test_the_command_line_extracts_prints_and_trains_with_a_new_kind(toy, make_dataset, clips, tmp_path, capsys):
    from core.cli.commands import main

    options = ["--workspace", str(tmp_path / "w"), "--workers", "0"]
    root = make_dataset(6, test=2)
    assert main(["extract", str(root), "--features", "metadata,toy", *options]) == 0
    [written] = (tmp_path / "w" / "features").rglob("toy_train.npz")
    assert np.load(written)["X"].shape == (6, 3)
    capsys.readouterr()
    assert main(["features", str(clips[2]), "--set", "toy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == pytest.approx(3.0)


def test_a_name_that_no_kind_knows_is_answered_with_all_of_them(toy):
    with pytest.raises(ParameterError, match=r"'x' is not among ultra, mfcc, metadata, torch200, voice256, .*toy; ultra and mfcc"):
        features.parse_set("x")


def test_a_name_is_parsed_without_a_look_at_any_model(monkeypatch):
    features.parse_set.cache_clear()
    for name in ("find", "fetch", "_folder", "_read"):
        monkeypatch.setattr(weights, name, lambda *args: pytest.fail("a model was looked for"))
    parsed = features.parse_set("encoder:/nowhere/model@L3-4")
    assert (parsed.model, parsed.layers, parsed.stored) == ("/nowhere/model", (3, 4), "encoder:/nowhere/model")
    assert features.parse_set("transcript:whisper=nobody/nothing@de").language == "de"
    assert features.canonical("transcript:whisper=nobody/nothing@German") == "transcript:whisper=nobody/nothing@de"
    assert features.set_of("encoder:/nowhere/a.b@L3.mean0") == "encoder:/nowhere/a.b@L3"


@pytest.mark.parametrize("base", ["ultra", "mfcc", "metadata", "torch200", "voice256", "encoder", "transcript", "reading", "table"])
def test_every_kind_says_what_a_kind_has_to_say(base):
    kind = kinds()[base]
    members = [name for name in vars(FeatureSource if base in registry.SOURCES else SetKind) if not name.startswith("_")]
    assert all(hasattr(kind, name) for name in members)
    for name in kind.titles:
        assert kinds()[kind.parse(name).base] is kind


def test_a_loaded_model_keeps_the_smaller_batch():
    told = []
    model = WindowModel(8, told.append)

    def double(windows):
        if len(windows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [2 * window for window in windows]

    assert model.in_batches(double, range(5)) == [0, 2, 4, 6, 8]
    assert (model.batch, told) == (2, [2])
    assert model.seconds(np.zeros(8000)) == 0.5
