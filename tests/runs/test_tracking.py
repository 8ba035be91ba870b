"""Copies of finished runs in MLflow, read back with its own client in a process of its own."""

import json
import socket
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from core.errors import TrackingError
from core.runs import tracking
from core.runs.tracking import mirror
from core.workspace import Workspace
from tests.conftest import ROOT, write_run

READ_BACK = """
import json, sys
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
found = []
for experiment in client.search_experiments():
    for run in client.search_runs([experiment.experiment_id]):
        history = {name: [[m.step, m.value] for m in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics}
        artifacts = [item.path for item in client.list_artifacts(run.info.run_id)]
        found.append({"experiment": experiment.name, "name": run.info.run_name, "id": run.info.run_id, "status": run.info.status,
            "seconds": (run.info.end_time - run.info.start_time) / 1000, "params": run.data.params, "tags": run.data.tags,
            "metrics": history, "artifacts": sorted(artifacts), "place": run.info.artifact_uri})
print(json.dumps(found))
"""


def read_back(uri):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", READ_BACK, uri], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    """A run with a submission, copied twice: workspace, run, both answers, what MLflow has."""
    workspace = Workspace.resolve(tmp_path_factory.mktemp("a place") / "wörk #1")
    submission = workspace.submissions / "one" / "submission.csv"
    submission.parent.mkdir(parents=True)
    submission.write_text("filename,label\nx,1\n")
    long = {"text": "x" * 9000, "nothing": None}
    run = write_run(workspace.jobs / "one", ensemble={"options": long}, submission=str(submission))
    uri = f"sqlite:///{workspace.root / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI")
        answers = [mirror(run, workspace), mirror(run, workspace)]
    return workspace, run, answers, read_back(uri)


def test_every_number_of_the_scores_is_a_metric(mirrored):
    _, run, _, (copy,) = mirrored
    scores, metrics = run.record.as_json()["scores"], copy["metrics"]
    assert metrics.pop("oof_rmse") == [[0, scores["oof_rmse"]]]
    assert metrics.pop("constant_rmse") == [[0, scores["constant_rmse"]]]
    assert metrics.pop("leak_gap") == [[0, scores["leak_gap"]]]
    assert sorted(metrics.pop("fold_rmse")) == [[step, value] for step, value in enumerate(scores["fold_rmse"])]
    assert sorted(metrics.pop("oof_rmse_by_repeat")) == [[0, 0.4], [1, 0.6]]
    for name in ("oof_mae", "oof_pearson", "oof_r2", "fold_rmse_mean", "fold_rmse_std", "interval_coverage"):
        assert metrics.pop(name) == [[0, scores[name]]]
    assert metrics.pop("interval.level") == [[0, 0.9]]
    assert metrics.pop("interval.mean_width") == [[0, 2.5]]
    assert metrics.pop("members.svr.oof_rmse") == [[0, 0.7]]
    assert sorted(metrics.pop("members.svr.fold_rmse")) == [[step, step + 1] for step in range(6)]
    assert metrics.pop("members.ridge:mfcc:seed_7.oof_rmse") == [[0, 0.9]]
    for member in ("svr", "ridge:mfcc:seed_7"):
        assert metrics.pop(f"members.{member}.fold_rmse_mean") == [[0, 3.5]]
        assert metrics.pop(f"members.{member}.fold_rmse_std") == [[0, 1.5]]
    assert len(metrics.pop("members.ridge:mfcc:seed_7.fold_rmse")) == 6
    assert metrics.pop("blend.svr") == [[0, 0.75]]
    assert metrics.pop("blend.ridge:mfcc:seed_7") == [[0, 0.25]]
    assert metrics == {}


def test_settings_are_parameters_and_the_long_ones_are_cut(mirrored):
    _, _, _, (copy,) = mirrored
    assert copy["params"]["ensemble.members"] == '["svr", "ridge:mfcc:seed=7"]'
    assert copy["params"]["ensemble.folds"] == "3"
    assert copy["params"]["ensemble.group_by"] == "null"
    assert copy["params"]["extract.max_seconds"] == "45.0"
    assert copy["params"]["ensemble.options.text"] == "x" * 6000


def test_the_copy_is_named_dated_and_labelled_as_the_run(mirrored):
    _, run, _, (copy,) = mirrored
    assert (copy["experiment"], copy["name"], copy["status"], copy["seconds"]) == ("loudness", "one", "FINISHED", 90.0)
    tags = copy["tags"]
    assert tags["earmark.fingerprint"] == "0123456789ab"
    assert tags["earmark.version"] == "1.0"
    assert tags["badge.oof_rmse"] == "nested"
    assert tags["badge.interval_coverage"] == "out-of-fold"
    assert tags["earmark.models"] == str(run.folder / "models")
    assert "The models stay in" in tags["mlflow.note.content"]
    assert tags["mlflow.source.name"] == "earmark train"


def test_a_copy_says_how_its_run_came_about(mirrored):
    _, run, _, _ = mirrored
    blend, tuned = (replace(run, record=run.record.model_copy(update={"kind": kind})) for kind in ("blend", "finetune"))
    assert tracking._tags(blend)["mlflow.source.name"] == "earmark blend"
    assert "with the runs that it averages" in tracking._tags(blend)["mlflow.note.content"]
    assert tracking._tags(tuned)["mlflow.source.name"] == "earmark finetune"


def test_record_predictions_and_submission_are_copied_into_the_workspace(mirrored):
    workspace, run, _, (copy,) = mirrored
    assert copy["artifacts"] == ["oof.csv", "run.json", "submission.csv"]
    (record,) = workspace.root.glob("artifacts/*/artifacts/run.json")
    assert record.read_bytes() == (run.folder / "run.json").read_bytes()
    assert {path.name for path in workspace.root.iterdir()} == {"artifacts", "jobs", "mlflow.db", "mlflow.db.lock", "submissions"}


def test_twice_is_once(mirrored):
    workspace, _, answers, copies = mirrored
    assert len(copies) == 1
    assert answers == [f"sqlite:///{workspace.root / 'mlflow.db'} run {copies[0]['id']}"] * 2


def test_a_workspace_that_was_copied_does_not_write_into_the_first(mirrored, tmp_path):
    workspace, run, _, _ = mirrored
    other = Workspace(tmp_path)
    (tmp_path / "mlflow.db").write_bytes((workspace.root / "mlflow.db").read_bytes())
    with pytest.raises(
        TrackingError, match=r"keeps the artifacts of loudness in file://.*, which is not this workspace; .*move mlflow"
    ):
        mirror(run, other, uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path):
    run = write_run(tmp_path / "one")
    with pytest.raises(TrackingError, match=r"^http://ann@127\.0\.0\.1:9: Connection refused; look at the server") as caught:
        mirror(run, Workspace(tmp_path), uri="http://ann:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    run = write_run(tmp_path / "one")
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(TrackingError, match="timed out"):
        mirror(run, Workspace(tmp_path), uri=f"http://127.0.0.1:{server.getsockname()[1]}")


def test_a_process_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("core.runs.tracking._MIRROR_S", 0.01)
    with pytest.raises(TrackingError, match=r"mlflow\.db: not done in 0 s"):
        mirror(write_run(tmp_path / "one"), Workspace(tmp_path), uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_database_that_cannot_be_used_is_said_in_the_words_of_sqlite(tmp_path, monkeypatch, capsys):
    run, path = write_run(tmp_path / "one"), tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    monkeypatch.setattr(tracking, "_LOCKED_S", 0.01)

    def said():
        assert tracking.main(str(run.folder), str(tmp_path)) == 1  # as in a process of its own
        return capsys.readouterr().err

    holder = sqlite3.connect(path, isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        assert said() == "database is locked\n"
    finally:
        holder.close()
    path.write_bytes(b"no database, but long enough to be asked for its header" * 20)
    assert said() == "file is not a database\n"
    with pytest.raises(TrackingError, match=r"mlflow\.db: file is not a database; when it stays so, move mlflow\.db away"):
        mirror(run, Workspace(tmp_path))
    path.unlink()
    path.mkdir()
    assert said() == "unable to open database file\n"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a package in MLflow's place."""

    def put(code):
        (tmp_path / "mlflow").mkdir()
        (tmp_path / "mlflow/__init__.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return f"sqlite:///{tmp_path / 'mlflow.db'}"

    return put


def test_without_mlflow_it_is_said_how_to_install_it(tmp_path, stand_in):
    uri = stand_in("raise ModuleNotFoundError(\"No module named 'mlflow'\", name='mlflow')")
    with pytest.raises(TrackingError, match=r"^MLflow is not installed: pip install mlflow-skinny sqlalchemy alembic$"):
        mirror(write_run(tmp_path / "one"), Workspace(tmp_path), uri=uri)


def test_mlflow_sends_no_telemetry_and_waits_seconds_not_minutes(tmp_path, stand_in):
    names = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
    uri = stand_in(f"import os; raise ValueError(' '.join(os.environ[name] for name in {names}))")
    with pytest.raises(TrackingError, match=r"mlflow\.db: true true 0 10; "):
        mirror(write_run(tmp_path / "one"), Workspace(tmp_path), uri=uri)


def test_off_copies_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "off")
    assert mirror(write_run(tmp_path / "one"), Workspace(tmp_path / "workspace")) == ""
    assert not (tmp_path / "workspace").exists()


def test_an_address_that_sqlite_cannot_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(TrackingError, match=r"cannot hold its '\?'"):
        mirror(write_run(tmp_path / "one"), Workspace(tmp_path / "what?"))


def test_the_module_loads_no_mlflow():
    code = "import sys, core.runs.tracking; print([name for name in ('mlflow', 'sqlalchemy', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"
