"""Pages with pretrained encoders: what is there, what is missing, how long it takes, which layers tell the labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import streamlit as st

from app.charts import layers
from app.views import layers as layers_view, sets
from core import jobs
from core.data.layouts.layout import Layout
from core.ensemble import EnsembleSettings
from core.events import BatchComputed, BatchHalved, DeviceChosen, ExtractionStarted, JobStarted, Recorded
from core.extraction.config import ExtractSettings
from core.insight.layers import Band, LayerScores
from core.jobs.runner import perform
from core.runs import find_run
from core.tasks.kinds import work
from core.workspace import to_json
from tests.app.conftest import Place, render, text
from tests.tiny_models import tiny_encoder

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    return f"encoder:{tiny_encoder('wav2vec2', tmp_path_factory.mktemp('models') / 'tiny')}"


@pytest.fixture
def chosen(place: Place, encoder: str) -> Callable[..., jobs.Job]:
    """A job on the chosen data set with the features of an encoder; not begun."""

    def claim(kind: str, **settings: object) -> jobs.Job:
        extract = ExtractSettings(features=("metadata", encoder), workers=0)
        return jobs.claim(kind, {**place.request, "extract": to_json(extract), **settings}, place.root / "jobs")[0]

    return claim


def test_the_features_page_says_what_computes_a_set_and_how_long_a_clip_takes(place, chosen, encoder):
    place.do("check")
    job = chosen("extract")
    perform(job, work)
    at = render("features")
    [table] = [frame.value for frame in at.dataframe if "Computed by" in frame.value.columns]
    row = table.set_index("Set").loc[encoder]
    assert row["Computed by"] == "PyTorch on cpu (processor, fp32)"
    assert row["State"] == "ready"
    assert row["Seconds per clip"] > 0
    assert row["Features"] == 48
    assert "has the features of 15 clips" in text(at)
    assert not at.exception


def test_weights_that_are_not_here_are_asked_for_and_no_page_breaks(place, encoder, tmp_path):
    place.do("check")
    gone = tiny_encoder("hubert", tmp_path / "gone")
    extract = ExtractSettings(features=(f"encoder:{gone}",), workers=0)
    job, _ = jobs.claim("extract", {**place.request, "extract": to_json(extract)}, place.root / "jobs")
    perform(job, work)
    gone.rename(tmp_path / "elsewhere")
    st.cache_resource.clear()
    at = render("features")
    assert not at.exception
    assert "name a folder with config.json, preprocessor_config.json" in text(at)
    assert not render("train").exception


def test_the_usual_encoders_stand_in_the_form_with_their_state(place, monkeypatch, tmp_path):
    monkeypatch.setenv("EARMARK_MODELS", str(tmp_path / "models"))
    place.do("check")
    at = render("features")
    [pills] = [group for group in at.get("button_group") if group.key == "extract_features"]
    pills.set_value(["wavlm"]).run()
    assert "wavlm: microsoft/wavlm-base is not on this machine; it is fetched from the Hugging Face hub" in text(at)
    assert f"into {tmp_path}/models/microsoft/wavlm-base" in text(at)


def test_the_live_line_names_the_device_and_what_memory_allows(place, chosen, encoder):
    place.do("check")
    job = place.half_done("extract")
    place.tell(job, DeviceChosen("cuda", "H100"), BatchHalved(encoder, 8))
    from app.views.live import device_in_words, progress_of
    from core.jobs import read_events

    recorded, _ = read_events(job.events)
    assert device_in_words(progress_of(recorded)) == f"PyTorch on cuda (H100); memory allows {encoder} 8 at once"


def test_seconds_of_a_clip_are_those_of_all_batches():
    at = [JobStarted(1, "host"), ExtractionStarted(3, 0, 3), BatchComputed("wavlm", 2, 3.0), BatchComputed("wavlm", 1, 6.0)]
    assert sets.seconds_per_clip([[Recorded(0.0, event) for event in at]]) == {"wavlm": 3.0}


def test_the_layers_of_a_runs_encoder_are_scored_and_drawn(place, chosen, encoder, no_workers):
    place.do("check")
    ensemble = EnsembleSettings(members=("ridge",), folds=3, group_by="speaker", workers=0)
    job = chosen("train", ensemble=to_json(ensemble))
    perform(job, work)
    at = render("explain")
    assert "Which encoder layers predict the label best?" in text(at)
    at.button(key=f"layers_{encoder}").click().run()
    [asked] = [one for one in no_workers if one.kind == "layers"]
    perform(asked, work)
    done = jobs.result(asked)
    assert np.array(done["scores"]["oof_rmse"]).shape == (4, 3)
    assert done["scores"]["groups"] == "speaker"
    at = render("explain")
    assert not at.exception
    assert len(at.get("vega_lite_chart")) >= 1
    assert "baseline RMSE" in text(at)
    gone = layers_view.layers_request(find_run("latest", place.root / "jobs"), encoder)
    assert gone["folds"] == 3
    assert gone["layout"] == to_json(Layout())


def test_the_map_holds_every_layer_and_head_and_frames_the_band():
    rng = np.random.default_rng(0)
    of_folds = rng.uniform(0.5, 1, size=(5, 2, 4))
    scores = LayerScores("wavlm", ("ridge", "svr"), of_folds, of_folds.mean(axis=2), 1.1, np.full(4, 1.1), 50)
    table = layers.layer_table(scores)
    assert len(table) == 10
    assert table.set_index(["layer", "head"]).loc[(3, "svr"), "rmse"] == scores.oof_rmse[3, 1]
    framed = layers.layer_heatmap(scores, Band(2, 3, "")).to_dict()
    plain = layers.layer_heatmap(scores, Band(None, None, "")).to_dict()
    assert len(framed["layer"]) == len(plain["layer"]) + 1
    frame = framed["datasets"][framed["layer"][-1]["data"]["name"]]
    assert {row["layer"] for row in frame} == {2, 3}


def test_what_an_encoder_said_keeps_its_names_when_the_encoder_is_gone(tmp_path):
    from core.extraction.export import definitions

    folder = tiny_encoder("wavlm", Path(tmp_path) / "model")
    name = f"encoder:{folder}@L2"
    there = definitions((name,))
    folder.rename(tmp_path / "moved")
    away = definitions((name,))
    assert {column: away[column].definition for column in there} == {column: found.definition for column, found in there.items()}
