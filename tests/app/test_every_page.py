"""Every page, in every state that work can be in, on data sets of every kind: none breaks, and each says something."""

import csv
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from filelock import FileLock

from core import jobs
from core.data.layouts.layout import Layout
from core.ensemble import EnsembleSettings
from core.errors import DataError
from core.events import EventLog, JobCancelled, JobFailed, JobStarted
from core.extraction.config import ExtractSettings
from core.jobs.runner import perform
from core.tasks.kinds import work
from core.workspace import to_json, write_json
from tests.app.conftest import PAGES, render, text
from tests.conftest import PIANO, shared_set, tone, write_clip

EXTRACT = ExtractSettings(features=("metadata",), workers=0)
ENSEMBLE = EnsembleSettings(members=("ridge",), folds=2, workers=0)
SETTINGS: dict[str, dict[str, object]] = {
    "check": {},
    "extract": {"extract": EXTRACT},
    "train": {"extract": EXTRACT, "ensemble": ENSEMBLE},
}
MANY = 10_000


class World:
    """A workspace on one data set, taken through all states in turn."""

    def __init__(self, root: Path, dataset: Path):
        self.root, self.dataset = root, dataset
        self.run_id = ""
        write_json(root / "recent.json", [{"path": str(dataset), "layout": to_json(Layout())}])

    def claim(self, kind: str) -> jobs.Job:
        request = {"dataset": str(self.dataset), "layout": to_json(Layout()), **SETTINGS.get(kind, {})}
        if kind in ("explain", "predict"):
            clip = next(path for path in sorted(self.dataset.rglob("*")) if path.suffix in (".wav", ".flac"))
            request = {"run": self.run_id, "clips": [str(clip)] if kind == "predict" else []}
        return jobs.claim(kind, request, self.root / "jobs")[0]

    def every_page(self, state: str, **query: str) -> None:
        st.cache_resource.clear()
        for page in PAGES:
            at = render(page, **query)
            said = text(at)
            assert at.title, (page, state)
            assert "error of Earmark itself" not in said, (page, state, said)

    def through(self, kind: str, **query: str) -> None:
        """A job that fails, is cancelled, is at work, is lost, and ends well; all pages in each state."""
        for end in (JobFailed("the disk is full"), JobCancelled()):
            with EventLog(self.claim(kind).events) as log:
                log.append(end)
            self.every_page(f"{kind}: {end}", **query)
        job = self.claim(kind)
        with FileLock(job.lock), EventLog(job.events) as log:
            log.append(JobStarted(os.getpid(), "elsewhere"))
            self.every_page(f"{kind} at work", **query)
        self.every_page(f"{kind} lost", **query)
        found = perform(self.claim(kind), work)
        if kind == "train":
            self.run_id = found["run_id"]
        self.every_page(f"{kind} done", **query)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], World]]:
    monkeypatch.setenv("EARMARK_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setattr("core.jobs.queue.start", lambda job: None)
    yield lambda dataset: World(tmp_path / "workspace", dataset)
    st.cache_resource.clear()


def test_an_empty_workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("EARMARK_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setattr("core.jobs.queue.start", lambda job: None)
    st.cache_resource.clear()
    for page in PAGES:
        at = render(page)
        assert "error of Earmark itself" not in text(at), page
        assert at.button or at.get("page_link"), page  # the way on


def test_a_set_whose_clips_are_all_broken(world, make_dataset):
    dataset = make_dataset(6)
    for path in dataset.glob("audios/*/*"):
        path.write_bytes(b"RIFF and no more")
    world = world(dataset)
    perform(world.claim("check"), work)
    world.every_page("checked")
    for kind, why in (("extract", "can be read"), ("train", "0 labelled clips can be used")):
        with pytest.raises(DataError, match=why):
            perform(world.claim(kind), work)
        world.every_page(f"{kind} failed")


def test_a_table_without_its_clips_or_columns(world, make_dataset):
    dataset = make_dataset(6)
    world = world(dataset)
    shutil.rmtree(dataset / "audios")
    world.every_page("no clips")
    next(dataset.glob("csvs/train.csv")).write_text("name;score\n")
    world.every_page("no columns")


@pytest.mark.slow
def test_a_small_set_through_all_states(world, make_dataset):
    world = world(make_dataset(12))
    world.every_page("untouched")
    for kind in ("check", "extract", "train"):
        world.through(kind)
    for kind in ("explain", "predict"):
        world.through(kind, run=world.run_id)
    world.every_page("a run that is not there", run="20200101-000000-0000")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bundled", "speech-fluency", "piano-touch"])
def test_a_real_set_through_all_states(world, name):
    world = world(PIANO if name == "bundled" else shared_set(name))
    for kind in ("check", "extract", "train"):
        world.through(kind)
    for kind in ("explain", "predict"):
        world.through(kind, run=world.run_id)


@pytest.mark.slow
def test_ten_thousand_clips_through_all_states(world, tmp_path):
    dataset = tmp_path / "many"
    folder = dataset / "audios" / "train"
    folder.mkdir(parents=True)
    (dataset / "csvs").mkdir()
    for number in range(50):
        write_clip(folder / f"clip_{number:05d}.wav", tone(440, seconds=0.2 + 0.01 * number, amplitude=0.1 + 0.01 * number))
    for number in range(50, MANY):
        (folder / f"clip_{number:05d}.wav").symlink_to(folder / f"clip_{number % 50:05d}.wav")
    with (dataset / "csvs" / "train.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("filename", "label"), *((f"clip_{number:05d}.wav", number % 50) for number in range(MANY))])
    world = world(dataset)
    for kind in ("check", "extract", "train"):
        world.through(kind)
    world.through("explain", run=world.run_id)
