"""The main job on data that is good, broken and hopeless."""

import csv
import json

import numpy as np
import pytest

from core.data.dataset import read_dataset
from core.ensemble import EnsembleSettings
from core.errors import DataError, ParameterError, RunError
from core.extraction.config import ExtractSettings
from core.runs import find_run, list_runs
from core.tasks.extract import extract_dataset
from core.tasks.score import predict_clips
from core.tasks.train import train_dataset
from core.workspace import Workspace
from tests.conftest import tone, write_clip

EXTRACT = ExtractSettings(features=("mfcc", "metadata"), workers=0)
TRAIN = EnsembleSettings(members=("lightgbm", "extra_trees"), folds=3, blend="mean", workers=0)


@pytest.fixture
def workspace(tmp_path):
    return Workspace.resolve(tmp_path / "workspace")


@pytest.fixture
def train(workspace):
    def train(root, extract=EXTRACT, ensemble=TRAIN):
        return train_dataset(read_dataset(root), extract, ensemble, workspace)

    return train


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_a_folder_that_says_everything(make_dataset, train, workspace):
    root = make_dataset(24, test=4)
    run = train(root, ensemble=EnsembleSettings(members=("lightgbm", "extra_trees"), folds=3, group_by="speaker", workers=0))
    assert run.folder == workspace.jobs / run.id
    record = json.loads((run.folder / "run.json").read_text())
    assert record["settings"]["ensemble"]["group_by"] == "speaker"
    assert record["settings"]["extract"]["features"] == ["mfcc", "metadata"]
    assert record["versions"]["earmark"]
    assert len(record["dataset"]["fingerprint"]) == 12
    assert len(record["columns"]) == 129
    assert sorted(path.name for path in (run.folder / "models/repeat0/fold0").iterdir()) == [
        "extra_trees.preprocess.skops",
        "extra_trees.skops",
        "lightgbm.preprocess.skops",
        "lightgbm.txt",
    ]
    oof = read_csv(run.folder / "oof.csv")
    assert [row["filename"] for row in oof] == [row.name for row in read_dataset(root).train]
    residual = np.array([float(row["oof_prediction"]) - float(row["label"]) for row in oof])
    assert record["scores"]["oof_rmse"] == pytest.approx(np.sqrt((residual**2).mean()))
    speakers = {row.name: row.columns["speaker"] for row in read_dataset(root).train}
    folds: dict[str, set[int]] = {}
    for name, fold in record["fold_plan"].items():
        folds.setdefault(speakers[name], set()).add(fold)
    assert all(len(some) == 1 for some in folds.values())


def test_the_submission_has_the_order_and_spelling_of_the_test_table(make_dataset, train, workspace):
    root = make_dataset(15, test=3)
    names = ["testc0x.wav", "testa0x", "nowhere", "testb0x", "testa0x"]
    (root / "csvs/test.csv").write_text("filename\n" + "\n".join(names) + "\n")
    (root / "audios/test/testb0x.wav").write_bytes(b"")
    run = train(root)
    rows = read_csv(run.record.submission)
    assert list(rows[0]) == ["filename", "label"]
    assert [row["filename"] for row in rows] == names
    labels = [row.label for row in read_dataset(root).train]
    assert float(rows[2]["label"]) == float(rows[3]["label"]) == np.median(labels)
    assert rows[1]["label"] == rows[4]["label"]
    assert run.record.test.filled_with_training_median == ["nowhere", "testb0x"]
    assert run.record.test.count == 3  # rows: one clip stands twice
    latest = workspace.submissions / "optimized_ensemble_submission.csv"
    assert latest.read_bytes() == (workspace.submissions / run.id / latest.name).read_bytes()


def test_without_a_test_table_there_is_no_submission(make_dataset, train, workspace):
    root = make_dataset(15)
    (root / "csvs/test.csv").unlink()
    run = train(root)
    assert run.record.submission is None
    assert run.record.test is None
    assert not workspace.submissions.exists()


def test_a_run_predicts_its_test_clips_as_it_did_then(make_dataset, train, workspace):
    root = make_dataset(15, test=3)
    run = train(root)
    clips = [str(path) for path in sorted((root / "audios/test").iterdir())]
    then = {row["filename"]: float(row["label"]) for row in read_csv(run.record.submission)}
    now = predict_clips(run, clips, workspace=workspace)
    assert [prediction.prediction for prediction in now] == list(then.values())
    assert all(prediction.warnings == () for prediction in now)


def test_a_clip_that_cannot_be_read_has_a_reason_instead_of_a_number(make_dataset, train, workspace, tmp_path):
    run = train(make_dataset(15))
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no audio")
    silent = write_clip(tmp_path / "silent.wav", np.zeros(22050))
    first, second, third = predict_clips(run, [str(bad), str(silent), str(tmp_path / "nowhere.wav")], workspace=workspace)
    assert first.prediction is None
    assert "not audio" in first.warnings[0]
    assert np.isfinite(second.prediction)
    assert "silent" in second.warnings[0]
    assert third.warnings == ("no such file",)


def test_bad_clips_are_set_aside_by_name_and_the_rest_is_trained_on(make_dataset, train, workspace):
    """Zero bytes, text, truncated, one sample, silent, stereo at 48 kHz, eight bits."""
    root = make_dataset(15, test=3)
    audio = root / "audios/train"
    (audio / "zero.wav").write_bytes(b"")
    (audio / "text.wav").write_text("this is text")
    (audio / "cut.wav").write_bytes(write_clip(audio / "cut.wav", tone(500)).read_bytes()[:9000])
    write_clip(audio / "one.wav", np.array([0.1]))
    write_clip(audio / "silent.wav", np.zeros(22050))
    write_clip(audio / "stereo.wav", np.stack([tone(440, sr=48000), tone(550, sr=48000)], axis=1), sr=48000)
    write_clip(audio / "eight.wav", tone(333), subtype="PCM_U8")
    with (root / "csvs/train.csv").open("a") as table:
        table.writelines(f"{name},3,s\n" for name in ("zero", "text", "cut", "one", "silent", "stereo", "eight"))
    run = train(root, ExtractSettings(workers=0))
    reasons = {problem.file: problem.reason for problem in run.record.set_aside}
    assert set(reasons) == {"zero", "text", "cut", "one"}
    assert "empty" in reasons["zero"]
    assert "not audio" in reasons["text"]
    assert "truncated" in reasons["cut"]
    assert "too short" in reasons["one"]
    trained_on = set(run.record.fold_plan)
    assert {"silent", "stereo", "eight"} <= trained_on
    assert not {"zero", "text", "cut", "one"} & trained_on
    assert run.record.dataset.train_clips == 18


def test_what_cannot_be_trained_on_is_refused_and_keeps_what_was_extracted(make_dataset, train, workspace):
    root = make_dataset(12)
    table = root / "csvs/train.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([rows[0], *(f"{row.split(',')[0]},5,s" for row in rows[1:])]))
    with pytest.raises(DataError, match="all 12 labels are 5: there is nothing to learn"):
        train(root)
    assert list_runs(workspace.jobs) == []
    table.write_text("\n".join(rows))
    assert not workspace.cache.exists()  # refused before any work
    for path in sorted((root / "audios/train").iterdir())[:9]:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="3 labelled clips can be used, at least 5 are needed"):
        train(root)
    done = extract_dataset(read_dataset(root), EXTRACT, workspace)
    assert done.extraction.computed == 0


def test_extraction_exports_matrices_beside_a_fingerprint(make_dataset, workspace):
    dataset = read_dataset(make_dataset(6, test=2))
    done = extract_dataset(dataset, EXTRACT, workspace)
    assert done.folder.parent == workspace.features
    assert done.folder.name.startswith("loudness-")
    with np.load(done.folder / "train_features_fixed.npz") as arrays:
        assert arrays["X"].shape == (6, 120)
        assert arrays["feature_names"][0] == "mfcc.mfcc0_mean"
    again = extract_dataset(dataset, EXTRACT, workspace)
    assert again.folder == done.folder
    assert again.extraction.computed == 0


def test_a_data_set_without_one_readable_clip_is_refused(make_dataset, workspace):
    root = make_dataset(5, test=1)
    for path in root.rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of its clips can be read \(first: "):
        extract_dataset(read_dataset(root), EXTRACT, workspace)


def test_runs_are_found_by_id_latest_best_and_folder(make_dataset, train, workspace):
    root = make_dataset(24, test=2)
    with pytest.raises(RunError, match="no finished run yet"):
        find_run("latest", workspace.jobs)
    good = train(root)
    bad = train(root, ensemble=EnsembleSettings(members=("lightgbm",), folds=2, workers=0))
    assert good.scores.oof_rmse < bad.scores.oof_rmse
    assert [run.id for run in list_runs(workspace.jobs)] == [good.id, bad.id]
    assert find_run("latest", workspace.jobs).id == bad.id
    assert find_run("best", workspace.jobs).id == good.id
    assert find_run(good.id, workspace.jobs).id == good.id
    assert find_run(str(good.folder), workspace.jobs / "elsewhere").id == good.id
    grouped = train(root, ensemble=EnsembleSettings(members=("lightgbm",), folds=2, group_by="speaker", workers=0))
    assert find_run("best", workspace.jobs).id == grouped.id  # scores under other folds cannot be compared with the latest
    with pytest.raises(RunError, match=f"run 'x' is not an id, latest, best or a run's folder; last runs .*{grouped.id}"):
        find_run("x", workspace.jobs)
    with pytest.raises(RunError, match=r"no finished run \(run\.json is missing\)"):
        find_run(str(root), workspace.jobs)
    (grouped.folder / "run.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        find_run(grouped.id, workspace.jobs)
    assert find_run("latest", workspace.jobs).id == bad.id
    (grouped.folder / "run.json").write_text("{}")
    with pytest.raises(RunError, match="expected a value at run_id"):
        find_run(grouped.id, workspace.jobs)


DAMAGE = {
    ("created",): 5,
    ("settings",): {},
    ("settings", "extract", "features"): [],
    ("settings", "ensemble", "folds"): 1,
    ("settings", "ensemble", "members"): [],
    ("columns",): None,
    ("scores",): {},
    ("scores", "models"): [],
    ("dataset",): None,
    ("model_files",): {},
}


def test_a_record_that_is_damaged_anywhere_is_named_and_blocks_no_other(make_dataset, train, workspace):
    good, other = (train(make_dataset(12)) for _ in range(2))
    whole = json.loads((other.folder / "run.json").read_text())
    for keys, value in DAMAGE.items():
        record = json.loads(json.dumps(whole))
        place = record
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        (other.folder / "run.json").write_text(json.dumps(record))
        with pytest.raises(RunError, match=r"expected .+ at "):
            find_run(other.id, workspace.jobs)
        assert find_run("best", workspace.jobs).id == find_run("latest", workspace.jobs).id == good.id


@pytest.mark.parametrize(
    "name",
    ["repeat0/fold1/lightgbm.txt", "repeat0/fold1/extra_trees.skops", "repeat0/fold1/lightgbm.preprocess.skops", "ensemble.json"],
)
def test_a_model_file_that_is_not_what_the_run_wrote_is_never_loaded(make_dataset, train, name):
    run = train(make_dataset(12))
    path = run.models / name
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) * 9 // 10], whole[:-1] + bytes([whole[-1] ^ 1]), whole + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=f"{name}: the model is damaged"):
            run.load_ensemble()
    path.unlink()
    with pytest.raises(RunError, match=f"{name}: the model is missing"):
        run.load_ensemble()


def test_a_run_that_cannot_end_leaves_nothing_behind(make_dataset, train, workspace, monkeypatch):
    root = make_dataset(12)
    workspace.root.mkdir()
    workspace.submissions.write_text("in the way")
    with pytest.raises(ParameterError, match=r"cannot create .*submissions"):
        train(root)
    workspace.submissions.unlink()
    monkeypatch.setattr("core.ensemble.train.fit", lambda task: 1 / 0)
    with pytest.raises(DataError, match="could not be fitted"):
        train(root)
    assert list(workspace.jobs.iterdir()) == []


def test_speakers_of_the_speech_set_each_stay_in_one_fold(speech, train):
    run = train(speech, ExtractSettings(features=("metadata",)), EnsembleSettings(members=("lightgbm",), group_by="speaker"))
    assert len(run.record.fold_plan) == 409
    folds: dict[str, set[int]] = {}
    for row in read_dataset(speech).train:
        folds.setdefault(row.columns["speaker"], set()).add(run.record.fold_plan[row.name])
    assert len(folds) == 82
    assert all(len(some) == 1 for some in folds.values())
    assert run.scores.oof_rmse < run.scores.constant_rmse
