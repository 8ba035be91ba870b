"""What a user does, in a browser, on the bundled recordings."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from core import jobs
from core.ensemble.models import CATALOGUE
from core.runs import list_runs
from tests.browser.conftest import click, go, settle
from tests.conftest import PIANO, ROOT

TRAINING = "Out-of-fold RMSE so far"


def of_kind(server, kind):
    return [job for job in jobs.list_jobs(server.workspace / "jobs") if job.kind == kind]


def read_table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def choose_members(page, *names):
    """Take out all members and type others."""
    box = page.locator(".st-key-train_members input")
    box.focus()
    for _ in CATALOGUE:
        box.press("Backspace")
    for name in names:
        box.press_sequentially(name)
        box.press("Enter")
    box.press("Escape")
    settle(page)


def start_training(page):
    go(page, "Train")
    choose_members(page, "xgboost", "catboost", "random_forest")
    click(page, "train")
    page.get_by_text(TRAINING).wait_for()


@pytest.mark.slow
def test_from_the_bundled_set_to_a_submission_and_a_number(server, open_page, tmp_path):
    page = open_page(server.url)
    page.get_by_text("The data set piano-touch is open").wait_for()

    page.get_by_role("button", name="Look at the data").click()
    page.get_by_text("Click a row to listen to the clip").wait_for()
    page.locator("audio").first.wait_for()
    assert page.locator("audio").count() == 1
    page.get_by_text("audio_0144 · label 8").wait_for()
    page.locator(".st-key-dataset_clips canvas").first.click(position={"x": 300, "y": 35 + 35 * 5 + 17}, force=True)
    page.get_by_text("audio_0155 · label 16").wait_for()
    page.get_by_role("button", name="Extract its features").click()

    page.get_by_text("To do").wait_for()
    click(page, "extract", times=2)  # an impatient double click
    page.get_by_text("Extracting:").wait_for()
    page.get_by_text("has the features of 210 clips: 210 computed").wait_for(timeout=200_000)
    assert len(of_kind(server, "extract")) == 1
    click(page, "next_step")

    page.get_by_role("heading", name="Train", exact=True).wait_for()
    settle(page)
    choose_members(page, "lightgbm", "extra_trees:ultra", "svr:ultra,mfcc:C=3")
    repeats = page.locator(".st-key-train_repeats input")
    repeats.fill("5")  # so that the chart has time to grow on a fast machine too
    repeats.press("Enter")
    page.get_by_text("75 fits").wait_for()
    click(page, "train", times=2)
    page.get_by_text("RMSE on the early-stopping rows").wait_for()
    points = page.get_by_test_id("stVegaLiteChart").first.locator("g.mark-symbol.role-mark path")
    filled = set()
    while not page.get_by_text("Prediction by label").is_visible():
        filled.add(points.count())
        page.wait_for_timeout(100)
    assert len(filled) >= 3, filled  # the chart drew itself as the fits ended
    assert len(of_kind(server, "train")) == 1

    with page.expect_download() as download:
        page.get_by_role("button", name="Submission").click()
    download.value.save_as(tmp_path / "submission.csv")
    names = [row["filename"] for row in read_table(PIANO / "csvs/test.csv")]
    rows = read_table(tmp_path / "submission.csv")
    assert [row["filename"] for row in rows] == names
    assert all(0 < float(row["label"]) < 17 for row in rows)
    [run] = list_runs(server.workspace / "jobs")
    assert run.scores.oof_rmse < 0.5 * run.scores.constant_rmse
    page.get_by_text(f"{run.scores.oof_rmse:.4f}").first.wait_for()
    page.get_by_text("nested").first.wait_for()
    page.get_by_text("These folds are random, but clips share a").wait_for()
    assert list(run.scores.blend) == ["lightgbm", "extra_trees:ultra", "svr:ultra,mfcc:C=3"]

    click(page, "next_step")
    page.get_by_role("heading", name="Predict", exact=True).wait_for()
    settle(page)
    (tmp_path / "rubbish.wav").write_text("this is no sound")
    clip = next(iter(sorted((PIANO / "audios/test").iterdir())))
    page.locator("input[type=file]").first.set_input_files([clip, tmp_path / "rubbish.wav"])
    page.get_by_role("button", name="Score 2 clips").click()
    page.get_by_text("rubbish.wav: not audio that can be read").wait_for()
    page.get_by_text("Nearest training clips").wait_for()
    [job] = of_kind(server, "predict")
    number = next(one["prediction"] for one in jobs.result(job)["predictions"] if one["prediction"] is not None)
    submitted = next(float(row["label"]) for row in rows if clip.stem in row["filename"])
    assert number == pytest.approx(submitted, rel=1e-6)  # the same models, the same clip
    page.reload()
    page.get_by_text("Nearest training clips").wait_for()


def test_the_server_answers_this_machine_only_and_serves_only_clips_that_were_shown(shared):
    def status(path, host="127.0.0.1"):
        request = urllib.request.Request(shared.url + path, headers={"Host": host})
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert status("/") == 200
    assert status("/", host="evil.example") == 400
    assert status("/api/clip/0123") == 404
    assert status("/api/clip/..%2f..%2fetc%2fpasswd") in (400, 404)
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"]
    assert [line[1] for line in listening if line[1].endswith(f":{shared.port:04X}")] == [f"0100007F:{shared.port:04X}"]


def test_a_port_that_is_taken_is_said_in_words(shared):
    words = [sys.executable, "-m", "core.cli", "app", "--workspace", str(shared.workspace), "--port", str(shared.port)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert f"Port {shared.port} is" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_told_to_stop_takes_its_server_along(server, how):
    server.process.send_signal(how)
    server.process.wait(timeout=20)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=5)


@pytest.mark.slow
def test_columns_are_looked_at_heard_and_taken_away(ready_server, open_page, tmp_path):
    page = open_page(ready_server.url + "/features")
    page.get_by_text("Most correlated with the label").wait_for()
    bars = page.locator(".st-key-features_top g.mark-rect path")
    bars.nth(3).click()
    names = page.locator(".st-key-features_top g.role-axis-label text").filter(has_text=re.compile(r"[a-z]\."))
    fourth = names.nth(3).text_content()
    page.locator(".st-key-features_scatter").get_by_text(fourth).first.wait_for()  # on the axis, with its unit

    page.locator(".st-key-features_scatter g.mark-symbol path").nth(4).click(force=True)
    page.locator("audio").first.wait_for()
    page.get_by_role("tab", name="Missing values").click()
    page.get_by_text("Share of clips without a value").wait_for()
    page.get_by_role("tab", name="Alike").click()
    page.get_by_text("Of two that are alike one can be left out").wait_for()

    with page.expect_download() as download:
        page.get_by_role("button", name="Train, Parquet").first.click()
    download.value.save_as(tmp_path / "train.parquet")
    table = pd.read_parquet(tmp_path / "train.parquet")
    assert table.shape == (150, 291)
    assert dict(zip(table["filename"], table["label"], strict=True)) == {
        row["filename"]: float(row["label"]) for row in read_table(PIANO / "csvs/train.csv")
    }


@pytest.mark.slow
def test_an_estimate_keeps_its_clips_and_gives_way_to_the_extraction(server, open_page):
    page = open_page(server.url + "/features")
    page.get_by_role("button", name="Estimate the time").first.click()
    page.get_by_text("Measuring a few clips").wait_for()
    page.get_by_text("clips on").wait_for(timeout=120_000)
    [probe] = of_kind(server, "probe")
    measured = jobs.result(probe)["speed"]["clips"]
    page.get_by_text(f"for {210 - measured} clips on").wait_for()
    page.get_by_role("spinbutton").first.fill("2")  # other settings: nothing of them is cached or known
    page.get_by_role("spinbutton").first.press("Enter")
    page.get_by_text("clips on").wait_for(state="hidden")
    page.get_by_role("button", name="Estimate the time").first.click()
    page.get_by_text("Measuring a few clips").wait_for()
    click(page, "extract")
    page.get_by_text("has the features of 210 clips").wait_for(timeout=200_000)
    assert {jobs.status(job) for job in of_kind(server, "probe")} <= {"done", "cancelled"}
    assert len(of_kind(server, "extract")) == 1


@pytest.mark.slow
def test_training_goes_on_through_a_refresh_and_a_killed_server(ready_server, open_page):
    page = open_page(ready_server.url)
    start_training(page)
    page.reload()
    page.get_by_text(TRAINING).wait_for()
    [job] = of_kind(ready_server, "train")
    ready_server.kill()
    assert jobs.status(job) == "running"
    page.wait_for_timeout(1000)
    ready_server.start()
    fresh = open_page(ready_server.url + "/train")
    fresh.get_by_text("Prediction by label").wait_for(timeout=120_000)
    assert jobs.status(job) == "done"
    assert len(of_kind(ready_server, "train")) == 1


@pytest.mark.slow
def test_ctrl_c_at_the_server_leaves_the_training_alone(ready_server, open_page):
    page = open_page(ready_server.url)
    start_training(page)
    ready_server.kill(signal.SIGINT)
    [job] = of_kind(ready_server, "train")
    for _ in jobs.follow(job):
        pass
    assert jobs.status(job) == "done"


@pytest.mark.slow
def test_two_browsers_watch_one_job_and_cancelling_takes_two_seconds(ready_server, open_page):
    first, second = open_page(ready_server.url), open_page(ready_server.url)
    start_training(first)
    go(second, "Train")
    second.get_by_text(TRAINING).wait_for()
    [job] = of_kind(ready_server, "train")
    second.wait_for_timeout(2000)
    asked = time.monotonic()
    second.get_by_role("button", name="Cancel").click()
    while jobs.status(job) != "cancelled":
        assert time.monotonic() - asked < 2
        time.sleep(0.02)
    for page in (first, second):
        page.get_by_text("It was cancelled. Finished work is kept.").wait_for(timeout=5000)

    finished = {(one["model"], one["fold"]) for one in fits(job)}
    first.get_by_role("button", name="Resume").click()
    for page in (first, second):
        page.reload()
        page.get_by_text("Prediction by label").wait_for(timeout=120_000)
    assert len(of_kind(ready_server, "train")) == 1
    again = [(one["model"], one["fold"], one["seconds"]) for one in fits(job)]
    kept = {key: [seconds for *other, seconds in again if tuple(other) == key] for key in finished}
    assert all(len(set(seconds)) == 1 for seconds in kept.values())  # the same fits, not new ones


def fits(job):
    lines = [json.loads(line) for line in job.events.read_text().splitlines()]
    return [line for line in lines if line["event"] == "FitFinished"]


@pytest.mark.slow
def test_a_job_from_the_command_line_shows_in_the_app(ready_server, open_page):
    page = open_page(ready_server.url)
    words = [sys.executable, "-m", "core.cli", "train", str(PIANO), "--workspace", str(ready_server.workspace), "--folds", "3"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not of_kind(ready_server, "train"):
        time.sleep(0.1)
    go(page, "Train")
    page.get_by_text(TRAINING).wait_for()
    page.get_by_role("button", name="Cancel").click()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "cancelled; finished work is kept" in err
    page.get_by_text("It was cancelled").wait_for()


@pytest.mark.slow
def test_the_plain_streamlit_command_works_too(ready_server, open_page, monkeypatch):
    ready_server.kill()
    monkeypatch.setenv("EARMARK_WORKSPACE", str(ready_server.workspace))
    ready_server.start(
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(ROOT / "app/main.py"),
        "--server.port",
        str(ready_server.port),
        "--server.headless",
        "true",
    )
    page = open_page(ready_server.url)
    go(page, "Dataset")
    page.get_by_text("Click a row to listen to the clip").wait_for()
    page.locator("audio").first.wait_for()
    assert page.locator("audio").count() == 1
