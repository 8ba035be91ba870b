"""From a data set to a run there is one way, and it is short."""

import sys

import pytest

from core.data.dataset import read_dataset
from core.ensemble import EnsembleSettings
from core.extraction import matrix
from core.extraction.config import ExtractSettings
from core.runs import tracking
from core.runs.context import RunContext
from core.tasks.train import train_dataset
from core.workspace import Workspace

QUICK = ExtractSettings(features=("mfcc", "metadata"), workers=0), EnsembleSettings(members=("ridge",), folds=3, workers=0)


class Entries:
    """How often a module is entered from outside of it, while this is the profile function of Python."""

    def __init__(self, filename: str):
        self.filename, self.inside, self.names = filename, 0, []

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename != self.filename:
            return
        if event == "call":
            if not self.inside:
                self.names.append(frame.f_code.co_name)
            self.inside += 1
        elif event == "return":
            self.inside -= 1


def test_a_clip_on_its_way_to_the_submission_enters_the_matrix_three_times_and_one_fold_plan_is_made(
    make_dataset, tmp_path, monkeypatch
):
    plans, make = [], EnsembleSettings.plans
    monkeypatch.setattr(EnsembleSettings, "plans", lambda *asked: plans.append(make(*asked)) or plans[-1])
    dataset, workspace = read_dataset(make_dataset(12)), Workspace(tmp_path / "workspace")
    entries = Entries(matrix.__file__)
    sys.setprofile(entries)
    try:
        run = train_dataset(dataset, *QUICK, workspace)
    finally:
        sys.setprofile(None)
    assert run.record.submission
    assert entries.names == ["check_table", "build_matrices", "save_matrix"]
    assert len(plans) == 1


def test_every_run_is_mirrored_whoever_trains_it(make_dataset, tmp_path, monkeypatch):
    mirrored = []
    monkeypatch.setattr(tracking, "mirror", lambda run, workspace: mirrored.append(run.id))
    run = train_dataset(read_dataset(make_dataset(12)), *QUICK, Workspace(tmp_path / "workspace"))
    assert mirrored == [run.id]


def fail_in(context):
    with context:
        (context.folder / "part").write_text("half of it")
        raise KeyboardInterrupt


def test_a_folder_is_removed_where_the_work_on_a_new_run_fails_and_kept_where_it_was_there_before(tmp_path):
    for folder in (None, tmp_path / "jobs" / "mine"):
        context = RunContext.begin(Workspace(tmp_path), folder, print)
        with pytest.raises(KeyboardInterrupt):
            fail_in(context)
        assert context.folder.exists() == (folder is not None)
        assert context.finished() is None
