"""Tables of which the rows are segments: which columns are times, in which unit, and what becomes of the rows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.data.dataset import read_batch, read_dataset, read_windows
from core.data.layouts.layout import Layout
from core.errors import DataError, ParameterError
from tests.conftest import write_table

RATE_HZ = 8000


def steps(seconds, folder, name="long.wav"):
    """A recording whose second number n has the level n / 100."""
    soundfile.write(folder / name, np.repeat(np.arange(seconds) / 100, RATE_HZ), RATE_HZ, subtype="FLOAT")
    return name


@pytest.fixture
def made(tmp_path):
    """A folder with two recordings of 20 s, and a table that a test gives; and how it is read."""

    def make(header, rows, **layout):
        for name in ("one.wav", "two.wav"):
            steps(20, tmp_path, name)
        write_table(tmp_path / "labels.csv", header, rows)
        return read_dataset(tmp_path, Layout(**layout), segments=tmp_path / "cut")

    return make


def heard(rows):
    """First level, last level and length of the clip of each row."""
    clips = [soundfile.read(row.path)[0] for row in rows]
    return [(round(100 * clip[0]), round(100 * clip[-1]), len(clip) / RATE_HZ) for clip in clips]


TIMES = [(3, 5), (7, 10), (2, 3)]
HEARD = [(3, 4, 2), (7, 9, 3), (2, 2, 1)]
NAMES = ("one.wav", "one.wav", "two.wav")


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        (("start", "end"), lambda start, end: (start, end)),
        (("onset", "offset"), lambda start, end: (start, end)),
        (("Begin Time (s)", "End Time (s)"), lambda start, end: (f"{start}.0", f"{end}.000")),
        (("start", "duration"), lambda start, end: (start, end - start)),
        (("start_ms", "end_ms"), lambda start, end: (1000 * start, 1000 * end)),
        (("startSample", "endSample"), lambda start, end: (RATE_HZ * start, RATE_HZ * end)),
        (("tmin", "tmax"), lambda start, end: (f"0:{start:02d}", f"0:{end:02d}.0")),
    ],
)
def test_a_row_with_times_is_a_segment(made, columns, cells):
    rows = [[name, *cells(*span), number] for number, (name, span) in enumerate(zip(NAMES, TIMES, strict=True))]
    dataset = made(["filename", *columns, "label"], rows)
    assert heard(dataset.train) == HEARD
    assert [row.label for row in dataset.train] == [0, 1, 2]
    assert [row.recording.name for row in dataset.train] == list(NAMES)
    assert dataset.problems == ()
    assert {column.role for column in dataset.columns} >= {"begins the segment", "label"}


@pytest.mark.parametrize(("factor", "unit"), [(1000, "milliseconds"), (RATE_HZ, "samples")])
def test_times_that_cannot_be_seconds_are_read_in_the_unit_that_is_left_and_that_is_said(made, factor, unit):
    rows = [[name, factor * start, factor * end, 1] for name, (start, end) in zip(NAMES, TIMES, strict=True)]
    dataset = made(["filename", "start", "end", "label"], rows)
    assert heard(dataset.train) == HEARD
    assert dataset.problems[0].reason.startswith(f"times are read as {unit}")


def test_times_that_fit_in_no_unit_are_asked_for(made):
    rows = [[name, 1e9 * start, 1e9 * end, 1] for name, (start, end) in zip(NAMES, TIMES, strict=True)]
    with pytest.raises(DataError, match=r"neither seconds, milliseconds nor samples: .*--time-unit"):
        made(["filename", "start", "end", "label"], rows)


def test_a_row_a_second_is_a_segment_of_one_second(made):
    rows = [[name, second, 10 * second] for name in ("one.wav", "two.wav") for second in range(20)]
    dataset = made(["filename", "second", "label"], rows)
    assert heard(dataset.train) == [(second, second, 1) for second in range(20)] * 2
    assert dataset.train[3].name == "one.wav 3"


def test_columns_of_other_names_are_named(made):
    rows = [[name, start, end, 1] for name, (start, end) in zip(NAMES, TIMES, strict=True)]
    assert heard(made(["filename", "t1", "t2", "label"], rows, start_column="t1", end_column="t2").train) == HEARD
    with pytest.raises(DataError, match=r"expected a column 'von'.*--start-column"):
        made(["filename", "t1", "t2", "label"], rows, start_column="von", end_column="t2")
    with pytest.raises(ParameterError, match="end_column needs start_column"):
        Layout(end_column="t2")


def test_each_time_that_is_none_is_named_with_its_row(made):
    rows = [["one.wav", 3, 5, 1], ["one.wav", "?", 5, 1], ["one.wav", 6, 6, 1], ["one.wav", 18, 25, 1], ["one.wav", 4, "", 1]]
    dataset = made(["filename", "start", "end", "label"], rows)
    assert heard(dataset.train) == [(3, 4, 2)]
    assert {problem.file: problem.reason for problem in dataset.set_aside} == {
        "one.wav ? 5": "start '?' is not a time",
        "one.wav 6 6": "its segment goes from 6 to 6: nothing is there",
        "one.wav 18 25": "it ends at 25 s, the recording lasts 20.00 s",
        "one.wav 4 ": "end is missing",
    }


def test_clips_that_were_cut_out_already_are_used_whole_and_that_is_said(made):
    dataset = made(["filename", "start", "end", "label"], [["one.wav", 3600, 3620, 1], ["two.wav", 7100, 7120, 2]])
    assert [clip[2] for clip in heard(dataset.train)] == [20, 20]
    assert "start, end lie behind the ends of the clips: each clip is used whole" in dataset.problems[0].reason


def test_times_of_whole_clips_change_nothing(made):
    dataset = made(["filename", "offset", "duration", "label"], [["one.wav", 0, 20, 1], ["two.wav", 0, 20, 2]])
    assert [row.path.name for row in dataset.train] == ["one.wav", "two.wav"]
    assert dataset.problems == ()


def test_a_segment_may_have_several_ratings(made):
    rows = [["one.wav", 3, 5, rater, mark] for rater, mark in (("a", 1), ("b", 4))] + [["two.wav", 2, 3, "a", 2]]
    dataset = made(["filename", "start", "end", "rater", "label"], rows)
    assert [(row.label, len(row.ratings)) for row in dataset.train] == [(2.5, 2), (2, 1)]


def test_utterances_of_kaldi_are_segments_where_a_file_says_so(tmp_path):
    folder = tmp_path / "data/train"
    folder.mkdir(parents=True)
    for name in ("one.wav", "two.wav"):
        steps(20, tmp_path, name)
    (folder / "wav.scp").write_text("rec1 one.wav\nrec2 two.wav\n")
    (folder / "segments").write_text("u1 rec1 3 5\nu2 rec1 7 10\nu3 rec2 2 3\n")
    (folder / "utt2score").write_text("u1 5\nu2 1\nu3 2\n")
    dataset = read_dataset(tmp_path, segments=tmp_path / "cut")
    assert heard(dataset.train) == HEARD
    assert [(row.name, row.label) for row in dataset.train] == [("u1", 5), ("u2", 1), ("u3", 2)]


def test_recordings_may_be_split_when_told_so(made):
    rows = [[name, start, end, 1] for name, (start, end) in zip(NAMES, TIMES, strict=True)]
    dataset = made(["filename", "start", "end", "label"], rows, split_recordings=True)
    assert all(row.recording is None for row in dataset.train)


def test_recordings_without_labels_are_cut_into_windows(tmp_path):
    steps(25, tmp_path)
    rows, problems = read_batch(tmp_path, Layout(windows=10.0), segments=tmp_path / ".cut")
    assert [row.name for row in rows] == ["long.wav 0-10 s", "long.wav 10-20 s", "long.wav 20-25 s"]
    assert heard(rows) == [(0, 9, 10), (10, 19, 10), (20, 24, 5)]
    assert problems == []


def test_single_recordings_are_cut_into_windows_too(tmp_path):
    steps(7, tmp_path)
    rows, _ = read_windows([tmp_path / "long.wav"], Layout(windows=3.0), segments=tmp_path / "cut")
    assert [(row.name, row.span) for row in rows] == [("long.wav 0-3 s", (0, 3)), ("long.wav 3-6 s", (3, 6))]


MEASURED = """
import re, sys
from pathlib import Path
from core.data.segments import cut, segment_of
recording, folder = map(Path, sys.argv[1:])
segments = [segment_of(recording, 10.0 * number, 10.0 * number + 4, folder) for number in range(700)]
assert cut(segments, workers=0) == {}
assert len(list(folder.rglob("*.wav"))) == 700
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the memory of a process in /proc")
def test_two_hours_with_700_segments_are_cut_within_600_megabytes(tmp_path):
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 16000, 1, "PCM_16") as file:
        for number in range(120):
            file.write(np.full(60 * 16000, number, np.int16))
    done = subprocess.run([sys.executable, "-c", MEASURED, tmp_path / "long.wav", tmp_path / "cut"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 600
