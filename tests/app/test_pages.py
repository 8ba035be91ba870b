"""Every page in every state: it says what it should, and never shows a traceback."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import streamlit as st
from filelock import FileLock

from core import features, jobs
from core.data.layouts.layout import Layout
from core.ensemble import EnsembleSettings
from core.ensemble.models import CATALOGUE
from core.events import (
    ClipExtracted,
    EventLog,
    ExtractionStarted,
    FitFinished,
    JobCancelled,
    JobFailed,
    JobStarted,
    StageStarted,
    TrainingStarted,
    Warned,
)
from core.extraction.config import ExtractSettings
from core.jobs.runner import perform
from core.settings import build
from core.tasks.kinds import work
from core.workspace import to_json, write_json
from tests.app.conftest import EXTRACT, render, text
from tests.conftest import ROOT, tone, write_clip

FIVE = ["home", "dataset", "features", "train", "predict"]


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("home", "The data set piano-touch is open"),
        ("dataset", "Looking at the clips: getting ready"),
        ("features", "To do 210"),
        ("train", "Nothing is fitted on clips that it is scored on"),
        ("predict", "There is no trained ensemble yet"),
    ],
)
def test_an_empty_workspace_offers_the_bundled_set(place, page, says):
    (place.root / "recent.json").unlink()
    at = render(page)
    assert says in text(at)
    assert at.query_params["set"]


@pytest.mark.parametrize("page", [page for page in FIVE if page != "predict"])
def test_a_data_set_that_is_gone_is_told_in_words(place, page):
    shutil.rmtree(place.dataset)
    assert "no such folder" in text(render(page))


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("home", "12 clips to train on"),
        ("dataset", "Training is not possible: 0 labelled clips can be used"),
        ("features", "Unreadable 15"),
    ],
)
def test_a_data_set_of_broken_clips_is_told_clip_by_clip(place, page, says):
    for path in place.dataset.glob("audios/*/*"):
        path.write_bytes(b"")
    place.do("check")
    with pytest.raises(Exception, match="none of its clips can be read"):
        place.do("extract")
    at = render(page)
    if page == "features":
        assert "none of its clips can be read" in text(at)
    else:
        assert says in text(at)


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("home", "Extract its features"),
        ("dataset", "Usable clips 15"),
        ("features", "Cached 0"),
        ("train", "Features that are not there yet are extracted first"),
        ("predict", "There is no trained ensemble yet"),
    ],
)
def test_a_data_set_without_features_says_what_comes_next(place, page, says):
    place.do("check")
    assert says in text(render(page))


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("home", "At work Training"),
        ("dataset", "Usable clips 15"),
        ("features", "Extracting: 5 of 15 clips"),
        ("train", "Training: 1 of 6 fits"),
        ("predict", "There is no trained ensemble yet"),
    ],
)
def test_work_under_way_is_shown(running, page, says):
    assert says in text(render(page))


def test_a_running_page_cannot_start_the_work_twice_and_can_cancel_it(running, no_workers):
    at = render("train")
    assert at.button(key="train").disabled
    job = next(job for job in jobs.list_jobs(running.root / "jobs") if job.kind == "train")
    at.button(key=f"cancel_{job.id}").click().run()
    assert job.cancel.exists()
    assert "Stopping ..." in text(at)
    assert no_workers == []


@pytest.mark.parametrize("kind", ["check", "extract", "train"])
def test_a_failed_job_says_why_where_it_was_started(place, kind):
    page = {"check": "dataset", "extract": "features", "train": "train"}[kind]
    if kind != "check":
        place.do("check")
    place.end(place.half_done(kind), JobFailed("the disk is full_"))
    at = render(page)
    assert "the disk is full_" in text(at)
    assert "Try again" in text(at)


@pytest.mark.parametrize("page", FIVE)
@pytest.mark.parametrize("end", [JobFailed("no"), JobCancelled(), None])
def test_every_page_stands_after_work_that_did_not_end_well(place, page, end):
    place.do("check")
    for kind in ("extract", "train"):
        job = place.half_done(kind)
        if end is not None:
            place.end(job, end)
    said = text(render(page))
    if page in ("features", "train"):
        assert {JobFailed: "no", JobCancelled: "It was cancelled", type(None): "ended without reporting"}[type(end)] in said


def test_going_on_starts_the_same_job(place, no_workers):
    place.do("check")
    job = place.half_done("train")
    place.end(job, JobCancelled())
    render("train").button(key=f"resume_{job.id}").click().run()
    assert no_workers == [job]
    assert jobs.status(job) == "queued"


def test_every_page_of_a_finished_run(finished):
    job = finished.predict(
        finished.dataset / "audios/test/testa0x.wav", write_clip(finished.root / "x.wav", tone(440, seconds=0.01))
    )
    assert "Best run" in text(render("home"))
    dataset = render("dataset")
    assert "Labels 1 to 6" in text(dataset)
    assert len(dataset.get("vega_lite_chart")) >= 3
    assert "has the features of 15 clips: 15 computed" in text(render("features"))
    trained = render("train")
    assert "Out-of-fold RMSE" in text(trained)
    assert "of pairs the higher label has the higher prediction" in text(trained)
    assert "expect an RMSE of" in text(trained)
    assert [button.label for button in trained.get("download_button")] == [
        "Submission",
        "Out-of-fold predictions",
        "Each repeat, NumPy",
        "Test intervals",
        "Models",
    ]
    predicted = text(render("predict", job=job.id))
    assert "testa0x.wav" in predicted
    assert "x.wav: too short" in predicted


def test_a_double_click_asks_for_one_job(place, no_workers):
    place.do("check")
    at, again = render("features"), render("features")  # two tabs, drawn before either was clicked
    at.button(key="extract").click().run()
    again.button(key="extract").click().run()
    assert len(no_workers) == 1
    assert [job.kind for job in jobs.list_jobs(place.root / "jobs")] == ["extract", "check"]


def test_the_form_asks_for_what_it_shows_and_the_command_says_the_same(place, no_workers):
    place.do("check")
    at = render("train")
    at.get("button_group")
    at.number_input(key="train_folds").set_value(3)
    at.selectbox(key="train_groups").set_value("speaker").run()
    assert "--folds 3 --group-by speaker" in text(at)
    at.button(key="train").click().run()
    assert no_workers[0].request["ensemble"]["folds"] == 3
    assert no_workers[0].request["ensemble"]["group_by"] == "speaker"


def test_more_folds_than_groups_are_refused_where_they_are_chosen(place):
    at = render("train")
    at.number_input(key="train_folds").set_value(9)
    at.selectbox(key="train_groups").set_value("speaker").run()
    assert "9 folds need at least as many groups; there are 4" in text(at)
    assert at.button(key="train").disabled


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("/nowhere/x_y*", "/nowhere/x_y*: no such folder"),
        ("", "the path is empty"),
        ("{file}", "a file, but no table"),
        ("{empty}", "expected csvs/train.csv"),
    ],
)
def test_a_wrong_path_is_refused_at_the_box_and_the_data_set_stays(place, tmp_path, typed, says):
    place.do("check")
    (tmp_path / "empty").mkdir()
    at = render("dataset")
    at.text_input(key="dataset_path").set_value(typed.format(file=__file__, empty=tmp_path / "empty"))
    at.button(key="dataset_open").click().run()
    assert not at.exception
    assert says in text(at)
    assert "Usable clips 15" in text(at)


def test_a_path_is_opened_looked_at_and_remembered(place, make_dataset, no_workers):
    place.do("check")
    other = make_dataset(6, test=0, name="other")
    at = render("dataset")
    at.text_input(key="dataset_path").set_value(f" '{other}' ")
    at.button(key="dataset_open").click().run()
    assert no_workers[-1].request["dataset"] == str(other)
    assert "6 clips to train on" in text(render("home"))
    at = render("dataset")
    at.selectbox(key="dataset_recent").select_index(0).run()
    assert at.text_input(key="dataset_path").value == str(place.dataset)


def test_clips_that_changed_since_they_were_looked_at_are_said_to_have(place):
    place.do("check")
    assert "have changed" not in text(render("dataset"))
    write_clip(place.dataset / "audios/train/traina0x.wav", tone(300, seconds=2))
    at = render("dataset")
    assert "have changed since this was looked at" in text(at)
    at.button(key="look_again").click().run()
    assert "Looking at the clips" in text(at)


def test_an_upload_is_kept_by_content_and_scored(finished, no_workers):
    clip = (finished.dataset / "audios/test/testa0x.wav").read_bytes()
    at = render("predict")
    at.file_uploader[0].upload("../a b*.wav", clip, "audio/wav")
    at.run()
    at.button(key="score").click().run()
    [kept] = (finished.root / "uploads").glob("*/*")
    assert kept.read_bytes() == clip
    assert no_workers[-1].request["clips"] == [str(kept)]
    assert "Scoring: getting ready" in text(at)


def test_a_recording_is_scored_like_a_clip(finished, no_workers):
    at = render("predict")
    at.segmented_control(key="predict_source").set_value("Recording").run()
    at.audio_input[0].upload("recording.wav", (finished.dataset / "audios/test/testa0x.wav").read_bytes())
    at.run()
    at.button(key="score").click().run()
    assert no_workers[-1].request["clips"][0].endswith("recording.wav")


def test_a_form_begins_with_what_was_last_done_on_the_data_set(finished, make_dataset, no_workers):
    at = render("train")
    assert at.number_input(key="train_folds").value == 3
    assert "--member lightgbm --member extra_trees" in text(at)
    other = make_dataset(6, test=0, name="other")
    at.switch_page("../pages/1_dataset.py").run()
    at.text_input(key="dataset_path").set_value(str(other))
    at.button(key="dataset_open").click().run()
    at.switch_page("../pages/3_train.py").run()
    assert at.number_input(key="train_folds").value == 5


@pytest.mark.parametrize("page", FIVE)
def test_a_defect_and_a_full_disk_are_told_in_words(finished, page, monkeypatch):
    for error, says in [
        (OSError(28, "No space left on device", "/w/x"), "No space left on device"),
        (ZeroDivisionError("x"), "An error of Earmark itself"),
    ]:

        def fail(*arguments, error=error):
            raise error

        st.cache_resource.clear()
        monkeypatch.setattr("app.resources.runs" if page == "predict" else "app.session.choice", fail)
        assert says in text(render(page))


@pytest.mark.parametrize("damage", ["[1]", "{", '[{"path": 3, "layout": {"x": 1}}]'])
def test_a_damaged_list_of_recent_sets_costs_only_the_list(place, damage):
    (place.root / "recent.json").write_text(damage)
    assert "piano-touch" in text(render("home"))


def test_a_result_without_its_predictions_keeps_its_scores_and_says_what_is_gone(finished):
    for path in (finished.root / "jobs").glob("*/oof_repeats.npz"):
        path.unlink()
    at = render("train")
    assert not at.exception
    assert "oof_repeats.npz: missing" in " ".join(error.value for error in at.error).replace("\\", "")
    assert "Out-of-fold RMSE" in text(at)


def test_damaged_results_are_told_in_words(finished):
    for job in jobs.list_jobs(finished.root / "jobs"):
        if job.kind == "train":
            write_json(job.folder / "run.json", {})
        else:
            (job.folder / "result.json").write_text("{")
    for page in FIVE:
        assert "Traceback" not in text(render(page))
    assert "the result cannot be read" in text(render("features"))
    assert "it is damaged: train again" in text(render("train"))


def test_a_result_of_another_version_is_said_to_be_one(finished):
    for job in jobs.list_jobs(finished.root / "jobs"):
        (job.folder / "result.json").write_text("{}")
    for page in ("home", "dataset", "features", "train"):
        assert "its result is of another version of Earmark" in text(render(page))


def test_the_page_process_stays_light(finished):
    code = (
        "import sys; sys.path.insert(0, '.'); from tests.app.conftest import PAGES, render\n"
        "heavy = ['torch', 'transformers', 'shap', 'mlflow', 'sklearn', 'xgboost', 'lightgbm', 'catboost']\n"
        "for page in PAGES: page == 'dataset' or render(page)\n"
        "found = [name for name in [*heavy, 'librosa', 'numba'] if name in sys.modules]\n"
        "render('dataset')  # follows the pitch of the chosen clip\n"
        "print(found + [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr[-2000:]


def test_an_address_with_a_job_of_another_kind_or_nonsense_shows_none(finished):
    train = next(job for job in jobs.list_jobs(finished.root / "jobs") if job.kind == "train")
    for nonsense in (train.id, "..%2F..", "../../etc", "x" * 5000, "20260101-000000-abcd"):
        assert "Upload or record a clip" in text(render("predict", job=nonsense))


def test_going_on_with_an_older_job_shows_that_job(finished, no_workers):
    first = next(job for job in jobs.list_jobs(finished.root / "jobs") if job.kind == "train")
    request = {**first.request, "ensemble": {**first.request["ensemble"], "seed": 7}}
    older, _ = jobs.claim("train", request, finished.root / "jobs")
    finished.end(older, JobCancelled())
    os.utime(older.asked, (1, 1))
    assert "Result" in text(render("train"))
    jobs.claim("train", request, finished.root / "jobs")
    assert "Training: getting ready" in text(render("train"))


def test_runs_of_another_table_or_column_are_not_best_here(finished):
    home = text(render("home"))
    assert "No run on this data set yet" not in home
    other = finished.dataset / "other.csv"
    other.write_text((finished.dataset / "csvs/train.csv").read_text())
    for path, layout in [(other, Layout(audio="audios/train")), (finished.dataset, Layout(label_column="other"))]:
        write_json(finished.root / "recent.json", [{"path": str(path), "layout": to_json(layout)}])
        st.cache_resource.clear()
        if path == other:
            assert "No run on this data set yet" in text(render("home"))
            assert "these are of other data sets" in text(render("predict"))


def test_a_run_from_before_a_setting_of_the_layout_still_belongs_to_its_data_set(finished):
    [path] = finished.root.glob("jobs/*/run.json")
    record = json.loads(path.read_text())
    for name in ("train", "test"):
        del record["settings"]["layout"][name]
    write_json(path, record)
    st.cache_resource.clear()
    assert "No run on this data set yet" not in text(render("home"))


def test_the_address_keeps_the_data_set_whatever_others_open(place, make_dataset):
    mine = render("home").query_params["set"]
    other = make_dataset(6, test=0, name="other")
    write_json(place.root / "recent.json", [{"path": str(path), "layout": to_json(Layout())} for path in (other, place.dataset)])
    assert "Its tables name 6 clips" in text(render("home"))
    assert "Its tables name 12 clips" in text(render("home", set=mine))


def test_watching_opens_the_data_set_that_is_worked_on(running, make_dataset):
    other = make_dataset(6, test=0, name="other")
    write_json(
        running.root / "recent.json", [{"path": str(path), "layout": to_json(Layout())} for path in (other, running.dataset)]
    )
    at = render("home")
    assert "Watch" in text(at)
    at.button(key="next_step").click().run()
    assert "Training: 1 of 6 fits" in text(at) or "Extracting: 5 of 15" in text(at)


def test_a_result_of_other_files_than_stand_there_now_says_so(finished):
    for page in ("features", "train"):
        assert "have changed since" not in text(render(page))
    write_clip(finished.dataset / "audios/train/traina0x.wav", tone(300, seconds=2))
    for page in ("features", "train"):
        assert "have changed since" in text(render(page))


def test_a_run_that_learned_nothing_is_told_to_have_learned_nothing(finished):
    finished.amend_run(scores={"oof_rmse": 3.0, "constant_rmse": 1.5})
    assert "No better than the baseline (mean of the training labels)" in text(render("train"))
    assert "Train another" in text(render("home"))


def leak(groups, *, chosen, random=0.61, grouped=0.79):
    figures = {"groups": groups, "chosen": chosen, "random_rmse": random, "grouped_rmse": grouped, "gap": grouped - random}
    return {"leak_gap": grouped - random, "leak": figures}


def test_the_leak_gap_is_told_in_words(finished):
    finished.amend_run(scores=leak("speaker", chosen=True))
    said = text(render("train"))
    assert "Random folds would report 0.61. For a new speaker expect 0.79" in said
    assert "Leak gap +0.180" in said
    assert "These folds are random" not in said


def test_a_run_that_flatters_says_which_column_and_what_error_to_expect(finished):
    finished.amend_run(scores={**leak("speaker, which was not chosen", chosen=False, random=0.6, grouped=0.9), "oof_rmse": 0.8})
    said = text(render("train"))
    assert "clips share a speaker: this RMSE holds only for a known speaker" in said
    assert "For a new speaker expect about 1.20 instead of 0.80" in said  # 0.8 * 0.9 / 0.6
    assert "For a new speaker expect about 1.20" in text(render("home"))


def test_groups_that_change_nothing_are_no_cause_for_a_warning(finished):
    finished.amend_run(scores=leak("speaker, which was not chosen", chosen=False, random=0.6, grouped=0.605))
    said = text(render("train"))
    assert "It makes little difference whether the speaker is known" in said
    assert "These folds are random" not in said


def test_a_run_whose_leak_gap_is_not_known_still_says_what_repeats(finished):
    finished.amend_run(scores={"leak_gap": None, "leak": None})
    assert "Trained without groups, although several clips share a speaker" in text(render("train"))


def test_proposed_groups_and_columns_that_hold_the_label_are_told(finished):
    finished.amend_run(
        proposed_groups=[{"kind": "name stem", "tied": 9, "reason": "9 of 12 clips have a name in common_"}],
        label_leaks=[{"column": "table:mark", "reason": "is the label, at most scaled and shifted"}],
    )
    said = text(render("train"))
    assert "9 of 12 clips have a name in common_ (name stem)" in said
    assert "The column table:mark is the label, at most scaled and shifted" in said


def test_every_figure_has_the_badge_of_its_record(finished):
    assert {"verified: nested", "check: out-of-fold"} <= badges(render("train"))
    finished.amend_run(scores={"badges": {"oof_rmse": "in-sample"}})
    assert badges(render("train")) == {"warning: in-sample"}


def badges(at):
    """Names of the badges on a page, with their icons."""
    return {found for one in at.markdown for found in re.findall(r"-badge\[:material/(.+?)\]", one.value)}


VERDICT = {"difference": -0.1, "low": -0.2, "high": -0.05, "level": 0.95, "clips": 12, "groups": None, "minutes": 1.5}


def test_verdicts_of_switches_and_the_self_test_are_told(finished):
    finished.amend_run(
        scores={
            "verdicts": {
                "augment": {
                    **VERDICT,
                    "verdict": "helps",
                    "sentence": "helps with 12 clips: RMSE -0.10 (-0.20 to -0.05), +1.5 minutes",
                },
                "tta": {
                    **VERDICT,
                    "high": 0.1,
                    "verdict": "cannot tell",
                    "sentence": "cannot tell with 12 clips: RMSE -0.10 (-0.20 to +0.10)",
                },
                "pseudo_labels": {**VERDICT, "verdict": "hurts", "sentence": "hurts with 12 clips: RMSE +0.10 (+0.05 to +0.20)"},
            },
            "self_test": {"ratio": 0.8, "ratios": [0.7, 0.8, 0.9], "passed": False},
        }
    )
    at = render("train")
    said = text(at)
    assert "Augmentation, with 12 clips: RMSE -0.10 (-0.20 to -0.05), +1.5 minutes" in said
    assert (
        "Self-test: on permuted labels the RMSE is 0.800 of the baseline's: something is learned although there is nothing" in said
    )
    told = {one.split(": ")[1] for one in badges(at)}
    assert {"helps", "cannot tell", "hurts", "failed"} <= told
    finished.amend_run(scores={"self_test": {"ratio": 1.01, "ratios": [1.0, 1.01, 1.02], "passed": True}})
    assert "1.010 of the baseline's: nothing is learned from them" in text(render("train"))


def test_repeats_stand_beside_each_other_in_the_table(finished):
    [path] = finished.root.glob("jobs/*/run.json")
    scores = json.loads(path.read_text())["scores"]
    twice = {name: {**one, "fold_rmse": 2 * one["fold_rmse"], "sets": 2 * one["sets"]} for name, one in scores["models"].items()}
    record = json.loads(path.read_text())
    record["settings"]["ensemble"]["repeats"] = 2
    record["model_files"] = {str(number): "" for number in range(2 * 2 * 3 * 2 + 1)}
    finished.amend_run(
        scores={"models": twice, "fold_rmse": 2 * scores["fold_rmse"], "oof_rmse_by_repeat": [1.125, 1.25]},
        settings=record["settings"],
        model_files=record["model_files"],
    )
    at = render("train")
    table = next(frame.value for frame in at.dataframe if "weight" in frame.value)
    assert table.columns[-6:].tolist() == ["fold 1.1", "fold 1.2", "fold 1.3", "fold 2.1", "fold 2.2", "fold 2.3"]
    assert table["member"].tolist() == ["lightgbm", "extra_trees", "ensemble"]
    assert table["weight"].iloc[:2].sum() == pytest.approx(1)
    assert "by repeat 1.1250, 1.2500" in text(at)


def test_the_rounds_of_a_finished_run_are_drawn(finished):
    at = render("train")
    assert "training rows, not the fold's score" in text(at)
    assert [expander.label for expander in at.expander][-1] == "Rounds of boosting"


def test_a_training_shows_the_leak_gap_first_then_its_fits_and_rounds(running):
    at = render("train")
    said = text(at)
    assert "These folds are random and report 0.61. For a new speaker expect 0.79" in said
    assert "Out-of-fold RMSE so far 1.2500" in said
    assert "Best run before \N{EN DASH}" in said
    assert "training rows, not the fold's score" in said
    assert len(at.get("vega_lite_chart")) == 3  # by fold, so far, and rounds of the one boosted member


def test_what_is_trained_beside_is_told_and_not_drawn(running):
    job = next(job for job in jobs.list_jobs(running.root / "jobs") if job.kind == "train")
    running.tell(job, StageStarted("self-test 1 of 3"))
    assert "Self-test 1 of 3: getting ready" in text(render("train"))
    running.tell(job, TrainingStarted(fits=9), FitFinished("svr", 0, 99.0, None, 0.1, 99.0, 99.0), Warned("a_disk is full"))
    said = text(render("train"))
    assert "Self-test 1 of 3: 1 of 9 fits" in said
    assert "Now: self-test 1 of 3. The charts show the ensemble only" in said
    assert "Out-of-fold RMSE so far 1.2500" in said
    assert "99.0" not in said
    assert "a_disk is full" in said


def test_what_is_trained_is_set_beside_the_best_run_with_the_same_groups(finished):
    request = jobs.list_jobs(finished.root / "jobs")[0].request
    [record] = finished.root.glob("jobs/*/run.json")
    rmse = json.loads(record.read_text())["scores"]["oof_rmse"]
    for groups, says in [(None, f"Best run before {rmse:.4f}"), ("speaker", "Best run before \N{EN DASH}")]:
        job, _ = jobs.claim(
            "train", {**request, "ensemble": {**request["ensemble"], "group_by": groups, "seed": 7}}, finished.root / "jobs"
        )
        with FileLock(job.lock):
            finished.tell(job, JobStarted(os.getpid(), "elsewhere"), TrainingStarted(6))
            assert says in text(render("train"))


def members(at, *names):
    at.multiselect(key="train_members").set_value(list(names)).run()
    return text(at)


def test_all_models_are_members_at_first_and_all_switches_are_off(place, no_workers):
    place.do("check")
    at = render("train")
    assert at.multiselect(key="train_members").value == list(CATALOGUE)
    assert "40 fits" in text(at)
    at.button(key="train").click().run()
    assert build(EnsembleSettings, no_workers[0].request["ensemble"]) == EnsembleSettings()


def test_a_member_is_typed_and_asked_for(place, no_workers):
    at = render("train")
    assert "--member svr:mfcc --member lightgbm:ultra@5s,mfcc:seed=7" in members(at, "svr:mfcc", " lightgbm:ultra@5s,mfcc:seed=7 ")
    at.button(key="train").click().run()
    assert no_workers[0].request["ensemble"]["members"] == ["svr:mfcc", "lightgbm:ultra@5s,mfcc:seed=7"]
    at.switch_page("../pages/1_dataset.py").run()
    at.switch_page("../pages/3_train.py").run()
    assert "--member svr:mfcc --member lightgbm:ultra@5s,mfcc:seed=7" in text(at)
    assert at.multiselect(key="train_members").options[: len(CATALOGUE)] == list(CATALOGUE)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ([], "Choose at least one member"),
        (["svm"], "model 'svm' not among xgboost"),
        (["svr:mel"], "feature set 'mel' is not among ultra, mfcc, metadata"),
        (["svr:table:spoken"], "spoken"),
        (["svr::depth=3"], "'depth' not among the settings of svr"),
        (["svr", "svr "], "svr is named twice"),
    ],
)
def test_a_member_that_makes_no_sense_is_refused_where_it_is_typed(place, typed, says):
    at = render("train")
    assert says in members(at, *typed)
    assert at.button(key="train").disabled


def test_switches_and_folds_stand_in_the_request_and_the_command(place, no_workers):
    place.do("check")
    at = render("train")
    for key, value in (("augment", 2), ("tta", 3), ("repeats", 2), ("level", 80)):
        at.number_input(key=f"train_{key}").set_value(value)
    for key in ("pseudo_labels", "self_test", "stratified", "round_labels"):
        at.toggle(key=f"train_{key}").set_value(True)
    at.selectbox(key="train_groups").set_value("auto").run()
    said = text(at)
    for flag in ("--augment 2", "--tta 3", "--repeats 2", "--level 0.8", "--pseudo-labels", "--self-test", "--stratified",
                 "--round-labels", "--group-by auto"):  # fmt: skip
        assert flag in said
    assert "80 fits, then as many without augmentation, then as many without pseudo-labels, then 3 x 40 on permuted labels" in said
    at.button(key="train").click().run()
    expected = EnsembleSettings(
        augment=2,
        tta=3,
        repeats=2,
        level=0.8,
        pseudo_labels=True,
        self_test=True,
        stratified=True,
        round_labels=True,
        group_by="auto",
    )
    assert build(EnsembleSettings, no_workers[0].request["ensemble"]) == expected


def test_without_a_test_table_there_are_no_pseudo_labels(place, make_dataset):
    place.dataset = make_dataset(6, test=0, name="other")
    place.choose()
    at = render("train")
    assert at.toggle(key="train_pseudo_labels").disabled
    assert "Needs a test table" in text(at)


def test_columns_of_numbers_and_other_lengths_of_windows_can_be_features(place, no_workers):
    place.do("check")
    for split in ("train", "test"):
        table = place.dataset / f"csvs/{split}.csv"
        first, *rest = table.read_text().splitlines()
        table.write_text("\n".join([f"{first},midi,same,word", *(f"{line},{60 + n},7,w{n}" for n, line in enumerate(rest))]))
    at = render("train")
    box = at.multiselect(key="extract_more")
    assert [name for name in box.options if name.startswith("table:")] == ["table:speaker", "table:midi", "table:word"]
    box.set_value(["table:midi", "mfcc@3s"]).run()
    assert "--features ultra,mfcc,metadata,table:midi,mfcc@3s" in text(at)
    box.set_value(["table:word"]).run()
    assert "table:word" in text(at)  # a dozen words, a feature each
    assert not at.button(key="train").disabled
    box.set_value(["mfcc@0.1s"]).run()
    assert "windows last 1 to 3600 s" in text(at)
    assert at.button(key="train").disabled


def test_a_prediction_comes_with_its_interval_and_as_many_copies_as_asked_for(finished, no_workers):
    job = finished.predict(finished.dataset / "audios/test/testa0x.wav")
    [found] = jobs.result(job)["predictions"]
    at = render("predict", job=job.id)
    assert found["low"] <= found["prediction"] <= found["high"]
    assert "in 90% of cases" in text(at)
    at.file_uploader[0].upload("a.wav", (finished.dataset / "audios/test/testa0x.wav").read_bytes(), "audio/wav")
    at.run()
    at.number_input(key="predict_tta_0").set_value(2).run()
    assert "--tta 2" in text(at)
    at.button(key="score").click().run()
    assert no_workers[-1].request["tta"] == 2


def test_a_name_that_looks_like_markdown_is_shown_as_it_is(place, make_dataset):
    odd = make_dataset(6, test=0, name="odd *set* [x](http:y) _a_")
    write_json(place.root / "recent.json", [{"path": str(odd), "layout": to_json(Layout())}])
    at = render("home")
    assert at.metric[0].value == "odd \\*set\\* \\[x\\]\\(http\\:y\\) \\_a\\_"


def test_a_problem_stands_at_the_clip_of_its_own_table(place):
    for split in ("train", "test"):
        table = place.dataset / f"csvs/{split}.csv"
        table.write_text(table.read_text().replace(f"{split}a0x", "same"))
        (place.dataset / f"audios/{split}/{split}a0x.wav").rename(place.dataset / f"audios/{split}/same.wav")
    write_clip(place.dataset / "audios/train/same.wav", np.zeros(22050))
    place.do("check")
    at = render("dataset")
    table = at.dataframe[-1].value
    told = table[table["file"] == "same"].set_index("split")["problem"]
    assert told["train"].startswith("silent")
    assert told["test"] == ""


def test_what_cannot_be_trained_on_is_said_before_it_is_tried(place):
    table = place.dataset / "csvs/train.csv"
    table.write_text("filename,label\ntraina0x,3\n")
    at = render("train")
    assert "Training is not possible: 1 labelled clip can be used" in text(at)
    assert at.button(key="train").disabled


SPEED = {"clip_seconds": 20.0, "start_seconds": 30.0, "workers": 2, "clips": 6}


def probe_of(place):
    return next((job for job in jobs.list_jobs(place.root / "jobs") if job.kind == "probe"), None)


def test_an_estimate_is_asked_for_and_shows_that_it_is_working(place, no_workers):
    at = render("features")
    assert "About" not in text(at)
    at.button(key="estimate").click().run()
    [job] = no_workers
    assert (job.kind, job.request["extract"]["features"]) == ("probe", ["ultra", "mfcc", "metadata"])
    assert "Measuring a few clips: getting ready" in text(at)
    assert at.button(key="estimate").disabled
    assert not at.button(key="extract").disabled
    assert "Nothing is running" in text(render("home"))


def test_extracting_does_not_wait_for_an_estimate(place, no_workers):
    at = render("features")
    at.button(key="estimate").click().run()
    at.button(key="extract").click().run()
    assert [job.kind for job in no_workers] == ["probe", "extract"]
    assert no_workers[0].cancel.exists()
    assert "Extracting: getting ready" in text(at)


def test_an_estimate_is_for_the_clips_that_are_left_and_for_the_settings_that_it_measured(place):
    place.measured(ExtractSettings(), **SPEED)
    at = render("features")
    assert "**About 3 min** for 15 clips on 2 cores" in text(at)  # 30 s + 15 clips * 20 s / 2 cores
    at.number_input(key="extract_max_seconds").set_value(10.0).run()
    assert "About" not in text(at)


@pytest.mark.parametrize("result", ["{", "{}", '{"speed": 3}', '{"speed": {"pace": 1}}'])
def test_an_estimate_that_is_damaged_can_be_asked_for_again(place, result, no_workers):
    (place.measured(ExtractSettings(), **SPEED).folder / "result.json").write_text(result)
    at = render("features")
    assert "About" not in text(at)
    at.button(key="estimate").click().run()
    assert len(no_workers) == 1


def test_an_estimate_that_failed_says_why_and_can_be_tried_again(place, no_workers):
    job, _ = jobs.claim("probe", {**place.request, "extract": ExtractSettings()}, place.root / "jobs")
    place.end(job, JobFailed("none of the 6 clips that were tried can be read"))
    at = render("features")
    assert "There is no estimate: none of the 6 clips that were tried can be read" in text(at)
    at.button(key="estimate").click().run()
    assert no_workers == [job]


def test_a_cancelled_extraction_says_how_long_the_rest_will_take(place, monkeypatch):
    monkeypatch.setattr("core.extraction.speed.cores", lambda: 2)
    job, _ = jobs.claim("extract", {**place.request, "extract": ExtractSettings()}, place.root / "jobs")
    with EventLog(job.events) as log:
        log.append(JobStarted(os.getpid(), "elsewhere"))
        log.append(ExtractionStarted(clips=15, cached=0, to_do=15))
        for number in range(6):
            log.append(ClipExtracted(f"clip{number}", 16.0))
        log.append(JobCancelled())
    assert "**About 2 min** for 15 clips on 2 cores" in text(render("features"))  # 15 clips * 16 s / 2 cores


def test_where_all_is_cached_there_is_nothing_to_estimate(finished):
    finished.measured(ExtractSettings(features=("mfcc", "metadata")), **SPEED)
    at = render("features")
    assert "To do 0" in text(at)
    assert "About" not in text(at)
    assert at.button(key="estimate").disabled


def test_a_probe_is_a_job_like_others(place):
    job, _ = jobs.claim("probe", {**place.request, "extract": EXTRACT}, place.root / "jobs")
    perform(job, work)
    speed = jobs.result(job)["speed"]
    assert (speed["clips"], speed["workers"]) == (6, 0)
    assert "ended without reporting" not in text(render("features"))


def test_the_column_that_follows_the_label_stands_first_and_any_other_can_be_looked_at(finished):
    at = render("features")
    box = at.selectbox(key="column")
    assert len(box.options) == 129
    table = next(frame.value for frame in at.dataframe if "spearman" in frame.value)
    assert box.value == table["column"].iloc[0]
    assert table["spearman"].abs().iloc[0] > 0.9  # the label is the loudness
    assert table["spearman"].abs().dropna().is_monotonic_decreasing
    charts = len(at.get("vega_lite_chart"))
    box.set_value("metadata.sample_rate_hz").run()  # constant: no correlation, but a picture
    assert not at.exception
    assert len(at.get("vega_lite_chart")) == charts
    assert "Sampling rate" in text(at) or "sampl" in text(at).lower()


def test_the_address_names_the_view_and_the_column(finished):
    assert render("features", view="Alike").slider(key="features_alike")
    box = render("features", column="mfcc.mfcc2_std").selectbox(key="column")
    assert box.value == "mfcc.mfcc2_std"
    assert box.value != box.options[0]
    assert render("features", column="no.such").selectbox(key="column").value == box.options[0]


def test_a_chosen_clip_is_named_and_heard(finished):
    at = render("features")
    at.session_state["features_scatter"] = {"selection": {"clip": [{"clip": "traina0x"}]}}
    at.run()
    assert "**traina0x**" in text(at)
    assert len(at.get("audio")) == 1
    at.session_state["features_scatter"] = {"selection": {"clip": [{"clip": "../../etc/passwd"}]}}
    at.run()
    assert "passwd" not in text(at)


def test_missing_values_are_shown_by_column_or_said_to_be_none(finished):
    at = render("features")
    at.session_state["view"] = "Missing values"
    at.run()
    assert "Nothing is missing: all 129 features have a value in every clip" in text(at)
    spoil(finished, rows=slice(0, 3), column=2)
    at = render("features")
    at.session_state["view"] = "Missing values"
    at.run()
    assert "Clips without a value: in 1 of 129 features" in text(at)
    gaps = next(frame.value for frame in at.dataframe if "columns without a value" in frame.value)
    assert gaps["clip"].tolist() == ["traina0x", "trainb0x", "trainc0x"]


def test_columns_that_say_the_same_are_listed(finished):
    at = render("features")
    at.session_state["view"] = "Alike"
    at.run()
    table = next(frame.value for frame in at.dataframe if "other" in frame.value)
    assert {"metadata.duration_s", "metadata.file_size_bytes"}.isdisjoint(table["column"])  # all clips are equally long
    assert (table["r"].abs() >= 0.98 - 1e-9).all()
    assert table["r"].abs().is_monotonic_decreasing
    at.slider(key="features_alike").set_value(1.0).run()
    assert not at.exception


def test_the_matrices_can_be_taken_away(finished):
    labels = [button.label for button in render("features").get("download_button")]
    assert labels == ["Train, NumPy", "Train, Parquet", "Test, NumPy", "Test, Parquet"]


@pytest.mark.parametrize(
    ("damage", "says"), [(None, "this exported matrix is gone"), (b"rubbish", "this exported matrix is damaged")]
)
def test_exported_matrices_that_are_gone_or_damaged_are_told_in_words(finished, damage, says):
    for path in finished.root.glob("features/*/train_*.npz"):
        path.unlink() if damage is None else path.write_bytes(damage)
    at = render("features")
    assert says in text(at)
    assert "extract again" in text(at)
    assert at.button(key="next_step").label == "Train"


def test_a_cancelled_extraction_leaves_the_finished_one_to_look_at(finished):
    job, _ = jobs.claim("extract", {**finished.request, "extract": ExtractSettings(features=("mfcc",))}, finished.root / "jobs")
    finished.end(job, JobCancelled())
    at = render("features")
    assert "It was cancelled" in text(at)
    assert "The last extraction (mfcc, metadata, up to 45 s) has the features of 15 clips" in text(at)
    assert at.get("download_button")


def test_features_of_an_earlier_version_are_not_shown_as_todays(finished, monkeypatch):
    monkeypatch.setitem(features.SET_VERSIONS, "mfcc", 99)
    at = render("features")
    assert "is of an earlier version of Earmark" in text(at)
    assert not at.get("download_button")


def test_a_damaged_cache_is_told_in_words_and_costs_no_other_part_of_the_page(finished):
    for path in finished.root.glob("cache.sqlite*"):
        path.write_bytes(b"not a database " * 500)
    at = render("features")
    assert "move it away" in text(at)
    assert at.button(key="next_step").label == "Train"


def test_a_set_without_test_clips_has_no_test_matrix(place, make_dataset):
    other = make_dataset(6, test=0, name="other")
    place.dataset = other
    place.choose()
    place.do("extract")
    at = render("features")
    assert [button.label for button in at.get("download_button")] == ["Train, NumPy", "Train, Parquet"]
    for view in ("Missing values", "Alike"):
        at.session_state["view"] = view
        at.run()
        assert not at.exception


def spoil(place, *, rows, column):
    """Take some values out of the exported training matrix."""
    [path] = place.root.glob("features/*/train_features_fixed.npz")
    with np.load(path) as file:
        arrays = dict(file)
    arrays["X"][rows, column] = np.nan
    np.savez(path, **arrays)
