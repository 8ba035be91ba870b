"""A data set is brought in a zip, listened to in the table, and found again on the map."""

import shutil

import pytest

from tests.browser.conftest import click, go, settle
from tests.conftest import write_dataset


@pytest.mark.slow
def test_a_zip_is_opened_a_row_heard_and_a_point_of_the_map_too(server, open_page, tmp_path):
    write_dataset(tmp_path / "loud" / "mine", 40, test=6)
    packed = shutil.make_archive(str(tmp_path / "loud_tones"), "zip", tmp_path / "loud")
    page = open_page(f"{server.url}/dataset")
    page.get_by_role("tab", name="Upload").click()
    page.locator("input[type=file]").set_input_files(packed)
    click(page, "dataset_take")
    page.get_by_text("46 of 46 clips. Click a row").wait_for()
    settle(page)
    assert next((server.workspace / "uploads").glob("*/loud_tones/csvs/train.csv")).is_file()

    chosen = page.locator(".st-key-dataset_clip strong").first
    page.locator(".st-key-dataset_clips canvas").first.click(position={"x": 400, "y": 35 + 35 * 4 + 17}, force=True)
    page.wait_for_url("**clip=traine0x**")
    page.wait_for_function("document.querySelector('.st-key-dataset_clip strong').innerText == 'traine0x'")
    page.get_by_text("F0 over the spectrogram").wait_for()
    sound = page.locator(".st-key-dataset_clip audio")
    sound.wait_for()
    sound.evaluate("player => player.play()")
    page.wait_for_function("document.querySelector('.st-key-dataset_clip audio').currentTime > 0")
    page.reload()
    settle(page)
    assert chosen.inner_text() == "traine0x"

    page.get_by_role("tab", name="Map").click()
    page.get_by_role("link", name="Extract features").click()
    page.get_by_text("To do").wait_for()
    click(page, "extract")
    page.get_by_text("has the features of 46 clips").wait_for(timeout=200_000)
    go(page, "Dataset")
    page.get_by_role("tab", name="Map").click()
    marks = page.locator(".st-key-dataset_map .marks").first
    marks.wait_for()
    marks.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # the axes find their place
    before = chosen.inner_text()
    box = marks.bounding_box()
    for share in (0.2, 0.45, 0.7):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.4 * box["height"])
        settle(page)
        page.wait_for_timeout(1500)
        if chosen.inner_text() != before:
            break
    assert chosen.inner_text() != before
    assert f"clip={chosen.inner_text()}" in page.url
    assert page.locator(".st-key-dataset_clip audio").count() == 1
