"""What is expected is known beforehand: from a model's own probabilities, from written distributions, from real speech."""

import csv
import math
import os
from pathlib import Path

import numpy as np
import pytest

from core.data.rows import Row
from core.encoders.readings import COLUMNS, Likelihoods, Reader, Spoken, plain_text, summarise
from core.errors import ParameterError
from core.events import ExtractionStarted, Warned
from core.extraction.config import ExtractSettings, resolve_features
from core.extraction.export import export_name
from core.extraction.extract import extract_clips, find_cached, is_current
from core.extraction.matrix import build_matrix, check_table
from core.extraction.texts import texts_of
from core.features import canonical, names, parse_set, set_of
from core.runtime.cache import VectorCache
from core.runtime.weights import find
from tests.conftest import write_clip
from tests.tiny_models import tiny_recogniser, voice

torch = pytest.importorskip("torch")
NAMES = [name for name, _, _ in COLUMNS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_recogniser(tmp_path_factory.mktemp("readings") / "tiny")


@pytest.fixture(scope="module")
def reader(folder):
    return Reader(find(str(folder)), to_clip=False, device="cpu")


def by_hand(folder, y, ids):
    """Log-probabilities of all tokens at each of ``ids``, by transformers alone, one token after the other."""
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    mels = WhisperFeatureExtractor.from_pretrained(folder)(y, sampling_rate=16000, return_tensors="pt")["input_features"]
    prefix = [model.generation_config.decoder_start_token_id, model.generation_config.no_timestamps_token_id]
    rows = []
    with torch.inference_mode():
        for at in range(len(ids)):
            logits = model(mels, decoder_input_ids=torch.tensor([[*prefix, *ids[:at]]])).logits[0, -1]
            rows.append(torch.log_softmax(logits, dim=-1))
    return torch.stack(rows).double().numpy()


def test_probabilities_are_those_of_the_model_token_by_token(folder, reader):
    from transformers import WhisperTokenizer

    tokenizer = WhisperTokenizer.from_pretrained(folder)
    words = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in ("bad", "cab")]
    ids = [*words[0], *words[1], tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    logp = by_hand(folder, voice(2.0), ids)
    tokens = logp[np.arange(len(ids)), ids]
    ranks = [(row > row[token]).sum() + 1 for row, token in zip(logp, ids, strict=True)][:-1]
    of_words = [tokens[: len(words[0])].sum(), tokens[len(words[0]) : -1].sum()]
    expected = {
        "token_logp_mean": tokens[:-1].mean(),
        "token_logp_min": tokens[:-1].min(),
        "token_logp_sum": tokens[:-1].sum(),
        "end_logp": tokens[-1],
        "token_log_rank_mean": np.log(ranks).mean(),
        "token_entropy_mean": -(np.exp(logp) * logp).sum(axis=1)[:-1].mean(),
        "tokens_per_s": (len(ids) - 1) / 2,
        "words_per_s": 1.0,
        "word_logp_mean": np.mean(of_words),
        "word_logp_min": min(of_words),
    }
    [vector] = reader([Spoken(voice(2.0), "bad cab")])
    read = dict(zip(NAMES, vector.tolist(), strict=True))
    assert {name: read[name] for name in expected} == pytest.approx(expected, abs=1e-4)  # of single precision


def test_columns_of_a_distribution_that_is_written_down():
    likelihoods = Likelihoods(
        np.array([-0.5, -2.0, -4.0]), np.array([1, 2, 4]), np.array([0.1, 0.2, 0.6]), -0.25, np.array([-2.5, -4.0])
    )
    read = dict(zip(NAMES, summarise(likelihoods, seconds=2.0).tolist(), strict=True))
    assert read == pytest.approx(
        {
            "token_logp_mean": -6.5 / 3,
            "token_logp_min": -4.0,
            "token_logp_median": -2.0,
            "token_logp_std": np.std([-0.5, -2.0, -4.0]),
            "token_share_below_1": 2 / 3,
            "token_share_below_3": 1 / 3,
            "token_logp_sum": -6.5,
            "end_logp": -0.25,
            "token_log_rank_mean": math.log(2),
            "token_entropy_mean": 0.3,
            "tokens_per_s": 1.5,
            "words_per_s": 1.0,
            "word_logp_mean": -3.25,
            "word_logp_min": -4.0,
        },
        rel=1e-6,
    )


def test_neighbours_in_a_batch_change_nothing(reader):
    items = [Spoken(voice(2.0), "a bad cab"), Spoken(voice(3.0, seed=1), "b"), Spoken(voice(2.0, seed=2), "cab abc bad dab")]
    together = reader(items)
    for item, vector in zip(items, together, strict=True):
        np.testing.assert_allclose(reader([item])[0], vector, atol=1e-4)


def test_a_window_cut_to_thirty_seconds_is_the_whole_one(folder, reader):
    cut = Reader(find(str(folder)), to_clip=True, device="cpu")
    item = Spoken(voice(30.0), "a bad cab")
    np.testing.assert_array_equal(cut([item]), reader([item]))


def test_a_clip_or_a_text_that_is_too_long_has_no_values(reader):
    long_clip, long_text, fitting = reader(
        [Spoken(voice(30.5), "cab"), Spoken(voice(2.0), "abcd " * 30), Spoken(voice(2.0), "cab")]
    )
    assert np.isnan(long_clip).all()
    assert np.isnan(long_text).all()  # of 64 tokens that the tiny decoder reads
    assert np.isfinite(fitting).all()


def test_a_text_in_capitals_and_odd_blanks_is_the_plain_text(reader):
    assert plain_text("WE  CALL\nIT") == "we call it"
    assert plain_text("I saw NASA") == "I saw NASA"
    one, other = reader([Spoken(voice(1.0), "BAD  CAB"), Spoken(voice(1.0), "bad cab")])
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.fixture
def rows(tmp_path):
    """Two clips, the first of them with two texts, and one without any."""
    first, second, third = (write_clip(tmp_path / f"{seed}.wav", voice(1.0 + seed, seed=seed), sr=16000) for seed in range(3))
    said = [(first, "bad cab"), (second, "bad cab"), (first, "dab"), (third, " ")]
    return [Row(path.name, path, float(at), {"said": text}) for at, (path, text) in enumerate(said)]


def test_a_clip_has_a_vector_for_each_of_its_texts_and_each_is_computed_once(folder, rows, tmp_path):
    name, cache = f"reading:{folder}:column=said", tmp_path / "c.sqlite"
    settings = ExtractSettings(features=(name,), workers=0)
    texts, told = texts_of(rows, (name,)), []
    paths = [row.path for row in rows]
    extraction = extract_clips(paths, settings, cache_path=cache, texts=texts, notify=told.append)
    X = build_matrix(rows, extraction, (name,)).X
    assert X.shape == (4, 14)
    assert np.isfinite(X[:3]).all()
    assert np.isnan(X[3]).all()  # there is nothing to read
    assert not np.allclose(X[0], X[2])
    assert not np.allclose(X[0], X[1])
    assert find_cached(paths, settings, cache_path=cache, texts=texts) == set(paths)
    extract_clips(paths, settings, cache_path=cache, texts=texts, notify=told.append)
    assert [event for event in told if isinstance(event, ExtractionStarted)][-1].to_do == 0
    other = [Row(rows[0].name, rows[0].path, 0.0, {"said": "cab bad"})]
    assert find_cached(paths[:1], settings, cache_path=cache, texts=texts_of(other, (name,))) == set()
    with VectorCache(cache) as store:
        [stored] = store.stored()
        assert (stored.set_name, stored.vectors, is_current(stored)) == (f"reading:{folder}", 3, True)


def test_a_matrix_is_not_made_where_the_texts_were_not_extracted(folder, rows, tmp_path):
    name = f"reading:{folder}:column=said"
    extraction = extract_clips([rows[0].path], ExtractSettings(features=(name,), workers=0), cache_path=tmp_path / "c.sqlite")
    with pytest.raises(ParameterError, match="the texts of the rows were not extracted"):
        build_matrix(rows[:1], extraction, (name,))


def test_copies_of_a_clip_are_read_with_its_text(folder, rows, tmp_path):
    name = f"reading:{folder}:column=said"
    settings, texts = ExtractSettings(features=(name,), workers=0), texts_of(rows[:1], (name,))
    extraction = extract_clips([rows[0].path], settings, cache_path=tmp_path / "c.sqlite", texts=texts, copies=1)
    matrix = build_matrix(rows[:1], extraction, (name,), copies=1)
    assert np.isfinite(matrix.copies).all()
    assert not np.allclose(matrix.copies[0], matrix.X)


def test_clips_that_are_not_read_are_told(folder, tmp_path):
    name = f"reading:{folder}:column=said"
    row = Row("long.wav", write_clip(tmp_path / "long.wav", voice(31.0), sr=16000), 1.0, {"said": "cab"})
    told = []
    extraction = extract_clips(
        [row.path], ExtractSettings(features=(name,), workers=0), cache_path=tmp_path / "c.sqlite",
        texts=texts_of([row], (name,)), notify=told.append,
    )  # fmt: skip
    assert np.isnan(build_matrix([row], extraction, (name,)).X).all()
    [warned] = [event.text for event in told if isinstance(event, Warned)]
    assert "1 clips have no values (first: long.wav), because they last over 30 s" in warned


def test_the_column_of_the_text_is_found_or_asked_for(rows, make_dataset):
    assert resolve_features(("reading:a/b@en", "mfcc"), ("speaker", "Text")) == ("reading:a/b@en:column=Text", "mfcc")
    assert resolve_features(("reading:a/b:column=said",), ("text",)) == ("reading:a/b:column=said",)
    with pytest.raises(ParameterError, match="name the one with the text, as in reading:a/b:column=NAME"):
        resolve_features(("reading:a/b",), ("speaker",))
    with pytest.raises(ParameterError, match="does not say which column has the text; write reading:a/b:column=NAME"):
        texts_of(rows, ("reading:a/b",))
    with pytest.raises(ParameterError, match="no further column 'text'; there are: said"):
        texts_of(rows, ("reading:a/b:column=text",))
    assert texts_of([Row("loose.wav", Path("loose.wav"), 0.0)], ("reading:a/b:column=text",), allow_missing_table=True) == {}


def test_names_of_readings():
    parsed = parse_set("reading:openai/whisper-base@en:column=what is said")
    assert (parsed.model, parsed.language, parsed.column) == ("openai/whisper-base", "en", "what is said")
    assert parsed.stored == "reading:openai/whisper-base@en"
    assert canonical("reading:openai/whisper-base@English:column=said") == "reading:openai/whisper-base@en:column=said"
    assert set_of("reading:/m/whisper.v3:column=said.token_logp_mean") == "reading:/m/whisper.v3:column=said"
    assert names("reading:a/b:column=said") == tuple(NAMES)
    assert export_name("reading:a/b:column=said") != export_name("reading:a/c:column=said")


@pytest.mark.parametrize("name", ["reading:", "reading: a/b", "reading:a/b:column=", "reading:a/b:column= x", "reading:a/b@xx"])
def test_a_reading_that_is_misspelt_is_refused(name):
    with pytest.raises(ParameterError, match="feature set"):
        parse_set(name)


def test_a_table_without_the_column_is_refused_before_the_clips_are_read(make_dataset):
    from core.data.dataset import read_dataset

    with pytest.raises(ParameterError, match="there is no column 'said'"):
        check_table(read_dataset(make_dataset(4)), ("reading:a/b:column=said",))


def test_real_speech_is_likelier_to_say_its_own_text():
    """Learners of English read sentences: nearly every clip finds its own text likelier than that of another clip."""
    models, data = os.environ.get("EARMARK_TEST_MODELS"), os.environ.get("EARMARK_TEST_DATA")
    if not models or not data:
        pytest.skip("EARMARK_TEST_MODELS (with whisper-tiny.en) and EARMARK_TEST_DATA are not set")
    from core.data.audio import read_clip
    from core.encoders.transcripts import prepare_clip

    root = Path(data) / "speech-fluency"
    with (root / "csvs/train.csv").open(encoding="utf-8") as file:
        table = [row for row in csv.DictReader(file) if len(row["text"].split()) > 3][:20]
    clips = [prepare_clip(read_clip(next((root / "audios").rglob(f"{row['filename']}.*")))) for row in table]
    texts = [row["text"] for row in table]
    reader = Reader(find(str(Path(models) / "whisper-tiny.en")), to_clip=True, device="cpu")
    own, others = (reader([Spoken(y, text) for y, text in zip(clips, of, strict=True)]) for of in (texts, texts[1:] + texts[:1]))
    mean = NAMES.index("token_logp_mean")
    gains = np.array([vector[mean] - other[mean] for vector, other in zip(own, others, strict=True)])
    assert (gains > 0).sum() >= 18, gains  # by chance so many of 20 would be with a probability of 0.0002


def test_an_encoder_and_a_reading_of_one_model_encode_each_clip_once(folder, rows, tmp_path, monkeypatch):
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    encoder, reading = f"encoder:{folder}", f"reading:{folder}:column=said"
    windows = []
    forward = WhisperEncoder.forward

    def counted(self, input_features, *others, **options):
        windows.append(len(input_features))
        return forward(self, input_features, *others, **options)

    monkeypatch.setattr(WhisperEncoder, "forward", counted)

    def extract(sets, cache):
        windows.clear()
        settings = ExtractSettings(features=sets, workers=0)
        paths = [row.path for row in rows]
        vectors = extract_clips(paths, settings, cache_path=tmp_path / cache, texts=texts_of(rows, sets)).vectors
        return vectors, sum(windows)

    together, passes = extract((reading, encoder), "together.sqlite")
    alone, own_passes = extract((reading,), "alone.sqlite")
    assert (passes, own_passes) == (3, 3)  # three clips, the first of them with two texts
    for path, by_name in alone.items():
        for name, vector in by_name.items():
            np.testing.assert_allclose(together[path][name], vector, atol=1e-4)
