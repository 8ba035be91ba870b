import os

import numpy as np
import pytest

from core.data.dataset import describe_labels, read_batch, read_dataset, why_not_trainable
from core.data.layouts.layout import Layout
from core.data.report import check_dataset
from core.errors import DataError, ParameterError
from tests.conftest import tone, write_clip, write_table


def reasons(problems, level=None):
    return {problem.file: problem.reason for problem in problems if level in (None, problem.level)}


def test_a_whole_data_set_has_no_problems(make_dataset):
    dataset = read_dataset(make_dataset(12, test=3))
    report = check_dataset(dataset, workers=0)
    assert (report.train_clips, report.test_clips) == (12, 3)
    assert report.seconds == pytest.approx(15 * 0.5)
    assert report.sample_rates == {22050: 15}
    assert report.problems == ()
    assert report.why_not is None
    assert dataset.train[0].columns == {"speaker": "speaker0"}


def test_the_bundled_set_has_every_label_and_no_error(piano):
    dataset = read_dataset(piano)
    assert len(dataset.train) == 150
    assert len(dataset.test) == 60
    assert {row.label for row in dataset.train} == set(range(1, 17))
    assert set(dataset.train[0].columns) == {"note", "midi"}
    assert not dataset.problems
    size = sum(path.stat().st_size for path in piano.rglob("*") if path.is_file())
    assert size <= 6e6


def test_names_stand_with_or_without_extension(tmp_path):
    for name in ("a.wav", "b.flac", "c", "sub/d.ogg", "e.f.wav"):
        write_clip(tmp_path / "audios/train" / name, tone(300), format="WAV")
    write_table(tmp_path / "csvs/train.csv", ["filename", "label"], [["a", 1], ["b.flac", 2], ["c", 3], ["sub/d", 4], [" e.f ", 5]])
    dataset = read_dataset(tmp_path)
    assert [row.path.name for row in dataset.train] == ["a.wav", "b.flac", "c", "d.ogg", "e.f.wav"]
    assert dataset.submission is None


def test_values_of_other_columns_are_kept_as_they_are_written(tmp_path):
    write_clip(tmp_path / "audios/train/007.wav", tone(300))
    write_table(tmp_path / "csvs/train.csv", ["filename", "label", "speaker", "text"], [["007", "1.50", "0005", "NA"]])
    (row,) = read_dataset(tmp_path).train
    assert row.name == "007"
    assert row.label == 1.5
    assert row.columns == {"speaker": "0005", "text": ""}


@pytest.fixture
def broken(make_dataset):
    """A data set with one of each problem."""
    root = make_dataset(8, test=2)
    audio = root / "audios/train"
    (audio / "zero.wav").write_bytes(b"")
    (audio / "text.wav").write_bytes(b"this is not audio at all, whatever its name says")
    (audio / "cut.wav").write_bytes(write_clip(audio / "cut.wav", tone(500)).read_bytes()[:9000])
    write_clip(audio / "one.wav", np.array([0.1]))
    write_clip(audio / "header.wav", np.zeros(0))
    write_clip(audio / "nan.wav", np.r_[tone(440), np.nan], subtype="FLOAT")
    write_clip(audio / "silent.wav", np.zeros(22050))
    write_clip(audio / "clipped.wav", np.clip(tone(440, amplitude=4), -1, 1))
    write_clip(audio / "stereo.wav", np.stack([tone(440, sr=48000), tone(550, sr=48000)], axis=1), sr=48000)
    write_clip(audio / "eight.wav", tone(333), subtype="PCM_U8")
    write_clip(audio / "unnamed.wav", tone(123))
    (audio / "traina0x_2.wav").write_bytes((audio / "traina0x.wav").read_bytes())
    rows = [[name, 3, "s"] for name in ("zero", "text", "cut", "one", "header", "nan", "silent", "clipped", "stereo", "eight")]
    rows += [
        ["traina0x_2", 1, "s"],
        ["nowhere", 1, "s"],
        ["../audios/train/eight", 1, "s"],
        ["/etc/hostname", 1, "s"],
        ["", 1, "s"],
    ]
    rows += [
        ["trainb0x", 9, "s"],
        ["trainc0x", "", "s"],
        ["traind0x", "high", "s"],
        ["traine0x", "nan", "s"],
        ["C:\\a.wav", 1, "s"],
    ]
    with (root / "csvs/train.csv").open("a") as table:
        table.writelines(",".join(map(str, row)) + "\n" for row in rows)
    return root


def test_every_problem_is_named_with_its_level_and_reason(broken):
    report = check_dataset(read_dataset(broken), workers=0)
    errors = reasons(report.problems, "error")
    for file, reason in {
        "zero": "empty",
        "text": "not audio",
        "cut": "truncated",
        "one": "too short",
        "header": "no samples",
        "nan": "not finite",
        "nowhere": "missing",
        "../audios/train/eight": "leaves the folder",
        "/etc/hostname": "leaves the folder",
        "C:\\a.wav": "leaves the folder",
        "train.csv, line 24": "names no file",
        "trainb0x": "different labels (2, 9)",
        "trainc0x": "label missing",
        "traind0x": "'high' is not a number",
        "traine0x": "label missing",
    }.items():
        assert reason in errors.pop(file), file
    assert not errors
    warnings = reasons(report.problems, "warning")
    assert "silent" in warnings["silent"]
    assert "clipped" in warnings["clipped"]
    assert warnings["audios/train/unnamed.wav"] == "no table names this file"
    both = [problem.reason for problem in report.problems if problem.file == "traina0x_2"]
    assert both == ["the name looks like a copy of traina0x", "the same audio as traina0x"]
    # b has two labels; c, d and e have one that is none; silent, clipped, stereo, eight bits and the copy are kept
    assert report.train_clips == 8 - 4 + 5
    assert report.why_not is None


def test_a_clip_named_twice_with_one_label_is_used_once(tmp_path):
    write_clip(tmp_path / "a.wav", tone(300))
    write_table(tmp_path / "t.csv", ["filename", "label"], [["a", 1], ["a.wav", 1.0]])
    dataset = read_dataset(tmp_path)
    assert len(dataset.train) == 1
    assert reasons(dataset.problems, "warning") == {"a": "named 2 times with the same label; used once"}


def test_the_same_sound_in_another_container_is_the_same_audio(tmp_path):
    samples = np.round(tone(300) * 32768) / 32768
    write_clip(tmp_path / "a.wav", samples, subtype="PCM_16")
    write_clip(tmp_path / "b.flac", samples, subtype="PCM_16")
    write_table(tmp_path / "t.csv", ["filename", "label"], [["a", 1], ["b", 2]])
    report = check_dataset(read_dataset(tmp_path), workers=0)
    assert reasons(report.problems) == {"b": "the same audio as a"}


def test_a_plain_folder_is_read_with_its_own_column_names(tmp_path):
    write_clip(tmp_path / "clips/a.wav", tone(300))
    write_table(tmp_path / "marks.csv", ["id", "mark"], [["a", 7]])
    for root in (tmp_path, tmp_path / "marks.csv"):
        dataset = read_dataset(root, Layout(filename_column="id", label_column="mark", audio="clips"))
        assert [(row.name, row.label) for row in dataset.train] == [("a", 7.0)]


def test_links_on_the_users_own_disk_are_followed(tmp_path):
    write_clip(tmp_path / "elsewhere/a.wav", tone(300))
    root = tmp_path / "set"
    (root / "audios").mkdir(parents=True)
    os.symlink(tmp_path / "elsewhere", root / "audios/train")
    os.symlink(tmp_path / "elsewhere", tmp_path / "elsewhere/loop")
    write_table(root / "csvs/train.csv", ["filename", "label"], [["a", 7]])
    assert len(read_dataset(root).train) == 1


def test_a_folder_may_be_there_twice_by_a_link(tmp_path):
    write_clip(tmp_path / "real/a.wav", tone(300))
    os.symlink(tmp_path / "real", tmp_path / "zlink")
    write_table(tmp_path / "t.csv", ["filename", "label"], [["zlink/a.wav", 7]])
    assert len(read_dataset(tmp_path).train) == 1


def test_cells_beyond_the_header_are_never_dropped_silently(tmp_path):
    """A decimal comma would make 1 of 1,5."""
    for name in "abc":
        write_clip(tmp_path / f"{name}.wav", tone(300))
    (tmp_path / "t.csv").write_text("filename,label\na,1,5\nb,2\n\nc,3,\n")
    dataset = read_dataset(tmp_path)
    assert [row.label for row in dataset.train] == [2, 3]
    assert reasons(dataset.problems) == {
        "a": "the row has 3 cells, the header 2: write decimals with a point, quote cells with commas"
    }


def test_excel_leaves_empty_columns_and_lines(tmp_path):
    write_clip(tmp_path / "a.wav", tone(300))
    (tmp_path / "t.csv").write_text("\n\nfilename,label,,\na,1,,\n,,,\n")
    (row,) = read_dataset(tmp_path).train
    assert row.columns == {}


def test_without_a_folder_of_test_clips_each_is_missing(make_dataset):
    root = make_dataset(6, test=2)
    (root / "audios/test").rename(root / "elsewhere")
    dataset = read_dataset(root)
    assert len(dataset.train) == 6
    assert [problem.reason for problem in dataset.set_aside] == ["missing: no such file in test"] * 2


def test_copies_are_looked_for_across_both_tables(make_dataset):
    root = make_dataset(6, test=1)
    (root / "audios/test/testa0x.wav").rename(root / "audios/test/traina0x_2.wav")
    (root / "csvs/test.csv").write_text("filename\ntraina0x_2.wav\n")
    assert reasons(read_dataset(root).problems) == {"traina0x_2.wav": "the name looks like a copy of traina0x"}


@pytest.mark.parametrize("label", ["1e307", "inf", "1_0", "0x10", "3,5"])
def test_labels_that_cannot_be_learned_are_named(tmp_path, label):
    write_clip(tmp_path / "a.wav", tone(300))
    write_table(tmp_path / "t.csv", ["filename", "label"], [["a", label]])
    assert f"label {label!r} is not a number" in reasons(read_dataset(tmp_path).problems)["a"]


def test_one_column_cannot_be_both(tmp_path):
    with pytest.raises(ParameterError, match="cannot hold both names and labels"):
        Layout(filename_column="a", label_column="a")


def test_an_ambiguous_name_is_not_guessed(tmp_path):
    for name in ("a.wav", "a.flac"):
        write_clip(tmp_path / name, tone(300))
    write_table(tmp_path / "t.csv", ["filename", "label"], [["a", 1], ["b.wav", 2]])
    assert "fits several files: a.flac, a.wav" in reasons(read_dataset(tmp_path).problems)["a"]


def test_a_wrong_extension_gets_a_hint(tmp_path):
    write_clip(tmp_path / "a.flac", tone(300))
    write_table(tmp_path / "t.csv", ["filename", "label"], [["a.wav", 1], ["gone", 2]])
    assert "there is a.flac" in reasons(read_dataset(tmp_path).problems)["a.wav"]


def test_what_cannot_be_a_data_set_is_refused_in_words(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"expected csvs/train\.csv, or one table"):
        read_dataset(tmp_path)
    write_table(tmp_path / "a.csv", ["filename", "mark"], [["a", 1]])
    with pytest.raises(DataError, match="expected a column 'label', found filename, mark"):
        read_dataset(tmp_path)
    (tmp_path / "a.csv").write_bytes("filename,label\nжизнь,1\n".encode("cp1251"))
    with pytest.raises(DataError, match="is not UTF-8"):
        read_dataset(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(DataError, match="found no header"):
        read_dataset(tmp_path)
    write_table(tmp_path / "b.csv", ["filename", "label"], [])
    with pytest.raises(DataError, match="found 2"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="expected a folder with the train clips"):
        read_dataset(tmp_path / "b.csv", Layout(audio="nowhere"))


def test_labels_that_do_not_differ_cannot_be_learned():
    assert why_not_trainable(np.ones(20)) == "all 20 labels are 1: there is nothing to learn"
    assert why_not_trainable(np.arange(4.0)) == "4 labelled clips can be used, at least 5 are needed"
    assert why_not_trainable(np.arange(5.0)) is None


def test_labels_are_described():
    few = describe_labels(np.array([1.0, 1.0, 2.5]))
    assert few["distribution"] == {"1": 2, "2.5": 1}
    assert (few["count"], few["min"], few["median"], few["max"]) == (3, 1, 1, 2.5)
    many = describe_labels(np.arange(100.0))
    assert len(many["distribution"]) == 10
    assert sum(many["distribution"].values()) == 100
    assert describe_labels(np.zeros(0))["count"] == 0


def test_a_batch_is_a_folder_of_clips_a_data_set_or_a_table_with_or_without_labels(make_dataset, tmp_path):
    root = make_dataset(4, test=2)
    rows, problems = read_batch(root)
    assert ([row.name for row in rows], problems) == (["traina0x", "trainb0x", "trainc0x", "traind0x", "testa0x", "testb0x"], [])
    assert [row.label for row in rows[:4]] == [1, 2, 3, 4]
    assert all(np.isnan(row.label) for row in rows[4:])
    rows, problems = read_batch(root / "audios/train")
    assert ([row.name for row in rows], problems) == (["traina0x.wav", "trainb0x.wav", "trainc0x.wav", "traind0x.wav"], [])
    assert all(np.isnan(row.label) for row in rows)
    table = write_table(root / "audios/train/some.csv", ["filename", "score"], [["traina0x", 3], ["gone", 4]])
    for source in (table, table.parent):
        rows, problems = read_batch(source)
        assert [(row.name, row.path.name) for row in rows] == [("traina0x", "traina0x.wav")]
        told = {one.file: (one.level, one.reason) for one in problems}
        assert told["gone"] == ("error", "missing: no such file in train")
        assert told["some.csv"] == ("warning", "no column 'label' with labels to compare with (further columns: score)")
    [row], _ = read_batch(table, Layout(label_column="score"))
    assert row.label == 3


def test_a_batch_that_cannot_be_read_says_what_to_name(tmp_path):
    for source, says in [
        (tmp_path / "nowhere", "no such folder or file"),
        (write_clip(tmp_path / "a" / "a.wav", tone(440)), "a file, but no table"),
        (write_table(tmp_path / "b" / "b.csv", ["name", "label"], [["a", 1]]), "expected a column 'filename', found name, label"),
    ]:
        with pytest.raises(DataError, match=says):
            read_batch(source)
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="no clips in it"):
        read_batch(tmp_path / "c")


def test_a_folder_of_too_many_files_is_not_walked_through(tmp_path, monkeypatch):
    monkeypatch.setattr("core.data.dataset.MAX_FILES", 2)
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(b"")
    assert len(read_batch(tmp_path)[0]) == 2
    (tmp_path / "c.txt").write_bytes(b"")
    with pytest.raises(DataError, match="more than 2 files in it; name the folder of the clips"):
        read_batch(tmp_path)


def test_a_table_of_uploads_names_clips_wherever_they_are(tmp_path):
    table = write_table(tmp_path / "t" / "t.csv", ["filename", "label"], [["a", 1], ["b.wav", 2], ["c", 3]])
    clips = [write_clip(tmp_path / folder / f"{name}.wav", tone(440)) for folder, name in ["1a", "2b", "3b", "4d"]]
    rows, problems = read_batch(table, clips=clips)
    assert [(row.name, row.path.parent.name, row.label) for row in rows[:1]] == [("a", "1", 1.0)]
    assert [(row.name, np.isnan(row.label)) for row in rows[1:]] == [("b.wav", True), ("b.wav", True), ("d.wav", True)]
    assert {one.file: one.reason for one in problems} == {
        "b.wav": "the name fits several files called b.wav",
        "c": "missing: no such file among the clips",
    }
