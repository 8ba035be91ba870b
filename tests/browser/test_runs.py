"""Runs in a browser: one is named, two are compared, one is deleted after the question; a second browser sees the same."""

import subprocess
import sys

import pytest

from core.runs import list_runs
from tests.browser.conftest import click, settle
from tests.conftest import ROOT, write_dataset

pytestmark = pytest.mark.slow


def test_runs_are_named_compared_and_deleted_after_a_question(server, open_page, tmp_path):
    dataset = write_dataset(tmp_path / "loudness", 24)
    for member in ("ridge", "svr"):
        words = [
            "train",
            str(dataset),
            "--member",
            member,
            "--features",
            "mfcc",
            "--folds",
            "3",
            "--workspace",
            str(server.workspace),
        ]
        subprocess.run([sys.executable, "-m", "core.cli", *words], cwd=ROOT, check=True, capture_output=True)
    first, second = list_runs(server.workspace / "jobs")

    page = open_page(f"{server.url}/runs?run={first.id}&compare={second.id}&runs_show=All")
    page.get_by_text("Settings that differ").wait_for()
    name = page.get_by_label("Name")
    name.fill("only ridge")
    name.press("Enter")
    page.get_by_role("heading", name="only ridge").wait_for()
    page.get_by_text("instead of only ridge, with").wait_for()

    other = open_page(page.url)  # a colleague
    other.get_by_role("heading", name="only ridge").wait_for()
    other.get_by_text("instead of only ridge, with").wait_for()

    with page.expect_download() as download:
        page.get_by_role("button", name="Download all").click()
    assert download.value.suggested_filename == f"run_{first.id}.zip"
    click(page, "delete_run")
    page.get_by_text("This cannot be undone").wait_for()
    click(page, "delete_no")
    settle(page)
    assert len(list_runs(server.workspace / "jobs")) == 2
    click(page, "delete_run")
    click(page, "delete_yes")
    page.get_by_role("heading", name=second.id).wait_for()
    assert [run.id for run in list_runs(server.workspace / "jobs")] == [second.id]

    other.reload()  # what it named is gone; it shows what is there
    settle(other)
    other.get_by_role("heading", name=second.id).wait_for()
