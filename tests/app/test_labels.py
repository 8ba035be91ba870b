"""Several labels through the pages: chosen as roles of columns, trained as one job, read in one table."""

import csv
import os

import pytest
from filelock import FileLock

from app import forms
from core import jobs
from core.data.layouts.layout import Layout
from core.events import EventLog, FitFinished, JobStarted, LabelStarted, TrainingStarted
from core.jobs.runner import perform
from core.runs import read_run
from core.tasks.kinds import work
from tests.app.conftest import render, text
from tests.conftest import write_table


@pytest.fixture
def two_labels(place):
    """A data set whose second label is twice the first one."""
    table = place.dataset / "csvs/train.csv"
    (name, _, *further), *rows = [line.split(",") for line in table.read_text().splitlines()]
    rows = [[clip, value, 2 * float(value), *more] for clip, value, *more in rows]
    write_table(table, [name, "fluency", "accuracy", *further], rows)
    return place


def open_both(place):
    at = render("dataset")
    at.text_input(key="dataset_path").set_value(str(place.dataset))
    at.selectbox(key="dataset_label_column").set_value("fluency")
    at.multiselect(key="dataset_other_labels").set_value(["accuracy"]).run()
    at.button(key="dataset_open").click().run()
    assert not at.exception
    return at


def ask(at, labels=None):
    at.switch_page("../pages/3_train.py")
    at.session_state["extract_features"] = ["metadata"]
    at.session_state["train_members"] = ["ridge"]
    at.session_state["train_folds"] = 2
    if labels is not None:
        at.session_state["train_labels"] = labels
    at.run()
    at.button(key="train").click().run()
    assert not at.exception
    return at


def test_chosen_labels_are_trained_by_one_job_and_stand_in_one_table_with_their_joined_submission(two_labels, no_workers):
    at = ask(open_both(two_labels))
    [job] = [job for job in no_workers if job.kind != "check"]
    assert (job.kind, job.request["labels"]) == ("labels", ["fluency", "accuracy"])
    assert "--label-column fluency,accuracy" in text(at)
    perform(job, work)
    at.run()
    assert not at.exception
    table = next(one.value for one in at.dataframe if "baseline" in one.value)
    assert table["label"].tolist() == ["fluency", "accuracy"]
    assert table["rmse"][1] == pytest.approx(2 * table["rmse"][0], rel=1e-6)
    assert table["baseline"][1] == pytest.approx(2 * table["baseline"][0], rel=1e-9)
    runs = jobs.result(job)["runs"]
    assert table["run"].tolist() == list(runs.values())
    assert table["pearson"].tolist() == [read_run(two_labels.root / "jobs" / name).scores.oof_pearson for name in runs.values()]
    low, high = map(float, table["interval"][0].split(" to "))
    assert low < table["rmse"][0] < high
    assert table["ceiling"].isna().all()
    assert any(button.label == "Submission of all labels" for button in at.get("download_button"))
    with open(jobs.result(job)["submission"], newline="") as file:
        assert next(csv.reader(file)) == ["filename", "fluency", "accuracy"]


def test_the_table_leads_to_the_run_of_each_label_and_stays(two_labels, no_workers):
    at = ask(open_both(two_labels))
    [job] = [job for job in no_workers if job.kind == "labels"]
    perform(job, work)
    at.run()
    runs = jobs.result(job)["runs"]
    for label in ("accuracy", "fluency"):
        at.button(key=f"open_{runs[label]}").click().run()
        assert not at.exception
        assert at.query_params["run"] in (runs[label], [runs[label]])
        assert runs[label] in text(at)
        assert next(one.value for one in at.dataframe if "baseline" in one.value)["label"].tolist() == ["fluency", "accuracy"]


def test_one_of_the_labels_can_be_trained_alone_and_the_others_are_no_features(two_labels, no_workers):
    ask(open_both(two_labels), ["accuracy"])
    [job] = [job for job in no_workers if job.kind != "check"]
    assert job.kind == "train"
    assert job.request["layout"]["label_column"] == "accuracy"
    assert job.request["layout"]["other_labels"] == ["fluency"]


def test_no_label_chosen_is_refused_beside_the_choice(two_labels):
    at = open_both(two_labels).switch_page("../pages/3_train.py").run()
    at.session_state["train_labels"] = []
    at.run()
    assert "Choose at least one label" in text(at)
    assert at.button(key="train").disabled


def test_labels_that_are_found_by_their_content_get_their_names(two_labels):
    at = render("dataset")
    at.text_input(key="dataset_path").set_value(str(two_labels.dataset))
    at.multiselect(key="dataset_other_labels").set_value(["Accuracy"]).run()  # then fluency is the only numbers left
    at.button(key="dataset_open").click().run()
    assert at.session_state["choice"].layout == Layout(label_column="fluency", other_labels=("accuracy",))


def test_labels_typed_between_commas_are_several_unless_a_column_is_called_so(monkeypatch):
    monkeypatch.setattr("app.forms.st.session_state", {"dataset_label_column": "accuracy, fluency"})
    assert forms.typed_layout(Layout(), ()) == Layout(label_column="accuracy", other_labels=("fluency",))
    assert forms.typed_layout(Layout(), ("accuracy, fluency",)) == Layout(label_column="accuracy, fluency")


def test_a_data_set_with_one_label_has_no_labels_to_choose(place):
    at = render("train")
    assert not [group for group in at.get("button_group") if group.proto.label == "Labels"]
    assert not at.button(key="train").disabled


def test_a_stopped_training_shows_what_is_done_and_resumes(two_labels, no_workers):
    at = ask(open_both(two_labels))
    [job] = [job for job in no_workers if job.kind == "labels"]
    perform(job, work)
    runs = jobs.result(job)["runs"]
    with EventLog(job.events) as log:  # as if its process had gone in the second label
        log.append(JobStarted(1, "elsewhere"))
        log.append(LabelStarted("accuracy", 2, 2, runs["accuracy"]))
    (job.folder / "labels.json").write_text(f'{{"fluency": "{runs["fluency"]}"}}')
    job.cancel.touch()
    at.run()
    assert not at.exception
    assert "It was cancelled. Finished work is kept." in text(at)
    assert at.button(key=f"resume_{job.id}")
    assert next(one.value for one in at.dataframe if "baseline" in one.value)["label"].tolist() == ["fluency"]


def test_the_label_at_work_is_said_with_the_errors_of_its_own_training(two_labels, no_workers):
    at = ask(open_both(two_labels))
    [job] = [job for job in no_workers if job.kind == "labels"]
    part, _ = jobs.claim("train", {**job.request, "layout": {"label_column": "accuracy"}}, two_labels.root / "jobs")
    two_labels.tell(
        part, JobStarted(os.getpid(), "elsewhere"), TrainingStarted(2), FitFinished("ridge", 0, 1.0, None, 1.0, 0.4321, 2.0)
    )
    two_labels.tell(job, JobStarted(os.getpid(), "elsewhere"), TrainingStarted(2), LabelStarted("accuracy", 2, 2, part.id))
    with FileLock(job.lock), FileLock(part.lock):
        at.run()
    assert not at.exception
    assert "Label 2 of 2, accuracy · Training: 1 of 2 fits" in text(at)
    assert "Out-of-fold RMSE so far 0.4321" in text(at)
