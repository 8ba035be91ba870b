import csv
import json
import shutil

import numpy as np
import pytest

from core import jobs
from core.cli import commands
from core.data.dataset import read_dataset
from core.ensemble import EnsembleSettings
from core.errors import ParameterError, RunError
from core.events import Warned
from core.extraction.config import ExtractSettings
from core.runs import delete_run, find_run
from core.runs.leaderboard import load_oof
from core.scoring.oof import IN_SAMPLE, NESTED
from core.tasks.blend import RUN, blend_runs
from core.tasks.score import ScoringOptions, predict_rows
from core.tasks.train import train_dataset
from core.workspace import Workspace, write_json
from tests.conftest import write_dataset


def train(data, workspace, member, **options):
    settings = EnsembleSettings(**{"members": (member,), "folds": 3, "workers": 0, "group_by": "speaker"} | options)
    return train_dataset(read_dataset(data), ExtractSettings(features=("mfcc",), workers=0), settings, workspace)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("blend")
    data, workspace = write_dataset(root / "loudness", 18, test=4), Workspace(root / "ws")
    return data, workspace, [train(data, workspace, "ridge"), train(data, workspace, "svr")]


def test_a_blend_is_the_mean_clip_by_clip_and_a_run_like_any_other(world):
    data, workspace, runs = world
    run = blend_runs(runs, workspace)
    one, other = (load_oof(of) for of in runs)
    found = load_oof(run)
    np.testing.assert_allclose(found.predictions, (one.predictions + other.predictions) / 2)
    np.testing.assert_array_equal(found.folds, one.folds)
    error = float(np.sqrt(np.mean((found.predictions[0] - found.labels) ** 2)))
    assert run.scores.oof_rmse == pytest.approx(error)
    assert run.kind is RUN
    assert run.scores.blend == {runs[0].id: 0.5, runs[1].id: 0.5}
    assert run.scores.badges["oof_rmse"] == NESTED
    assert set(run.scores.verdicts) == {f"beside {of.id}" for of in runs}
    assert run.record.fold_plan == runs[0].record.fold_plan

    submitted = []
    for path in (run.record.submission, runs[0].record.submission, runs[1].record.submission):
        with open(path) as file:
            submitted.append([float(row["label"]) for row in csv.DictReader(file)])
    np.testing.assert_allclose(submitted[0], np.mean(submitted[1:], axis=0))
    assert (workspace.submissions / RUN.submission_name).is_file()
    scored = predict_rows(run, read_dataset(data).test, ScoringOptions(workspace))
    assert [one.prediction for one in scored] == pytest.approx(submitted[0])
    with (run.folder / "test_predictions.csv").open() as file:
        ends = [float(row[end]) for row in csv.DictReader(file) for end in ("low", "high")]
    assert [end for one in scored for end in (one.low, one.high)] == pytest.approx(ends)


def test_runs_on_other_folds_and_blends_of_blends_are_refused(world):
    data, workspace, runs = world
    other = train(data, workspace, "ridge", seed=7)
    with pytest.raises(ParameterError, match="cannot be blended: their folds differ"):
        blend_runs([runs[0], other], workspace)
    with pytest.raises(ParameterError, match="two or more different runs"):
        blend_runs([runs[0], runs[0]], workspace)
    with pytest.raises(ParameterError, match="is a blend itself"):
        blend_runs([runs[0], blend_runs(runs, workspace)], workspace)


def test_test_clips_that_are_not_the_same_sounds_are_not_averaged(world, tmp_path):
    told = []
    data = shutil.copytree(world[0], tmp_path / "loudness")
    workspace = Workspace(tmp_path / "ws")
    first = train(data, workspace, "ridge")
    clips = sorted((data / "audios" / "test").iterdir())
    clips[0].write_bytes(clips[1].read_bytes())
    second = train(data, workspace, "svr")
    run = blend_runs([first, second], workspace, notify=told.append)
    assert run.record.submission is None
    assert [event.text for event in told if isinstance(event, Warned)] == [
        "the runs were trained with other test clips or table cells; so the blend has no submission"
    ]


def test_a_run_that_is_being_blended_is_not_deleted(world, tmp_path):
    runs = world[2]
    job, _ = jobs.claim("blend", {"runs": [run.id for run in runs]}, world[1].jobs)
    with pytest.raises(RunError, match=r"a job \(blend\) works on it"):
        delete_run(runs[0])
    shutil.rmtree(job.folder)


def test_what_is_wrong_with_one_run_is_wrong_with_the_blend(world):
    _, workspace, runs = world
    path = runs[1].folder / "run.json"
    before = path.read_text()
    record = json.loads(before)
    record["scores"]["badges"] = dict.fromkeys(record["scores"]["badges"], IN_SAMPLE)
    write_json(path, record)
    run = blend_runs([runs[0], find_run(runs[1].id, workspace.jobs)], workspace)
    assert set(run.scores.badges.values()) == {IN_SAMPLE}
    path.write_text(before)


def test_the_command_line_blends_and_a_lost_run_is_named(world, capsys, tmp_path):
    data, workspace, runs = world
    gone = train(data, workspace, "extra_trees")
    assert commands.main(["blend", runs[0].id, gone.id, "--workspace", str(workspace.root), "--json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    run = find_run(line["run_id"], workspace.jobs)
    assert line["oof_rmse"] == run.scores.oof_rmse
    elsewhere = shutil.copytree(gone.folder, tmp_path / "jobs" / gone.id)
    assert commands.main(["blend", runs[0].id, str(elsewhere), "--workspace", str(workspace.root)]) == 1
    assert "a blend is of runs in one workspace" in capsys.readouterr().err
    delete_run(gone)
    with pytest.raises(RunError, match="is a blend, and one of its runs is gone"):
        predict_rows(run, read_dataset(data).test, ScoringOptions(workspace))
