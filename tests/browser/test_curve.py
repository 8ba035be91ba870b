"""Whether more clips would help, in a browser: from the tab to the sentence, which is there at once the next time."""

import subprocess
import sys

import pytest

from core import jobs
from core.insight.curve import load_curve
from core.runs import list_runs
from tests.browser.conftest import click, go
from tests.conftest import PIANO, ROOT

pytestmark = pytest.mark.slow


def test_from_the_tab_of_a_result_to_what_twice_the_clips_would_bring(ready_server, open_page):
    words = ["train", str(PIANO), "--member", "ridge", "--member", "svr", "--features", "metadata", "--folds", "3"]
    command = [sys.executable, "-m", "core.cli", *words, "--workspace", str(ready_server.workspace)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [run] = list_runs(ready_server.workspace / "jobs")

    page = open_page(ready_server.url)
    go(page, "Train")
    page.get_by_role("tab", name="More clips?").click()
    page.get_by_text("what twice the clips would bring").wait_for()
    click(page, "measure_curve", times=2)
    page.get_by_text("3 draws of each size").wait_for(timeout=180_000)
    assert len([job for job in jobs.list_jobs(ready_server.workspace / "jobs") if job.kind == "curve"]) == 1
    page.get_by_text(load_curve(run).curve.sentence()).wait_for()
    page.get_by_test_id("stVegaLiteChart").locator("svg.marks").wait_for()
    page.reload()
    page.get_by_text("3 draws of each size").wait_for()  # the address names the tab
