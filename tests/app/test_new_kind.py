"""A kind of sets, of jobs or of runs that is registered stands on the pages like any other."""

import os

import numpy as np
import pytest
from filelock import FileLock

from core import features, jobs
from core.encoders import registry
from core.events import EventLog, JobStarted
from core.extraction import machine
from core.jobs.runner import perform
from core.runs.kinds import RUN_KINDS, run_kind
from core.runtime.pool import map_batches
from core.tasks.kinds import JOB_KINDS, job_kind, work
from tests import toys
from tests.app.conftest import render, text
from tests.toy_set import Toy

pytest.importorskip("torch")


@pytest.fixture
def toy(monkeypatch):
    """The kind is registered in this process alone, so clips are decoded here too."""
    monkeypatch.setitem(registry.SOURCES, "toy", Toy())
    monkeypatch.setattr(machine, "map_batches", lambda *args, **options: map_batches(*args, **options | {"workers": 0}))
    yield
    features.parse_set.cache_clear()


def test_a_new_kind_is_offered_chosen_and_extracted(toy, place, no_workers):
    place.do("check")
    at = render("features")
    [pills] = [group for group in at.get("button_group") if group.key == "extract_features"]
    assert "toy · 3" in pills.options
    at = pills.set_value(["metadata", "toy"]).run()
    [table] = [frame.value for frame in at.dataframe if "Computed by" in frame.value.columns]
    row = table.set_index("Set").loc["toy"]
    assert (row["State"], row["Features"], row["Computed by"]) == ("ready", 3, "PyTorch on cpu (processor, fp32)")
    at.button(key="extract").click().run()
    [job] = no_workers
    assert job.request["extract"]["features"] == ["metadata", "toy"]
    perform(job, work)
    at = render("features")
    assert "has the features of 15 clips" in text(at)
    [written] = (place.root / "features").rglob("toy_train.npz")
    with np.load(written) as file:
        assert file["feature_names"].tolist() == ["toy.peak", "toy.rms", "toy.seconds"]


@pytest.fixture
def toy_kinds(monkeypatch):
    """The line in each registry, and nothing else."""
    monkeypatch.setitem(JOB_KINDS, "toy", "tests.toys")
    monkeypatch.setitem(RUN_KINDS, "toy", "tests.toys")
    yield
    job_kind.cache_clear()
    run_kind.cache_clear()


def test_a_new_kind_of_job_is_shown_at_work_and_leads_to_its_page(toy_kinds, place, no_workers):
    job, _ = jobs.claim("toy", place.request, place.root / "jobs")
    with FileLock(job.lock), EventLog(job.events) as log:
        log.append(JobStarted(os.getpid(), "elsewhere"))
        at = render("home")
        assert "At work Guess" in text(at)
        assert "Guessing: getting ready" in text(at)
        assert "Guessing on loudness" in text(render("runs"))  # it trains, and has left no run yet


def test_a_new_kind_of_run_is_listed_opened_scored_with_and_not_explained(toy_kinds, place, no_workers):
    job, _ = jobs.claim("toy", place.request, place.root / "jobs")
    perform(job, work)
    assert " · guessed · " in render("predict").selectbox(key="run_box").options[0]
    runs = text(render("runs", run=job.id, runs_show="All"))
    assert job.id in runs
    assert "error of Earmark itself" not in runs
    clip = next(iter(place.dataset.glob("audios/test/*")))
    scored = place.predict(clip)
    assert f"{clip.name} {toys.ANSWER}" in text(render("predict", job=scored.id))
    assert "not explained by features: it is a guess" in text(render("explain", run=job.id))
