"""What is expected is known beforehand: from every path of a tiny case, and from emissions that are planted."""

import json
from itertools import product

import numpy as np
import pytest

from core.data.rows import Row
from core.encoders.pronunciations import COLUMNS, Aligner, align, letters_of, summarise
from core.encoders.spoken import Spoken
from core.ensemble.members import parse_member
from core.errors import ParameterError
from core.events import Warned
from core.extraction.config import ExtractSettings, resolve_features
from core.extraction.extract import extract_clips, is_current
from core.extraction.matrix import build_matrix
from core.extraction.texts import texts_of
from core.features import canonical, columns, parse_set
from core.runtime.cache import VectorCache
from core.runtime.weights import find
from tests.conftest import write_clip
from tests.tiny_models import tiny_ctc, tiny_encoder, voice

torch = pytest.importorskip("torch")
pytest.importorskip("torchaudio")
NAMES = [name for name, _, _ in COLUMNS]
VOCABULARY = {"<pad>": 0, "|": 1, "A": 2, "B": 3, "C": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_ctc(tmp_path_factory.mktemp("pronunciations") / "tiny")


def emissions(path, *, sure=0.9, letters=5):
    """Log-probabilities that give each frame's letter ``sure``, and share the rest."""
    p = np.full((len(path), letters), (1 - sure) / (letters - 1))
    p[np.arange(len(path)), path] = sure
    return np.log(p).astype(np.float32)


def collapsed(path, blank):
    merged = [one for at, one in enumerate(path) if at == 0 or one != path[at - 1]]
    return [one for one in merged if one != blank]


@pytest.mark.parametrize("letters", [[1], [1, 2], [1, 1], [2, 1, 2]])
def test_the_path_is_the_likeliest_of_all(rng, letters):
    for _ in range(5):
        logits = rng.normal(size=(6, 3))
        logp = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
        ways = [way for way in product(range(3), repeat=6) if collapsed(way, 0) == letters]
        best = max(logp[np.arange(6), list(way)].sum() for way in ways)
        path, spans = align(logp, letters, blank=0)
        assert collapsed(path.tolist(), 0) == letters
        assert logp[np.arange(6), path].sum() == pytest.approx(best, abs=1e-5)
        assert [path[span.start : span.end].tolist() for span in spans] == [
            [letter] * (span.end - span.start) for letter, span in zip(letters, spans, strict=True)
        ]


def test_letters_that_do_not_fit_in_the_frames_are_not_aligned():
    assert align(emissions([1, 2]), [1, 2, 1], blank=0) is None
    assert align(emissions([1, 1]), [1, 1], blank=0) is None  # a blank must stand between
    assert align(emissions([1, 0, 1]), [1, 1], blank=0) is not None


def test_letters_are_those_that_the_model_knows():
    assert letters_of("a B - 42 c\u2019", VOCABULARY | {"'": 5}) == [[2], [3], [4, 5]]
    assert letters_of("42 ?", VOCABULARY) == []


def read(logp, words, *, seconds):
    return dict(zip(NAMES, summarise(logp, words, blank=0, delimiter=1, seconds=seconds).tolist(), strict=True))


def test_what_is_said_as_it_is_written_is_as_good_as_can_be():
    path = [0, 2, 3, 0, 1, 0, 4, 4, 0, 2]  # AB CA
    values = read(emissions(path), [[2, 3], [4, 2]], seconds=1.0)
    assert [values[name] for name in ("gop_mean", "gop_min", "gop_std", "word_gop_min", "path_gop_mean")] == [0, 0, 0, 0, 0]
    assert values["letter_logp_mean"] == values["path_logp_mean"] == pytest.approx(np.log(0.9), abs=1e-6)
    assert (values["gop_share_below_1"], values["words_per_s"]) == (0, 2)
    assert values["pause_max_s"] == pytest.approx(0.3)  # from the end of B to C: 3 frames of 0.1 s
    assert values["word_mean_s"] == pytest.approx((0.2 + 0.4) / 2)


def test_a_letter_that_is_said_as_another_one_is_poor_and_the_others_are_not():
    said = [0, 2, 0, 1, 0, 4, 0]  # A C, where A B was to be read
    values = read(emissions(said), [[2], [3]], seconds=1.0)
    expected = np.log(0.025 / 0.9)
    assert values["gop_min"] == values["word_gop_min"] == pytest.approx(expected, abs=1e-5)
    assert values["gop_mean"] == pytest.approx(expected / 2, abs=1e-5)
    assert values["gop_share_below_1"] == 0.5


def test_a_planted_pause_between_words_is_measured():
    path = [2, 1] + [0] * 30 + [3]
    values = read(emissions(path), [[2], [3]], seconds=len(path) * 0.02)
    assert values["pause_max_s"] == pytest.approx(0.62)
    assert (values["pauses_over_025"], values["pauses_over_05"]) == (1, 1)


def test_probabilities_are_those_of_the_model_and_windows_cover_a_long_clip_once(folder):
    from transformers import Wav2Vec2ForCTC

    aligner = Aligner(find(str(folder)), device="cpu")
    short, long = voice(2.0), voice(25.0)
    read_short, read_long = aligner.log_probabilities([short, long])
    model = Wav2Vec2ForCTC.from_pretrained(folder).eval()
    with torch.inference_mode():
        whole_frames = torch.from_numpy(short[: (len(short) - 400) // 320 * 320 + 400])  # of 400 samples, 320 apart
        whole = torch.log_softmax(model(whole_frames[None]).logits[0], dim=-1).numpy()
    np.testing.assert_allclose(read_short, whole, atol=1e-5)  # of single precision
    assert abs(len(read_long) - 25 / 0.02) <= 3  # a frame at each seam


def test_neighbours_in_a_batch_change_nothing(folder):
    aligner = Aligner(find(str(folder)), device="cpu")
    items = [Spoken(voice(2.0), "a cab"), Spoken(voice(3.0, seed=1), "b"), Spoken(voice(2.0, seed=2), "cab abc")]
    for item, vector in zip(items, aligner(items), strict=True):
        assert np.isfinite(vector).all()
        np.testing.assert_allclose(aligner([item])[0], vector, atol=1e-4)


def test_a_pronunciation_is_extracted_cached_and_warned_of(folder, tmp_path):
    paths = [write_clip(tmp_path / f"{seed}.wav", voice(1.0, seed=seed), sr=16000) for seed in range(2)]
    rows = [Row(path.name, path, 0.0, {"said": text}) for path, text in zip(paths, ("cab", "42"), strict=True)]
    name, cache, told = f"pronunciation:{folder}:column=said", tmp_path / "c.sqlite", []
    extraction = extract_clips(
        paths, ExtractSettings(features=(name,), workers=0), cache_path=cache, texts=texts_of(rows, (name,)), notify=told.append
    )
    X = build_matrix(rows, extraction, (name,)).X
    assert np.isfinite(X[0]).all()
    assert np.isnan(X[1]).all()
    [warned] = [event.text for event in told if isinstance(event, Warned)]
    assert "1 clips have no values (first: 1.wav), because their text has no letter that the model knows" in warned
    with VectorCache(cache) as store:
        assert {stored.set_name: is_current(stored) for stored in store.stored()} == {f"pronunciation:{folder}": True}


def test_a_model_without_letters_is_refused_in_one_sentence(folder, tmp_path):
    with pytest.raises(ParameterError, match="has no CTC head over letters"):
        Aligner(find(str(tiny_encoder("wav2vec2", tmp_path / "encoder"))), device="cpu")
    bare = tiny_ctc(tmp_path / "bare")
    (bare / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"}))
    with pytest.raises(ParameterError, match="recognises phonemes"):
        Aligner(find(str(bare)), device="cpu")
    (bare / "tokenizer_config.json").unlink()
    (bare / "vocab.json").write_text('{"eng": {"a": 1}}')
    with pytest.raises(ParameterError, match="one number for each letter"):
        Aligner(find(str(bare)), device="cpu")
    (bare / "vocab.json").unlink()
    with pytest.raises(ParameterError, match=r"has no vocab\.json; bring it too"):
        Aligner(find(str(bare)), device="cpu")


def test_names_of_pronunciations():
    parsed = parse_set("pronunciation:facebook/wav2vec2-base-960h:column=what is said")
    assert (parsed.model, parsed.language, parsed.column) == ("facebook/wav2vec2-base-960h", "", "what is said")
    assert parsed.stored == "pronunciation:facebook/wav2vec2-base-960h"
    assert canonical("pronunciation:a/b:column=said") == "pronunciation:a/b:column=said"
    assert tuple(column.name for column in columns("pronunciation:a/b")) == tuple(NAMES)
    assert resolve_features(("pronunciation:a/b",), ("text",)) == ("pronunciation:a/b:column=text",)
    assert parse_member("svr:pronunciation:a/b:column=said").sets == ("pronunciation:a/b:column=said",)
    with pytest.raises(ParameterError, match="write pronunciation:MODEL for a model with a CTC head"):
        parse_set("pronunciation:")
