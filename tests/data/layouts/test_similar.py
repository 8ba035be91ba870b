"""Names that nearly match are taken all together and said, or offered; never is a clip guessed."""

import pytest

from core.data.dataset import read_dataset
from tests.conftest import tone, write_clip, write_table


def plain_set(tmp_path, files, names, header=("filename", "label")):
    for name in files:
        write_clip(tmp_path / name, tone(300, seconds=0.1), format="WAV")
    write_table(tmp_path / "t.csv", header, [[name, number + 0.5] for number, name in enumerate(names)])
    return read_dataset(tmp_path)


def pairs(dataset):
    return [(row.name, row.path.relative_to(dataset.root).as_posix()) for row in dataset.train]


def reasons(dataset, level):
    return {problem.file: problem.reason for problem in dataset.problems if problem.level == level}


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["7", "12", "0"], ["007.wav", "012.wav", "000.wav"]),  # a spreadsheet took them for numbers
        (["7.0", "12.0"], ["007.wav", "012.wav"]),
        (["audios/train/a.wav", "./audios/train/b"], ["a.wav", "b.wav"]),
        (["/home/me/x/a.wav", "C:\\clips\\b.wav", "../c.wav"], ["a.wav", "b.wav", "c.wav"]),
        (["https://host/d/a%20b.wav?token=1#t", "s3://bucket/c.wav"], ["a b.wav", "c.wav"]),
        (["a1b2c3d4-take.wav", "0a1b2c3d-007.wav"], ["take.wav", "007.wav"]),  # an annotation tool
        (["take.wav", "b.wav"], ["a1b2c3d4-take.wav", "b.wav"]),
        (["A.WAV", "b.m4a", "c.mp3"], ["a.wav", "b.wav", "C.flac"]),
        (["/x/one/a.wav", "/x/two/a.wav"], ["one/a.wav", "two/a.wav"]),  # the folders tell them apart
        (["a.wav", "x/b.wav"], ["a.wav", "b.wav"]),  # some are exact
    ],
)
def test_names_that_all_nearly_match_are_taken_and_said_once(tmp_path, names, files):
    dataset = plain_set(tmp_path, files, names)
    assert pairs(dataset) == list(zip(names, files, strict=True))
    assert [problem.level for problem in dataset.problems if "similar names" in problem.reason] == ["warning"]


def test_the_warning_says_how_many_with_an_example(tmp_path):
    dataset = plain_set(tmp_path, ["007.wav", "012.wav", "a.wav"], ["7", "12", "a"])
    assert reasons(dataset, "warning")["t.csv"] == "2 names are taken for similar names of clips, such as '7' for 007.wav"


def test_names_of_which_one_has_no_clip_are_offered_and_not_taken(tmp_path):
    dataset = plain_set(tmp_path, ["007.wav", "a.wav"], ["7", "8", "a"])
    assert pairs(dataset) == [("a", "a.wav")]
    assert "1 names are like similar names of clips, such as '7' for 007.wav" in reasons(dataset, "warning")["t.csv"]
    missing = f"missing: no such file in {tmp_path.name}"
    assert reasons(dataset, "error") == {"7": f"{missing}; there is 007.wav", "8": missing}


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["7", "07"], ["007.wav"]),  # two names, one clip
        (["a.wav", "x/a.wav"], ["a.wav"]),  # one of them is exact
        (["/x/a.wav"], ["one/a.wav", "two/a.wav"]),  # one name, two clips
        (["20250103-a.wav"], ["20250101-a.wav"]),  # a date is no hash where both have one
        (["a-1"], ["a-01.wav"]),
    ],
)
def test_two_names_never_share_a_clip_and_two_clips_never_a_name(tmp_path, names, files):
    dataset = plain_set(tmp_path, files, names)
    assert [name for name, _ in pairs(dataset)] == [name for name in names if name in files]
    assert not any("similar names" in problem.reason for problem in dataset.problems)


def test_a_name_never_leads_out_of_the_folder(tmp_path):
    outside = write_clip(tmp_path / "outside.wav", tone(300))
    (tmp_path / "set").mkdir()
    dataset = plain_set(tmp_path / "set", ["a.wav"], [str(outside), "../outside.wav", "a"])
    assert [name for name, _ in pairs(dataset)] == ["a"]
    assert all("leaves the folder set" in reason for reason in reasons(dataset, "error").values())


def test_clips_that_are_only_nearly_named_still_tell_which_column_names_them(tmp_path):
    files = [f"{number:03d}.wav" for number in range(1, 7)]
    for name in files:
        write_clip(tmp_path / name, tone(300, seconds=0.1))
    write_table(tmp_path / "t.csv", ["item", "score"], [[number, 1 + number % 3] for number in range(1, 7)])
    dataset = read_dataset(tmp_path)
    assert [row.path.name for row in dataset.train] == files


@pytest.mark.parametrize("missing", ["", " ", "NA", "NaN", "nan", "null", "None", "-"])
def test_what_stands_for_a_missing_value_is_one_in_every_column(tmp_path, missing):
    for name in "ab":
        write_clip(tmp_path / f"{name}.wav", tone(300, seconds=0.1))
    write_table(tmp_path / "t.csv", ["filename", "label", "said"], [["a", 1, missing], ["b", missing, "x"], [missing, 3, "y"]])
    dataset = read_dataset(tmp_path)
    assert [(row.name, row.columns) for row in dataset.train] == [("a", {"said": ""})]
    told = reasons(dataset, "error")
    assert told["b"] == "label missing"
    assert sorted(told.values()) == ["label missing", "the row names no file"]
