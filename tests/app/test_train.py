"""The Train page after a training: which run is shown, its errors clip by clip and by group; and how long one will take."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from app import ui_charts_training, ui_result
from core.ensemble import EnsembleSettings
from core.events import FitFinished, Recorded
from core.forecast import COST_S, START_S, forecast, known_fits, scale
from core.runs import list_runs
from tests.app.conftest import render, text
from tests.conftest import write_run


@pytest.fixture
def oof():
    labels = np.repeat([1.0, 2.0, 3.0, 4.0], 5)
    return pd.DataFrame(
        {
            "filename": [f"clip_{number}" for number in range(20)],
            "label": labels,
            "fold": 1,
            "oof_prediction": labels + np.tile([0.5, -0.5, 0.0, 0.5, -0.5], 4) + (labels == 4),
            "low": labels - 1,
            "high": labels + np.where(labels == 4, -0.5, 1),
        }
    )


def test_the_result_of_the_newest_run_is_shown_and_named_in_the_address(finished):
    [run] = list_runs(finished.root / "jobs")
    at = render("train")
    assert at.query_params["run"] in (run.id, [run.id])
    assert run.id in text(at)
    assert not [box for box in at.selectbox if box.key == "result_box"]  # there is only one


def test_of_several_runs_the_address_chooses_and_a_nonsense_one_shows_the_newest(finished):
    [run] = list_runs(finished.root / "jobs")
    newer = write_run(
        finished.root / "jobs" / "29990101-000000-0000",
        created="2999-01-01",
        dataset=run.record["dataset"],
        settings=run.record["settings"],
        scores=run.scores,
        columns=run.record["columns"],
        model_files=run.record["model_files"],
    )
    for name, shown in ((run.id, run.id), (newer.id, newer.id), ("20200101-000000-0000", newer.id)):
        at = render("train", run=name)
        assert at.selectbox(key="result_box").value == shown
        assert at.query_params["run"] in (shown, [shown])


def test_a_run_that_has_come_since_is_shown_at_once(finished):
    [run] = list_runs(finished.root / "jobs")
    at = render("train")
    record = run.record
    newer = write_run(
        finished.root / "jobs" / "29990101-000000-0000",
        created="2999-01-01",
        **{name: record[name] for name in ("dataset", "settings", "scores", "columns", "model_files")},
    )
    at.run()
    assert at.selectbox(key="result_box").value == newer.id


def test_a_clicked_point_is_heard_with_its_error(finished):
    [run] = list_runs(finished.root / "jobs")
    oof = pd.read_csv(run.folder / "oof.csv")
    at = render("train")
    name = oof["filename"].iloc[4]
    at.session_state["oof_scatter"] = {"selection": {"clip": [{"clip": name}]}}
    at.run()
    row = oof.iloc[4]
    assert f"predicted {row['oof_prediction']:.3f}" in text(at)
    assert at.get("audio")


def test_the_largest_errors_stand_first(finished):
    [run] = list_runs(finished.root / "jobs")
    oof = pd.read_csv(run.folder / "oof.csv")
    [table] = [frame.value for frame in render("train").dataframe if "error" in frame.value]
    assert abs(table["error"].iloc[0]) == pytest.approx((oof["oof_prediction"] - oof["label"]).abs().max())
    assert table["error"].abs().is_monotonic_decreasing


def test_the_models_are_taken_away_with_their_record(finished):
    [run] = list_runs(finished.root / "jobs")
    with zipfile.ZipFile(io.BytesIO(ui_result.models_zip(run))) as archive:
        names = set(archive.namelist())
    assert names == {f"{run.id}/run.json", *(f"{run.id}/models/{name}" for name in run.record["model_files"])}


def test_links_lead_on_with_the_run(finished):
    [run] = list_runs(finished.root / "jobs")
    at = render("train")
    at.button(key="go_explain").click().run()
    assert at.title[0].value == "Explain"
    assert at.query_params["run"] in (run.id, [run.id])


def test_errors_by_group_are_those_of_its_clips(oof):
    table = ui_result.group_table(oof, pd.Series(["a"] * 15 + ["b"] * 5))
    assert table["group"].tolist() == ["b", "a"]
    assert table["clips"].tolist() == [5, 15]
    assert table["mean_error"].tolist() == pytest.approx([1.0, 0.0])
    assert table["rmse"].tolist() == pytest.approx([np.sqrt(1.2), np.sqrt(0.2)])
    assert len(ui_result.group_table(oof, pd.Series([None] * 20))) == 0


def test_mean_errors_by_label_keep_equal_labels_together(oof):
    bins = ui_result.error_bins(oof)
    assert bins["label"].tolist() == [1, 2, 3, 4]
    assert bins["error"].tolist() == pytest.approx([0, 0, 0, 1])
    assert bins["clips"].tolist() == [5] * 4
    assert len(ui_result.error_bins(oof.assign(label=2.0))) == 1


def test_coverage_by_label_finds_where_intervals_are_too_narrow(oof):
    table = ui_result.coverage_table(oof)
    assert table["share"].tolist() == [1, 1, 1, 0]
    assert table["label"].tolist() == ["1", "2", "3", "4"]
    spec = ui_charts_training.coverage_by_label(table, 0.9).to_dict()
    assert spec["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0, 1]


def fits(model, seconds, count=3):
    return [Recorded(0.0, FitFinished(model, fold, 1.0, None, seconds, 1.0, 2.0)) for fold in range(count)]


def test_a_training_takes_as_long_as_the_same_fits_took_before(tmp_path):
    run = write_run(tmp_path / "run", dataset={"fingerprint": "a", "train_clips": 400}, columns=["c"] * 289)
    known = known_fits([(run, fits("svr", 2.0) + fits("svr:mfcc", 4.0))])
    assert known == {("svr", "fast"): 3.0}
    settings = EnsembleSettings(members=("svr",), folds=5, repeats=2)
    ahead = forecast(settings, 400, 289, known, 2)
    assert ahead.seconds == pytest.approx(START_S + 3.0 * 10 / 2)
    assert (ahead.fits, ahead.measured) == (10, 1.0)


def test_what_was_never_fitted_is_reckoned_from_its_cost():
    settings = EnsembleSettings(members=("lightgbm", "ridge"), folds=5)
    ahead = forecast(settings, 400, 289, {("ridge", "fast"): 0.2}, 1)
    assert ahead.seconds == pytest.approx(START_S + 5 * (COST_S + 0.2))
    assert ahead.measured == 0.5


def test_switches_self_test_and_size_make_a_training_longer():
    known = {("svr", "fast"): 10.0}

    def seconds(rows=400, **settings):
        return forecast(EnsembleSettings(members=("svr",), **settings), rows, 289, known, 1).seconds - START_S

    assert seconds(augment=1) == pytest.approx(2 * 50 * scale(800, 289))  # with copies, and once more without
    assert seconds(self_test=True) == pytest.approx(4 * seconds())
    assert seconds(rows=4000) > 5 * seconds()
    assert seconds(minutes=0.5) == 30
