"""Every layout is recognised for what it is, and ends in the same rows."""

import pytest

from core.data.dataset import read_batch, read_dataset
from core.data.layouts.layout import Layout
from core.data.report import check_dataset
from core.errors import DataError
from tests.conftest import tone, write_clip, write_table
from tests.data.layouts import made
from tests.data.layouts.made import IDS, LABELS, MADE, TEST_IDS


def read(made_set):
    return read_dataset(made_set.root, Layout(**made_set.settings))


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_layout_is_recognised_and_ends_in_the_same_rows(tmp_path, make):
    made_set = make(tmp_path / "set")
    dataset = read(made_set)
    assert dataset.recognised == made_set.layout
    assert [row.path.stem for row in dataset.train] == IDS
    assert [row.label for row in dataset.train] == LABELS
    assert sorted(row.path.stem for row in dataset.test) == sorted(TEST_IDS)
    assert dataset.set_aside == ()
    assert (dataset.submission.columns, dataset.submission.names) == (made_set.columns, made_set.names)
    assert {row.name for row in dataset.test} == set(made_set.names)
    train = dataset.columns[0].table
    assert [column.role for column in dataset.columns if column.table == train].count("label") == 1
    assert check_dataset(dataset, workers=0).why_not is None


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_folder_in_any_layout_is_a_batch_to_be_scored(tmp_path, make):
    made_set = make(tmp_path / "set")
    rows, problems = read_batch(made_set.root, Layout(**made_set.settings))
    assert {row.path.stem for row in rows} == {*IDS, *TEST_IDS}
    assert [problem for problem in problems if problem.level == "error"] == []


def test_what_the_content_decided_is_said_and_each_column_has_its_role(tmp_path):
    dataset = read(made.competition(tmp_path))
    told = {problem.reason for problem in dataset.problems}
    assert "column 'id' names the clips, by its content; --filename-column names another" in told
    assert "column 'score' is the label, as sample_submission.csv says; --label-column names another" in told
    assert [(column.table, column.name, column.role) for column in dataset.columns] == [
        ("train.csv", "id", "names the clips"),
        ("train.csv", "seconds", "further column"),
        ("train.csv", "score", "label"),
        ("test.csv", "id", "names the clips"),
        ("test.csv", "seconds", "further column"),
    ]


def beside(tmp_path, header, rows):
    for name in "abcdef":
        write_clip(tmp_path / f"{name}.wav", tone(300, seconds=0.1))
    return write_table(tmp_path / "t.csv", header, rows).parent


def test_several_columns_of_numbers_are_asked_for_and_one_is_taken(tmp_path):
    rows = [[number, f"{name}.wav", number % 3, number / 7, "x"] for number, name in enumerate("abcdef")]
    root = beside(tmp_path, ["n", "clip", "mark", "age", "speaker"], rows)
    with pytest.raises(DataError, match=r"several hold numbers: mark, age; say which one with --label-column"):
        read_dataset(root)
    assert [row.label for row in read_dataset(root, Layout(label_column="MARK")).train] == [0, 1, 2, 0, 1, 2]
    root = beside(tmp_path, ["n", "clip", "mark"], [row[:3] for row in rows])
    assert [row.label for row in read_dataset(root).train] == [0, 1, 2, 0, 1, 2]


def test_the_label_is_a_column_that_the_test_table_lacks(tmp_path):
    made_set = made.competition(tmp_path)
    (tmp_path / "sample_submission.csv").unlink()
    told = {problem.reason for problem in read(made_set).problems}
    assert "column 'score' is the label, the only one of numbers that the test table lacks; --label-column names another" in told


def test_several_columns_that_name_clips_are_asked_for_unless_they_name_the_same(tmp_path):
    root = beside(tmp_path, ["one", "other", "label"], [["a", "b", 1], ["b", "c", 2], ["c", "d", 3]])
    with pytest.raises(DataError, match="the columns one, other all name clips; say which one with --filename-column"):
        read_dataset(root)
    root = beside(tmp_path, ["id", "path", "label"], [["a", "a.wav", 1], ["b", "b.wav", 2]])
    assert [row.name for row in read_dataset(root).train] == ["a", "b"]


def test_the_usual_names_come_first_and_case_does_not_matter(tmp_path):
    root = beside(tmp_path, ["other", " Filename ", "LABEL", "more"], [["a", "b", 1, 4], ["b", "c", 2, 5]])
    assert [(row.name, row.label) for row in read_dataset(root).train] == [("b", 1), ("c", 2)]


def test_a_table_without_a_header_is_refused(tmp_path):
    root = beside(tmp_path, ["a.wav", "1"], [["b.wav", 2], ["c.wav", 3]])
    with pytest.raises(DataError, match=r"t\.csv: its first row names a clip, 'a\.wav'"):
        read_dataset(root)
    (root / "t.csv").write_text("#filename,label\na.wav,1\nb.wav,2\n")
    with pytest.raises(DataError, match="its first row names a clip"):
        read_dataset(root)


def test_a_column_that_is_named_must_be_there(tmp_path):
    root = beside(tmp_path, ["clip", "mark"], [["a", 1], ["b", 2]])
    with pytest.raises(DataError, match="expected a column 'score', found clip, mark; name yours with --label-column"):
        read_dataset(root, Layout(label_column="score"))


def test_tables_can_be_named_each(tmp_path):
    root = beside(tmp_path, ["filename", "label"], [["a", 1], ["b", 2]])
    other = write_table(tmp_path / "elsewhere" / "new.csv", ["filename"], [["c"], ["d"]])
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        read_dataset(root, Layout(train="nowhere.csv"))
    for path, layout in [(root, Layout(test=str(other))), (root / "t.csv", Layout(test=str(other)))]:
        dataset = read_dataset(path, layout)
        assert ([row.name for row in dataset.train], [row.name for row in dataset.test]) == (["a", "b"], ["c", "d"])


def test_a_sample_submission_sets_order_names_and_spelling_and_differences_are_named(tmp_path):
    made_set = made.competition(tmp_path)
    write_table(tmp_path / "sample_submission.csv", ["id", "score"], [["015.wav", 0], ["gone", 0], ["013.wav", 0]])
    dataset = read(made_set)
    assert dataset.submission.names == ("015.wav", "gone", "013.wav", "014")
    assert {row.name: row.path.stem for row in dataset.test} == {"013.wav": "013", "015.wav": "015", "014": "014"}
    told = {problem.file: problem.reason for problem in dataset.problems if problem.file in ("gone", "sample_submission.csv")}
    assert told == {
        "gone": "sample_submission.csv asks for it, and test.csv has no such row",
        "sample_submission.csv": "1 rows of the test table are not in it (first: 014); they follow at the end",
    }
    write_table(tmp_path / "sample_submission.csv", ["id", "score"], [["x", 0]])
    with pytest.raises(
        DataError, match=r"expected the names of the rows of test\.csv, such as '013', in its column 'id'; found 'x'"
    ):
        read(made_set)


def test_a_sample_submission_with_more_columns_than_one_label_is_filled_in_the_one_that_is_called_like_it(tmp_path):
    made_set = made.competition(tmp_path)
    write_table(tmp_path / "sample_submission.csv", ["id", "Usage", "score"], [[name, "Public", 0] for name in TEST_IDS])
    dataset = read(made_set)
    assert dataset.submission.columns == ("id", "score")
    told = {problem.file: problem.reason for problem in dataset.problems}
    assert told["sample_submission.csv"] == "its columns Usage are left out of the submission, which has one label"
    write_table(tmp_path / "sample_submission.csv", ["id", "a", "b"], [[name, 0, 0] for name in TEST_IDS])
    with pytest.raises(DataError, match="which of its columns a, b is to be filled cannot be told"):
        read(made_set)


def test_the_only_column_of_a_test_table_names_its_clips_though_none_is_there(tmp_path):
    made_set = made.competition(tmp_path)
    (tmp_path / "sample_submission.csv").unlink()
    write_table(tmp_path / "train.csv", ["id", "score"], list(zip(IDS, LABELS, strict=True)))
    write_table(tmp_path / "test.csv", ["clip"], [["x"], ["y"]])
    assert (read(made_set).submission.columns, read(made_set).submission.names) == (("clip", "score"), ("x", "y"))


def test_a_label_is_never_a_field_of_the_manifest(tmp_path):
    made_set = made.manifest(tmp_path)
    assert "duration" in read(made_set).train[0].columns
    (tmp_path / "dev_manifest.json").write_text((tmp_path / "train_manifest.json").read_text())
    assert read(made_set).recognised == "JSON lines manifest"
    (tmp_path / "train2_manifest.json").write_text((tmp_path / "train_manifest.json").read_text())
    with pytest.raises(DataError, match="expected one manifest for training"):
        read(made_set)


def test_kaldi_pipes_bad_segments_and_utterances_that_stand_twice_are_refused_in_words(tmp_path):
    made_set = made.kaldi(tmp_path)
    folder = tmp_path / "data/train"
    whole = (folder / "wav.scp").read_text()
    (folder / "wav.scp").write_text(whole + "more sox a.wav -t wav - |\n")
    with pytest.raises(DataError, match=r"wav\.scp, line 13: 'sox a\.wav -t wav - \|' is a command, and Earmark runs none"):
        read(made_set)
    (folder / "wav.scp").write_text(whole + "utt001 wav/002.wav\n")
    with pytest.raises(DataError, match="line 13: the utterance 'utt001' stands there twice"):
        read(made_set)
    (folder / "wav.scp").write_text(whole)
    (folder / "segments").write_text("utt001 nowhere 0 1\n")
    with pytest.raises(DataError, match=r"line 1: expected utterance, a recording of wav\.scp, start and end; found 'nowhere 0 1'"):
        read(made_set)


def test_an_utterance_that_only_one_file_of_kaldi_names_is_named(tmp_path):
    made_set = made.kaldi(tmp_path)
    with (tmp_path / "data/train/utt2score").open("a") as file:
        file.write("utt999 3\n")
    assert {problem.file: problem.reason for problem in read(made_set).set_aside} == {"utt999": "the row names no file"}
