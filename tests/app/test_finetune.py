"""The page that trains encoders, in each of its states; its charts, its estimates, its command; and other pages with such a run."""

import csv
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from filelock import FileLock

from app import resources, session
from app.charts import finetune
from app.views import live, result, runs
from core import jobs
from core.cli import as_command, commands as commands_module, common
from core.data.layouts.layout import Layout
from core.ensemble import EnsembleSettings
from core.events import (
    BatchHalved,
    BegunAnew,
    ClipExtracted,
    DeviceChosen,
    EpochScored,
    ExtractionStarted,
    FinetuneStarted,
    FoldScored,
    JobCancelled,
    JobDone,
    JobFailed,
    JobStarted,
    Recorded,
    StageStarted,
    StepDone,
    Warned,
)
from core.extraction.config import ExtractSettings
from core.jobs.runner import perform
from core.multimodal.config import TEXT_MODEL, FinetuneSettings
from core.runs import blends_of, delete_run, describe_run, list_runs
from core.runtime.device import Device
from core.tasks.blend import blend_runs
from core.tasks.forecast import ENCODERS_S, Pace, alike, epoch_seconds, finetuning_seconds, known_paces
from core.tasks.kinds import work
from core.workspace import Workspace, to_json
from tests.app.conftest import Place, render, text
from tests.conftest import ROOT, write_dataset
from tests.tiny_models import tiny_encoder, tiny_text_encoder

pytest.importorskip("torch")

EXTRACT = ExtractSettings(workers=0)
PAGES = ("home", "train", "finetune", "explain", "predict", "runs")


def add_column(dataset: Path, name: str = "said", *, splits: tuple[str, ...] = ("train", "test")) -> None:
    """Running text for each clip; the first has none."""
    for split in splits:
        path = dataset / "csvs" / f"{split}.csv"
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        cells = [name, "", *(f"mean pitch {number} hz" for number in range(len(rows) - 2))]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([[*row, cell] for row, cell in zip(rows, cells, strict=True)])


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder of models with tiny ones under the names of the usual ones."""
    root = tmp_path_factory.mktemp("models")
    tiny_encoder("wav2vec2", root / "facebook" / "wav2vec2-base")
    tiny_text_encoder("distilbert", root / "distilbert" / "distilbert-base-uncased")
    return root


@pytest.fixture
def ready(place: Place, models: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A data set with a text, and the usual models on this machine."""
    add_column(place.dataset)
    st.cache_resource.clear()
    monkeypatch.setenv("EARMARK_MODELS", str(models))
    return place


def claim(place: Place, **settings: object) -> jobs.Job:
    request = {**place.request, "extract": to_json(EXTRACT), "finetune": to_json(FinetuneSettings(**settings))}
    return jobs.claim("finetune", request, place.root / "jobs")[0]


def begin(place: Place, job: jobs.Job) -> None:
    place.tell(job, JobStarted(os.getpid(), "elsewhere"))


def steps(fold, epochs=2, per_epoch=4):
    return [
        StepDone(fold, step, epochs * per_epoch, step / per_epoch, 1 / step, 2e-5, 1.5) for step in range(1, epochs * per_epoch + 1)
    ]


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory, models) -> Path:
    """A workspace with an ensemble, a fine-tuned run on the same folds, and their blend."""
    folder = tmp_path_factory.mktemp("finetuned")
    place = Place(folder / "now" / "workspace", write_dataset(folder / "now" / "loudness"))
    add_column(place.dataset)
    place.choose()
    patch = pytest.MonkeyPatch()
    patch.setenv("EARMARK_MODELS", str(models))
    ensemble = {"extract": to_json(EXTRACT), "ensemble": to_json(EnsembleSettings(members=("ridge",), folds=2, workers=0))}
    perform(jobs.claim("train", {**place.request, **ensemble}, place.root / "jobs")[0], work)
    perform(claim(place, folds=2, epochs=2, text="column=said"), work)
    blend_runs(list_runs(place.root / "jobs"), Workspace(place.root))
    patch.undo()
    shutil.copytree(folder / "now", folder / "kept")
    return folder


@pytest.fixture
def trained(trained_once: Path, models: Path, monkeypatch: pytest.MonkeyPatch, no_workers: list[jobs.Job]) -> Place:
    now = trained_once / "now"
    shutil.rmtree(now)
    shutil.copytree(trained_once / "kept", now)
    monkeypatch.setenv("EARMARK_WORKSPACE", str(now / "workspace"))
    monkeypatch.setenv("EARMARK_MODELS", str(models))
    st.cache_resource.clear()
    return Place(now / "workspace", now / "loudness")


def run_of(place: Place, kind: str):
    return next(run for run in list_runs(place.root / "jobs") if run.kind.name == kind)


def test_without_a_data_set_there_is_one_way_on(ready):
    shutil.rmtree(ready.dataset)
    at = render("finetune")
    assert "no such folder" in text(at)
    assert len(at.get("page_link")) == 1
    assert not at.button


def test_without_pytorch_the_page_says_what_to_install_and_leads_to_training(ready, monkeypatch):
    monkeypatch.setattr("core.runtime.device.has_torch", lambda: False)
    at = render("finetune")
    assert "pip install 'earmark[deep]'" in text(at)
    assert [button.label for button in at.button] == ["Train an ensemble instead"]
    assert at.button(key="train_instead").click().run().title[0].value == "Train"


def test_without_pytorch_a_finished_run_is_shown_all_the_same(trained, monkeypatch):
    monkeypatch.setattr("core.runtime.device.has_torch", lambda: False)
    at = render("finetune")
    assert "error of Earmark itself" not in text(at)
    assert at.button(key="train_instead")
    assert f"{run_of(trained, 'finetune').scores.oof_rmse:.4f}" in text(at)


def test_a_run_that_a_script_trained_is_shown_like_any_other(trained):
    run = run_of(trained, "finetune")
    for name in ("spec.json", "result.json"):
        (run.folder / name).unlink()
    said = text(render("finetune"))
    assert "no job" not in said
    assert f"{run.scores.oof_rmse:.4f}" in said


def test_weights_that_are_not_here_are_asked_for_model_by_model(ready, monkeypatch, tmp_path):
    monkeypatch.setenv("EARMARK_MODELS", str(tmp_path / "none"))
    at = render("finetune")
    for model in ("facebook/wav2vec2-base", "distilbert/distilbert-base-uncased"):
        assert f"{model} is not on this machine" in text(at)
        assert f"into {tmp_path}/none/{model}" in text(at)
    [table] = [frame.value for frame in at.dataframe if "For" in frame.value]
    assert table["State"].tolist() == ["to be fetched", "to be fetched"]
    assert not at.button(key="finetune").disabled  # a machine with a network fetches them
    (tmp_path / "none" / "facebook" / "wav2vec2-base").mkdir(parents=True)  # half of it was brought
    at = render("finetune")
    [table] = [frame.value for frame in at.dataframe if "For" in frame.value]
    assert table["State"].tolist() == ["something is missing", "to be fetched"]
    assert at.button(key="finetune").disabled


def test_a_folder_that_is_gone_or_of_the_wrong_kind_cannot_be_trained(ready, models, tmp_path):
    ready.end(claim(ready, audio_model=str(tmp_path / "gone")), JobCancelled())
    at = render("finetune")
    assert "gone is not on this machine; name a folder" in text(at)
    assert at.button(key="finetune").disabled
    ready.end(claim(ready, text_model=str(models / "facebook" / "wav2vec2-base")), JobCancelled())
    at = render("finetune")
    assert "model_type='wav2vec2' is no encoder of text" in text(at)
    assert at.button(key="finetune").disabled
    shutil.copytree(models / TEXT_MODEL, tmp_path / "mute", ignore=shutil.ignore_patterns("tokenizer*"))
    ready.end(claim(ready, text_model=str(tmp_path / "mute")), JobCancelled())
    at = render("finetune")
    assert "has no tokenizer" in text(at)
    assert at.button(key="finetune").disabled
    ready.end(claim(ready, text=f"whisper={models / 'facebook' / 'wav2vec2-base'}"), JobCancelled())
    at = render("finetune")
    assert "is no Whisper, which transcripts need" in text(at)
    assert at.button(key="finetune").disabled


def test_a_folder_is_meant_from_where_earmark_was_started(models, monkeypatch):
    monkeypatch.setenv("EARMARK_START", str(models))
    assert session.model_folder(" facebook/wav2vec2-base ") == str(models / "facebook" / "wav2vec2-base")
    assert session.model_folder("facebook/hubert-base-ls960") == "facebook/hubert-base-ls960"


def test_a_number_that_a_command_line_asked_for_is_shown_as_it_is(ready):
    ready.end(claim(ready, folds=60, epochs=2000, learning_rate=3e-5), JobCancelled())
    at = render("finetune")
    assert at.number_input(key="finetune_folds").value == 60
    assert at.number_input(key="finetune_epochs").value == 2000
    at.number_input(key="finetune_folds").set_value(2)
    at.number_input(key="finetune_learning_rate").set_value(0.1 + 0.2).run()
    [line] = [one.value for one in at.code if one.value.startswith("earmark finetune")]
    assert "--learning-rate 0.3 " in line


def test_models_that_are_here_are_named_with_their_size_and_one_click_starts_one_job(ready, models, no_workers):
    at, again = render("finetune"), render("finetune")  # two tabs
    [table] = [frame.value for frame in at.dataframe if "For" in frame.value]
    assert table["State"].tolist() == ["ready", "ready"]
    assert table["Layers"].tolist() == [3, 2]
    assert table["Width"].tolist() == [16, 16]
    assert table["Rests on"].tolist()[0] == f"weights in {models}/facebook/wav2vec2-base"
    assert "PyTorch computes on cpu (processor, fp32)" in text(at)
    said = text(at)
    assert "5 folds of up to 15 epochs · how long it takes is known after the first epoch" in said
    assert "before that 15 clips to extract" in said
    assert "frames of all clips take about 12.0 kB on the disk" in said  # 15 clips, 25 frames of 16 numbers of two bytes
    at.button(key="finetune").click().run()
    again.button(key="finetune").click().run()
    [job] = no_workers
    assert job.request == {**ready.request, "extract": to_json(ExtractSettings()), "finetune": to_json(FinetuneSettings())}


def test_on_a_gpu_the_device_can_be_chosen_and_its_memory_is_told(ready, monkeypatch):
    gpu = Device("cuda", "H100", 80_000_000_000, "bf16")
    for name in ("fields.probe", "views.finetune.choose"):
        monkeypatch.setattr(f"app.{name}", lambda device="auto": gpu)
    at = render("finetune")
    assert "PyTorch computes on cuda (H100, bf16)." in text(at)
    at.segmented_control(key="finetune_device").set_value("cuda").run()
    assert "--device cuda" in text(at)
    job = claim(ready)
    with FileLock(job.lock):
        begin(ready, job)
        ready.tell(job, FinetuneStarted(5, 15, 1, 2), *steps(0))
        at = render("finetune")
    [memory] = [metric for metric in at.metric if metric.label == "Memory of the GPU"]
    assert (memory.value, memory.help) == ("1.5 GB", "The most so far. Of 80 GB of the H100.")


def test_without_a_gpu_the_one_of_an_earlier_machine_is_not_asked_for(ready):
    ready.end(claim(ready, device="cuda", epochs=3), JobCancelled())
    at = render("finetune")
    assert "--epochs 3" in text(at)
    assert "--device" not in text(at)


def test_what_is_read_is_shown_where_it_is_known(ready):
    assert "Texts are made when the clips are extracted" in text(render("finetune"))
    settings = {**ready.request, "extract": to_json(EXTRACT)}
    perform(jobs.claim("extract", settings, ready.root / "jobs")[0], work)
    at = render("finetune")
    read = at.table[0].value
    assert len(read) == 5
    assert "dBFS" in read["Text"].iloc[0]
    assert "clips to extract" not in text(at)
    box = at.selectbox(key="finetune_text")
    assert "Column said" in box.options[0]  # running text comes first
    box.set_value("column=said").run()
    assert at.table[0].value["Text"].tolist()[1].startswith("mean pitch")
    assert "1 clip to train on without a text" in text(at)
    box.set_value("none").run()
    assert not at.table
    [table] = [frame.value for frame in at.dataframe if "For" in frame.value]
    assert table["For"].tolist() == ["sound"]


def test_only_a_column_of_both_tables_is_offered(place, models, monkeypatch):
    monkeypatch.setenv("EARMARK_MODELS", str(models))
    add_column(place.dataset, "notes", splits=("train",))
    st.cache_resource.clear()
    labels = render("finetune").selectbox(key="finetune_text").options
    assert [one for one in labels if one.startswith("Column")] == ["Column speaker"]


def test_a_recogniser_is_a_model_like_the_others(ready):
    ready.end(claim(ready, text="whisper=some/whisper"), JobCancelled())
    at = render("finetune")
    assert at.text_input(key="finetune_recogniser").value == "some/whisper"
    [table] = [frame.value for frame in at.dataframe if "For" in frame.value]
    assert table.set_index("For").loc["words of the sound", "Model"] == "some/whisper"


def test_the_language_of_a_recogniser_stays_in_the_form(ready):
    ready.end(claim(ready, text="whisper=some/whisper@de"), JobCancelled())
    at = render("finetune")
    assert at.text_input(key="finetune_recogniser").value == "some/whisper@de"
    [table] = [frame.value for frame in at.dataframe if "For" in frame.value]
    assert table.set_index("For").loc["words of the sound", "Model"] == "some/whisper"
    at.text_input(key="finetune_recogniser").set_value("some/whisper@klingon").run()
    assert "Whisper knows no language 'klingon'" in text(at)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"dropout": 1.5}, "dropout=1.5 must be 0 or more and below 1"),
        ({"folds": 13}, "13 folds need at least as many labelled clips; there are 12"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(ready, change, says):
    at = render("finetune")
    for name, value in change.items():
        at.number_input(key=f"finetune_{name}").set_value(value).run()
    assert says in text(at)
    assert at.button(key="finetune").disabled
    assert not at.exception


def test_nothing_to_hear_and_nothing_to_read_is_refused(ready):
    at = render("finetune")
    at.segmented_control(key="finetune_audio_encoder").set_value("none")
    at.selectbox(key="finetune_text").set_value("none").run()
    assert "leave nothing to learn from" in text(at)
    at = render("finetune")
    at.number_input(key="finetune_layer").set_value(9).run()
    assert "layer=9: facebook/wav2vec2-base has layers 0 to 3" in text(at)
    assert at.button(key="finetune").disabled


def test_the_classic_preset_brings_the_usual_settings_back(ready):
    ready.end(claim(ready, batch=16, learning_rate=1e-3, rank=2, folds=3), JobCancelled())
    at = render("finetune")
    assert at.number_input(key="finetune_batch_clips").value == 16
    assert "--batch-clips 16 --learning-rate 0.001 --rank 2" in text(at)
    at.button(key="finetune_classic").click().run()
    values = {
        name: at.number_input(key=f"finetune_{name}").value for name in ("batch_clips", "learning_rate", "rank", "alpha", "folds")
    }
    assert values == {"batch_clips": 4, "learning_rate": 2e-5, "rank": 8, "alpha": 16, "folds": 3}
    assert at.button(key="finetune_classic").disabled
    assert not at.exception


def test_a_fine_tuning_at_work_is_drawn_step_by_step(ready, no_workers):
    job = claim(ready, folds=2, epochs=2)
    with FileLock(job.lock):
        begin(ready, job)
        assert "Fine-tuning: getting ready" in text(render("finetune"))
        ready.tell(job, ExtractionStarted(15, 0, 15), *(ClipExtracted(f"clip{number}", 0.1) for number in range(6)))
        assert "Extracting: 6 of 15 clips" in text(render("finetune"))
        ready.tell(job, ExtractionStarted(15, 0, 15), DeviceChosen("cpu", "processor"), ClipExtracted("clip0", 0.1))
        assert "Encoding: 1 of 15 clips · PyTorch on cpu (processor)" in text(render("finetune"))
        ready.tell(job, *(ClipExtracted(f"clip{number}", 0.1) for number in range(1, 15)))
        assert "reading encoders, texts and groups" in text(render("finetune"))
        ready.tell(job, Warned("a_text tells the label"), FinetuneStarted(2, 2, 900, 100_000))
        assert "The first steps are running" in text(render("finetune"))
        ready.tell(job, *steps(0), EpochScored(0, 1, 2.5, 1.0), EpochScored(0, 2, 2.25, 1.0), FoldScored(0, 3.0), *steps(1)[:2])
        at = render("finetune")
        said = text(at)
        assert at.button(key="finetune").disabled
        assert "Fine-tuning: 2 of 4 epochs" in said
        assert "a_text tells the label" in said
        figures = {metric.label: metric.value for metric in at.metric}
        assert figures["RMSE of scored folds"] == "3.0000"
        assert figures["Folds complete"] == "1 of 2"
        assert figures["RMSE, validation rows"] == "–"  # the second fold has none yet  # noqa: RUF001
        assert figures["Epoch"] == "0.5 of 2"
        assert figures["Parameters trained"] == "0.90%"
        assert figures["Memory of the process"] == "1.5 GB"
        assert "training rows, not the fold's score" in said
        assert len(at.get("vega_lite_chart")) == 4
        at.button(key=f"cancel_{job.id}").click().run()
        assert job.cancel.exists()
        assert "At work Fine-tuning" in text(render("home"))
        assert "Fine-tuning on loudness" in text(render("runs"))
        assert render("runs").button(key=f"watch_{job.id}").click().run().title[0].value == "Fine-tune"
    assert no_workers == []


@pytest.mark.parametrize("end", [JobFailed("the loss is not a number_"), JobCancelled(), None])
def test_one_that_did_not_end_well_says_why_and_goes_on(ready, end, no_workers):
    job = claim(ready, folds=2, epochs=2)
    begin(ready, job)
    ready.tell(job, FinetuneStarted(2, 2, 900, 100_000), *steps(0), EpochScored(0, 1, 2.5, 1.0))
    if end is not None:
        ready.end(job, end)
    at = render("finetune")
    says = {JobFailed: "the loss is not a number_", JobCancelled: "It was cancelled", type(None): "ended without reporting"}
    assert says[type(end)] in text(at)
    assert len(at.get("vega_lite_chart")) == 3  # what it had told of
    at.button(key=f"resume_{job.id}").click().run()
    assert no_workers == [job]


def test_a_finished_one_shows_its_result_and_how_it_came(trained):
    run = run_of(trained, "finetune")
    at = render("finetune")
    said = text(at)
    assert f"Out-of-fold RMSE {run.scores.oof_rmse:.4f}" in said
    assert "fine-tuned" in said
    assert "Text input: distilbert/distilbert-base-uncased on the column said. Fusion: attention." in said
    assert "Weights of the blend" not in said
    assert "Members" not in said
    [folds] = [frame.value for frame in at.dataframe if "epoch" in frame.value]
    assert folds["rmse"].tolist() == run.scores.fold_rmse
    assert folds["epoch"].tolist() == run.record.epochs
    assert [box.key for box in at.button if box.key in ("next_step", "go_explain", "go_runs")] == ["next_step", "go_runs"]
    assert [one.label for one in at.get("download_button")][:2] == ["Submission", "Out-of-fold predictions"]
    assert "from earlier epochs on this machine" in said
    assert result.models_zip(run).count(b"heads.safetensors") >= 2
    assert not [label for label in render("train").selectbox(key="result_box").options if run.id in label]  # it has its own page


def test_curves_of_folds_that_were_finished_before_outlast_going_on(ready):
    job = claim(ready, folds=2, epochs=2)
    begin(ready, job)
    ready.tell(job, FinetuneStarted(2, 2, 900, 100_000), *steps(0), FoldScored(0, 3.0), *steps(1)[:3])
    begin(ready, job)
    ready.tell(job, FinetuneStarted(2, 2, 900, 100_000), FoldScored(0, 3.0), *steps(1)[:2])
    told = [one.event for one in resources.events(job.events)]
    table = finetune.step_table([one for one in told if isinstance(one, StepDone)])
    assert table.groupby("fold").size().to_dict() == {1: 8, 2: 2}
    progress = live.progress_of(resources.events(job.events))
    assert (progress.unit, int(progress.done), progress.total) == ("epoch", 2, 4)


def test_no_page_stumbles_over_a_fine_tuned_run_or_a_blend(trained):
    for kind in ("finetune", "blend"):
        for page in PAGES:
            at = render(page, run=run_of(trained, kind).id)
            assert "error of Earmark itself" not in text(at), (page, kind)


def test_runs_that_are_compared_are_blended_at_a_click_and_once_only(trained, no_workers):
    ensemble, tuned, blend = (run_of(trained, kind) for kind in ("ensemble", "finetune", "blend"))
    at = render("runs", run=ensemble.id, compare=tuned.id)
    at.button(key="open_blend").click().run()
    assert blend.id in at.query_params["run"]

    delete_run(blend)
    at = render("runs", run=ensemble.id, compare=tuned.id)
    at.button(key="blend_runs").click().run()
    assert "Averaging: getting ready" in text(at)
    again = render("runs", run=tuned.id, compare=ensemble.id)
    again.button(key="blend_runs").click().run()
    assert "At work Blend" in text(render("home"))
    [job] = no_workers
    assert job.request == {"runs": sorted([ensemble.id, tuned.id])}
    perform(job, work)
    at.run()
    assert job.id in at.query_params["run"]
    assert f"{run_of(trained, 'blend').scores.oof_rmse:.4f}" in text(at)
    assert not [button for button in at.button if button.key == "blend_runs"]  # a blend is not blended again
    said = text(render("train", run=job.id))
    assert "A blend has no models of its own" in said
    assert "Models" not in [one.label for one in render("train", run=job.id).get("download_button")]
    assert "reads the column said of a table" in text(render("predict", run=job.id))
    assert [one.id for one in blends_of(ensemble)] == [job.id]
    assert blends_of(run_of(trained, "blend")) == []


def test_a_blend_does_not_stand_before_the_run_that_was_opened(trained):
    ensemble, blend = run_of(trained, "ensemble"), run_of(trained, "blend")
    assert blend.record.created > ensemble.record.created
    delete_run(blend)
    at = render("train")
    blend_runs([ensemble, run_of(trained, "finetune")], Workspace(trained.root))
    st.cache_resource.clear()
    at.run()
    assert at.selectbox(key="result_box").value == ensemble.id


def test_a_fine_tuned_run_is_not_explained_by_columns_and_says_so(trained, no_workers):
    run = run_of(trained, "finetune")
    at = render("explain", run=run.id)
    assert "not explained by features: it trained encoders, which read sound and text" in text(at)
    assert "Choose an ensemble above" in text(at)
    assert not [button for button in at.button if button.key == "explain"]
    at.button(key="layers_encoder:facebook/wav2vec2-base").click().run()
    assert [job.kind for job in no_workers] == ["layers"]
    assert render("explain", run=run.id).button(key="see_result").click().run().title[0].value == "Fine-tune"
    assert render("explain").selectbox(key="run_box").value == run_of(trained, "ensemble").id  # rather what can be explained
    assert "it is a blend of other runs; explain those" in text(render("explain", run=run_of(trained, "blend").id))


def test_predict_scores_with_a_fine_tuned_run_as_it_is(trained, no_workers):
    run = run_of(trained, "finetune")
    at = render("predict", run=run.id)
    assert not [box for box in at.number_input if str(box.key).startswith("predict_tta")]
    assert "reads the column said" in text(at)
    at.button(key="try_example").click().run()
    [job] = no_workers
    assert "tta" not in job.request
    perform(job, work)
    at = render("predict", job=job.id)
    assert "column=said" not in text(at)
    assert "said is not known of a clip without its table" in text(at).lower()
    assert len(at.get("vega_lite_chart")) == 1
    assert [box for box in render("predict", run=run_of(trained, "ensemble").id).number_input if box.key == "predict_tta_0"]


def test_runs_ranks_compares_and_packs_a_fine_tuned_run(trained):
    run, ensemble = run_of(trained, "finetune"), run_of(trained, "ensemble")
    at = render("runs", run=run.id, compare=ensemble.id)
    [table] = [frame.value for frame in at.dataframe if "rmse" in frame.value]
    assert "fine-tuned" in table["members"].tolist()
    assert "open_explain" not in [button.key for button in at.button]
    assert "cannot be compared" not in text(at)
    [settings] = [frame.value for frame in at.dataframe if "Setting" in frame.value and len(frame.value.columns) == 3]
    assert settings["Setting"].iloc[0] == "ensemble.members"  # what both have, first
    assert "finetune.rank" in settings["Setting"].tolist()
    assert at.button(key="open_result").click().run().title[0].value == "Fine-tune"
    assert runs.matching([run, ensemble], "distilbert") == [run]
    assert runs.whole(run).count(b"heads.safetensors") >= 2
    describe_run(run, name="with words")
    st.cache_resource.clear()
    assert "with words" in text(render("runs", run=run.id))


def test_home_leads_to_a_fine_tuned_run_that_is_best(trained):
    for kind in ("ensemble", "blend"):
        shutil.rmtree(run_of(trained, kind).folder)
    run = run_of(trained, "finetune")
    st.cache_resource.clear()
    at = render("home")
    said = text(at)
    better = run.scores.oof_rmse < run.scores.constant_rmse
    assert ("A fine-tuned run is ready" if better else "Train another") in said
    assert "Explain it" not in said
    assert at.button(key="see_result").click().run().title[0].value == "Fine-tune"
    assert session.page_of(run) == run.kind.page


def test_where_a_fold_goes_back_what_came_later_is_void():
    told = [*steps(0)[:6], *steps(1)[:2], *steps(0)[:3]]
    assert finetune.step_table(told)[["fold", "step"]].values.tolist() == [[1, 1], [1, 2], [1, 3], [2, 1], [2, 2]]
    epochs = [EpochScored(0, number, rmse, 0.5) for number, rmse in ((1, 3.0), (2, 1.0), (3, 2.0))]
    table = finetune.epoch_table(epochs)
    assert table["best"].tolist() == [False, True, False]
    assert finetune.epoch_table([*epochs, *epochs[:1]])["best"].tolist() == [True]
    assert finetune.epoch_table([]).empty


def test_axes_stand_still_while_the_curves_grow():
    for told in ([], steps(0)[:1], [*steps(0), *steps(1)]):
        loss = finetune.loss_chart(finetune.step_table(told), 2, 8, "huber").to_dict()
        assert loss["encoding"]["x"]["scale"]["domain"] == [0, 8]
        assert loss["encoding"]["color"]["scale"]["domain"] == [1, 2]
        assert loss["encoding"]["y"]["title"] == "Loss (Huber)"
        rate = finetune.rate_chart(finetune.step_table(told), 8).to_dict()
        assert rate["encoding"]["x"]["title"] == "Step of the fold"
    epochs = finetune.epoch_chart(finetune.epoch_table([]), 2, 5).to_dict()
    assert epochs["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0.5, 5.5]
    assert epochs["layer"][0]["encoding"]["y"]["title"] == "RMSE, validation rows"


def recorded(*events, every_s=1.0, start=0.0):
    return [Recorded(start + number * every_s, event) for number, event in enumerate(events)]


def test_an_epoch_takes_as_long_as_its_steps_and_what_is_told_again_takes_none():
    assert epoch_seconds(recorded(*steps(0)[:1])) is None
    first = recorded(JobStarted(1, "a"), FinetuneStarted(2, 2, 1, 2), *steps(0)[:6], every_s=2.0)
    assert epoch_seconds(first) == pytest.approx(8.0)  # four steps of two seconds
    again = recorded(JobStarted(2, "a"), FinetuneStarted(2, 2, 1, 2), *steps(0)[:6], every_s=0.001, start=100.0)
    after = recorded(*steps(0)[6:], every_s=2.0, start=130.0)
    assert epoch_seconds([*first, *again, *after]) == pytest.approx(8.0)


def test_the_next_one_takes_as_long_as_the_last_at_most():
    settings = FinetuneSettings(folds=2, epochs=2, batch_clips=3)
    told = recorded(FinetuneStarted(2, 2, 1, 2), *steps(0))
    heard = ExtractSettings()
    paces = known_paces([(settings, heard, told), (settings.replace(audio_encoder="lora"), heard, [])], 30)
    key = alike(settings, heard)
    assert paces == {key: Pace(pytest.approx(4.0 / 12), 1.5)}  # an epoch of four seconds, on 12 of the 15 clips of a half
    assert finetuning_seconds(settings, 30, paces[key]) == pytest.approx(ENCODERS_S + 2 * 2 * 4.0)
    assert finetuning_seconds(settings, 100, paces[key]) == pytest.approx(ENCODERS_S + 2 * 2 * 40 / 3)
    assert alike(settings.replace(epochs=9, learning_rate=1.0), heard) == key
    assert key not in {
        alike(settings.replace(text="none"), heard),
        alike(settings.replace(batch_clips=1), heard),
        alike(settings, heard.replace(max_seconds=5.0)),
        alike(settings, heard.replace(slow_down=10.0)),
    }


def test_curves_of_an_attempt_that_does_not_count_any_more_are_gone(ready):
    job = claim(ready, folds=2, epochs=2)
    begin(ready, job)
    ready.tell(job, FinetuneStarted(2, 2, 900, 100_000), *steps(0), FoldScored(0, 3.0), *steps(1)[:3])
    begin(ready, job)
    ready.tell(job, BegunAnew(), FinetuneStarted(2, 2, 900, 100_000), *steps(0)[:2])
    told = [one.event for one in resources.events(job.events)]
    assert [event.step for event in told if isinstance(event, StepDone)] == [1, 2]
    assert epoch_seconds(recorded(*steps(0), JobStarted(2, "a"), BegunAnew(), *steps(0)[:3], every_s=2.0)) is not None


def test_a_fold_that_stopped_early_counts_as_its_whole():
    told = recorded(FinetuneStarted(2, 4, 1, 2), *steps(0, epochs=4)[:6])
    progress = live.progress_of(told)
    assert (progress.unit, progress.done, progress.total) == ("epoch", 1.5, 8)
    told += recorded(FoldScored(0, 1.0), *steps(1, epochs=4)[:2])
    assert live.progress_of(told).done == 4.5


def test_the_live_line_tells_of_a_device_that_is_taken_and_of_memory(ready):
    job = claim(ready)
    with FileLock(job.lock):
        begin(ready, job)
        ready.tell(job, StageStarted("waiting: another job has the H100"))
        assert "Waiting: another job has the H100 ..." in text(render("finetune"))
        ready.tell(job, DeviceChosen("cuda", "H100"), FinetuneStarted(5, 15, 1, 2), BatchHalved("fine-tuning", 2))
        assert "0 of 75 epochs · PyTorch on cuda (H100); memory allows batches of 2" in text(render("finetune"))
    assert live.device_in_words(live.progress_of(recorded(BatchHalved("fine-tuning", 1)))) == "memory allows batches of 1"


class Asked(Exception):
    pass


def take(line: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What a command line asks for."""

    def ask(kind, request, workspace):
        raise Asked(kind, to_json(request), workspace.root)

    monkeypatch.setattr(common, "do", ask)
    with pytest.raises(Asked) as asked:
        commands_module.main(shlex.split(line)[1:])
    kind, request, root = asked.value.args
    return {"kind": kind, "workspace": root, **request}


SELDOM_CHANGED = {"warmup": 0.2, "weight_decay": 0.1, "clip_norm": 2.0, "rank": 4, "alpha": 32, "dropout": 0.3, "level": 0.8}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"text": "column=said by whom", "group_by": "speaker", "folds": 3, "stratified": True, "seed": 7},
        {"text": "none", "audio_encoder": "lora", "layer": 2, "audio_model": "/models/a b", "device": "cpu"},
        {"text": "whisper=openai/whisper-base", "audio_encoder": "none", "text_model": "some/model", "fusion": "gated"},
        {"epochs": 3, "patience": 2, "batch_clips": 8, "accumulation": 2, "loss": "mse", "concordance": 0.5},
        {"learning_rate": 1.5e-4, "head_learning_rate": 3e-3},
        SELDOM_CHANGED,
    ],
)
def test_the_command_asks_for_the_same(ready, changed, monkeypatch):
    settings, extract = FinetuneSettings(**changed), ExtractSettings(max_seconds=10.0)
    layout = Layout(audio=str(ready.dataset / "audios"))
    line = as_command.finetune_command(ready.dataset, layout, extract, settings, ready.root)
    asked = take(line, monkeypatch)
    assert asked == {
        "kind": "finetune",
        "workspace": ready.root,
        "dataset": str(ready.dataset),
        "layout": to_json(layout),
        "extract": to_json(extract),
        "finetune": to_json(settings),
    }


def test_the_page_shows_the_command_of_its_settings(ready, monkeypatch):
    at = render("finetune")
    at.number_input(key="finetune_epochs").set_value(3)
    at.segmented_control(key="finetune_audio_encoder").set_value("lora")
    at.selectbox(key="finetune_text").set_value("column=said").run()
    [line] = [one.value for one in at.code if one.value.startswith("earmark finetune")]
    wanted = FinetuneSettings(epochs=3, audio_encoder="lora", text="column=said")
    assert take(line, monkeypatch)["finetune"] == to_json(wanted)


def test_the_page_loads_no_pytorch():
    code = (
        "import sys; from app.views import epochs, finetune, result; from core.multimodal.config import FinetuneSettings; "
        "finetune.models_of(FinetuneSettings()); print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_a_result_of_another_version_is_said_to_be_one(trained):
    run = run_of(trained, "finetune")
    (run.folder / "result.json").write_text("{}")
    assert "another version of Earmark" in text(render("finetune"))
    assert np.isfinite(run.scores.oof_rmse)


def test_a_job_that_is_done_and_left_nothing_is_told(ready):
    ready.end(claim(ready), JobDone())
    assert "run.json" in text(render("finetune"))
