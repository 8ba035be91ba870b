import csv

import numpy as np
import pytest

from core.data.dataset import read_batch, read_dataset
from core.data.layouts.layout import Layout
from core.data.rows import WARNING
from core.errors import DataError, ParameterError
from tests.conftest import tone, write_clip, write_table

NAMES = ("a", "b", "c", "d", "e", "f")


@pytest.fixture
def rated(tmp_path):
    """A folder with six clips and a table that a test gives."""

    def make(header, rows, *, name="ratings.csv"):
        for number, clip in enumerate(NAMES):
            write_clip(tmp_path / f"{clip}.wav", tone(300 + 50 * number))
        write_table(tmp_path / name, header, rows)
        return tmp_path

    return make


def three_raters(column="rater"):
    """Clip number n has the marks n, n + 1 and n + 5."""
    rows = [[clip, f"r{rater}", number + mark] for number, clip in enumerate(NAMES) for rater, mark in enumerate((0, 1, 5))]
    return ["filename", column, "label"], rows


def labels(dataset):
    return {row.name: row.label for row in dataset.train}


@pytest.mark.parametrize("column", ["rater", "Annotator ID", "listener_no", "workerId", "expert"])
def test_ratings_one_a_row_become_their_mean(rated, column):
    dataset = read_dataset(rated(*three_raters(column)))
    assert labels(dataset) == {clip: number + 2 for number, clip in enumerate(NAMES)}
    assert dataset.problems == ()
    assert dataset.ratings.names == ("r0", "r1", "r2")
    assert dataset.train[1].ratings == (("r0", 1), ("r1", 2), ("r2", 6))
    assert dataset.train[0].columns == {}
    assert {each.name: each.role for each in dataset.columns} == {"filename": "names the clips", column: "rater", "label": "label"}


def test_a_column_of_another_name_is_taken_for_the_raters_when_it_is_named(rated):
    root = rated(*three_raters("who"))
    with pytest.raises(DataError, match=r"6 of 6 clips .* such as a with 0, 1, 5.*--repeated average.*--rater \(columns: who\)"):
        read_dataset(root)
    assert labels(read_dataset(root, Layout(rater_column="who"))) == {clip: number + 2 for number, clip in enumerate(NAMES)}
    with pytest.raises(DataError, match="expected a column 'judge' with the raters, found who"):
        read_dataset(root, Layout(rater_column="judge"))


def test_without_raters_different_labels_are_averaged_or_set_aside_when_told_so(rated):
    root = rated(["filename", "label"], [["a", 1], ["a", 2], ["b", 4], ["b", 4], ["c", 3], ["d", 5], ["d", 8]])
    with pytest.raises(DataError, match=r"2 of 4 clips stand there several times .* average them\?|2 of 4 clips"):
        read_dataset(root)
    averaged = read_dataset(root, Layout(repeated="average"))
    assert labels(averaged) == {"a": 1.5, "b": 4, "c": 3, "d": 6.5}
    assert averaged.ratings.raters is None
    assert averaged.ratings.values.tolist() == [1, 2, 4, 4, 3, 5, 8]
    kept = read_dataset(root, Layout(repeated="set-aside"))
    assert labels(kept) == {"b": 4, "c": 3}
    assert {problem.file for problem in kept.set_aside} == {"a", "d"}


def test_ratings_side_by_side_become_their_mean_and_a_missing_one_is_left_out(rated):
    rows = [["a", 1, 2, 6, "x"], ["b", 4, "", 6, "y"], ["c", 7, "?", 9, "z"], ["d", "", "", "", "z"]]
    dataset = read_dataset(rated(["filename", "anna", "ben", "cleo", "room"], rows), Layout(rating_columns=("anna", "ben", "cleo")))
    assert labels(dataset) == {"a": 3, "b": 5, "c": 8}
    assert dataset.train[1].ratings == (("anna", 4), ("cleo", 6))
    assert dataset.train[0].columns == {"room": "x"}
    told = {(problem.file, problem.level): problem.reason for problem in dataset.problems if problem.split}
    assert told == {
        ("c", "warning"): "label '?' is not a number that can be learned; the other ratings count",
        ("d", "error"): "label missing",
    }


def test_a_rating_that_is_no_number_costs_the_clip_nothing_but_itself(rated):
    header, rows = three_raters()
    rows[0][2] = "high"
    dataset = read_dataset(rated(header, rows))
    assert labels(dataset)["a"] == 3
    (problem,) = dataset.problems
    assert (problem.file, problem.level) == ("a", WARNING)
    assert problem.reason == "label 'high' is not a number that can be learned; the other ratings count"


def test_a_rater_who_rates_a_clip_twice_counts_once(rated):
    header, rows = three_raters()
    dataset = read_dataset(rated(header, [*rows, ["a", "r2", 1]]))
    assert dict(dataset.train[0].ratings) == {"r0": 0, "r1": 1, "r2": 3}
    assert dataset.problems[0].reason == "r2 rated it 2 times; the mean counts once"


def test_columns_that_belong_to_the_rating_are_left_out_with_a_word(rated):
    header, rows = three_raters()
    dataset = read_dataset(rated([*header, "speaker", "day"], [[*row, "s", number] for number, row in enumerate(rows)]))
    assert dataset.train[0].columns == {"speaker": "s"}
    assert "'day' differs between the ratings of 6 clips" in dataset.problems[0].reason


def test_a_column_that_is_called_as_raters_are_is_no_rater_where_clips_stand_once(rated):
    dataset = read_dataset(rated(["filename", "user", "label"], [[clip, f"u{clip}", number] for number, clip in enumerate(NAMES)]))
    assert dataset.ratings is None
    assert dataset.train[0].columns == {"user": "ua"}


def test_a_speaker_whose_clip_stands_twice_with_one_label_is_no_rater(rated):
    dataset = read_dataset(rated(["filename", "user", "label"], [["a", "u", 1], ["a", "u", 1], ["b", "u", 2]]))
    assert dataset.ratings is None
    assert labels(dataset) == {"a": 1, "b": 2}


def test_labels_to_compare_with_may_be_ratings_too(rated):
    root = rated(*three_raters())
    rows, _ = read_batch(root / "ratings.csv")
    assert [row.label for row in rows] == [2, 3, 4, 5, 6, 7]


def test_raters_in_a_column_and_side_by_side_are_not_both_understood():
    with pytest.raises(ParameterError, match="name one of both"):
        Layout(rater_column="rater", rating_columns=("a", "b"))


def test_the_experts_ratings_have_the_labels_of_their_means(speech, tmp_path):
    """1976 rows of five experts are the 409 clips whose mean marks stand in the table of labels."""
    for name in ("csvs", "audios"):
        (tmp_path / name).mkdir()
    (tmp_path / "audios/train").symlink_to(speech / "audios/train")
    (tmp_path / "csvs/train.csv").write_bytes((speech / "ratings.csv").read_bytes())
    dataset = read_dataset(tmp_path)
    with (speech / "csvs/train.csv").open(newline="") as file:
        expected = {row["filename"]: float(row["label"]) for row in csv.DictReader(file)}
    assert len(expected) == 409
    assert labels(dataset) == pytest.approx(expected)
    assert len(dataset.ratings.values) == 1976
    assert np.unique(dataset.ratings.clips, return_counts=True)[1].min() == 4
