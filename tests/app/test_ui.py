"""Charts, words, addresses and uploads are functions, and are tested like functions."""

import io

import numpy as np
import pandas as pd
import pytest

from app import clip_urls, resources, uploads
from app.charts import clips, features, predict, training
from app.views import live
from core.data.audio import read_clip
from core.data.treatment import AS_RECORDED, Treatment
from core.events import (
    ClipExtracted,
    EventLog,
    ExtractionStarted,
    FitFinished,
    JobStarted,
    Recorded,
    RoundsScored,
    StageStarted,
    TrainingStarted,
)
from tests.conftest import tone, write_clip


def rows(chart) -> list[dict]:
    spec = chart.to_dict()
    return [row for data in spec["datasets"].values() for row in data]


def test_each_clip_is_in_one_bar():
    for labels in (np.arange(50) % 7, np.random.default_rng(0).normal(size=50), np.full(50, 3.0)):
        assert sum(row["clips"] for row in rows(clips.label_histogram(labels))) == 50
        assert sum(row["clips"] for row in rows(clips.duration_histogram(labels))) == 50


def test_the_fold_chart_keeps_its_axes_while_it_fills():
    fits = [FitFinished("b", 0, 1.5, None, 0.1, 1.5, 3.0), FitFinished("a", 1, 1.0, 7, 0.1, 1.3, 3.1)]
    for some in (fits[:0], fits[:1], fits):
        spec = training.fold_chart(training.fold_table(some, 1), ("a", "b"), 5, 1).to_dict()
        assert spec["encoding"]["x"]["scale"]["domain"] == ["1", "2", "3", "4", "5"]
        assert spec["encoding"]["color"]["scale"]["domain"] == ["a", "b"]
    assert rows(training.fold_chart(training.fold_table(fits, 1), ("a", "b"), 5, 1)) == [
        {"fold": "1", "repeat": 1, "rmse": 1.5, "member": "b"},
        {"fold": "2", "repeat": 1, "rmse": 1.0, "member": "a"},
    ]
    assert [row["rmse"] for row in rows(training.running_chart(training.running_table(fits, 10, None), 10, False))] == [
        1.5,
        3.0,
        1.3,
        3.1,
    ]


def test_repeats_stand_one_after_the_other_and_are_not_joined():
    fits = [FitFinished("a", fold, 1.0, 7, 0.1, 1.3, 3.1, repeat) for repeat in (0, 1) for fold in (0, 1)]
    chart = training.fold_chart(training.fold_table(fits, 2), ("a",), 2, 2)
    spec = chart.to_dict()
    assert spec["encoding"]["x"]["scale"]["domain"] == ["1.1", "1.2", "2.1", "2.2"]
    assert [row["fold"] for row in rows(chart)] == ["1.1", "1.2", "2.1", "2.2"]
    assert spec["encoding"]["detail"]["field"] == "repeat"


def test_the_best_run_before_is_a_rule_over_all_fits():
    chart = training.running_chart(training.running_table([FitFinished("a", 0, 1.5, None, 0.1, 1.5, 3.0)], 10, 0.75), 10, True)
    assert [(row["fits"], row["rmse"]) for row in rows(chart) if row["what"] == "best run before"] == [(1, 0.75), (10, 0.75)]


def test_rounds_that_a_fit_told_twice_are_drawn_once():
    rounds = [RoundsScored("a", 0, fold, number, 1 / number) for fold in (0, 1) for number in (1, 2, 4)]
    chart = training.round_chart(training.round_table([*rounds, *rounds[:2]]), 3)
    assert len(rows(chart)) == 6
    spec = chart.to_dict()
    assert spec["encoding"]["color"]["scale"]["domain"] == [1, 2, 3]
    assert "early-stopping rows" in spec["encoding"]["y"]["title"]


def test_weights_keep_the_order_of_the_members():
    table = pd.DataFrame({"member": ["svr", "a", "z"], "weight": [0.25, 0.5, 0.25], "oof_rmse": [1.0, 0.9, 1.2]})
    chart = training.member_weights(table)
    assert rows(chart) == table.to_dict("records")
    assert chart.to_dict()["encoding"]["y"]["sort"] is None


def test_what_helps_stands_left_of_the_line_and_the_line_is_in_the_middle():
    table = pd.DataFrame([["A", -0.2, -0.3, -0.1, "helps"], ["B", 0.0, -0.1, 0.1, "cannot tell"]],
                         columns=["switch", "difference", "low", "high", "verdict"])  # fmt: skip
    spec = training.verdicts(table).to_dict()
    low, high = spec["layer"][1]["encoding"]["x"]["scale"]["domain"]
    assert low == -high
    assert high > 0.3


def test_a_perfect_prediction_stands_on_the_diagonal():
    oof = pd.DataFrame({"filename": ["a", "b"], "label": [1.0, 2.0], "oof_prediction": [1.0, 2.0], "fold": [1, 2]})
    spec = training.oof_scatter(oof).to_dict()
    x, y = (spec["layer"][1]["encoding"][axis]["scale"]["domain"] for axis in "xy")
    assert x == y


def test_predictions_outside_the_labels_are_still_on_the_chart():
    frame = pd.DataFrame({"file": ["a", "b"], "prediction": [12.0, -4.0], "low": [11.0, np.nan], "high": [15.0, np.nan]})
    chart = predict.predictions_on_labels([1, 2, 3], frame)
    low, high = chart.to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low < -4
    assert high > 15
    assert [row["file"] for row in rows(chart) if "file" in row] == ["b", "a"]  # the lowest at the bottom


def test_the_waveform_holds_the_highest_sample(tmp_path):
    y = np.zeros(22050)
    y[7000] = 0.75
    chart = rows(clips.waveform(read_clip(write_clip(tmp_path / "a.wav", y))))
    assert max(row["high"] for row in chart) == pytest.approx(0.75, abs=1e-4)
    assert len(chart) == 800


@pytest.mark.parametrize("frequency_hz", [110, 440, 3520])
def test_a_tone_is_the_brightest_row_at_its_frequency(tmp_path, frequency_hz):
    clip = read_clip(write_clip(tmp_path / "a.wav", tone(frequency_hz)))
    seconds, frequencies_hz, level_db = clips.spectrogram_levels(clip)
    assert level_db.shape == (len(frequencies_hz), len(seconds))
    brightest = frequencies_hz[level_db.mean(axis=1).argmax()]
    assert brightest == pytest.approx(frequency_hz, abs=22050 / 1024 + 0.035 * frequency_hz)  # one bin, and one row
    assert level_db.max() == 0


def test_a_clip_shorter_than_a_frame_and_a_silent_one_have_a_spectrogram(tmp_path):
    for name, y, sr in [("short", tone(440, seconds=0.1), 192000), ("silent", np.zeros(4096), 8000)]:
        clip = read_clip(write_clip(tmp_path / f"{name}.wav", np.resize(y, 2048) if name == "short" else y, sr=sr))
        _, _, level_db = clips.spectrogram_levels(clip)
        assert np.isfinite(level_db).all()
        assert (level_db.max() == -80) == (name == "silent")
        clips.spectrogram(clip)
        clips.waveform(clip)


def counted(recorded):
    progress = live.progress_of(recorded)
    return progress.unit, progress.done, progress.total


def test_rate_and_steps_are_counted_from_events():
    recorded = [Recorded(0.0, ExtractionStarted(9, 3, 6)), *(Recorded(float(at), ClipExtracted("x", 1.0)) for at in (1, 2, 3))]
    assert counted(recorded) == ("clip", 3, 6)
    assert live.rate_per_s(recorded, ClipExtracted) == pytest.approx(1.0)
    assert live.rate_per_s(recorded[:2], ClipExtracted) is None
    assert live.rate_per_s([], ClipExtracted) is None
    assert counted([*recorded, Recorded(4.0, TrainingStarted(25))]) == ("fit", 0, 25)


def test_what_follows_the_start_of_a_stage_is_not_the_ensembles():
    fits = [FitFinished("a", fold, 1.0, None, 0.1, 1.0, 2.0) for fold in (0, 1)]
    recorded = [Recorded(float(at), event) for at, event in enumerate([TrainingStarted(1), fits[0], StageStarted("self-test")])]
    assert live.progress_of(recorded[:2]).stage is None
    assert counted(recorded) == ("", 0, 0)
    recorded += [Recorded(3.0, TrainingStarted(9)), Recorded(4.0, fits[1])]
    assert [one.event for one in live.of_ensemble(recorded)] == [TrainingStarted(1), fits[0]]
    assert live.progress_of(recorded).stage == "self-test"
    assert counted(recorded) == ("fit", 1, 9)


def test_a_new_attempt_keeps_the_rounds_of_the_one_before_and_nothing_else(tmp_path):
    told = [JobStarted(1, "a"), TrainingStarted(2), RoundsScored("a", 0, 0, 1, 0.5), JobStarted(2, "a"), TrainingStarted(3)]
    with EventLog(tmp_path / "events.jsonl") as log:
        for event in told:
            log.append(event)
    assert [one.event for one in resources.events(tmp_path / "events.jsonl")] == told[2:]


def test_an_address_names_only_what_a_page_has_shown(tmp_path):
    address = clip_urls.address(tmp_path / "secret name.wav")
    assert "secret" not in address
    assert clip_urls.find(address.rsplit("/", 1)[1]) == (tmp_path / "secret name.wav", AS_RECORDED)
    slowed = clip_urls.address(tmp_path / "secret name.wav", Treatment("right", 10))
    assert clip_urls.find(slowed.rsplit("/", 1)[1]) == (tmp_path / "secret name.wav", Treatment("right", 10))
    assert clip_urls.find(address.rsplit("/", 1)[1]) == (tmp_path / "secret name.wav", AS_RECORDED)
    assert clip_urls.find("../../etc/passwd") is None


class Sent(io.BytesIO):
    file_id = "1"
    name = "../../a/b c$(x).wav"


def test_an_upload_stays_in_its_folder_and_is_kept_once(tmp_path):
    first, second = (uploads.keep(Sent(b"sound"), tmp_path) for _ in range(2))
    assert first == second
    assert first.parent.parent == tmp_path
    assert first.name == "b c$(x).wav"
    assert first.read_bytes() == b"sound"


@pytest.mark.parametrize("name", ["", "..", "/", "\\", "...", "\0", "a" * 400 + ".wav", "\u97f3" * 100 + ".flac", "\ud800.wav"])
def test_any_name_of_an_upload_becomes_a_file_name(tmp_path, name):
    sent = Sent(b"x")
    sent.name = name
    path = uploads.keep(sent, tmp_path)
    assert path.read_bytes() == b"x"
    assert path.suffix == (".wav" if name.endswith(".wav") else ".flac" if name.endswith(".flac") else "")
    assert path.parent.parent == tmp_path


def test_each_clip_is_a_point_that_can_be_clicked():
    frame = pd.DataFrame({"clip": ["a", "b"], "label": [1.0, 2.0], "value": [3.0, 4.0]})
    chart = features.column_by_label(frame, "loudness (dB)")
    spec = chart.to_dict()
    assert rows(chart) == frame.to_dict("records")
    assert spec["encoding"]["y"]["title"] == "loudness (dB)"
    assert spec["params"][0]["select"] == {"type": "point", "fields": ["clip"]}
    assert {"field": "clip", "type": "nominal"} in spec["encoding"]["tooltip"]


def test_the_spread_counts_each_value_that_is_there_once_and_as_a_share_of_its_table():
    values = {"train": np.array([1.0, 2.0, 2.0, np.nan]), "test": np.array([5.0])}
    bars = pd.DataFrame(rows(features.column_histogram(values, "x")))
    assert bars.groupby("table")["clips"].sum().to_dict() == {"train": 3, "test": 1}
    assert bars.groupby("table")["share"].sum().to_dict() == pytest.approx({"train": 1.0, "test": 1.0})


@pytest.mark.parametrize("values", [np.full(4, np.nan), np.empty(0), np.full(4, 7.0)])
def test_a_column_without_values_or_with_one_only_has_a_picture(values):
    bars = rows(features.column_histogram({"train": values}, "x"))
    there = values[np.isfinite(values)]
    assert sum(bar["clips"] for bar in bars) == len(there)
    points = features.column_by_label(pd.DataFrame({"clip": ["a"] * len(there), "label": there, "value": there}), "x")
    assert points.to_dict()["$schema"].startswith("https://vega.github.io/schema/vega-lite/")


def test_the_definition_of_a_column_is_shown_on_hover():
    table = pd.DataFrame([["b", -0.9, -0.8, 9, "Hz", "height"], ["a", 0.5, 0.4, 9, "s", "length"]],
                         columns=["column", "spearman", "pearson", "clips", "unit", "definition"])  # fmt: skip
    chart = features.strongest_columns(table, "a")
    spec = chart.to_dict()
    assert [row["chosen"] for row in rows(chart)] == [False, True]
    assert spec["encoding"]["y"]["sort"] is None  # as the table has them
    assert {"definition", "unit"} <= {one["field"] for one in spec["encoding"]["tooltip"]}


def test_the_chart_of_missing_values_grows_with_its_columns():
    def chart(columns):
        some = [(f"c{number}", split, 0.5, 3, "silent clip", "x") for number in range(columns) for split in ("train", "test")]
        names = ["column", "table", "share", "clips", "nan_when", "definition"]
        return features.missing_values(pd.DataFrame(some, columns=names)).to_dict()

    heights = [chart(columns)["height"] for columns in (1, 2, 40)]
    assert heights[1] - heights[0] == (heights[2] - heights[1]) / 38
    assert "nan_when" in {one["field"] for one in chart(1)["encoding"]["tooltip"]}
