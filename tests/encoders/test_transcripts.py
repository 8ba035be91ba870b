import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

from core.data.audio import read_clip
from core.data.dataset import read_dataset
from core.encoders import transcripts
from core.encoders.alignment import first_frames, word_edges
from core.encoders.batches import state_of
from core.encoders.descriptions import describe, describe_clip
from core.encoders.transcript_sets import LANGUAGES
from core.encoders.words import (
    Heard,
    Word,
    join_words,
    repetitions,
    split_words,
    spread_words,
    text_columns,
    text_of,
    token_words,
    words_from_json,
)
from core.errors import ParameterError
from core.extraction.config import ExtractSettings
from core.extraction.definitions import FINGERPRINT
from core.extraction.export import export_name
from core.extraction.extract import column_names, definition_hash, extract_clips, is_current
from core.extraction.matrix import build_matrix
from core.features import canonical, columns, parse_set, set_of
from core.runtime.cache import VectorCache, vector_key
from core.runtime.weights import find
from tests.conftest import tone, write_clip, write_table
from tests.tiny_models import tiny_recogniser, voice

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


@pytest.mark.parametrize("word_s", [0.35, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_one_word_without_end_keeps_its_number(word_s, seed):
    words = said("no " * 200, start_s=0.13 * seed, word_s=word_s)  # no other word tells which "no" is which: only the time does
    assert len(join_words(windows_of(words, jitter_s=0.1, seed=seed))) == 200


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_words_that_each_window_hears_differently_are_neither_lost_nor_doubled(share, seed):
    rng = np.random.default_rng(seed)
    words = said(NUMBERS, start_s=0.13 * seed)
    heard = [
        Heard(
            window.start_s,
            window.end_s,
            tuple(
                Word(f"{word.text}{rng.choice(list('bcdfgh'))}" if rng.random() < share else word.text, word.start_s, word.end_s)
                for word in window.words
            ),
        )
        for window in windows_of(words, jitter_s=0.2, seed=seed, cut=False)
    ]
    assert [word.text.rstrip("bcdfgh") for word in join_words(heard)] == NUMBERS.split()


@pytest.mark.parametrize("early", [False, True])
def test_a_word_beside_the_middle_that_is_misheard_is_said_once(early):
    first, second = (Word("colour", 27.2, 27.6), Word("color", 27.4, 27.8))  # 27.5 s is the middle
    if early:
        first, second = (Word("colour", 27.4, 27.8), Word("color", 27.2, 27.6))
    assert len(join_words([Heard(0.0, 30.0, (first,)), Heard(25.0, 55.0, (second,))])) == 1


def test_what_the_edge_of_a_window_cuts_comes_from_the_other_one():
    words = [*said("well", start_s=20.0), Word("number", 29.7, 30.2), *said("seven", start_s=31.0)]
    assert texts(join_words(windows_of(words))) == ["well", "number", "seven"]
    words = [*said("well", start_s=20.0), Word("number", 24.8, 25.3), *said("seven", start_s=31.0)]
    assert texts(join_words(windows_of(words))) == ["well", "number", "seven"]


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
    assert split_words("\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e") == [
        "\u0928\u092e\u0938\u094d\u0924\u0947",
        "\u0926\u0941\u0928\u093f\u092f\u093e",
    ]  # vowel signs and viramas are no letters to Unicode, but they part no word
    assert split_words("cafe\u0301 \u2764\ufe0f") == ["caf\u00e9"]
    assert split_words("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645") == ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"]


def test_each_word_that_is_said_again_at_once_counts():
    assert repetitions(split_words("a b a b c c c")) == 3
    assert [repetitions(["no"] * times) for times in range(6)] == [0, 0, 1, 2, 3, 4]
    assert repetitions(["I", "was", "I", "was", "I", "was", "there"]) == 2


def test_a_segment_gives_its_time_to_its_words():
    words = spread_words("four by two", 2.0, 4.0)
    assert [word.text for word in words] == ["four", "by", "two"]
    assert words[0].start_s == 2.0
    assert words[-1].end_s == 4.0
    assert all(one.end_s == other.start_s for one, other in pairwise(words))


def test_characters_of_a_script_without_blanks_have_times_of_their_own_and_the_text_stays():
    text = "\u4eca\u5929\u3001\u5929\u6c14 \u5f88\u597d"
    words = spread_words(text, 0.0, 7.0)
    assert [round(word.start_s) for word in words] == list(range(7))
    assert text_of(words) == text
    assert text_of(spread_words("two words", 0.0, 1.0)) == "two words"


def test_a_word_lasts_from_its_first_token_to_the_next_word():
    pieces = [" un", "do", "ing,", " it", " \u4eca", "\u5929"]
    words = token_words(range(6), [0.0, 0.1, 0.2, 0.5, 0.7, 0.8, 1.0], lambda tokens: "".join(pieces[token] for token in tokens))
    assert words == [
        Word("undoing,", 0.0, 0.5),
        Word("it", 0.5, 0.7),
        Word(" \u4eca", 0.7, 0.8),
        Word("\u5929", 0.8, 1.0),
    ]
    assert text_of(words) == "undoing, it \u4eca\u5929"


def test_a_character_of_several_tokens_is_whole():
    parts = [b" na", *(bytes([byte]) for byte in "\u00ef".encode()), b"ve", *(bytes([byte]) for byte in "\u8a9e".encode())]
    edges_s = np.arange(len(parts) + 1) / 10

    def decode(tokens):
        return b"".join(parts[token] for token in tokens).decode(errors="replace")

    assert token_words(range(len(parts)), edges_s, decode) == [Word("na\u00efve", 0.0, 0.4), Word("\u8a9e", 0.4, 0.7)]
    broken = token_words(range(6), edges_s[:7], decode)  # the text ends within a character
    assert broken[0] == Word("na\u00efve", 0.0, 0.4) or broken[0].text.startswith("na\u00efve")


def cheapest(cost):
    """Every path, one after the other."""
    rows, frames = cost.shape

    def paths(row, frame):
        if (row, frame) == (rows - 1, frames - 1):
            yield cost[row, frame], [(row, frame)]
            return
        for down, on in ((1, 1), (1, 0), (0, 1)):
            if row + down < rows and frame + on < frames:
                for total, rest in paths(row + down, frame + on):
                    yield total + cost[row, frame], [(row, frame), *rest]

    _, path = min(paths(0, 0))
    return [min(frame for row, frame in path if row == wanted) for wanted in range(rows)]


@pytest.mark.parametrize("shape", [(1, 5), (4, 6), (5, 3), (3, 1)])
def test_the_path_through_the_frames_is_the_cheapest_of_all(shape, rng):
    for _ in range(5):
        cost = rng.normal(size=shape)
        assert first_frames(cost).tolist() == cheapest(cost)


def test_tokens_begin_where_the_heads_begin_to_look(rng):
    begin = [0, 20, 60, 90, 130]  # frames of 0.02 s
    weights = 0.02 * rng.random((3, 8, 150)) + 1e-3
    weights[:, [0, 1, -1], :] = 0.01  # these are about no token
    for row, (start, stop) in enumerate(pairwise([*begin, 150])):
        weights[:, row + 2, start:stop] += 1.0
    np.testing.assert_allclose(word_edges(weights, skip=2), 0.02 * np.array(begin), atol=0.021)  # the median filter blurs a frame
    assert np.all(np.diff(word_edges(rng.random((2, 9, 3)), skip=1)) >= 0)  # fewer frames than tokens, and than the filter is wide
    assert np.isfinite(word_edges(np.zeros((1, 4, 20)), skip=1)).all()


def test_a_description_says_what_the_columns_say():
    values = {"duration_s": 43.0, "f0_mean_hz": 180.2, "pause_count": 1.0, "pause_mean_s": 0.5, "silence_ratio": 0.123}
    assert describe(values) == "43 s, mean pitch 180 Hz, 1 pause of 0.5 s on average, 12 % silent"
    assert describe({"duration_s": 3.21, "f0_mean_hz": float("nan"), "voiced_ratio": 0.0, "pause_count": 0.0}) == (
        "3.2 s, no voiced sound, no pause, 0 % voiced"
    )
    loud = {"voiced_runs_per_s": 1.26, "rms_mean": 0.1, "dynamic_range_db": 40.4}
    assert describe(loud) == "1.3 voiced runs per second, level -20 dBFS, dynamic range 40 dB"
    assert describe(loud | {"rms_mean": 0.0, "dynamic_range_db": float("inf")}) == "1.3 voiced runs per second"


def test_a_text_of_the_table_is_a_set(tmp_path):
    for name, seconds in (("a", 2.0), ("b", 4.0), ("c", 1.0)):
        write_clip(tmp_path / f"audios/train/{name}.wav", tone(220, seconds=seconds))
    rows = [("a", 1, "one two three four"), ("b", 2, "one um two um"), ("c", 3, "")]
    write_table(tmp_path / "csvs/train.csv", ("filename", "label", "said.text"), rows)
    dataset = read_dataset(tmp_path)
    name = "transcript:column=said.text"
    settings = ExtractSettings(features=(name,), workers=0)
    extraction = extract_clips([row.path for row in dataset.train], settings, cache_path=tmp_path / "c.sqlite")
    matrix = build_matrix(dataset.train, extraction, (name,))
    assert [set_of(column) for column in matrix.names] == [name] * 8
    np.testing.assert_allclose(matrix.X[:, NAMES.index("words_per_s")], [2.0, 1.0, 0.0], rtol=1e-3)
    np.testing.assert_allclose(matrix.X[:, NAMES.index("n_fillers")], [0, 2, 0])
    other = ExtractSettings(features=("transcript:column=other",), workers=0)
    found = extract_clips([row.path for row in dataset.train], other, cache_path=tmp_path / "c.sqlite")
    with pytest.raises(ParameterError, match="no further column 'other'"):
        build_matrix(dataset.train, found, ("transcript:column=other",))


def test_a_description_is_a_set(tmp_path):
    path = write_clip(tmp_path / "a.wav", tone(200, seconds=2.0))
    done = extract_clips([path], ExtractSettings(features=("transcript:describe",), workers=0), cache_path=tmp_path / "c.sqlite")
    text = describe_clip(read_clip(path))
    assert text.startswith("2.0 s, mean pitch 200 Hz")
    np.testing.assert_array_equal(done.vectors[path]["transcript:describe"], text_columns(text, seconds=2.0))


@pytest.mark.parametrize("name", ["transcript", "transcript:", "transcript:column=", "transcript:whisper", "transcript:other"])
def test_a_transcript_names_its_source(name):
    with pytest.raises(ParameterError, match="feature set"):
        ExtractSettings(features=(name,))


def test_sets_of_words_have_file_names():
    assert export_name("transcript:column=text") == "transcript_text_{split}.npz"
    assert export_name("transcript:describe").startswith("transcript_")
    assert "/" not in export_name("transcript:whisper=openai/whisper-tiny")


torch = pytest.importorskip("torch")

from transformers import WhisperTokenizer  # noqa: E402


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    return tiny_recogniser(tmp_path_factory.mktemp("models") / "whisper")


def changed(recogniser, folder, **settings):
    """The same weights with other settings of generating."""
    shutil.copytree(recogniser, folder)
    path = folder / "generation_config.json"
    path.write_text(
        json.dumps({name: value for name, value in (json.loads(path.read_text()) | settings).items() if value != "gone"})
    )
    return folder


def multilingual(recogniser, folder):
    """The same weights as a checkpoint that knows English and German."""
    number = WhisperTokenizer.from_pretrained(recogniser).convert_tokens_to_ids
    return changed(
        recogniser,
        folder,
        is_multilingual=True,
        lang_to_id={"<|en|>": number("<|en|>"), "<|de|>": number("<|startoflm|>")},
        task_to_id={"transcribe": number("<|transcribe|>"), "translate": number("<|translate|>")},
        alignment_heads=[[1, 0]],
    )


@pytest.mark.parametrize("heads", [None, [[0, 0], [1, 1]]])
def test_a_recogniser_hears_words_with_times_and_neighbours_change_none(recogniser, heads, tmp_path):
    folder = changed(recogniser, tmp_path / "whisper", alignment_heads=heads) if heads else recogniser
    hear = transcripts.Recogniser(find(str(folder)), device="cpu")
    clips = [voice(seconds, seed=seed) for seed, seconds in enumerate((4.0, 41.0, 2.0))]
    together = hear(clips)
    assert together == hear(clips)
    for y, words in zip(clips, together, strict=True):
        assert hear([y]) == [words]
        assert all(0 <= word.start_s <= word.end_s <= len(y) / 16000 + 1e-6 for word in words)
    assert any(together)
    assert hear([]) == []


def segments(*parts):
    """As ``generate`` of transformers gives them: text tokens between two of time."""
    return [
        {"tokens": torch.tensor(tokens), "start": torch.tensor(start), "end": torch.tensor(end)} for tokens, start, end in parts
    ]


def test_without_heads_the_words_of_a_segment_share_its_time_and_none_is_behind_the_end(recogniser):
    hear = transcripts.Recogniser(find(str(recogniser)), device="cpu")
    letter = hear._tokenizer.convert_tokens_to_ids
    time = hear._no_times + 1
    said = segments(
        ([time, letter("a"), letter("\u0120b"), time + 50], 0.0, 1.0),
        ([time, letter("\u0120c"), time + 200], 2.0, 6.0),  # of a second pass: its tokens of time count from 2 s
        ([time, letter("d"), time + 50], 7.0, 8.0),
    )
    words = hear._words(said, None, samples=5 * 16000, language=None)
    assert words == [Word("a", 0.0, 0.5), Word("b", 0.5, 1.0), Word("c", 2.0, 5.0)]


def test_heads_of_a_larger_model_are_not_used(recogniser, tmp_path):
    folder = changed(recogniser, tmp_path / "distilled", alignment_heads=[[0, 0], [7, 1]])
    assert transcripts.Recogniser(find(str(folder)), device="cpu")._heads == []


def test_a_language_that_is_given_is_one_that_the_checkpoint_knows(recogniser, tmp_path):
    with pytest.raises(ParameterError, match=r"language='de'.*only the one language"):
        transcripts.Recogniser(find(str(recogniser)), device="cpu", language="german")
    english = transcripts.Recogniser(find(str(recogniser)), device="cpu", language="en")  # what it was made for
    assert english([voice(3.0)]) == transcripts.Recogniser(find(str(recogniser)), device="cpu")([voice(3.0)])
    mute = changed(recogniser, tmp_path / "old", no_timestamps_token_id="gone")
    with pytest.raises(ParameterError, match=r"generation_config\.json lacks no_timestamps_token_id"):
        transcripts.Recogniser(find(str(mute)), device="cpu")
    several = multilingual(recogniser, tmp_path / "several")
    checkpoint = find(str(several))
    with pytest.raises(ParameterError, match=r"language='fr'.*knows de, en"):
        transcripts.Recogniser(checkpoint, device="cpu", language="fr")
    clips = [voice(3.0), voice(31.0, seed=1)]
    left = transcripts.Recogniser(checkpoint, device="cpu")
    heard = left._features([clips[0]], sampling_rate=16000, return_tensors="pt")["input_features"]
    detected = left._languages_of(1, input_features=heard)
    given = transcripts.Recogniser(checkpoint, device="cpu", language=detected[0].strip("<|>"))
    assert left(clips[:1]) == given(clips[:1])  # the language that it finds out, or is told, is the same
    named = transcripts.Recogniser(checkpoint, device="cpu", language="German")
    assert named._language == "<|de|>"
    assert len(named(clips)) == 2
    told = transcripts.definition(checkpoint, precision="fp32", language="de")
    assert told != transcripts.definition(checkpoint, precision="fp32")


def test_a_language_behind_the_model_is_told_to_the_recogniser(recogniser, tmp_path):
    path = write_clip(tmp_path / "a.wav", voice(3.0), sr=16000)
    folder = multilingual(recogniser, tmp_path / "several")
    name = f"transcript:whisper={folder}"
    sets = (f"{name}@de", f"{name}@en", name)
    done = extract_clips([path], ExtractSettings(features=sets, workers=0), cache_path=tmp_path / "c.sqlite")
    with VectorCache(tmp_path / "c.sqlite") as store:
        assert {stored.set_name for stored in store.stored()} == set(sets)
        assert all(is_current(stored) for stored in store.stored())
        keys = {of: vector_key(bytes.fromhex(done.contents[path]), definition_hash(of, 45.0)) for of in sets}
        texts = store.get_texts(keys.values())
    hear = transcripts.Recogniser(find(str(folder)), device="cpu", language="de")
    y = transcripts.prepare_clip(read_clip(path, max_seconds=45.0))
    assert words_from_json(texts[keys[f"{name}@de"]]) == hear([y])[0]
    assert {set_of(column) for of in sets for column in column_names((of,))} == set(sets)


def test_a_language_that_a_checkpoint_does_not_know_is_refused_before_any_clip_is_read(recogniser, tmp_path, monkeypatch):
    monkeypatch.setattr("core.extraction.extract.read_clip", lambda *args, **options: pytest.fail("a clip was read"))
    several = multilingual(recogniser, tmp_path / "several")
    for folder, message in ((several, "knows de, en"), (recogniser, "knows only the one language it was made for")):
        name = f"transcript:whisper={folder}@fr"
        state = state_of(name)
        assert not state.is_ready
        assert state.words == f"language='fr': {folder} {message}"
        with pytest.raises(ParameterError, match=message):
            extract_clips([tmp_path / "a.wav"], ExtractSettings(features=(name,), workers=0), cache_path=tmp_path / "c.sqlite")
    assert state_of(f"transcript:whisper={recogniser}@en").is_ready  # what it was made for


def test_languages_are_those_of_whisper_and_have_one_spelling(tmp_path, monkeypatch):
    from transformers.models.whisper.tokenization_whisper import LANGUAGES as OF_WHISPER

    assert {code: name for code, name in OF_WHISPER.items() if code != "ht"} | {"ht": "haitian"} == LANGUAGES
    assert canonical("transcript:whisper=openai/whisper-tiny@German") == "transcript:whisper=openai/whisper-tiny@de"
    (tmp_path / "models/tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert canonical("transcript:whisper=models/tiny/@yue") == f"transcript:whisper={tmp_path}/models/tiny@yue"
    assert parse_set("transcript:whisper=openai/whisper-tiny.en").language == ""
    with pytest.raises(ParameterError, match=r"Whisper knows no language 'xx'; it knows af, am, ar"):
        parse_set("transcript:whisper=openai/whisper-tiny@xx")
    with pytest.raises(ParameterError, match=r"write transcript:whisper=openai/whisper-tiny@de"):
        parse_set("transcript:whisper=openai/whisper-tiny@German")


def test_the_command_takes_a_language_by_code_or_name(recogniser, make_dataset, tmp_path, capsys):
    from core.cli.commands import main

    folder = multilingual(recogniser, tmp_path / "several")
    options = ["--workspace", str(tmp_path / "w"), "--workers", "0"]
    root = str(make_dataset(4, test=0))
    assert main(["extract", root, "--features", f"transcript:whisper={folder}@German", *options]) == 0
    assert main(["extract", root, "--features", f"transcript:whisper={folder}@fr", *options]) == 1
    assert "knows de, en" in capsys.readouterr().err
    with VectorCache(tmp_path / "w/cache.sqlite") as store:
        assert {stored.set_name for stored in store.stored()} - {FINGERPRINT} == {f"transcript:whisper={folder}@de"}


def test_windows_reach_the_end_of_the_clip_and_no_further_than_needed():
    for seconds in (1, 29.9, 30, 30.1, 55, 55.1, 80, 300):
        starts = [start / 16000 for start in transcripts.window_starts(round(seconds * 16000))]
        assert starts[-1] + 30 >= seconds
        assert len(starts) == 1 or starts[-2] + 30 < seconds
        assert all(second - first == 25 for first, second in pairwise(starts))


def test_what_is_heard_is_stored_with_its_words(recogniser, tmp_path):
    path = write_clip(tmp_path / "a.wav", voice(3.0), sr=16000)
    name = f"transcript:whisper={recogniser}"
    settings = ExtractSettings(features=(name,), workers=0)
    done = extract_clips([path], settings, cache_path=tmp_path / "c.sqlite")
    key = vector_key(bytes.fromhex(done.contents[path]), definition_hash(name, 45.0))
    with VectorCache(tmp_path / "c.sqlite") as store:
        [text] = store.get_texts([key]).values()
    words = words_from_json(text)
    expected = text_columns(text_of(words), seconds=3.0)
    np.testing.assert_array_equal(done.vectors[path][name], expected)
    again = extract_clips([path], settings, cache_path=tmp_path / "c.sqlite")
    assert again.computed == 0


def test_what_is_no_recogniser_is_refused(tmp_path):
    from tests.tiny_models import tiny_encoder, tiny_whisper

    with pytest.raises(ParameterError, match="is no Whisper"):
        transcripts.Recogniser(find(str(tiny_encoder("wavlm", tmp_path / "wavlm"))), device="cpu")
    with pytest.raises(ParameterError, match=r"has no tokenizer; bring tokenizer.json"):
        transcripts.Recogniser(find(str(tiny_whisper(tmp_path / "mute"))), device="cpu")


def test_plain_transcript_is_the_text_of_the_table_or_a_description(tmp_path, capsys):
    from core.cli.commands import main

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
