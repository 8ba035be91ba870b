"""Columns of a few words through a training: what is learned, what the record says, and what another table gets."""

from pathlib import Path

import numpy as np
import pytest

from core.data.dataset import read_dataset
from core.data.rows import Row
from core.ensemble import EnsembleSettings
from core.events import Warned
from core.extraction.config import ExtractSettings
from core.extraction.export import definitions
from core.insight.explain import explain_run
from core.tasks.score import ScoringOptions, predict_clips, predict_rows
from core.tasks.train import train_dataset
from core.workspace import Workspace
from tests.conftest import tone, write_clip, write_table

QUICK = EnsembleSettings(members=("ridge", "svr:table:device"), folds=3, blend="mean", workers=0)


@pytest.fixture
def trained(tmp_path, rng):
    """Clips that sound alike, whose label is that of their device but for noise; a test clip of a device that is new."""
    root, devices = tmp_path / "set", ["phone", "desk mic"]
    rows = []
    for number in range(24):
        write_clip(root / f"audios/train/c{number}.wav", tone(300 + number, seconds=0.2))
        rows.append([f"c{number}", 3.0 * (number % 2) + 0.1 * rng.normal(), devices[number % 2] if number else ""])
    for name in ("new", "known"):
        write_clip(root / f"audios/test/{name}.wav", tone(400 + len(name), seconds=0.2))
    write_table(root / "csvs/train.csv", ["filename", "label", "device"], rows)
    write_table(root / "csvs/test.csv", ["filename", "device"], [["new", "tape"], ["known", "phone"], ["known", "desk mic"]])
    said = []
    extract = ExtractSettings(features=("metadata", "table:device"), workers=0)
    dataset, workspace = read_dataset(root), Workspace(tmp_path / "ws")
    return train_dataset(dataset, extract, QUICK, workspace, notify=said.append), dataset, workspace, said


def test_the_effect_of_a_device_is_learned_and_the_record_has_its_levels(trained):
    run, _, _, said = trained
    assert run.scores.oof_rmse < 0.6 * run.scores.constant_rmse
    assert run.record.settings.extract.features == ["metadata", 'table:device=["desk mic","phone"]']
    assert run.record.columns[-2:] == ["table.device=desk mic", "table.device=phone"]
    assert not run.record.label_leaks
    [warning] = [event.text for event in said if isinstance(event, Warned)]
    assert warning == "new: device 'tape' is in no training row: it counts as none of desk mic, phone"


def test_a_table_with_the_words_in_another_order_gets_the_same_predictions_to_the_bit(trained):
    run, dataset, workspace, _ = trained
    options = ScoringOptions(workspace, allow_missing_table=True)
    first = predict_rows(run, dataset.train[:8], options)
    again = predict_rows(run, dataset.train[7::-1], options)
    assert [one.prediction for one in first] == [one.prediction for one in reversed(again)]


def test_an_unseen_word_is_a_reason_to_doubt_that_names_it_and_a_clip_without_a_table_another(trained):
    run, dataset, workspace, _ = trained
    options = ScoringOptions(workspace, allow_missing_table=True)
    new, known, other, loose = predict_rows(run, [*dataset.test, Row("loose", dataset.train[0].path, np.nan)], options)
    unknown = "device 'tape' is in no training row: it counts as none of desk mic, phone"
    assert unknown in new.warnings
    assert not [why for why in known.warnings if "device" in why]
    assert "table:device is not known of a clip without its table" in loose.warnings
    assert known.prediction < 1.5 < other.prediction  # half way between a phone and a desk mic


def test_a_clip_that_stands_twice_has_the_prediction_of_each_row(trained):
    run, dataset, workspace, _ = trained
    _, known, other = predict_rows(run, dataset.test, ScoringOptions(workspace))
    _, *named = Path(run.record.submission).read_text().splitlines()
    assert [line.split(",")[0] for line in named] == ["new", "known", "known"]
    submitted = [float(line.split(",")[1]) for line in named]
    assert submitted[1:] == pytest.approx([known.prediction, other.prediction], abs=1e-9)  # other order of the sums
    assert known.prediction < 1.5 < other.prediction
    assert known.surroundings != other.surroundings


def test_levels_are_explained_as_features_of_the_table_with_what_they_mean(trained):
    run, *_ = trained
    explained = explain_run(run, workers=0)
    known = definitions(run.record.settings.extract.features)
    [device, other] = [known[name] for name in explained.columns[-2:]]
    assert (device.family, other.family) == ("table", "table")
    assert other.definition == "1 where column 'device' of the table is 'phone', else 0"
    assert set(np.argsort(-explained.importance)[:2]) & {len(explained.columns) - 2, len(explained.columns) - 1}


def test_words_that_give_the_label_away_are_named_and_words_that_only_help_are_not(tmp_path):
    root = tmp_path / "set"
    rows = []
    for number in range(18):
        write_clip(root / f"audios/train/c{number}.wav", tone(300 + number, seconds=0.2))
        rows.append([f"c{number}", number % 3, "ABC"[number % 3], "xy"[number % 2]])
    write_table(root / "csvs/train.csv", ["filename", "label", "grade", "room"], rows)
    extract = ExtractSettings(features=("metadata", "table:grade", "table:room"), workers=0)
    run = train_dataset(read_dataset(root), extract, QUICK.replace(members=("ridge",)), Workspace(tmp_path / "ws"))
    assert [leak.column for leak in run.record.label_leaks] == ["table:grade"]


def test_a_loose_clip_whose_word_is_said_is_predicted_as_in_its_table(trained):
    run, dataset, workspace, _ = trained
    [in_table] = predict_rows(run, dataset.test[1:2], ScoringOptions(workspace))
    [loose] = predict_clips(run, [str(dataset.test[1].path)], workspace=workspace, columns={"device": "phone"})
    assert (loose.prediction, loose.low) == (in_table.prediction, in_table.low)
    assert not [why for why in loose.warnings if "device" in why]
