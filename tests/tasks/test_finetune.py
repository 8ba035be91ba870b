import csv
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from core.cli import commands
from core.cli.common import columns_of
from core.data.dataset import read_dataset
from core.ensemble import EnsembleSettings
from core.errors import DataError, ParameterError, RunError
from core.events import EpochScored, FinetuneStarted, Warned
from core.extraction.config import ExtractSettings
from core.multimodal.config import FinetuneSettings, resolve_text
from core.runs import find_run, list_runs, read_run
from core.runs.leaderboard import comparable, load_oof
from core.runtime import device
from core.runtime.device import Device, exclusive
from core.scoring.oof import NESTED
from core.tasks.finetune import MEMBER, RUN, finetune_dataset
from core.tasks.score import ScoringOptions, evaluate_run, predict_clips, predict_rows
from core.tasks.train import train_dataset
from core.workspace import Workspace
from tests.conftest import ROOT, write_dataset, write_table
from tests.tiny_models import tiny_encoder, tiny_text_encoder

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "audio_model": str(tiny_encoder("wav2vec2", root / "audio")),
        "text_model": str(tiny_text_encoder("bert", root / "text")),
    }


def finetune(root, workspace, models, *, told=None, **options):
    settings = FinetuneSettings(**models | {"folds": 2, "epochs": 2, "text": "column=speaker"} | options)
    notify = (told if told is not None else []).append
    return finetune_dataset(read_dataset(root), settings, ExtractSettings(workers=0), Workspace(workspace), notify=notify)


@pytest.fixture(scope="module")
def world(models, tmp_path_factory):
    """A data set, a workspace, and a run that was trained there."""
    root = tmp_path_factory.mktemp("finetuned")
    told = []
    data = write_dataset(root / "loudness", 16, test=4)
    return data, root / "ws", finetune(data, root / "ws", models, told=told, group_by="speaker"), told


def test_a_run_says_all_that_a_run_of_an_ensemble_says(world):
    _, _, run, told = world
    assert run.kind is RUN
    labels = load_oof(run).labels
    predictions = load_oof(run).predictions[0]
    assert run.scores.oof_rmse == pytest.approx(np.sqrt(np.mean((predictions - labels) ** 2)))
    assert set(run.scores.models) == {MEMBER}
    assert run.scores.badges["oof_rmse"] == NESTED
    assert run.scores.badges["interval_coverage"] == "out-of-fold"
    assert len(run.scores.fold_rmse) == 2
    assert run.scores.leak_gap is not None
    [started] = [event for event in told if isinstance(event, FinetuneStarted)]
    assert run.scores.trained_share == started.trained / started.parameters < 1
    assert {event.fold for event in told if isinstance(event, EpochScored)} == {0, 1}
    assert (run.record.groups.source, run.record.groups.count) == ("speaker", 4)
    run.check_models()


def test_folds_are_those_of_an_ensemble_with_the_same_groups_and_seed(world):
    data, workspace, run, _ = world
    ensemble = EnsembleSettings(members=("ridge",), folds=2, group_by="speaker", workers=0)
    other = train_dataset(read_dataset(data), ExtractSettings(workers=0), ensemble, Workspace(workspace))
    assert other.record.fold_plan == run.record.fold_plan
    assert other.record.dataset.fingerprint == run.record.dataset.fingerprint
    assert comparable(other, run) is None
    assert {one.id for one in list_runs(workspace / "jobs")} >= {run.id, other.id}


def test_the_submission_has_the_test_tables_order_and_the_means_over_folds(world):
    data, workspace, run, _ = world
    path = workspace / "submissions" / run.id / RUN.submission_name
    assert run.record.submission == str(path)
    assert path.read_text() == (workspace / "submissions" / RUN.submission_name).read_text()
    with path.open() as file:
        rows = list(csv.DictReader(file))
    dataset = read_dataset(data)
    assert [row["filename"] for row in rows] == list(dataset.submission.names)
    found = predict_rows(run, dataset.test, ScoringOptions(Workspace(workspace)))
    assert [one.prediction for one in found] == pytest.approx([float(row["label"]) for row in rows], rel=1e-5)
    with (run.folder / "test_predictions.csv").open() as file:
        stored = list(csv.DictReader(file))
    assert [one.low for one in found] == pytest.approx([float(row["low"]) for row in stored], rel=1e-5)
    assert all(one.surroundings is not None for one in found)


def test_a_loose_clip_is_scored_without_its_text_and_said_to_be(world, tmp_path):
    data, workspace, run, _ = world
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    clip = next(iter(sorted((data / "audios" / "test").iterdir())))
    good, unread = predict_clips(run, [str(clip), str(bad)], workspace=Workspace(workspace))
    assert 1 <= good.prediction <= 6
    assert any("speaker is not known of a clip without its table" in doubt for doubt in good.warnings)
    assert unread.prediction is None
    with pytest.raises(ParameterError, match="a fine-tuned run takes each clip as it is"):
        predict_clips(run, [str(clip)], workspace=Workspace(workspace), tta=2)


def test_a_labelled_hold_out_judges_a_fine_tuned_run_too(world, tmp_path):
    _, workspace, run, _ = world
    fresh = write_dataset(tmp_path / "fresh", 6, test=0, seconds=0.4)
    found = evaluate_run(run, read_dataset(fresh).train, ScoringOptions(Workspace(workspace)))
    assert len(found.rows) == 6
    assert found.scores["rmse"] > 0


def test_a_network_is_not_used_with_other_weights_than_it_was_trained_with(world, models):
    data, workspace, run, _ = world
    record = run.models / "finetune.json"
    before = record.read_text()
    changed = json.loads(before)
    changed["text"]["revision"] = "0" * 32
    clip = str(next(iter(sorted((data / "audios" / "test").iterdir()))))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(run), "check_models", lambda self: None)
        record.write_text(json.dumps(changed))
        with pytest.raises(RunError, match="are not those that this run was trained with"):
            predict_clips(run, [clip], workspace=Workspace(workspace))
    with pytest.raises(RunError, match="the model is damaged"):
        predict_clips(run, [clip], workspace=Workspace(workspace))
    record.write_text(before)


def test_one_command_does_it_all(world, models, tmp_path, capsys):
    data, _, _, _ = world
    words = ["finetune", str(data), "--folds", "2", "--epochs", "1", "--text", "describe", "--fusion", "gated", "--workers", "0"]
    words += ["--audio-model", models["audio_model"], "--text-model", models["text_model"], "--workspace", str(tmp_path / "ws")]
    assert commands.main([*words, "--json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"run_id", "fold_rmse", "oof_rmse", "oof_pearson", "trained_share", "submission", "seconds"} <= set(line)
    run = find_run(line["run_id"], tmp_path / "ws" / "jobs")
    assert run.record.settings.finetune["text"] == "describe"
    assert not (run.folder / "checkpoints").exists()


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("speaker", "column=speaker"), ("describe", "describe"), ("transcript", "describe"), ("none", "none")],
)
def test_a_name_after_text_is_that_of_a_column(world, text, meaning):
    assert resolve_text(text, columns_of(read_dataset(world[0]))) == meaning


def test_the_words_that_a_recogniser_hears_are_read(models, tmp_path):
    from tests.tiny_models import tiny_recogniser

    whisper = tiny_recogniser(tmp_path / "whisper")
    data = write_dataset(tmp_path / "loudness", 8, test=2)
    run = finetune(data, tmp_path / "ws", models, text=f"whisper={whisper}", epochs=1)
    assert f"transcript:whisper={whisper}" in run.record.settings.extract.features
    found = predict_rows(run, read_dataset(data).test, ScoringOptions(Workspace(tmp_path / "ws")))
    assert all(one.prediction is not None for one in found)


def test_an_encoder_can_be_trained_and_either_side_can_stand_alone(models, tmp_path):
    data = write_dataset(tmp_path / "loudness", 8, test=2)
    for number, options in enumerate(({"audio_encoder": "lora"}, {"text": "none"}, {"audio_encoder": "none"})):
        run = finetune(data, tmp_path / f"ws{number}", models, epochs=1, **options)
        found = predict_rows(run, read_dataset(data).test, ScoringOptions(Workspace(tmp_path / f"ws{number}")))
        with (run.folder / "test_predictions.csv").open() as file:
            expected = [float(row["prediction"]) for row in csv.DictReader(file)]
        assert [one.prediction for one in found] == pytest.approx(expected, rel=1e-5)
        assert (run.models / "fold0" / "audio_adapter" / "adapter_model.safetensors").exists() == (
            "audio_encoder" in options and number == 0
        )


def test_clips_that_cannot_be_read_are_set_aside_by_name(models, tmp_path):
    data = write_dataset(tmp_path / "loudness", 12, test=2)
    broken = sorted((data / "audios" / "train").iterdir())[3]
    broken.write_text("no sound")
    run = finetune(data, tmp_path / "ws", models, epochs=1)
    assert [one.file for one in run.record.set_aside] == [broken.stem]
    assert len(load_oof(run).labels) == 11


def test_a_text_that_tells_the_label_is_called_that(models, tmp_path):
    data = write_dataset(tmp_path / "loudness", 12, test=2)
    with (data / "csvs" / "train.csv").open() as file:
        rows = [(row["filename"], row["label"], f"grade {row['label']}") for row in csv.DictReader(file)]
    write_table(data / "csvs" / "train.csv", ["filename", "label", "note"], rows)
    write_table(data / "csvs" / "test.csv", ["filename", "note"], [(f"test{letter}0x", "") for letter in "ab"])
    told = []
    run = finetune(data, tmp_path / "ws", models, told=told, text="column=note", epochs=1)
    assert any("each of its 6 texts stands beside one label alone" in event.text for event in told if isinstance(event, Warned))
    assert set(run.scores.badges.values()) == {"in-sample"}


def test_a_column_that_is_missing_or_empty_is_refused_before_the_work(models, tmp_path):
    data = write_dataset(tmp_path / "loudness", 8, test=0)
    with pytest.raises(ParameterError, match=r"the training table has no column 'words'; there are: speaker"):
        finetune(data, tmp_path / "ws", models, text="column=words")
    with (data / "csvs" / "train.csv").open() as file:
        rows = [(row["filename"], row["label"], " ") for row in csv.DictReader(file)]
    write_table(data / "csvs" / "train.csv", ["filename", "label", "words"], rows)
    with pytest.raises(DataError, match="column 'words' is empty in every row"):
        finetune(data, tmp_path / "ws", models, text="column=words")
    with pytest.raises(ParameterError, match=r"put config\.json"):
        finetune(data, tmp_path / "ws", models, text="describe", text_model="somebody/nowhere-at-all")
    assert not list((tmp_path / "ws").glob("jobs/*"))


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(models, tmp_path, monkeypatch):
    from core.multimodal import train

    data = write_dataset(tmp_path / "loudness", 12, test=2)
    settings = FinetuneSettings(**models, folds=2, epochs=2, text="describe")
    work = (read_dataset(data), settings, ExtractSettings(workers=0), Workspace(tmp_path / "ws"))
    whole = finetune_dataset(*work)
    step, calls = train.CheckpointTrainer.training_step, []

    def killed(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 5:  # in the second fold
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    folder = tmp_path / "ws" / "jobs" / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(train.CheckpointTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune_dataset(*work, folder=folder)
    resumed = finetune_dataset(*work, folder=folder)
    np.testing.assert_array_equal(load_oof(resumed).predictions, load_oof(whole).predictions)
    for file in ("fold0/heads.safetensors", "fold1/heads.safetensors", "fold1/text_adapter/adapter_model.safetensors"):
        assert (resumed.models / file).read_bytes() == (whole.models / file).read_bytes()
    assert finetune_dataset(*work, folder=folder).record == resumed.record  # a third time it is only read


def test_a_run_that_was_stopped_begins_anew_where_a_label_was_corrected_meanwhile(models, tmp_path, monkeypatch):
    from core.multimodal import train

    data = write_dataset(tmp_path / "loudness", 12, test=2)
    settings = FinetuneSettings(**models, folds=2, epochs=1, text="describe")
    others = (settings, ExtractSettings(workers=0), Workspace(tmp_path / "ws"))
    finish, folder, told = train.finish_fold, tmp_path / "ws" / "jobs" / "stopped", []

    def killed(*arguments):
        finish(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train, "finish_fold", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune_dataset(read_dataset(data), *others, folder=folder)
    assert (folder / "checkpoints" / "fold0" / "done.npz").is_file()
    table = data / "csvs" / "train.csv"
    with table.open() as file:
        rows = [list(row.values()) for row in csv.DictReader(file)]
    rows[0][1] = str(float(rows[0][1]) + 1)
    write_table(table, ["filename", "label", "speaker"], rows)
    resumed = finetune_dataset(read_dataset(data), *others, folder=folder, notify=told.append)
    assert [event.text for event in told if isinstance(event, Warned) and "starts over" in event.text]
    whole = finetune_dataset(read_dataset(data), *others)
    np.testing.assert_array_equal(load_oof(resumed).predictions, load_oof(whole).predictions)
    np.testing.assert_array_equal(load_oof(resumed).labels, load_oof(whole).labels)


def test_settings_of_an_ensemble_give_a_fine_tuning_its_folds(world, models, tmp_path, capsys):
    data, _, _, _ = world
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"settings": {"ensemble": {"folds": 3, "groups": "speaker", "seed": 7, "members": ["ridge"]}}}))
    line = ["finetune", str(data), "--settings", str(file), "--workspace", str(tmp_path / "ws"), "--epochs", "1"]
    line += ["--audio-encoder", "none"]
    assert commands.main([*line, "--text-model", models["text_model"], "--text", "describe", "--json"]) == 0
    run = find_run(json.loads(capsys.readouterr().out.splitlines()[-1])["run_id"], tmp_path / "ws" / "jobs")
    settings = run.record.settings.finetune
    assert [settings[name] for name in ("folds", "group_by", "seed", "epochs")] == [3, "speaker", 7, 1]


def test_folders_of_models_are_known_from_wherever_they_are_named(models, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(models["audio_model"]).parent)
    settings = FinetuneSettings(audio_model="audio", text_model="./text", text="whisper=audio")
    assert settings.audio_model == models["audio_model"]
    assert settings.text_model == models["text_model"]
    assert settings.text == f"whisper={models['audio_model']}"
    assert FinetuneSettings(audio_model="facebook/wav2vec2-base").audio_model == "facebook/wav2vec2-base"


def test_a_table_without_the_column_that_is_read_is_refused(world, tmp_path):
    data, workspace, run, _ = world
    rows = [replace(row, columns={"mood": "glad"}) for row in read_dataset(data).test]
    for missing in (False, True):
        with pytest.raises(ParameterError, match="reads the column 'speaker', which the table does not have; there are: mood"):
            predict_rows(run, rows, ScoringOptions(Workspace(workspace), allow_missing_table=missing))


def test_settings_out_of_range_are_refused_in_words():
    for options, words in (
        ({"audio_encoder": "none", "text": "none"}, "leave nothing to learn from"),
        ({"text": "speaker"}, "must be column=NAME, whisper=MODEL, describe or none"),
        ({"fusion": "sum"}, "fusion='sum' not among attention, gated, concat"),
        ({"folds": 1}, "folds=1 must be 2 or more"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"warmup": 1.0}, "warmup=1.0 must be 0 or more and below 1"),
    ):
        with pytest.raises(ParameterError, match=words):
            FinetuneSettings(**options)


def test_two_jobs_on_one_gpu_take_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    gpu, told, order = Device("cuda", "a GPU"), [], []
    with exclusive(gpu):
        [lock] = tmp_path.glob("earmark-cuda-*.lock")
        second = threading.Thread(target=lambda: take_turn(gpu, told, order))
        second.start()
        while not told:
            time.sleep(0.01)
        order.append("first")
    second.join()
    assert order == ["first", "second"]
    assert [event.what for event in told] == ["waiting: another job has the a GPU", "reading encoders and texts"]
    with FileLock(lock, timeout=0), exclusive(replace(gpu, kind="cpu")):  # the processor is shared
        pass


def take_turn(gpu, told, order):
    with exclusive(gpu, told.append):
        order.append("second")


def test_a_damaged_record_of_a_fine_tuned_run_is_named(world):
    _, _, run, _ = world
    path = run.folder / "run.json"
    before = path.read_text()
    record = json.loads(before)
    del record["settings"]["finetune"]
    path.write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"expected settings at settings\.finetune"):
        read_run(run.folder)
    path.write_text(before)


def test_what_was_heard_is_counted_and_removed_on_request(world, models, tmp_path, capsys):
    data, _, _, _ = world
    finetune(data, tmp_path / "ws", models, epochs=1)
    files = list((tmp_path / "ws" / "cache").glob("audio_*.npy"))
    assert len(files) == 20
    files[0].write_bytes(files[0].read_bytes()[:100])
    place = ["--workspace", str(tmp_path / "ws")]
    assert commands.main(["cache", "info", *place]) == 0
    assert "20 clips," in capsys.readouterr().out
    assert commands.main(["cache", "prune", *place]) == 0
    assert "0 vectors and 1 of 20 clips encoded for fine-tuning removed" in capsys.readouterr().out
    assert commands.main(["cache", "prune", "--frames", *place]) == 0
    assert not list((tmp_path / "ws" / "cache").glob("audio_*.npy"))


def test_a_fine_tuned_run_is_not_explained_by_columns(world, capsys):
    _, workspace, run, _ = world
    assert commands.main(["explain", run.id, "--workspace", str(workspace)]) == 1
    assert "it trained encoders, which read sound and text, not features" in capsys.readouterr().err


@pytest.mark.slow
def test_a_command_that_is_killed_again_and_again_ends_with_the_numbers_of_an_undisturbed_one(models, tmp_path):
    data = write_dataset(tmp_path / "loudness", 16, test=2)

    def line(workspace):
        words = [
            "finetune",
            data,
            "--folds",
            "2",
            "--epochs",
            "3",
            "--text",
            "describe",
            "--audio-encoder",
            "lora",
            "--workers",
            "0",
        ]
        words += ["--audio-model", models["audio_model"], "--text-model", models["text_model"], "--workspace", workspace]
        return [sys.executable, "-W", "ignore", "-m", "core.cli", *map(str, words)]

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    subprocess.run(line(tmp_path / "whole"), check=True, **quiet)
    seen: set[str] = set()
    for _ in range(4):  # as soon as there is a checkpoint that was not there before, whole or not
        child = subprocess.Popen(line(tmp_path / "killed"), **quiet)
        while child.poll() is None:
            now = {str(path) for path in (tmp_path / "killed").glob("jobs/*/checkpoints/fold*/checkpoint-*")}
            if now - seen:
                child.kill()
                child.wait()
                seen |= now
                break
            time.sleep(0.005)
    assert len(seen) >= 3
    subprocess.run(line(tmp_path / "killed"), check=True, **quiet)
    [whole], [killed] = (list_runs(tmp_path / name / "jobs") for name in ("whole", "killed"))
    np.testing.assert_array_equal(load_oof(killed).predictions, load_oof(whole).predictions)
    assert (killed.folder / "test_predictions.csv").read_bytes() == (whole.folder / "test_predictions.csv").read_bytes()
    for path in whole.models.rglob("*.safetensors"):
        assert (killed.models / path.relative_to(whole.models)).read_bytes() == path.read_bytes()
