"""Workspaces in every state that a page can meet, and the pages rendered without a browser."""

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from filelock import FileLock
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from app import forms  # noqa: F401 - counts the cores, which must not be first imported where there are none
from core import jobs
from core.data.layouts.layout import Layout
from core.ensemble import EnsembleSettings
from core.events import (
    ClipExtracted,
    ClipSetAside,
    Event,
    EventLog,
    ExtractionStarted,
    FitFinished,
    JobCancelled,
    JobDone,
    JobFailed,
    JobStarted,
    LeakGapFound,
    RoundsScored,
    TrainingStarted,
)
from core.extraction.config import ExtractSettings
from core.jobs.runner import perform
from core.tasks.kinds import work
from core.workspace import to_json, write_json
from tests.conftest import ROOT, without_processes, write_dataset

PAGES = {
    "home": "0_home",
    "dataset": "1_dataset",
    "features": "2_features",
    "train": "3_train",
    "finetune": "4_finetune",
    "explain": "5_explain",
    "predict": "6_predict",
    "runs": "7_runs",
}
EXTRACT = ExtractSettings(features=("mfcc", "metadata"), workers=0)
ENSEMBLE = EnsembleSettings(members=("lightgbm", "extra_trees"), folds=3, blend="mean", workers=0)


class Place:
    """A workspace whose data set is chosen, and jobs in it as a worker would leave them."""

    def __init__(self, root: Path, dataset: Path):
        self.root, self.dataset = root, dataset

    @property
    def request(self) -> dict[str, object]:
        return {"dataset": str(self.dataset), "layout": to_json(Layout())}

    def choose(self) -> None:
        write_json(self.root / "recent.json", [{"path": str(self.dataset), "layout": to_json(Layout())}])

    def claim(self, kind: str) -> jobs.Job:
        settings = {"check": {}, "extract": {"extract": EXTRACT}, "train": {"extract": EXTRACT, "ensemble": ENSEMBLE}}
        return jobs.claim(kind, {**self.request, **settings[kind]}, self.root / "jobs")[0]

    def do(self, *kinds: str) -> None:
        with without_processes():  # for fixtures of the session too, which stand before those of a test
            for kind in kinds:
                perform(self.claim(kind), work)

    def measured(self, settings: ExtractSettings, **speed: float) -> jobs.Job:
        """An estimate that is done, with a speed that a test can reckon with."""
        job, _ = jobs.claim("probe", {**self.request, "extract": settings}, self.root / "jobs")
        write_json(job.folder / jobs.RESULT, {"speed": speed})
        self.end(job, JobDone())
        return job

    def predict(self, *clips: Path) -> jobs.Job:
        request = {"run": "latest", "clips": [str(clip) for clip in clips]}
        job, _ = jobs.claim("predict", request, self.root / "jobs")
        perform(job, work)
        return job

    def half_done(self, kind: str) -> jobs.Job:
        """A job whose process has begun, and has told of some of its work."""
        job = self.claim(kind)
        with EventLog(job.events) as log:
            log.append(JobStarted(os.getpid(), "elsewhere"))
            if kind == "extract":
                log.append(ExtractionStarted(clips=15, cached=0, to_do=15))
                for number in range(4):
                    log.append(ClipExtracted(f"clip{number}", 0.1))
                log.append(ClipSetAside("broken_one.wav", "the file is empty (0 bytes)"))
            elif kind == "train":
                log.append(LeakGapFound(0.61, 0.79, "speaker, which was not chosen"))
                log.append(TrainingStarted(fits=6))
                for rounds in (1, 10):
                    log.append(RoundsScored("lightgbm", 0, 0, rounds, 2.0 / rounds))
                log.append(FitFinished("lightgbm", 0, 1.25, 10, 0.5, 1.25, 2.5))
        return job

    def tell(self, job: jobs.Job, *events: Event) -> None:
        with EventLog(job.events) as log:
            for event in events:
                log.append(event)

    def amend_run(self, *, scores: dict[str, object] | None = None, **record: object) -> None:
        """Change what the finished run says of itself."""
        [path] = self.root.glob("jobs/*/run.json")
        run = json.loads(path.read_text())
        run["scores"] |= scores or {}
        path.write_text(json.dumps(run | record))

    def end(self, job: jobs.Job, event: JobDone | JobFailed | JobCancelled) -> None:
        with EventLog(job.events) as log:
            log.append(event)


@pytest.fixture(scope="package", autouse=True)
def _installed_packages_are_scanned_once() -> Iterator[None]:
    """Each ``AppTest`` looks for Streamlit's components in all installed packages: ten times the work of drawing a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", functools.cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture(scope="package", autouse=True)
def _installed_packages_are_scanned_once() -> Iterator[None]:
    """Each ``AppTest`` looks for Streamlit's components in all installed packages: ten times the work of drawing a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", functools.cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> list[jobs.Job]:
    """No page starts a process; what it would have started is listed."""
    started: list[jobs.Job] = []
    monkeypatch.setattr("core.jobs.queue.start", started.append)
    return started


@pytest.fixture
def place(tmp_path: Path, make_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, no_workers: list[jobs.Job]) -> Place:
    monkeypatch.setenv("EARMARK_WORKSPACE", str(tmp_path / "workspace"))
    st.cache_resource.clear()
    place = Place(tmp_path / "workspace", make_dataset(12))
    place.choose()
    return place


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``finished``, and a copy of how it was in the beginning: to train anew for each test takes minutes."""
    folder = tmp_path_factory.mktemp("finished")
    place = Place(folder / "now" / "workspace", write_dataset(folder / "now" / "loudness"))
    place.choose()
    place.do("check", "extract", "train")
    shutil.copytree(folder / "now", folder / "kept")
    return folder


@pytest.fixture
def finished(finished_once: Path, monkeypatch: pytest.MonkeyPatch, no_workers: list[jobs.Job]) -> Place:
    """A data set that was looked at, extracted and trained on."""
    now = finished_once / "now"
    shutil.rmtree(now)
    shutil.copytree(finished_once / "kept", now)  # with the times of all files
    monkeypatch.setenv("EARMARK_WORKSPACE", str(now / "workspace"))
    st.cache_resource.clear()
    st.cache_data.clear()
    return Place(now / "workspace", now / "loudness")


@pytest.fixture
def running(place: Place) -> Iterator[Place]:
    """Jobs of both kinds at work; this process plays their worker."""
    place.do("check")
    held = []
    for kind in ("extract", "train"):
        lock = FileLock(place.half_done(kind).lock)
        lock.acquire()
        held.append(lock)
    yield place
    for lock in held:
        lock.release()


def render(page: str, **query: str) -> AppTest:
    """A page as a browser would get it."""
    at = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    if page != "home":
        at.switch_page(f"../pages/{PAGES[page]}.py")
        for name, value in query.items():
            at.query_params[name] = value
        at.run()
    assert not at.exception, at.exception
    return at


def text(at: AppTest) -> str:
    """Everything that a page says."""
    said = [element.value for kind in ("title", "subheader", "markdown", "caption", "error", "warning", "success", "info", "code")
            for element in at.get(kind)]  # fmt: skip
    said += [f"{metric.label} {metric.value}" for metric in at.metric]
    said += [element.proto.text for element in at.get("progress")]
    said += [button.label for button in at.button]
    return "\n".join(str(one).replace("\\", "") for one in said)
