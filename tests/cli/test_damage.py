"""A damaged file of one job or run ends no command: it is named, and all the others stay usable."""

import json

import pytest

from core.cli import main
from core.data.layouts.layout import Layout
from core.events import EventLog, FoldScored, JobDone, JobStarted
from core.runs import describe_run
from core.workspace import to_json, write_json
from tests.conftest import PIANO, write_run
from tests.damage import FILES, WAYS, damage

UNSEEN = (  # by doctor: nobody can tell; and what a result holds is known to the pages that show it
    ("events.jsonl", "empty"),
    ("events.jsonl", "cut off"),
    ("result.json", "the wrong type"),
)
GOOD = "20260101-000000-0000"


def finished_training(folder):
    """The folder of a training that ended well, with all of its files."""
    run = write_run(folder)
    describe_run(run, name="first try")
    request = {"dataset": str(PIANO), "layout": to_json(Layout()), "extract": {}, "ensemble": {}}
    write_json(folder / "spec.json", {"job_id": run.id, "kind": "train", "created": 1.8e9, "request": request})
    write_json(folder / "result.json", {"run_id": run.id, "stamp": "0"})
    with EventLog(folder / "events.jsonl") as log:
        for event in (JobStarted(1, "here"), FoldScored(0, 0.5), JobDone()):
            log.append(event)


@pytest.fixture
def workspace(tmp_path):
    finished_training(tmp_path / "workspace" / "jobs" / GOOD)
    return tmp_path / "workspace"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named_and_the_other_runs_are_listed(workspace, capsys, file, way):
    path = workspace / "jobs" / "20260101-000000-0001" / file
    finished_training(path.parent)
    damage(path, way)
    assert main(["runs", "--json", "--workspace", str(workspace)]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)["runs"]
    assert [row["run_id"] for row in rows] == ([GOOD] if file == "run.json" else [GOOD, path.parent.name])
    assert (str(path) in err) == (file == "run.json")
    if file == "run.json" and way in ("a number of 400 digits", "the wrong type"):
        assert "scores.oof_rmse" in err
    main(["doctor", "--workspace", str(workspace)])
    out, err = capsys.readouterr()
    if (file, way) not in UNSEEN:
        assert f"{file} cannot be read" in out or f"{file} has 1 damaged lines" in out
    assert main(["compare", GOOD, "latest", "--workspace", str(workspace)]) == 0
    assert "Traceback" not in err


def test_a_folder_in_place_of_a_file_is_named_as_one(workspace, capsys):
    for number, file in enumerate(FILES):
        folder = workspace / "jobs" / f"20260101-000000-000{number + 1}"
        finished_training(folder)
        (folder / file).unlink()
        (folder / file).mkdir()
    assert main(["runs", "--workspace", str(workspace)]) == 0
    main(["doctor", "--workspace", str(workspace)])
    out, _ = capsys.readouterr()
    assert all(f"{file} cannot be read" in out for file in FILES)


def test_a_training_among_damaged_jobs_is_one_as_any_other(workspace, make_dataset, capsys):
    for number, (file, way) in enumerate((file, way) for file in FILES for way in WAYS):
        path = workspace / "jobs" / f"20260101-0001{number:02d}-0000" / file
        finished_training(path.parent)
        damage(path, way)
    quick = ["--models", "ridge", "--folds", "2", "--features", "metadata", "--workers", "0"]
    assert main(["train", str(make_dataset()), *quick, "--workspace", str(workspace), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert main(["runs", "--json", "--workspace", str(workspace)]) == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert done["run_id"] in [row["run_id"] for row in rows]
    assert len(rows) == 1 + 1 + 4 * len(WAYS)  # all but those whose own record is damaged
