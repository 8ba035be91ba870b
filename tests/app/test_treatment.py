"""Pages of a data set of which one channel is analysed, slowed down: what is played, drawn and said."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import streamlit as st

from app import resources, session
from app.charts import clips as clips_charts
from core.data.treatment import Treatment
from core.ensemble import EnsembleSettings
from core.extraction.config import ExtractSettings
from core.jobs import claim
from core.jobs.runner import perform
from core.runs import list_runs
from core.tasks.kinds import work
from core.workspace import to_json
from tests.app.conftest import Place, render, text
from tests.conftest import tone, without_processes, write_clip, write_table

SLOWED = Treatment("right", 10.0)
EXTRACT = ExtractSettings(features=("ultra",), workers=0, channel="right", slow_down=10.0)
WORDS = "channel right, slowed down 10 times"


@pytest.fixture(scope="module")
def slowed_once(tmp_path_factory) -> Place:
    """Clips with 440 Hz on the left and a call of 10 kHz on the right, whose loudness is the label: extracted and trained."""
    root, rng = tmp_path_factory.mktemp("slowed"), np.random.default_rng(0)
    rows = []
    for number in range(9):
        label = 1 + number % 3
        call = tone(10000, seconds=0.25, sr=44100, amplitude=0.2 * label) + 0.001 * rng.normal(size=11025)
        both = np.stack([tone(440, seconds=0.25, sr=44100), call], axis=1)
        write_clip(root / f"bats/audios/train/c{number}.wav", both, sr=44100)
        rows.append([f"c{number}", label])
    write_table(root / "bats/csvs/train.csv", ["filename", "label"], rows)
    place = Place(root / "workspace", root / "bats")
    place.choose()
    ensemble = EnsembleSettings(members=("ridge",), folds=3, blend="mean", workers=0)
    with without_processes():
        for kind, more in (("check", {}), ("extract", {}), ("train", {"ensemble": ensemble})):
            extract = {} if kind == "check" else {"extract": EXTRACT}
            perform(claim(kind, to_json({**place.request, **extract, **more}), place.root / "jobs")[0], work)
    return place


@pytest.fixture
def slowed(slowed_once, monkeypatch, no_workers) -> Place:
    monkeypatch.setenv("EARMARK_WORKSPACE", str(slowed_once.root))
    st.cache_resource.clear()
    return slowed_once


def test_a_clip_is_played_and_drawn_as_it_is_analysed(slowed):
    at = render("dataset")
    assert f"Played as it is analysed: {WORDS}." in text(at)
    clip = resources.clip(slowed.dataset / "audios/train/c0.wav", SLOWED)
    figure = clips_charts.spectrogram(clip)
    assert figure.layout.xaxis.title.text == "Seconds, slowed down 10 times"
    assert tuple(figure.layout.xaxis.range) == (0, pytest.approx(2.5))
    heat = figure.data[0]
    assert heat.y[np.asarray(heat.z).mean(axis=1).argmax()] == pytest.approx(1000, rel=0.03)  # rows are 2.5 % apart


def test_a_clip_that_is_taken_as_it_is_has_the_axis_of_its_file(slowed):
    figure = clips_charts.spectrogram(resources.clip(slowed.dataset / "audios/train/c0.wav"))
    assert figure.layout.xaxis.title.text == "Seconds"
    assert tuple(figure.layout.xaxis.range) == (0, pytest.approx(0.25))


def test_definitions_and_downloads_say_that_clips_were_slowed_down(slowed):
    at = render("features")
    assert f"up to 45 s, {WORDS})" in text(at)
    [job] = [job for job in resources.jobs(slowed.root / "jobs") if job.kind == "extract"]
    files = resources.result(job)["files"]
    features = resources.features(files, ["ultra"], resources.dataset(str(slowed.dataset), session.Choice("").layout), SLOWED)
    table = resources.label_table(features)
    slow = table["definition"].str.endswith("; slowed down 10 times")
    assert slow[table["unit"].isin(["Hz", "s"])].all()
    assert not slow[table["unit"].isin(["1", "dB"])].any()
    schema = pq.read_schema(io.BytesIO(resources.export_bytes(features, "train", "parquet")))
    told = {field.name for field in schema if (field.metadata or {}).get(b"definition", b"").endswith(b"; slowed down 10 times")}
    assert told == set(table["column"][slow])


@pytest.mark.parametrize("page", ["train", "predict", "runs"])
def test_the_pages_of_a_run_name_how_its_clips_were_analysed(slowed, page):
    [run] = list_runs(slowed.root / "jobs")
    assert WORDS in text(render(page, run=run.id))


def test_the_fine_tune_form_asks_for_channel_and_speed_and_begins_with_those_of_the_last_job(slowed):
    at = render("finetune")
    assert at.selectbox(key="finetune_channel").value == "right"
    assert at.number_input(key="finetune_slow_down").value == 10
    at.number_input(key="finetune_slow_down").set_value(4.0).run()
    at.selectbox(key="finetune_channel").set_value("loudest").run()
    shown = " ".join(code.value for code in at.code)
    assert "--slow-down 4" in shown
    assert "--channel loudest" in shown
