"""A run is explained in a browser: from the button to the sound of a point that was clicked."""

import subprocess
import sys

import pytest

from core import jobs
from core.insight.explain import load_explanation
from core.runs import list_runs
from tests.browser.conftest import click, settle
from tests.conftest import ROOT, write_dataset

pytestmark = pytest.mark.slow

# Where on the page the point of a clip is, in a chart that Plotly drew on a canvas.
PLACE_OF_POINT = """([key, clip]) => {
    const chart = document.querySelector(`.st-key-${key} .js-plotly-plot`), layout = chart._fullLayout, points = chart._fullData[0];
    const number = points.customdata.findIndex((one) => one[0] === clip), box = chart.getBoundingClientRect();
    return {
        x: box.x + layout.xaxis._offset + layout.xaxis.l2p(points.x[number]),
        y: box.y + layout.yaxis._offset + layout.yaxis.l2p(points.y[number]),
    };
}"""


def click_point(page, key, clip):
    chart = page.locator(f".st-key-{key} .js-plotly-plot")
    chart.scroll_into_view_if_needed()
    chart.locator("canvas").first.wait_for()
    page.wait_for_timeout(1000)  # the chart is drawn in steps, and moves while it is
    place = page.evaluate(PLACE_OF_POINT, [key, clip])
    page.mouse.move(place["x"] - 3, place["y"])
    page.mouse.move(place["x"], place["y"])
    page.locator(f".st-key-{key} .hovertext").first.wait_for()
    page.mouse.click(place["x"], place["y"])
    settle(page)


def chosen_clip(page):
    page.get_by_text("Out-of-fold prediction", exact=True).wait_for()
    return page.locator(".st-key-clip input").input_value()


def test_from_a_run_to_the_sound_of_a_point(server, open_page, tmp_path):
    dataset = write_dataset(tmp_path / "loudness", 24)
    words = ["train", str(dataset), "--member", "ridge", "--member", "lightgbm", "--features", "mfcc,metadata", "--folds", "3"]
    command = [sys.executable, "-m", "core.cli", *words, "--workspace", str(server.workspace)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [run] = list_runs(server.workspace / "jobs")

    page = open_page(f"{server.url}/explain")
    page.get_by_text("features move the predictions of 24 clips").wait_for()
    click(page, "explain", times=2)
    page.get_by_text("Half of the total effect comes from").wait_for()
    assert len([job for job in jobs.list_jobs(server.workspace / "jobs") if job.kind == "explain"]) == 1
    found = load_explanation(run)
    column = found.columns[found.importance.argmax()]

    far = found.filenames[found.contributions[:, found.importance.argmax()].argmax()]
    click_point(page, "explain_swarm", far)
    assert chosen_clip(page) == far
    page.locator("audio").wait_for()
    assert f"run={run.id}" in page.url
    page.reload()
    settle(page)
    assert chosen_clip(page) == far

    page.get_by_role("tab", name="One feature").click()
    settle(page)
    assert column in page.locator("body").inner_text()
    click_point(page, "explain_dependence", far)
    page.get_by_role("button", name="Open this clip").wait_for()
    page.locator("audio").wait_for()
    click(page, "explain_open")
    page.get_by_text("Out-of-fold prediction", exact=True).wait_for()
