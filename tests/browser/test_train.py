"""A training in a browser: charts stay as they are while it ticks, its errors are heard, its models taken away."""

import zipfile

import pytest

from core import jobs
from core.runs import list_runs
from tests.browser.conftest import click, go, settle
from tests.browser.test_stories import TRAINING, choose_members, of_kind

pytestmark = pytest.mark.slow


def numbers(chart):
    """What the axes of a chart say."""
    return chart.locator(".role-axis-label").all_text_contents()


def test_a_live_chart_is_not_drawn_anew_while_it_ticks(ready_server, open_page):
    """A mark on the chart's own element would be gone with it: so zoom, hover and focus stay."""
    page = open_page(ready_server.url)
    go(page, "Train")
    choose_members(page, "xgboost", "catboost", "random_forest")
    repeats = page.locator(".st-key-train_repeats input")
    repeats.fill("10")  # so that it is still at work when it is looked at
    repeats.press("Enter")
    settle(page)
    click(page, "train")
    page.get_by_text(TRAINING).wait_for()
    page.get_by_test_id("stVegaLiteChart").first.locator("svg").wait_for(timeout=180_000)
    page.evaluate("document.querySelector('[data-testid=stVegaLiteChart] svg').dataset.mark = 'mine'")
    before = page.get_by_text("Training: ").first.inner_text()
    page.wait_for_function("was => !document.body.innerText.includes(was)", arg=before)
    still = page.evaluate("document.querySelector('[data-testid=stVegaLiteChart] svg').dataset.mark")
    assert still == "mine"

    running = page.get_by_test_id("stVegaLiteChart").nth(1).locator("svg")
    running.scroll_into_view_if_needed()
    whole, drawn = numbers(running), running.text_content()
    box = running.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    page.wait_for_function("([chart, was]) => chart.textContent !== was", arg=[running.element_handle(), drawn])
    closer, before = numbers(running), page.get_by_text("Training: ").first.inner_text().split(" · ")[0]
    assert closer != whole  # the axes show less
    page.wait_for_function("was => !document.body.innerText.includes(was)", arg=before)  # another fit is drawn
    assert numbers(running) == closer

    [job] = of_kind(ready_server, "train")
    click(page, f"cancel_{job.id}")
    page.get_by_text("It was cancelled").wait_for()
    assert jobs.status(job) == jobs.CANCELLED
    click(page, f"resume_{job.id}")
    page.get_by_text(TRAINING).wait_for()
    assert of_kind(ready_server, "train") == [job]
    click(page, f"cancel_{job.id}")
    page.get_by_text("It was cancelled").wait_for()


def test_errors_are_heard_and_models_taken_away(ready_server, open_page, tmp_path):
    page = open_page(ready_server.url)
    go(page, "Train")
    choose_members(page, "ridge", "svr")
    click(page, "train")
    page.get_by_text("Prediction by label").wait_for(timeout=180_000)
    points = page.locator(".st-key-oof_scatter g.mark-symbol path")
    points.nth(4).click(force=True)
    page.locator("audio").first.wait_for()
    assert " · error " in page.locator("body").inner_text()

    with page.expect_download() as download:
        page.get_by_role("button", name="Models", exact=True).click()
    download.value.save_as(tmp_path / "models.zip")
    [run] = list_runs(ready_server.workspace / "jobs")
    with zipfile.ZipFile(tmp_path / "models.zip") as archive:
        assert {f"{run.id}/run.json", f"{run.id}/models/ensemble.json"} <= set(archive.namelist())

    click(page, "go_runs")
    page.get_by_role("heading", name="Runs", exact=True).wait_for()
    settle(page)
    assert f"run={run.id}" in page.url
