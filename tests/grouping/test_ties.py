"""What stays whole in the folds, on data sets made of tones."""

from pathlib import Path

import numpy as np
import pytest

from core.data.dataset import read_dataset
from core.data.rows import Row
from core.ensemble import EnsembleSettings
from core.errors import DataError, ParameterError
from core.events import LeakGapFound, Warned
from core.extraction.config import ExtractSettings
from core.grouping.ties import group_labels, repeating_columns
from core.tasks.train import train_dataset
from core.workspace import Workspace
from tests.conftest import tone, write_clip, write_table

EXTRACT = ExtractSettings(features=("mfcc",), workers=0)
QUICK = EnsembleSettings(members=("ridge",), folds=3, workers=0)


@pytest.fixture
def train(tmp_path):
    def train(root, ensemble=QUICK, extract=EXTRACT, notify=lambda event: None):
        return train_dataset(read_dataset(root), extract, ensemble, Workspace.resolve(tmp_path / "w"), notify=notify)

    return train


def twice(root):
    """Each of eight clips under two names, and eight clips of their own."""
    rows = []
    for index in range(8):
        samples = 0.1 * (1 + index % 4) * tone(300 + 20 * index, seconds=0.4)
        for name in (f"left{chr(97 + index)}", f"right{chr(97 + index)}"):
            write_clip(root / f"audios/train/{name}.wav", samples)
            rows.append([name, 1 + index % 4])
        write_clip(root / f"audios/train/single{chr(97 + index)}.wav", 0.8 * samples + 1e-3)
        rows.append([f"single{chr(97 + index)}", 1 + index % 4])
    write_table(root / "csvs/train.csv", ["filename", "label"], rows)
    return root


def test_clips_with_the_same_bytes_stay_in_one_fold_without_being_asked(train, tmp_path):
    record = train(twice(tmp_path / "twice")).record
    plan = record.fold_plan
    assert all(plan[f"left{letter}"] == plan[f"right{letter}"] for letter in "abcdefgh")
    assert (record.groups.source, record.groups.count) == (None, 16)
    assert record.settings.ensemble.group_by is None


def test_too_few_different_recordings_are_told_as_that(train, tmp_path):
    root = tmp_path / "same"
    for index in range(6):
        write_clip(root / f"audios/train/clip{index}.wav", 0.3 * tone(300 + index % 2, seconds=0.4))
    write_table(root / "csvs/train.csv", ["filename", "label"], [[f"clip{index}", index] for index in range(6)])
    with pytest.raises(DataError, match="2 different recordings among 6 clips are too few for 3 folds"):
        train(root)


def test_groups_are_proposed_by_name_and_taken_with_auto(train, tmp_path):
    root = tmp_path / "names"
    rows = []
    for speaker in range(6):
        for take in range(3):
            write_clip(
                root / f"audios/train/voice{speaker}_{take}.wav",
                0.1 * (1 + take) * tone(200 + 50 * speaker + 9 * take, seconds=0.4),
            )
            rows.append([f"voice{speaker}_{take}", 1 + take + speaker])
    write_table(root / "csvs/train.csv", ["filename", "label"], rows)
    events = []
    record = train(root, notify=events.append).record
    assert [proposal.kind for proposal in record.proposed_groups] == ["name stem"]
    assert record.scores.leak.groups == "name stem"
    assert not record.scores.leak.chosen
    assert record.scores.leak_gap == pytest.approx(record.scores.leak.grouped_rmse - record.scores.leak.random_rmse)
    assert sum(isinstance(event, LeakGapFound) for event in events) == 1
    tied = train(root, EnsembleSettings(members=("ridge",), folds=3, group_by="auto", workers=0)).record
    for speaker in range(6):
        assert len({tied.fold_plan[f"voice{speaker}_{take}"] for take in range(3)}) == 1
    assert (tied.groups.source, tied.groups.count) == ("name stem", 6)
    assert tied.scores.leak.chosen


def test_auto_says_where_nothing_ties_rows_together(train, make_dataset):
    with pytest.raises(ParameterError, match="groups=auto: neither audio, nor file names, nor features tie rows together"):
        train(make_dataset(12), EnsembleSettings(members=("ridge",), folds=3, group_by="auto", workers=0))


def test_a_column_that_repeats_and_was_not_chosen_is_tried(train, make_dataset):
    root = make_dataset(24)
    assert repeating_columns(read_dataset(root).train) == ["speaker"]
    leak = train(root).scores.leak
    assert leak.groups == "speaker, which was not chosen"
    assert not leak.chosen


def test_a_column_that_repeats_is_one_that_can_be_chosen_and_none_with_a_blank_is():
    cells = {
        "speaker": ["anna", "bob ", "anna", " bob", "anna", "bob"],
        "room": ["hall", "hall", "attic", "attic", "hall", ""],
        "device": ["phone", "phone", "desk", "desk", "  ", "phone"],
        "take": ["1", "2", "3", "4", "5", "6"],
        "language": ["en"] * 6,
    }
    rows = [Row(str(n), Path(f"{n}.wav"), 1.0, {name: column[n] for name, column in cells.items()}) for n in range(6)]
    assert repeating_columns(rows) == ["speaker"]
    assert group_labels(rows, "speaker") == ("anna", "bob") * 3
    for name in ("room", "device"):
        with pytest.raises(DataError, match=f"1 of 6 rows have no '{name}'"):
            group_labels(rows, name)
    assert repeating_columns([]) == []


def test_a_column_that_holds_the_label_takes_the_badge_from_every_figure(train, make_dataset):
    root = make_dataset(24)
    table = root / "csvs/train.csv"
    header, *rows = table.read_text().splitlines()
    marks = [float(row.split(",")[1]) for row in rows]
    lines = [f"{row},{2 * mark + 1},{index % 5}" for index, (row, mark) in enumerate(zip(rows, marks, strict=True))]
    table.write_text("\n".join([f"{header},twin,number", *lines]) + "\n")
    test = root / "csvs/test.csv"
    test.write_text(
        "\n".join([f"{test.read_text().splitlines()[0]},twin,number", *(f"{row},3,1" for row in test.read_text().splitlines()[1:])])
    )
    events = []
    run = train(root, extract=ExtractSettings(features=("mfcc", "table:twin"), workers=0), notify=events.append)
    assert [one.column for one in run.record.label_leaks] == ["table:twin"]
    assert any("table:twin" in event.text for event in events if isinstance(event, Warned))
    assert set(run.scores.badges.values()) == {"in-sample"}
    honest = train(root, extract=ExtractSettings(features=("mfcc", "table:number"), workers=0))
    assert honest.record.label_leaks == []
    assert honest.scores.badges["oof_rmse"] == "nested"
    assert honest.record.columns[-1] == "table.number"


def test_switches_get_a_verdict_and_the_self_test_a_ratio(train, make_dataset):
    settings = EnsembleSettings(
        members=("ridge",), folds=3, tta=1, augment=1, pseudo_labels=True, self_test=True, repeats=2, workers=0
    )
    scores = train(make_dataset(24), settings).scores
    assert set(scores.verdicts) == {"tta", "augment", "pseudo_labels"}
    for verdict in scores.verdicts.values():
        assert verdict.verdict in ("helps", "hurts", "cannot tell")
        assert verdict.low <= verdict.difference <= verdict.high
        assert verdict.clips == 24
    assert len(scores.self_test.ratios) == 3
    assert scores.self_test.passed == (np.mean(scores.self_test.ratios) >= 0.97)
    assert scores.badges["verdicts"] == "nested"
    assert scores.badges["leak_gap"] == "in-sample"


def test_groups_that_are_not_there_are_refused(tmp_path):
    rows = [Row(f"clip{index}", tmp_path / f"{index}.wav", 1.0, {"speaker": speaker}) for index, speaker in enumerate(" ab")]
    assert group_labels(rows[1:], "speaker") == ("a", "b")
    with pytest.raises(ParameterError, match="groups='voice' is not a column of the training table; there are: speaker"):
        group_labels(rows, "voice")
    with pytest.raises(DataError, match=r"1 of 3 rows have no 'speaker' \(first: clip0\)"):
        group_labels(rows, "speaker")


def copies_of_noise(root, rng):
    """Sixteen different sounds with labels drawn at random, and of each an MP3 under another name with the same label."""
    rows = []
    for index, label in enumerate(rng.permutation(16)):
        colour = rng.normal(size=16)  # taps of a filter
        samples = np.convolve(rng.normal(size=22050), 0.1 * colour / np.linalg.norm(colour), mode="same")
        write_clip(root / f"audios/train/field{chr(97 + index)}.wav", samples)
        write_clip(root / f"audios/train/studio{chr(97 + (7 * index) % 16)}.mp3", samples)
        rows += [[f"field{chr(97 + index)}", 2 * label], [f"studio{chr(97 + (7 * index) % 16)}", 2 * label]]
    write_table(root / "csvs/train.csv", ["filename", "label"], rows)
    return root


def test_copies_teach_nothing_where_auto_keeps_them_in_one_fold_and_the_leak_gap_names_them_where_not(train, tmp_path, rng):
    root = copies_of_noise(tmp_path / "copies", rng)
    members = ("svr", "extra_trees")
    free = train(root, EnsembleSettings(members=members, folds=8, workers=0)).record
    assert free.scores.oof_rmse < 0.9 * free.scores.constant_rmse
    assert free.scores.leak.groups == "near-identical"
    assert free.scores.leak.gap > 0.1 * free.scores.constant_rmse
    [proposal] = free.proposed_groups
    assert proposal.reason == "32 of 32 clips have the sound of another clip, or all but its features; groups of two or more: 16"
    tied = train(root, EnsembleSettings(members=members, folds=8, group_by="auto", workers=0)).record
    assert (tied.groups.source, tied.groups.count) == ("near-identical", 16)
    assert tied.scores.oof_rmse >= 0.97 * tied.scores.constant_rmse
