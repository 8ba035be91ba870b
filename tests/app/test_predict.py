"""The Predict page in every state, and what it says of clips."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from app.charts import predict
from app.views import scored
from app.words import decimals
from core import jobs
from core.cli.console import print_prediction
from core.events import JobCancelled, StageStarted
from core.extraction.export import definitions
from core.insight.neighbours import FarColumn, Neighbour, Neighbourhood
from core.jobs.runner import perform
from core.tasks.kinds import work
from core.tasks.score import Prediction
from core.workspace import to_json
from tests.app.conftest import render, text
from tests.conftest import tone, write_clip, write_table


def score(place, **asked):
    job, _ = jobs.claim("predict", {"run": "latest", "clips": [], **asked}, place.root / "jobs")
    perform(job, work)
    return job


def test_without_a_clip_there_is_one_action_and_it_scores_a_clip_of_the_test_table(finished, no_workers):
    at = render("predict")
    assert [button.key for button in at.button if not button.disabled] == ["try_example"]
    at.button(key="try_example").click().run()
    [job] = no_workers
    assert job.request["clips"] == [str(finished.dataset / "audios/test/testa0x.wav")]
    assert "Scoring: getting ready" in text(at)
    perform(job, work)
    said = text(render("predict", job=job.id))
    assert "testa0x.wav" in said
    assert "Nearest training clips" in said


def test_what_the_job_is_doing_is_said_while_models_are_read(finished):
    job, _ = jobs.claim("predict", {"run": "latest", "clips": ["x.wav"]}, finished.root / "jobs")
    finished.tell(job, StageStarted("reading the models"))
    assert "Reading the models" in text(render("predict", job=job.id))
    finished.end(job, JobCancelled())
    at = render("predict", job=job.id)
    assert "It was cancelled" in text(at)
    assert at.button(key=f"resume_{job.id}")


def test_one_clip_is_shown_with_digits_that_its_error_deserves(finished):
    finished.amend_run(scores={"oof_rmse": 0.31})
    job = finished.predict(finished.dataset / "audios/test/testa0x.wav")
    [one] = jobs.result(job)["predictions"]
    at = render("predict", job=job.id)
    assert at.metric[0].value == f"{one['prediction']:.2f}"
    assert f"{one['low']:.2f} to {one['high']:.2f} in 90% of cases" in text(at)
    assert "whose error is RMSE 0.3100" in text(at)


def test_a_clip_that_was_trained_on_is_said_to_be_and_is_its_own_nearest(finished):
    job = finished.predict(finished.dataset / "audios/train/trainc0x.wav")
    [one] = jobs.result(job)["predictions"]
    assert one["trained_on"] == ["trainc0x"]
    assert one["surroundings"]["nearest"][0] == {"file": "trainc0x", "label": 3.0, "distance": 0.0}
    at = render("predict", job=job.id)
    assert "The run was trained on this very clip, as trainc0x" in text(at)
    near = next(table.value for table in at.dataframe if "distance" in table.value)
    assert near["same"].tolist() == [True, False, False, False, False]
    assert len(at.get("audio")) == 2  # the clip and its nearest


def test_columns_outside_and_far_neighbours_are_reasons_to_doubt():
    far = {"value": 9.0, "low": 0.0, "high": 1.0, "spreads": 3.0}
    around = {"columns": 262, "outside_count": 8, "outside_usual": 5, "novelty": 0.99, "nearest": []}
    around["outside"] = [{"column": f"mfcc.c{number}"} | far for number in range(5)]
    one, other = scored.doubts({"warnings": [], "surroundings": around})
    assert one.startswith("8 of 262 features are outside the training range: mfcc.c0, mfcc.c1, mfcc.c2 and 5 more;")
    assert other == "It is unlike the training clips: its nearest is further away than 99% of them are from theirs."
    assert scored.doubts({"warnings": [], "surroundings": around | {"outside_usual": 8, "novelty": 0.9}}) == []


def test_the_page_and_the_console_doubt_the_same_predictions_for_the_same_reasons(capsys):
    far = FarColumn("mfcc.c0", value=9.0, low=0.0, high=1.0, spreads=3.0)
    for outside_count, novelty, doubtful in ((0, 0.95, 0), (1, 0.5, 0), (2, 0.5, 1), (0, 0.951, 1), (2, 1.0, 2)):
        around = Neighbourhood(20, outside_count, 1, (far,), (Neighbour("a", 1.0, 0.5),), novelty)
        prediction = Prediction("new.wav", 1.0, (), 0.0, 2.0, surroundings=around)
        print_prediction(prediction)
        printed, shown = capsys.readouterr().out, scored.doubts(to_json(prediction))
        assert len(around.doubts()) == len(shown) == printed.count("[") == doubtful
        for doubt in around.doubts():
            assert f"[{doubt}]" in printed
            assert f"{doubt[0].upper()}{doubt[1:]}." in shown


def test_a_prediction_that_was_stored_under_an_earlier_name_of_novelty_is_still_read():
    around = {"columns": 20, "outside_count": 0, "outside_usual": 1, "outside": [], "nearest": []}
    [doubt] = scored.doubts({"warnings": [], "surroundings": around | {"further_than": 1.0}})
    assert doubt == "It is unlike the training clips: its nearest is further away than any of them is from its own."


def test_many_clips_stand_in_a_table_and_the_one_that_is_picked_below(finished):
    clips = sorted((finished.dataset / "audios/test").iterdir())
    job = finished.predict(*clips)
    at = render("predict", job=job.id)
    assert at.metric[0].label == "testa0x\\.wav"
    assert at.dataframe[0].value["file"].tolist() == ["testa0x.wav", "testb0x.wav", "testc0x.wav"]
    at.session_state["prediction_table"] = {"selection": {"rows": [], "columns": [], "cells": [[2, "file"]]}}
    at.run()
    assert at.metric[0].label == "testc0x\\.wav"


def test_bad_clips_are_named_with_their_reason_and_one_of_another_kind_is_doubted(finished, tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "_not_ *audio*.wav").write_text("this is text")
    write_clip(tmp_path / "short.wav", np.zeros(10))
    noise = np.random.default_rng(5).normal(size=44100) * np.linspace(0, 0.3, 44100)
    write_clip(tmp_path / "noise.wav", noise, sr=44100)
    at = render("predict", job=finished.predict(*sorted(tmp_path.glob("*.wav"))).id)
    told = [error.value.replace("\\", "") for error in at.error]
    assert len(told) == 3
    assert any(one.startswith("empty.wav: the file is empty") for one in told)
    assert any(one.startswith("_not_ *audio*.wav: not audio") for one in told)
    assert any(one.startswith("short.wav: too short") for one in told)
    assert at.metric[0].label == "noise\\.wav"
    assert "It is unlike the training clips" in text(at)
    far = next(table.value for table in at.dataframe if "beyond" in table.value)
    assert far["beyond"].is_monotonic_decreasing
    assert far["definition"].str.len().gt(10).all()
    assert len(far) == 5


def test_a_table_with_labels_is_scored_against_them_without_clips_that_were_trained_on(finished, tmp_path):
    folder = tmp_path / "new"
    rows = []
    for index in range(4):
        write_clip(folder / f"new{index}.wav", 0.12 * (1 + index) * tone(500 + index, seconds=0.5))
        rows.append([f"new{index}", 1 + index])
    shutil.copy(finished.dataset / "audios/train/traina0x.wav", folder / "seen.wav")
    table = write_table(folder / "new.csv", ["filename", "label"], [*rows, ["seen", 1], ["gone", 2]])
    job = score(finished, table=str(table), layout={})
    result = jobs.result(job)
    assert result["evaluation"]["trained_on"] == ["seen"]
    errors = [one["prediction"] - one["label"] for one in result["predictions"] if one["file"] != "seen"]
    assert result["evaluation"]["scores"]["rmse"] == pytest.approx((sum(error**2 for error in errors) / 4) ** 0.5)
    at = render("predict", job=job.id)
    said = text(at)
    assert "Against the labels" in said
    assert "1 clip left out of these scores" in "".join(one.value for one in at.info)
    assert "gone: missing: no such file in new" in said
    assert "4 clips: too few to say much" in said


def test_labels_of_clips_that_were_all_trained_on_are_not_compared_with(finished):
    job = score(finished, table=str(finished.dataset), layout={})
    assert len(jobs.result(job)["predictions"]) == 15
    assert "Not compared with the labels: none of the 12 labelled clips is new" in text(render("predict", job=job.id))


def test_a_path_on_the_server_is_looked_at_before_it_is_scored(finished, no_workers):
    at = render("predict")
    at.segmented_control(key="predict_source").set_value("On this server").run()
    box = at.text_input(key="predict_path")
    box.set_value(str(finished.dataset / "nowhere")).run()
    assert "no such folder or file" in text(at)
    assert at.button(key="score").disabled
    box.set_value(str(finished.dataset)).run()
    assert "loudness: 15 clips, 12 with a label." in text(at)
    at.text_input(key="predict_filename_column").set_value("name").run()
    assert "expected a column 'name'" in text(at)
    at.text_input(key="predict_filename_column").set_value("filename").run()
    assert f"--table {finished.dataset}" in text(at)
    at.button(key="score").click().run()
    assert no_workers[-1].request["table"] == str(finished.dataset)


def test_a_table_that_is_uploaded_with_clips_is_their_table(finished, no_workers):
    clip = (finished.dataset / "audios/test/testa0x.wav").read_bytes()
    at = render("predict")
    at.file_uploader[0].upload("t.csv", b"filename,label\na,3\nb,4\n", "text/csv")
    at.run()
    assert "Upload the clips that t.csv names too" in text(at)
    assert at.button(key="score").disabled
    at.file_uploader[0].set_value([("t.csv", b"filename,label\na,3\nb,4\n", "text/csv"), ("a.wav", clip, "audio/wav")])
    at.run()
    assert "t.csv: 1 clip, 1 with a label; 1 row cannot be used" in text(at)
    at.button(key="score").click().run()
    asked = no_workers[-1].request
    assert asked["table"].endswith("/t.csv")
    assert [clip.rsplit("/", 1)[-1] for clip in asked["clips"]] == ["a.wav"]


def test_the_same_clip_twice_is_scored_once_and_said_to_be(finished):
    clip = (finished.dataset / "audios/test/testa0x.wav").read_bytes()
    at = render("predict")
    at.file_uploader[0].set_value([("a.wav", clip, "audio/wav"), ("a.wav", clip, "audio/wav")])
    at.run()
    assert "a.wav was uploaded twice and is scored once" in text(at)
    assert "Score 1 clip" in text(at)


def test_a_recording_is_said_to_sound_otherwise(finished):
    at = render("predict")
    at.segmented_control(key="predict_source").set_value("Recording").run()
    assert "Browsers suppress noise and level the loudness" in text(at)
    assert "The first 45 s are analysed" in text(at)


def test_an_earlier_scoring_can_be_opened_again(finished):
    one = finished.predict(finished.dataset / "audios/test/testa0x.wav")
    other = finished.predict(finished.dataset / "audios/test/testb0x.wav")
    at = render("predict", job=other.id)
    assert at.selectbox(key="predict_earlier").options[0].endswith(f"testb0x.wav · run {other.request['run']}")
    at.selectbox(key="predict_earlier").set_value(one.id).run()
    assert at.metric[0].label == "testa0x\\.wav"
    assert at.query_params["job"] == one.id


def test_a_result_of_an_earlier_version_is_shown_without_what_it_lacks(finished):
    job = finished.predict(finished.dataset / "audios/test/testa0x.wav")
    path = job.folder / jobs.RESULT
    result = json.loads(path.read_text())
    kept = {name: result["predictions"][0][name] for name in ("file", "prediction", "warnings", "low", "high")}
    path.write_text(json.dumps({"run_id": result["run_id"], "predictions": [kept]}))
    said = text(render("predict", job=job.id))
    assert "testa0x.wav" in said
    assert "the run, or the scoring, is of an earlier version" in said


def test_a_run_without_its_matrix_scores_all_the_same(finished):
    for path in finished.root.glob("jobs/*/matrix.npz"):
        path.unlink()
    job = finished.predict(finished.dataset / "audios/train/traina0x.wav")
    [one] = jobs.result(job)["predictions"]
    assert one["prediction"] is not None
    assert one["surroundings"] is None
    assert one["trained_on"] == ["traina0x"]
    assert "Not compared with the training clips" in text(render("predict", job=job.id))


def test_predictions_of_a_run_that_is_gone_say_so(finished):
    job = finished.predict(finished.dataset / "audios/test/testa0x.wav")
    path = job.folder / jobs.RESULT
    path.write_text(path.read_text().replace(jobs.result(job)["run_id"], "20200101-000000-0000"))
    assert "that scored these clips is gone" in text(render("predict", job=job.id))


def test_digits_after_the_point_are_two_of_the_error():
    assert [decimals(error) for error in (0.74, 0.074, 7.4, 74, 7400)] == [2, 3, 1, 0, 0]


def test_a_value_outside_stands_with_its_range_unit_and_definition():
    known = definitions(("ultra",))
    name = next(name for name, column in known.items() if column.unit == "s")
    table = scored.far_table([FarColumn(name, value=2.0, low=0.0, high=1.5, spreads=3.0)], known)
    assert table.iloc[0].tolist() == [name, "2", "0 to 1.5", "s", 3.0, known[name].definition]
    unknown = scored.far_table([FarColumn("table.age", value=2.0, low=0.0, high=1.5, spreads=3.0)], known)
    assert unknown["definition"].tolist() == [""]


def test_many_predictions_are_counted_in_shares_that_sum_to_one():
    spec = predict.predictions_beside_labels([1.0, 2.0, 3.0], np.linspace(0, 4, 500)).to_dict()
    for layer in spec["layer"]:
        rows = spec["datasets"][layer["data"]["name"]]
        assert sum(row["share"] for row in rows) == pytest.approx(1)


def test_both_axes_of_prediction_by_label_are_the_same():
    frame = pd.DataFrame({"clip": ["a", "b"], "label": [1, 5], "prediction": [2, 9], "low": [0, 8], "high": [3, 12]})
    spec = predict.predictions_by_label(frame).to_dict()
    point = spec["layer"][-1]["encoding"]
    assert point["x"]["scale"]["domain"] == point["y"]["scale"]["domain"]
    low, high = point["x"]["scale"]["domain"]
    assert low < 0
    assert high > 12


def test_a_loose_clip_is_asked_for_words_numbers_and_texts_of_the_table(finished, no_workers):
    features = ["mfcc", "table:age", 'table:device=["desk mic","phone"]', "transcript:column=said"]
    [path] = finished.root.glob("jobs/*/run.json")
    settings = json.loads(path.read_text())["settings"]
    finished.amend_run(settings=settings | {"extract": settings["extract"] | {"features": features}})
    at = render("predict")
    assert at.selectbox(key="predict_cell_device").options == ["desk mic", "phone"]
    at.selectbox(key="predict_cell_device").set_value("phone")
    at.number_input(key="predict_cell_age").set_value(31.5)
    at.text_input(key="predict_cell_said").set_value("so, well").run()
    at.button(key="try_example").click().run()
    assert no_workers[-1].request["columns"] == {"age": "31.5", "device": "phone", "said": "so, well"}
