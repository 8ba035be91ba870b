"""Several labels of one data set: what is done is kept, and each run is the one that its label alone would give."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from core import jobs
from core.ensemble import EnsembleSettings
from core.errors import DataError, JobError, ParameterError
from core.events import EventLog, ExtractionStarted, JobFailed, LabelStarted, read_events
from core.extraction.config import ExtractSettings
from core.jobs.runner import Cancelled, perform
from core.runs import read_run
from core.tasks import kinds, labels as labels_task, train as train_task
from core.tasks.kinds import work
from core.workspace import Workspace, to_json
from tests.conftest import write_table

SETTINGS = {
    "extract": ExtractSettings(features=("metadata",), workers=0),
    "ensemble": EnsembleSettings(members=("ridge",), folds=2, blend="mean", workers=0),
}


@pytest.fixture
def asked(make_dataset, tmp_path):
    """Fluency, twice as much accuracy, and a third label that is not asked for."""
    root = make_dataset(12, test=3)
    table = root / "csvs/train.csv"
    (name, _, *further), *rows = [line.split(",") for line in table.read_text().splitlines()]
    rows = [[clip, value, 2 * float(value), 3 * float(value), *more] for clip, value, *more in rows]
    write_table(table, [name, "fluency", "accuracy", "prosody", *further], rows)
    layout = {"label_column": "fluency", "other_labels": ["accuracy", "prosody"]}
    return {"dataset": str(root), "layout": layout, "labels": ["fluency", "accuracy"], **SETTINGS}


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "ws")


def do(asked, workspace, notify=lambda event: None):
    job, _ = jobs.claim("labels", asked, workspace.jobs)
    return job, perform(job, work, notify=notify)


def runs_of(result, workspace):
    return [read_run(workspace.jobs / name) for name in result["runs"].values()]


def test_each_label_has_a_run_over_one_extraction_and_the_same_folds_and_none_reads_another_label(asked, workspace):
    told = []
    _, result = do(asked, workspace, told.append)
    first, second = runs_of(result, workspace)
    assert second.scores.oof_rmse == pytest.approx(2 * first.scores.oof_rmse, rel=1e-6)
    assert first.record.fold_plan == second.record.fold_plan
    assert first.record.settings.layout["other_labels"] == ["accuracy", "prosody"]
    assert second.record.settings.layout["other_labels"] == ["fluency", "prosody"]
    assert [event.to_do for event in told if isinstance(event, ExtractionStarted)] == [15, 0]
    assert [(event.label, event.number, event.labels) for event in told if isinstance(event, LabelStarted)] == [
        ("fluency", 1, 2),
        ("accuracy", 2, 2),
    ]


def test_the_joined_submission_has_a_column_a_label_as_the_runs_predict(asked, workspace):
    job, result = do(asked, workspace)
    columns = []
    for run in runs_of(result, workspace):
        with open(run.record.submission, newline="") as file:
            columns.append([row[1] for row in csv.reader(file)])
    with open(result["submission"], newline="") as file:
        joined = list(csv.reader(file))
    assert [row[1:] for row in joined] == [list(row) for row in zip(*columns, strict=True)]
    assert joined[0] == ["filename", "fluency", "accuracy"]
    assert (workspace.submissions / job.id / "all_labels_submission.csv").is_file()
    assert (workspace.submissions / "all_labels_submission.csv").is_file()


def test_a_run_is_the_one_that_its_label_alone_gives(asked, workspace, tmp_path):
    _, result = do(asked, workspace)
    together = runs_of(result, workspace)[1]
    alone = {name: value for name, value in asked.items() if name != "labels"}
    alone["layout"] = {"label_column": "accuracy", "other_labels": ["fluency", "prosody"]}
    job, _ = jobs.claim("train", alone, tmp_path / "other/jobs")
    perform(job, work)
    matrices = [read_run(folder).load_matrix() for folder in (together.folder, job.folder)]
    assert np.array_equal(matrices[0].X, matrices[1].X, equal_nan=True)
    assert read_run(job.folder).scores.oof_rmse == together.scores.oof_rmse


def stops(error):
    """A training that works for the first label and is stopped in the second."""
    trainings = []

    def run(*given):
        trainings.append(1)
        if len(trainings) == 2:
            raise error
        return train_task.run(*given)

    return run


@pytest.mark.parametrize(
    ("error", "told", "state"),
    [
        (Cancelled(), pytest.raises(Cancelled), jobs.CANCELLED),
        (DataError("no room"), pytest.raises(JobError, match="label accuracy: no room"), jobs.FAILED),
    ],
    ids=["cancelled", "failed"],
)
def test_after_a_stop_the_finished_label_is_kept_and_the_next_attempt_resumes_with_the_other(
    asked, workspace, monkeypatch, error, told, state
):
    real = kinds.job_kind
    halting = replace(train_task.JOB, run=stops(error))
    with monkeypatch.context() as patch:
        patch.setattr(kinds, "job_kind", lambda name: halting if name == "train" else real(name))
        job, _ = jobs.claim("labels", asked, workspace.jobs)
        with told:
            perform(job, work)
    assert jobs.status(job) == state
    kept = labels_task.finished_runs(job.folder)
    assert list(kept) == ["fluency"]
    again, result = do(asked, workspace)
    assert again.id == job.id
    assert result["runs"]["fluency"] == kept["fluency"]
    assert len(list(workspace.jobs.glob("*/run.json"))) == 2
    started = [one.event.label for one in read_events(job.events)[0] if isinstance(one.event, LabelStarted)]
    assert started == ["fluency", "accuracy", "accuracy"]


def test_a_label_that_cannot_be_learned_is_refused_before_any_training(asked, workspace):
    asked = asked | {"labels": ["fluency", "gone"]}
    job, _ = jobs.claim("labels", asked, workspace.jobs)
    with pytest.raises(DataError, match="expected a column 'gone'"):
        perform(job, work)
    assert not list(workspace.jobs.glob("*/run.json"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": ["fluency"]}, "must be two different columns or more"),
        ({"labels": ["fluency", "fluency"]}, "must be two different columns or more"),
        ({"layout": {"rating_columns": ["fluency", "accuracy"]}}, "several labels cannot be means"),
    ],
)
def test_labels_that_are_none_are_refused(asked, workspace, change, says):
    job, _ = jobs.claim("labels", to_json(asked | change), workspace.jobs)
    with pytest.raises(ParameterError, match=says):
        perform(job, work)


def test_a_training_that_another_process_is_at_is_followed_and_its_failure_told(asked, workspace, monkeypatch):
    def claimed(kind, request, folder):
        job, _ = jobs.queue.claim(kind, request, folder)
        with EventLog(job.events) as log:
            log.append(JobFailed("no room"))
        return job, False

    monkeypatch.setattr(labels_task.jobs, "claim", claimed, raising=False)
    job, _ = jobs.queue.claim("labels", asked, workspace.jobs)
    with pytest.raises(JobError, match=r"label fluency: job .* is failed: no room"):
        perform(job, work)
