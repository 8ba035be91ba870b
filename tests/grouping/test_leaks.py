"""Ties and leaks that are planted, and data sets of which it is known that they hold none."""

import pickle
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple
from multiprocessing import get_context

import numpy as np
import pytest
import soundfile
from hypothesis import given, strategies as st

from core.data.dataset import read_dataset
from core.errors import DataError, ParameterError
from core.extraction.config import ExtractSettings
from core.extraction.extract import extract_clips
from core.extraction.matrix import build_matrix
from core.grouping.leaks import (
    IDENTICAL_AUDIO,
    NAME_STEM,
    NEAR_IDENTICAL,
    LeakGap,
    label_leaks,
    leak_gap,
    merge_groups,
    name_stems,
    propose_groups,
)
from core.grouping.ties import group_labels

# ---- groups that are proposed


def kinds(*arguments):
    return {one.kind: one for one in propose_groups(*arguments)}


def partition(groups):
    """Rows that share a name, whatever it is."""
    return {frozenset(row for row, other in enumerate(groups) if other == group) for group in groups}


def test_the_same_bytes_are_one_recording():
    found = kinds(["a", "b", "c", "d", "e"], ["1", "2", "1", "3", "1"])[IDENTICAL_AUDIO]
    assert found.groups == ("a", "b", "a", "d", "a")
    assert found.tied == 3
    assert found.reason == "3 of 5 clips have the same bytes as another clip's; groups of two or more: 1"
    assert propose_groups(["a", "b"], ["1", "2"]) == []


@pytest.mark.parametrize(
    "names",
    [
        [f"{who}{cut}{number:03}" for who in ("anna", "bob", "carl") for number in range(4)]
        for cut in ("_", "-", " ", ".", "/", "__", " (")
    ],
)
def test_names_that_share_a_beginning_are_tied(names):
    found = kinds(names)[NAME_STEM]
    assert Counter(found.groups) == {"anna": 4, "bob": 4, "carl": 4}
    assert found.tied == 12
    assert found.reason == "12 of 12 clips have names that begin like another's, as 'anna'; groups of two or more: 3"


def test_variants_of_a_take_are_tied_to_it():
    names = [f"take{number}{variant}.wav" for number in range(6) for variant in ("", "_noisy", " (2)")]
    assert partition(name_stems(names)) == {frozenset(range(start, start + 3)) for start in range(0, 18, 3)}


@pytest.mark.parametrize(
    "names",
    [
        [f"audio_{number}" for number in range(409)],
        [f"audio_{number:04}" for number in range(144, 480)],
        [f"audio_{number:04}.wav" for number in range(20)],
        [f"{number:05}.wav" for number in range(20)],
        [f"clip{number}" for number in range(20)],
        [f"{number}_{letter}" for number, letter in enumerate("abcdefghij")],
        [*[f"audio_{number}" for number in range(30)], "other_1", "other_2"],  # one beginning is nearly all
        ["anna_1", "anna_2", *[f"someone{number}" for number in range(20)]],  # hardly a name shares its beginning
        ["alone"],
        [],
    ],
    ids=lambda names: f"{names[:1]}",
)
def test_running_numbers_and_single_likenesses_tie_nothing(names):
    assert kinds(names) == {}


@pytest.mark.parametrize("name", ["speech", "piano"])
def test_the_names_of_real_data_sets_tie_nothing(name, request):
    dataset = read_dataset(request.getfixturevalue(name))
    assert name_stems([row.name for row in dataset.train]) is None


def test_the_shortest_beginning_that_makes_good_folds_is_taken():
    speakers = [f"spk{who:02}_session{session}_{take}" for who in range(12) for session in range(3) for take in range(3)]
    assert set(name_stems(speakers)) == {f"spk{who:02}" for who in range(12)}
    sexes = [f"{'male' if who % 2 else 'female'}_spk{who:02}_{take}" for who in range(12) for take in range(4)]
    assert "male_spk01" in name_stems(sexes)
    assert len(set(name_stems(sexes))) == 12


@pytest.fixture
def vectors(rng):
    """Two hundred recordings with features that hang together, as those of sound do."""
    return rng.normal(size=(200, 12)) @ rng.normal(size=(12, 60)) + 0.3 * rng.normal(size=(200, 60))


def test_recordings_that_are_all_but_the_same_are_tied(vectors, rng):
    names = [f"clip{row}" for row in range(200)]
    faint = vectors[:5] + 0.02 * rng.normal(size=(5, 60))  # encoded once more
    louder = vectors[3:8].copy()
    louder[:, :2] += 0.3 * vectors[:, :2].std(axis=0)  # what tells the level differs
    X = np.concatenate([vectors, faint, louder])
    found = kinds([*names, *(f"copy{row}" for row in range(10))], None, X)[NEAR_IDENTICAL]
    expected = {frozenset({row}) for row in range(8, 200)}
    expected |= {frozenset({row, 200 + row}) for row in range(3)} | {frozenset({row, 202 + row}) for row in range(5, 8)}
    expected |= {frozenset({3, 203, 205}), frozenset({4, 204, 206})}
    assert partition(found.groups) == expected
    assert found.tied == 18


def test_recordings_are_compared_without_what_is_missing(vectors):
    X = np.concatenate([vectors, vectors[:1]])
    X[:, 7] = np.nan
    X[3:9, 20:] = np.nan  # rows of which hardly a thing is known are not alike
    found = kinds([f"clip{row}" for row in range(201)], None, X)[NEAR_IDENTICAL]
    assert found.groups[200] == "clip0"
    assert found.tied == 2


def test_recordings_that_differ_are_not_tied(vectors):
    names = [f"clip{row}" for row in range(200)]
    assert kinds(names, None, vectors) == {}
    assert kinds(names[:19], None, np.ones((19, 60))) == {}  # too few to know what is usual
    few = np.arange(200.0)[:, None] // 20 * np.ones(4)
    assert kinds(names, None, few) == {}  # a note and a loudness say too little to recognise a recording by
    assert kinds(names, None, np.empty((200, 0))) == {}


def test_copies_of_real_recordings_are_found_and_nothing_else(piano, tmp_path):
    """Every tenth clip once more as FLAC, and every tenth a little quieter."""
    dataset = read_dataset(piano)
    paths = [row.path for row in dataset.train]
    copies = []
    for number, path in enumerate(paths[::5]):
        samples, sr = soundfile.read(path)
        copies.append(tmp_path / f"copy{number}.{'wav' if number % 2 else 'flac'}")
        soundfile.write(copies[-1], samples * (0.98 if number % 2 else 1), sr)
    settings = ExtractSettings(features=("mfcc",), workers=0)
    extraction = extract_clips([*paths, *copies], settings, cache_path=tmp_path / "cache.sqlite")
    X = np.array([extraction.vectors[path]["mfcc"] for path in (*paths, *copies)])
    found = kinds([path.stem for path in (*paths, *copies)], None, X)[NEAR_IDENTICAL]
    right = [found.groups[len(paths) + number] == paths[5 * number].stem for number in range(len(copies))]
    assert np.mean(right) >= 0.9
    assert len(set(found.groups[: len(paths)])) == len(paths)
    assert kinds([path.stem for path in paths], None, X[: len(paths)]) == {}


def test_proposals_need_all_rows():
    with pytest.raises(DataError, match=r"contents, features and fingerprints of 2 clips, received \[1\]"):
        propose_groups(["a", "b"], ["1"])


def test_groups_are_merged_through_chains_and_keep_their_first_names():
    speakers, takes = ["anna", "anna", "bob", "carl", "dora"], ["t1", "t2", "t2", "t3", "t4"]
    assert merge_groups(speakers, takes) == ("anna", "anna", "anna", "carl", "dora")
    assert merge_groups(speakers, takes, ["x", "y", "z", "u", "z"]) == ("anna", "anna", "anna", "carl", "anna")
    assert merge_groups(speakers) == tuple(speakers)


@given(st.lists(st.tuples(*[st.sampled_from("abcdefgh")] * 3), min_size=1, max_size=25))
def test_merged_groups_tie_what_any_ties_and_no_more(rows):
    groupings = list(zip(*rows, strict=True))
    merged = partition(merge_groups(*groupings))
    for grouping in groupings:
        assert all(any(tied <= group for group in merged) for tied in partition(grouping))
    # No group falls apart into two that nothing ties.
    for group in merged:
        reached, before = {min(group)}, set()
        while reached != before:
            before = set(reached)
            reached |= {row for row in group if any(grouping[row] == grouping[other] for grouping in groupings for other in before)}
        assert reached == group


def test_groupings_of_other_rows_are_refused():
    for groupings in ([], [["a"], ["a", "b"]]):
        with pytest.raises(ParameterError, match="groupings of the same rows"):
            merge_groups(*groupings)


# ---- columns that hold the label


@pytest.fixture
def marked(rng):
    """Marks of 30 speakers, of six clips each and a few more: some speak better than others."""
    sizes = rng.integers(2, 12, size=30)
    speaker = np.repeat(np.arange(30), sizes)
    y = np.round(4 * (5 + rng.normal(size=30)[speaker] + rng.normal(size=len(speaker)))) / 4
    return y, [f"s{one}" for one in speaker], speaker


def reasons(column, y, groups, name="speaker"):
    found = label_leaks({"column": column}, y, {name: groups})
    return [one.reason for one in found]


def mean_of_group(y, speaker):
    return np.bincount(speaker, y)[speaker] / np.bincount(speaker)[speaker]


@pytest.mark.parametrize("planted", [lambda y: y, lambda y: 100 - 7 * y, lambda y: y + 1e-3 * np.sin(9 * y)])
def test_the_label_itself_is_found(planted, marked):
    y, groups, _ = marked
    (reason,) = reasons(planted(y), y, groups)
    assert "is the label" in reason


def test_the_label_bent_is_found_by_its_order(marked):
    y, groups, _ = marked
    (reason,) = reasons(np.exp(3 * y), y, groups)
    assert "in the order of their labels" in reason


@pytest.mark.parametrize("scaled", [lambda x: x, lambda x: 3 - 0.5 * x, lambda x: np.round(x, 2).astype(np.float32)])
def test_the_mean_label_of_a_group_is_found(scaled, marked):
    y, groups, speaker = marked
    assert reasons(scaled(mean_of_group(y, speaker)), y, groups) == ["holds the mean label of each group of 'speaker'"]


def test_the_mean_label_is_found_without_knowing_the_groups(marked):
    y, _, speaker = marked
    (found,) = label_leaks({"column": mean_of_group(y, speaker)}, y, {})
    assert found.reason == "holds the mean label of the rows that share a value"


def test_the_mean_label_of_the_groups_other_rows_is_found(marked):
    y, groups, speaker = marked
    sizes = np.bincount(speaker)[speaker]
    others = (mean_of_group(y, speaker) * sizes - y) / (sizes - 1)
    assert reasons(others, y, groups) == ["holds the mean label of each group of 'speaker', the row's own left out"]


@pytest.mark.parametrize("k", [1, 5, 20])
def test_a_mean_label_drawn_to_that_of_all_is_found(k, marked):
    y, groups, speaker = marked
    sizes = np.bincount(speaker)[speaker]
    smoothed = (mean_of_group(y, speaker) * sizes + k * y.mean()) / (sizes + k)
    (reason,) = reasons(smoothed, y, groups)
    assert reason.startswith("holds the mean label of each group of 'speaker'")


def test_the_target_encoder_of_scikit_learn_is_found(marked):
    from sklearn.preprocessing import TargetEncoder

    y, groups, speaker = marked
    encoded = TargetEncoder(target_type="continuous").fit(speaker[:, None], y).transform(speaker[:, None])[:, 0]
    (reason,) = reasons(encoded, y, groups)
    assert reason.startswith("holds the mean label of each group of 'speaker'")


def test_a_leak_is_found_though_a_tenth_of_it_is_off_or_missing(marked, rng):
    y, groups, speaker = marked
    column = mean_of_group(y, speaker)
    column[rng.permutation(len(y))[: len(y) // 20]] = 50
    column[rng.permutation(len(y))[: len(y) // 20]] = np.nan
    assert len(reasons(column, y, groups)) == 1


@pytest.mark.parametrize("seed", range(10))
def test_honest_columns_are_not_suspected(seed):
    """A speaker's true skill, a noisy copy of the label, an age, a column with hardly a value, a constant, noise."""
    rng = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(40), 10)
    skill = rng.normal(size=40)[speaker]
    y = skill + 0.3 * rng.normal(size=400)
    columns = {
        "skill": skill,
        "noisy": y + 0.1 * rng.normal(size=400),
        "age": np.round(30 + 10 * skill),
        "rare": np.where(rng.random(400) < 0.05, rng.normal(size=400), 0.0),
        "half": np.where(rng.random(400) < 0.5, np.nan, skill),
        "constant": np.ones(400),
        "empty": np.full(400, np.nan),
        "noise": rng.normal(size=400),
        "number": np.arange(400.0),
    }
    groupings = {"speaker": [f"s{one}" for one in speaker], "room": [f"r{one % 9}" for one in range(400)]}
    assert label_leaks(columns, y, groupings) == []


def test_a_note_and_real_features_are_not_suspected(piano, tmp_path):
    dataset = read_dataset(piano)
    settings = ExtractSettings(features=("mfcc", "metadata", "table:midi"), workers=0)
    extraction = extract_clips([row.path for row in dataset.train], settings, cache_path=tmp_path / "cache.sqlite")
    matrix = build_matrix(dataset.train, extraction, settings.features)
    columns = {name: matrix.X[:, place] for place, name in enumerate(matrix.names)}
    assert label_leaks(columns, matrix.y, {"note": group_labels(dataset.train, "note")}) == []


# ---- what random folds flatter


def speakers(rng, *, shared):
    """20 speakers with 8 clips each; a label of the speaker's, or of the clip's, that some features tell, others tell the voice."""
    speaker = np.repeat(np.arange(20), 8)
    voice, sound = rng.normal(size=(20, 10))[speaker], rng.normal(size=(160, 5))
    y = (2 * rng.normal(size=20)[speaker] if shared else 0) + sound[:, 0] + 0.3 * rng.normal(size=160)
    X = np.column_stack([voice, sound]) + 0.1 * rng.normal(size=(160, 15))
    X[rng.random(X.shape) < 0.02] = np.nan
    return X, y, [f"s{one}" for one in speaker]


def test_a_gap_opens_where_voices_tell_labels_and_not_where_they_do_not(rng):
    shared, single = (leak_gap(*speakers(rng, shared=of)) for of in (True, False))
    assert shared.gap > 0.5 * shared.random_rmse
    assert abs(single.gap) < 0.1 * single.random_rmse
    assert shared.gap == shared.grouped_rmse - shared.random_rmse


def test_the_gap_is_the_same_in_another_process(rng):
    data = speakers(rng, shared=True)
    here = leak_gap(*data, folds=3, seed=1)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(leak_gap, *data, folds=3, seed=1).result()
    assert astuple(here) == astuple(there)
    assert pickle.loads(pickle.dumps(here)) == LeakGap(here.random_rmse, here.grouped_rmse)


@pytest.mark.slow
def test_random_folds_flatter_sentences_of_speakers_by_a_sixth(speech, tmp_path):
    dataset = read_dataset(speech)
    settings = ExtractSettings(features=("ultra",))
    extraction = extract_clips([row.path for row in dataset.train], settings, cache_path=tmp_path / "cache.sqlite")
    matrix = build_matrix(dataset.train, extraction, settings.features)
    found = leak_gap(matrix.X, matrix.y, group_labels(dataset.train, "speaker"))
    assert found.random_rmse == pytest.approx(0.61, abs=0.03)  # as folds fall
    assert found.grouped_rmse == pytest.approx(0.81, abs=0.03)
    assert propose_groups(matrix.filenames, None, matrix.X) == []


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(ParameterError, match="there are 2 groups"):
        leak_gap(np.zeros((10, 2)), np.arange(10.0), ["a", "b"] * 5)
