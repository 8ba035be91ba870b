"""What a look at the clips finds: levels, twins, and kinds of problems."""

import numpy as np
import pytest

from core.data.audio import clip_warnings, read_clip
from core.data.dataset import named_as_copies, read_dataset
from core.data.duplicates import NEAR_AUDIO, SAME_AUDIO, Twins
from core.data.report import check_dataset, kind_of
from core.data.rows import Problem
from tests.conftest import tone, write_clip, write_table


def test_a_sine_has_the_levels_that_theory_says(make_dataset):
    folder = make_dataset(5, test=0)
    for number, path in enumerate(sorted(folder.glob("audios/train/*"))):
        write_clip(path, tone(22050 / 4, amplitude=0.5 / 10**number) if number < 4 else np.zeros(22050), subtype="FLOAT")
    facts = sorted(check_dataset(read_dataset(folder), workers=0).clips, key=lambda one: one.file)
    for number, one in enumerate(facts[:4]):
        assert one.peak_dbfs == pytest.approx(-6.02 - 20 * number, abs=0.01)
        assert one.rms_dbfs == pytest.approx(one.peak_dbfs - 3.01, abs=0.01)
    assert (facts[4].peak_dbfs, facts[4].rms_dbfs) == (None, None)


def test_clips_with_the_same_sound_are_paired_with_the_first_across_tables(make_dataset):
    folder = make_dataset(6)
    sound = (folder / "audios/train/traina0x.wav").read_bytes()
    for other in ("train/trainc0x", "test/testb0x"):
        (folder / f"audios/{other}.wav").write_bytes(sound)
    report = check_dataset(read_dataset(folder), workers=0)
    assert report.twins == (
        Twins(SAME_AUDIO, "train", "traina0x", "train", "trainc0x"),
        Twins(SAME_AUDIO, "train", "traina0x", "test", "testb0x"),
    )


def test_every_problem_has_a_kind(tmp_path):
    folder = tmp_path / "odd"
    write_clip(folder / "audios/train/a.wav", tone(440))
    write_clip(folder / "audios/train/a (1).wav", tone(330))
    write_clip(folder / "audios/train/b.wav", np.zeros(22050))
    write_clip(folder / "audios/train/loud.wav", np.sign(tone(440)))
    write_clip(folder / "audios/train/long.wav", tone(440, seconds=46))
    write_clip(folder / "audios/train/same.wav", tone(440))
    write_clip(folder / "audios/train/left.wav", tone(220))
    (folder / "audios/train/empty.wav").write_bytes(b"")
    rows = [
        ["a", 1],
        ["a (1)", 1],
        ["b", 2],
        ["loud", 2],
        ["long", 3],
        ["same", 3],
        ["empty", 4],
        ["gone", 4],
        ["", 1],
        ["../x", 1],
    ]
    rows += [["left", "x"], ["b", 2], ["loud", 5]]
    write_table(folder / "csvs/train.csv", ["filename", "label"], rows)
    write_clip(folder / "audios/train/unnamed.wav", tone(550))
    dataset = read_dataset(folder)
    kinds = {problem.file: kind_of(problem.reason) for problem in check_dataset(dataset, workers=0).problems}
    assert kinds.pop("audios/train/unnamed.wav") == "in no table"
    assert kinds == {
        "a (1)": "name of a copy",
        "b": "silent",
        "long": "long",
        "same": "same audio",
        "empty": "unreadable",
        "gone": "no such file",
        "train.csv, line 10": "no such file",
        "../x": "no such file",
        "left": "label",
        "loud": "label",
    }
    assert kind_of(next(one.reason for one in dataset.problems if "named 2 times with the same" in one.reason)) == "named twice"
    assert [kind_of(one) for one in clip_warnings(read_clip(folder / "audios/train/loud.wav"))] == ["clipped"]
    assert [(of.name, copy.name) for of, copy in named_as_copies(dataset.train)] == [("a", "a (1)")]
    assert isinstance(dataset.problems[0], Problem)


def _check_of(folder, sounds):
    for name, samples in sounds.items():
        write_clip(folder / f"audios/train/{name}.wav", samples, sr=8000)
    write_table(folder / "csvs/train.csv", ["filename", "label"], [[name, index % 5] for index, name in enumerate(sounds)])
    return check_dataset(read_dataset(folder), workers=0)


def test_a_copy_in_another_format_is_nearly_the_same_audio_across_tables(make_dataset, rng):
    folder = make_dataset(6)
    sound = 0.2 * rng.uniform(-1, 1, 22050)
    write_clip(folder / "audios/train/traina0x.wav", sound)
    write_clip(folder / "audios/test/testb0x.wav", 0.25 * sound[400:])
    (folder / "audios/train/trainc0x.wav").unlink()
    write_clip(folder / "audios/train/trainc0x.mp3", sound)
    report = check_dataset(read_dataset(folder), workers=0)
    assert report.twins == (
        Twins(NEAR_AUDIO, "train", "traina0x", "train", "trainc0x"),
        Twins(NEAR_AUDIO, "train", "traina0x", "test", "testb0x"),
    )
    reasons = {problem.file: problem.reason for problem in report.problems}
    assert reasons == {"trainc0x": "nearly the same audio as traina0x", "testb0x": "nearly the same audio as traina0x"}
    assert kind_of(reasons["testb0x"]) == "nearly the same audio"


def test_the_same_audio_is_the_same_to_the_end_of_the_file(tmp_path, rng):
    start, end, other = (0.2 * rng.uniform(-1, 1, 8000 * seconds) for seconds in (46, 40, 40))
    sounds = {"a": [start, end], "again": [start, end], "another": [start, other], "longer": [start, end, other]}
    report = _check_of(tmp_path / "long", {name: np.concatenate(parts) for name, parts in sounds.items()})
    assert report.twins == (Twins(SAME_AUDIO, "train", "a", "train", "again"),)


def test_files_that_differ_at_one_place_behind_the_start_are_not_the_same(tmp_path, rng):
    sound = 0.2 * rng.uniform(-1, 1, 8000 * 60)
    late = sound.copy()
    late[8000 * 55] += 0.1
    report = _check_of(tmp_path / "long", {"a": sound, "b": late})
    assert report.twins == (Twins(NEAR_AUDIO, "train", "a", "train", "b"),)
