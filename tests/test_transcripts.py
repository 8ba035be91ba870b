from itertools import pairwise

import numpy as np
import pytest

from core import transcripts
from core.audio import read_clip
from core.cache import VectorCache, vector_key
from core.checkpoints import find
from core.dataset import read_dataset
from core.errors import ParameterError
from core.extract import ExtractSettings, definition_hash, extract_clips
from core.features import columns, set_of
from core.matrix import build_matrix, export_name
from core.transcripts import Heard, Word, describe, join_words, repetitions, split_words, spread_words, text_columns
from tests.conftest import tone, write_clip, write_table
from tests.encoders import tiny_recogniser, voice

NAMES = [column.name for column in columns("transcript:describe")]


def said(text, *, start_s=0.0, word_s=0.5):
    """Words one after the other, half a second each."""
    return [Word(word, start_s + word_s * at, start_s + word_s * (at + 0.9)) for at, word in enumerate(text.split())]


def windows_of(words, *, jitter_s=0.0, seed=0, cut=True):
    """What windows of 30 s with 5 s in common would hear of words: at its edges a window cuts a word, and hears something else."""
    rng = np.random.default_rng(seed)
    end = max(word.end_s for word in words)
    heard = []
    for start in np.arange(0, max(end - 5, 1), 25.0):
        stop, inside = start + 30, []
        for word in words:
            if word.end_s <= start or word.start_s >= stop:
                continue
            whole = word.start_s >= start and word.end_s <= stop
            shift = rng.uniform(-jitter_s, jitter_s)
            text = word.text if whole or not cut else word.text[:1] + "~"
            inside.append(Word(text, word.start_s + shift, word.end_s + shift))
        heard.append(Heard(start, min(stop, end), tuple(inside)))
    return heard


def texts(words):
    return [word.text for word in words]


NUMBERS = " ".join(f"w{number}" for number in range(200))  # 100 s


@pytest.mark.parametrize("jitter_s", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("seed", range(5))
def test_at_a_seam_no_word_is_lost_and_none_is_doubled(jitter_s, seed):
    words = said(NUMBERS, start_s=0.13 * seed)
    assert texts(join_words(windows_of(words, jitter_s=jitter_s, seed=seed))) == NUMBERS.split()


@pytest.mark.parametrize("seed", range(5))
def test_words_that_are_said_again_and_again_keep_their_number(seed):
    text = " ".join(["no no no yes", "the the", "very very very good"] * 22)
    words = said(text)
    joined = texts(join_words(windows_of(words, jitter_s=0.1, seed=seed)))
    assert joined == text.split()


def test_a_seam_in_silence_joins_what_stands_on_both_sides():
    words = [*said("before the pause", start_s=20.0), *said("after the pause", start_s=32.0)]
    assert texts(join_words(windows_of(words))) == ["before", "the", "pause", "after", "the", "pause"]


def test_windows_that_agree_on_no_word_change_in_the_middle_of_their_overlap():
    first = Heard(0.0, 30.0, tuple(said("a b c d e f", start_s=26.0)))
    second = Heard(25.0, 55.0, tuple(said("q r s t u v", start_s=26.0)))
    joined = join_words([first, second])  # 27.5 s is the middle
    assert [word.text for word in joined if word.middle_s < 27.5] == ["a", "b", "c"]
    assert [word.text for word in joined if word.middle_s >= 27.5] == ["t", "u", "v"]


def test_an_empty_window_takes_nothing_away():
    words = said("one two three")
    assert join_words([Heard(0.0, 30.0, tuple(words)), Heard(25.0, 55.0, ())]) == words
    assert join_words([]) == []
    assert join_words([Heard(0.0, 30.0, ()), Heard(25.0, 55.0, tuple(said("x", start_s=40)))])[0].text == "x"


def test_case_and_punctuation_make_no_other_word():
    first = Heard(0.0, 30.0, tuple(said("so Then, we went", start_s=26.0)))
    second = Heard(25.0, 55.0, tuple(said("So then we went home.", start_s=26.1)))
    assert [word.text.strip(",.").casefold() for word in join_words([first, second])] == ["so", "then", "we", "went", "home"]


def test_words_are_counted_by_hand():
    of = dict(zip(NAMES, text_columns("Um, I mean the the dog - you know - barked.", seconds=4.0).tolist(), strict=True))
    assert of["n_words"] == 9
    assert of["words_per_s"] == 2.25
    assert of["type_token_ratio"] == pytest.approx(8 / 9)
    assert of["n_fillers"] == 3  # um, I mean, you know
    assert of["n_repetitions"] == 1
    assert of["mean_word_length"] == pytest.approx(len("umimeanthethedogyouknowbarked") / 9)
    silent = dict(zip(NAMES, text_columns("  ", seconds=4.0).tolist(), strict=True))
    assert (silent["n_words"], silent["n_characters"]) == (0, 0)
    assert np.isnan(silent["type_token_ratio"])
    undefined = {column.name for column in columns("transcript:describe") if column.nan_when != "never"}
    assert undefined == {name for name in NAMES if np.isnan(silent[name])}


def test_words_of_any_script_are_words():
    assert split_words("Привет, мир! naïve café") == ["привет", "мир", "naïve", "café"]
    assert repetitions(split_words("a b a b c c c")) == 3


def test_a_segment_gives_its_time_to_its_words():
    words = spread_words("four by two", 2.0, 4.0)
    assert [word.text for word in words] == ["four", "by", "two"]
    assert words[0].start_s == 2.0
    assert words[-1].end_s == 4.0
    assert all(one.end_s == other.start_s for one, other in pairwise(words))


def test_a_description_says_what_the_columns_say():
    values = {"duration_s": 43.0, "f0_mean_hz": 180.2, "pause_count": 1.0, "pause_mean_s": 0.5, "silence_ratio": 0.123}
    assert describe(values) == "43 s, mean pitch 180 Hz, 1 pause of 0.5 s on average, 12 % silent"
    assert describe({"duration_s": 3.21, "f0_mean_hz": float("nan"), "voiced_ratio": 0.0, "pause_count": 0.0}) == (
        "3.2 s, no voiced sound, no pause, 0 % voiced"
    )


def test_a_text_of_the_table_is_a_set(tmp_path):
    for name, seconds in (("a", 2.0), ("b", 4.0), ("c", 1.0)):
        write_clip(tmp_path / f"audios/train/{name}.wav", tone(220, seconds=seconds))
    rows = [("a", 1, "one two three four"), ("b", 2, "one um two um"), ("c", 3, "")]
    write_table(tmp_path / "csvs/train.csv", ("filename", "label", "said.text"), rows)
    dataset = read_dataset(tmp_path)
    name = "transcript:column=said.text"
    settings = ExtractSettings((name,), workers=0)
    extraction = extract_clips([row.path for row in dataset.train], settings, cache_path=tmp_path / "c.sqlite")
    matrix = build_matrix(dataset.train, extraction, (name,))
    assert [set_of(column) for column in matrix.names] == [name] * 8
    np.testing.assert_allclose(matrix.X[:, NAMES.index("words_per_s")], [2.0, 1.0, 0.0], rtol=1e-3)
    np.testing.assert_allclose(matrix.X[:, NAMES.index("n_fillers")], [0, 2, 0])
    other = ExtractSettings(("transcript:column=other",), workers=0)
    found = extract_clips([row.path for row in dataset.train], other, cache_path=tmp_path / "c.sqlite")
    with pytest.raises(ParameterError, match="no further column 'other'"):
        build_matrix(dataset.train, found, ("transcript:column=other",))


def test_a_description_is_a_set(tmp_path):
    path = write_clip(tmp_path / "a.wav", tone(200, seconds=2.0))
    done = extract_clips([path], ExtractSettings(("transcript:describe",), workers=0), cache_path=tmp_path / "c.sqlite")
    text = transcripts.describe_clip(read_clip(path))
    assert text.startswith("2.0 s, mean pitch 200 Hz")
    np.testing.assert_array_equal(done.vectors[path]["transcript:describe"], text_columns(text, seconds=2.0))


@pytest.mark.parametrize("name", ["transcript", "transcript:", "transcript:column=", "transcript:whisper", "transcript:other"])
def test_a_transcript_names_its_source(name):
    with pytest.raises(ParameterError, match="feature set"):
        ExtractSettings((name,))


def test_sets_of_words_have_file_names():
    assert export_name("transcript:column=text") == "transcript_text_{split}.npz"
    assert export_name("transcript:describe").startswith("transcript_")
    assert "/" not in export_name("transcript:whisper=openai/whisper-tiny")


torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    return tiny_recogniser(tmp_path_factory.mktemp("models") / "whisper")


def test_a_recogniser_hears_words_with_times_and_neighbours_change_none(recogniser):
    hear = transcripts.Recogniser(find(str(recogniser)), device="cpu")
    clips = [voice(seconds, seed=seed) for seed, seconds in enumerate((4.0, 41.0, 2.0))]
    together = hear(clips)
    assert together == hear(clips)
    for y, words in zip(clips, together, strict=True):
        assert hear([y]) == [words]
        assert all(0 <= word.start_s <= word.end_s <= len(y) / 16000 + 1e-6 for word in words)
    assert any(together)


def test_windows_reach_the_end_of_the_clip_and_no_further_than_needed():
    for seconds in (1, 29.9, 30, 30.1, 55, 55.1, 80, 300):
        starts = [start / 16000 for start in transcripts.window_starts(round(seconds * 16000))]
        assert starts[-1] + 30 >= seconds
        assert len(starts) == 1 or starts[-2] + 30 < seconds
        assert all(second - first == 25 for first, second in pairwise(starts))


def test_what_is_heard_is_stored_with_its_words(recogniser, tmp_path):
    path = write_clip(tmp_path / "a.wav", voice(3.0), sr=16000)
    name = f"transcript:whisper={recogniser}"
    settings = ExtractSettings((name,), workers=0)
    done = extract_clips([path], settings, cache_path=tmp_path / "c.sqlite")
    key = vector_key(bytes.fromhex(done.contents[path]), definition_hash(name, 45.0))
    with VectorCache(tmp_path / "c.sqlite") as store:
        [text] = store.get_texts([key]).values()
    words = transcripts.words_from_json(text)
    expected = text_columns(transcripts.text_of(words), seconds=3.0)
    np.testing.assert_array_equal(done.vectors[path][name], expected)
    again = extract_clips([path], settings, cache_path=tmp_path / "c.sqlite")
    assert again.computed == 0


def test_what_is_no_recogniser_is_refused(tmp_path):
    from tests.encoders import tiny_encoder, tiny_whisper

    with pytest.raises(ParameterError, match="is no Whisper"):
        transcripts.Recogniser(find(str(tiny_encoder("wavlm", tmp_path / "wavlm"))), device="cpu")
    with pytest.raises(ParameterError, match=r"has no tokenizer; bring tokenizer.json"):
        transcripts.Recogniser(find(str(tiny_whisper(tmp_path / "mute"))), device="cpu")


def test_plain_transcript_is_the_text_of_the_table_or_a_description(tmp_path, capsys):
    from core.cli import main

    for name, text in (("with", "text"), ("without", "room")):
        for clip in "abcd":
            write_clip(tmp_path / name / f"audios/train/{clip}.wav", tone(220))
        write_table(
            tmp_path / name / "csvs/train.csv",
            ("filename", "label", text),
            [(clip, at, "one two") for at, clip in enumerate("abcd")],
        )
        assert (
            main(
                ["extract", str(tmp_path / name), "--features", "transcript", "--workspace", str(tmp_path / "w"), "--workers", "0"]
            )
            == 0
        )
    told = capsys.readouterr().err
    assert "transcript is taken as transcript:column=text" in told
    assert "transcript is taken as transcript:describe" in told
