"""What is expected is known beforehand: from jiwer, from errors and pauses that are planted, from transformers' own decoding."""

import csv
import os
from pathlib import Path

import jiwer
import numpy as np
import pytest

from core.data.rows import Row
from core.encoders import pauses
from core.encoders.alignment import FRAME_S, word_edges
from core.encoders.recognitions import COLUMNS, FreeReader
from core.encoders.spoken import Spoken
from core.encoders.word_errors import COLUMNS as ERRORS, compare_texts, normalise, read_spellings
from core.encoders.words import Word
from core.ensemble.members import parse_member
from core.errors import ParameterError
from core.extraction.config import ExtractSettings, resolve_features
from core.extraction.extract import extract_clips, is_current
from core.extraction.matrix import build_matrix
from core.extraction.texts import texts_of
from core.features import canonical, columns, names, parse_set, set_of
from core.runtime.cache import VectorCache
from core.runtime.weights import find
from tests.conftest import tone, write_clip
from tests.tiny_models import tiny_recogniser, voice

torch = pytest.importorskip("torch")
NAMES = [name for name, _, _ in COLUMNS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_recogniser(tmp_path_factory.mktemp("recognitions") / "tiny")


@pytest.fixture(scope="module")
def reader(folder):
    return FreeReader(find(str(folder)), to_clip=True, device="cpu")


def errors(text, recognised):
    return dict(zip((name for name, _, _ in ERRORS), compare_texts(text, recognised), strict=True))


def test_what_is_read_as_it_is_written_has_no_errors():
    read = errors("the cat sat down", "the cat sat down")
    assert read.pop("share_reached") == 1.0
    assert set(read.values()) == {0.0}


def test_planted_errors_are_counted_by_their_kind():
    text = "one two three four five six seven eight"
    assert errors(text, "one two tree four five six seven eight")["substitutions_per_word"] == 1 / 8
    assert errors(text, "one two three four um five six seven eight")["insertions_per_word"] == 1 / 8
    cut = errors(text, "one two three four")
    assert (cut["deletions_per_word"], cut["share_reached"], cut["word_error_rate"]) == (0.5, 0.5, 0.5)
    nothing = errors(text, "")
    assert (nothing["deletions_per_word"], nothing["share_reached"], nothing["character_error_rate"]) == (1.0, 0.0, 1.0)


def test_rates_of_errors_are_those_of_jiwer(rng):
    words = ["the", "a", "cat", "dog", "sat", "ran", "down", "up"]
    for _ in range(20):
        text, recognised = (" ".join(rng.choice(words, size=rng.integers(1, 9))) for _ in range(2))
        read = errors(text, recognised)
        assert read["word_error_rate"] == jiwer.wer(text, recognised)
        assert read["character_error_rate"] == jiwer.cer(text, recognised)
        kinds = [read[f"{kind}_per_word"] for kind in ("substitutions", "insertions", "deletions")]
        assert sum(kinds) == pytest.approx(read["word_error_rate"], abs=1e-12)


def test_repetitions_count_where_the_text_has_none():
    assert errors("he can bank", "he he can can bank")["n_repetitions"] == 2
    assert errors("he can bank", "he can he can bank")["n_repetitions"] == 1  # two words in a row
    assert errors("no no thank you", "no no thank you")["n_repetitions"] == 0
    assert errors("no no no thank you", "no thank you")["n_repetitions"] == 0


def test_texts_are_compared_as_whisper_scores_them(tmp_path):
    assert normalise("Well, I'm  TWENTY-one!", language="en", spellings={}) == "well i am 21"
    assert normalise("Colour", language="en", spellings={"colour": "color"}) == "color"
    assert normalise("\u00c9l est\u00e1, \u00bfno?", language="es", spellings={}) == "\u00e9l est\u00e1 no"
    assert normalise("\u4eca\u5929\u597d", language="zh", spellings={}) == "\u4eca \u5929 \u597d"
    assert read_spellings(tmp_path) == {}
    (tmp_path / "normalizer.json").write_text('{"colour": "color"}')
    assert read_spellings(tmp_path) == {"colour": "color"}


def test_a_text_without_a_word_has_no_rates():
    assert np.isnan(compare_texts("", "a word")).all()


def times(*edges):
    return [Word("word", start_s, end_s) for start_s, end_s in edges]


def test_pauses_between_planted_words():
    words = times((0.0, 0.5), (0.5, 1.0), (1.3, 1.8), (2.4, 2.6))
    read = dict(zip((name for name, _, _ in pauses.COLUMNS), pauses.summarise_times(words), strict=True))
    assert read == pytest.approx(
        {
            "pause_mean_s": 0.3,
            "pause_max_s": 0.6,
            "pauses_over_025": 2,
            "pauses_over_05": 1,
            "pause_share": 0.9 / 2.6,
            "articulation_rate": 16 / 1.7,
            "word_mean_s": 1.7 / 4,
            "word_std_s": np.std([0.5, 0.5, 0.5, 0.2]),
        },
        abs=1e-9,
    )
    assert pauses.summarise_times(words[:1])[:5] == [0, 0, 0, 0, 0]
    assert np.isnan(pauses.summarise_times([])).all()


def test_silence_between_words_is_taken_from_them_wherever_the_aligner_sets_the_edge():
    sounds = [tone(220, seconds=seconds, sr=16000) for seconds in (0.6, 0.8)]
    y = np.concatenate([np.zeros(3200), sounds[0], np.zeros(6400), sounds[1], np.zeros(4800)]).astype(np.float32)
    for edge_s in (0.7, 0.9, 1.1, 1.3):  # sound is at 0.2 to 0.8 s and at 1.2 to 2 s
        first, second = pauses.trim_words(times((0.0, edge_s), (edge_s, 2.3)), y)
        assert (first.start_s, first.end_s) == pytest.approx((0.2, 0.8), abs=FRAME_S / 2), edge_s
        assert (second.start_s, second.end_s) == pytest.approx((1.2, 2.0), abs=FRAME_S / 2), edge_s


def test_tokens_begin_where_a_planted_diagonal_attends():
    rows, frames_each = 8, 10
    weights = np.full((2, rows, rows * frames_each), 1e-3)
    for row in range(rows):
        weights[:, row, row * frames_each : (row + 1) * frames_each] = 1.0
    edges_s = word_edges(weights, skip=0)
    np.testing.assert_allclose(edges_s, np.arange(rows - 1) * frames_each * FRAME_S, atol=1.5 * FRAME_S)  # half of the filter


def test_tokens_are_the_likeliest_of_transformers_own_decoding(folder, reader):
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    whole = FreeReader(find(str(folder)), to_clip=False, device="cpu")
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    y = voice(2.0)
    mels = WhisperFeatureExtractor.from_pretrained(folder)(y, sampling_rate=16000, return_tensors="pt")["input_features"]
    end = model.config.eos_token_id
    ids, tokens, logp = [model.generation_config.decoder_start_token_id, model.generation_config.no_timestamps_token_id], [], []
    with torch.inference_mode():
        while len(tokens) < 30:  # 10, and 10 a second
            row = torch.log_softmax(model(mels, decoder_input_ids=torch.tensor([[*ids, *tokens]])).logits[0, -1], dim=-1)
            token = int(row[: end + 1].argmax())  # what stands behind is no text
            if token == end:
                break
            tokens.append(token)
            logp.append(float(row[token]))
    [recognised] = whole.recognise([y], samples=30 * 16000)
    assert recognised.text == whole._decode(tokens).strip()
    np.testing.assert_allclose(recognised.logp, logp, atol=1e-4)  # of single precision


def test_neighbours_in_a_batch_change_nothing(reader):
    items = [Spoken(voice(2.0), "a bad cab"), Spoken(voice(3.0, seed=1), "b"), Spoken(voice(2.0, seed=2), "cab abc")]
    for item, vector in zip(items, reader(items), strict=True):
        np.testing.assert_allclose(reader([item])[0], vector, atol=1e-4)


def test_a_clip_that_is_too_long_has_no_values_and_a_long_text_has(reader):
    long_clip, long_text = reader([Spoken(voice(30.5), "cab"), Spoken(voice(1.0), "abcd " * 30)])
    assert np.isnan(long_clip).all()
    assert np.isfinite(long_text[: len(ERRORS)]).all()


def test_a_recognition_is_extracted_once_for_each_text_and_cached(folder, tmp_path):
    paths = [write_clip(tmp_path / f"{seed}.wav", voice(1.0 + seed, seed=seed), sr=16000) for seed in range(2)]
    rows = [Row(path.name, path, 0.0, {"said": text}) for path, text in zip([*paths, paths[0]], ("cab", "bad", "dab"), strict=True)]
    name, cache = f"recognition:{folder}:column=said", tmp_path / "c.sqlite"
    extraction = extract_clips(
        [row.path for row in rows], ExtractSettings(features=(name,), workers=0), cache_path=cache, texts=texts_of(rows, (name,))
    )
    assert build_matrix(rows, extraction, (name,)).X.shape == (3, len(COLUMNS))
    with VectorCache(cache) as store:
        [stored] = store.stored()
        assert (stored.set_name, stored.vectors, is_current(stored)) == (f"recognition:{folder}", 3, True)


def test_names_of_recognitions():
    parsed = parse_set("recognition:openai/whisper-base@en:column=what is said")
    assert (parsed.model, parsed.language, parsed.column) == ("openai/whisper-base", "en", "what is said")
    assert parsed.stored == "recognition:openai/whisper-base@en"
    assert canonical("recognition:a/b@English:column=said") == "recognition:a/b@en:column=said"
    assert set_of("recognition:/m/whisper.v3:column=said.word_error_rate") == "recognition:/m/whisper.v3:column=said"
    assert names("recognition:a/b:column=said") == tuple(NAMES)
    assert all(column.definition and column.unit for column in columns("recognition:a/b"))
    assert resolve_features(("recognition:a/b",), ("text",)) == ("recognition:a/b:column=text",)
    assert parse_member("svr:recognition:a/b:column=said").sets == ("recognition:a/b:column=said",)
    for name in ("recognition:", "recognition: a/b", "recognition:a/b:column=", "recognition:a/b@xx"):
        with pytest.raises(ParameterError, match="feature set"):
            parse_set(name)


def test_real_speech_has_fewer_errors_against_its_own_text():
    """Learners of English read sentences: their own text is nearer to what is recognised than that of another clip."""
    models, data = os.environ.get("EARMARK_TEST_MODELS"), os.environ.get("EARMARK_TEST_DATA")
    if not models or not data:
        pytest.skip("EARMARK_TEST_MODELS (with whisper-tiny.en) and EARMARK_TEST_DATA are not set")
    from core.data.audio import read_clip
    from core.encoders.transcripts import prepare_clip

    root = Path(data) / "speech-fluency"
    with (root / "csvs/train.csv").open(encoding="utf-8") as file:
        table = [row for row in csv.DictReader(file) if len(row["text"].split()) > 3][:8]
    clips = [prepare_clip(read_clip(next((root / "audios").rglob(f"{row['filename']}.*")))) for row in table]
    texts = [row["text"] for row in table]
    reader = FreeReader(find(str(Path(models) / "whisper-tiny.en")), to_clip=True, device="cpu")
    own, others = (reader([Spoken(y, text) for y, text in zip(clips, of, strict=True)]) for of in (texts, texts[1:] + texts[:1]))
    rate = NAMES.index("word_error_rate")
    gains = np.array([other[rate] - vector[rate] for vector, other in zip(own, others, strict=True)])
    assert (gains >= 0).all(), gains
    assert (gains > 0).sum() >= 7, gains  # by chance so many of 8 would be with a probability of 0.035
    seconds = np.array([len(y) / 16000 for y in clips])
    longest_s = np.array([vector[NAMES.index("pause_max_s")] for vector in own])
    assert (longest_s < seconds).all()
