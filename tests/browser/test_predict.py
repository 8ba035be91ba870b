"""Clips are brought, scored and heard, in a browser, with a run on the bundled recordings."""

import shutil
import subprocess
import sys

import pytest

from tests.browser.conftest import Server, click, settle
from tests.conftest import PIANO, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(extracted, tmp_path_factory):
    """A workspace with a small run on the bundled set."""
    workspace = tmp_path_factory.mktemp("trained") / "workspace"
    shutil.copytree(extracted, workspace)
    options = ["--member", "ridge:mfcc", "--member", "extra_trees:mfcc", "--folds", "3", "--workspace", str(workspace)]
    command = [sys.executable, "-m", "core.cli", "train", str(PIANO), *options]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return workspace


@pytest.fixture
def trained_server(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "workspace")
    server = Server(tmp_path / "workspace")
    server.start()
    yield server
    server.kill()


def test_two_clips_and_a_broken_one_are_scored_and_the_nearest_clip_is_heard(trained_server, open_page, tmp_path):
    (tmp_path / "broken.wav").write_text("this is no sound")
    clips = sorted((PIANO / "audios/test").iterdir())[:2]
    page = open_page(f"{trained_server.url}/predict")
    page.get_by_text("Try it with").wait_for()
    page.locator("input[type=file]").first.set_input_files([*clips, tmp_path / "broken.wav"])
    page.get_by_role("button", name="Score 3 clips").click()
    page.get_by_text("broken.wav: not audio that can be read").wait_for()
    card = page.get_by_test_id("stMetric")
    card.get_by_text(clips[0].name).wait_for()
    address = page.url
    assert "job=" in address

    page.locator(".st-key-prediction_table canvas").first.click(position={"x": 300, "y": 35 + 35 + 17}, force=True)
    card.get_by_text(clips[1].name).wait_for()
    settle(page)
    assert page.locator("audio").count() == 2
    nearest = page.locator("audio").nth(1)
    first = nearest.get_attribute("src")
    page.locator(".st-key-predict_near_1 canvas").first.click(position={"x": 60, "y": 35 + 35 * 2 + 17}, force=True)
    page.wait_for_function("src => document.querySelectorAll('audio')[1].getAttribute('src') !== src", arg=first)
    page.wait_for_function("document.querySelectorAll('audio')[1].readyState > 0")  # its length is known: it can be played
    nearest.evaluate("player => player.play()")
    page.wait_for_function("document.querySelectorAll('audio')[1].currentTime > 0")

    colleague = open_page(address)
    colleague.get_by_text("broken.wav: not audio that can be read").wait_for()
    colleague.get_by_test_id("stMetric").get_by_text(clips[0].name).wait_for()


def test_a_folder_on_the_server_with_labels_is_scored_against_them(trained_server, open_page, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    labels = []
    for number, clip in enumerate(sorted((PIANO / "audios/test").iterdir())[:3]):
        shutil.copy(clip, folder / clip.name)
        labels.append(f"{clip.name},{5 + number}")
    (folder / "new.csv").write_text("\n".join(["filename,label", *labels]) + "\n")
    page = open_page(f"{trained_server.url}/predict")
    page.get_by_text("On this server").click()
    box = page.locator(".st-key-predict_path input")
    box.fill(str(folder))
    box.press("Enter")
    page.get_by_text("3 clips, 3 with a label").wait_for()
    settle(page)
    click(page, "score")
    page.get_by_text("Against the labels").wait_for()
    page.get_by_text("too few to say much").wait_for()
    page.reload()
    page.get_by_text("Against the labels").wait_for()
