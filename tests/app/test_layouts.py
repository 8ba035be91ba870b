"""From a data set in any layout to a submission that its grader accepts, through the pages."""

from pathlib import Path

import pytest
import streamlit as st

from core import jobs
from core.jobs.runner import perform
from core.runs import read_run
from core.tasks.kinds import work
from tests.app.conftest import render
from tests.data.layouts.made import MADE, grade


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_workers: list[jobs.Job]) -> Path:
    monkeypatch.setenv("EARMARK_WORKSPACE", str(tmp_path / "workspace"))
    st.cache_resource.clear()
    return tmp_path / "workspace"


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_data_set_in_any_layout_is_trained_through_the_pages_to_a_submission_that_its_grader_accepts(
    workspace, no_workers, tmp_path, make
):
    made_set = make(tmp_path / "set")
    at = render("dataset")
    at.text_input(key="dataset_path").set_value(str(made_set.root))
    for name, value in made_set.settings.items():
        at.text_input(key=f"dataset_{name}").set_value(value)
    at.run()
    at.button(key="dataset_open").click().run()
    assert not at.error
    at.switch_page("../pages/3_train.py")
    at.session_state["extract_features"] = ["metadata"]
    at.session_state["train_members"] = ["ridge"]
    at.session_state["train_folds"] = 2
    at.run()
    at.button(key="train").click().run()
    assert not at.exception
    [job] = [job for job in no_workers if job.kind == "train"]
    perform(job, work)
    at.run()
    assert not at.exception
    assert any(button.label == "Submission" for button in at.get("download_button"))
    grade(read_run(job.folder).record.submission, made_set.columns, made_set.names)
