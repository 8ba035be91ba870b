"""The Train page after a training: which run is shown, its errors clip by clip and by group; and how long one will take."""

import io
import os
import zipfile

import pandas as pd
import pytest
from filelock import FileLock

from app import resources
from app.charts import training
from app.charts.ladder import ladder
from app.views import best, live, result
from app.words import NOTHING
from core import jobs
from core.ensemble import EnsembleSettings
from core.ensemble.models import CATALOGUE
from core.events import (
    ClipExtracted,
    ExtractionStarted,
    FitFinished,
    JobStarted,
    LadderPlanned,
    LadderStepDone,
    Recorded,
    RoundsScored,
    StageStarted,
    TrainingStarted,
)
from core.extraction.config import ExtractSettings
from core.runs import list_runs
from core.tasks.forecast import COST_S, START_S, all_fits, forecast, known_fits, relative_time
from tests.app.conftest import EXTRACT, render, text
from tests.conftest import write_run


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
        **{name: run.record.as_json()[name] for name in ("dataset", "settings", "scores", "columns", "model_files")},
    )
    for name, shown in ((run.id, run.id), (newer.id, newer.id), ("20200101-000000-0000", newer.id)):
        at = render("train", run=name)
        assert at.selectbox(key="result_box").value == shown
        assert at.query_params["run"] in (shown, [shown])


def test_a_run_that_has_come_since_is_shown_at_once(finished):
    [run] = list_runs(finished.root / "jobs")
    at = render("train")
    record = run.record.as_json()
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


@pytest.mark.parametrize(
    ("damage", "says"),
    [(None, "are missing"), ("", "not the out-of-fold predictions"), ("filename,label\na,1\n", "without the column fold"),
     ("filename,label,fold,oof_prediction,low,high\na,loud,1,2,1,3\n", "not the out-of-fold predictions")],
)  # fmt: skip
def test_damaged_predictions_are_told_once_and_cost_only_what_is_drawn_of_them(finished, damage, says):
    [run] = list_runs(finished.root / "jobs")
    path = run.folder / "oof.csv"
    path.unlink() if damage is None else path.write_text(damage)
    at = render("train")
    assert text(at).count(says) == 1
    assert "train again" in text(at)
    assert "An error of Earmark itself" not in text(at)
    assert at.button(key="go_explain")
    assert at.get("download_button")


def test_a_clip_or_a_speaker_may_be_called_na(finished):
    [run] = list_runs(finished.root / "jobs")
    header = "filename,label,fold,oof_prediction,low,high,group"
    (run.folder / "oof.csv").write_text(f"{header}\nNA,1,1,2,1,3,null\nb,2,2,2,1,3,\n")
    oof = resources.oof(run)
    assert oof["filename"].tolist() == ["NA", "b"]
    assert oof["group"].dropna().tolist() == ["null"]


def test_where_the_clips_are_gone_their_errors_still_stand(finished):
    [run] = list_runs(finished.root / "jobs")
    name = pd.read_csv(run.folder / "oof.csv")["filename"].iloc[0]
    next((finished.dataset / "audios" / "train").glob(f"{name}.*")).unlink()
    at = render("train")
    at.session_state["oof_scatter"] = {"selection": {"clip": [{"clip": name}]}}
    at.run()
    assert "no longer in its data set" in text(at)
    assert "Clips or tables have changed since this was trained" in text(at)
    assert not at.get("audio")


def test_errors_are_shown_by_a_column_that_repeats(finished):
    at = render("train")
    at.session_state["errors_view"] = "By group"
    at.run()
    assert [chart for chart in at.get("vega_lite_chart") if "mean_error" in chart.proto.spec]


def test_the_models_are_taken_away_with_their_record(finished):
    [run] = list_runs(finished.root / "jobs")
    with zipfile.ZipFile(io.BytesIO(result.models_zip(run))) as archive:
        names = set(archive.namelist())
    assert names == {f"{run.id}/run.json", *(f"{run.id}/models/{name}" for name in run.record.model_files)}


def test_links_lead_on_with_the_run(finished):
    [run] = list_runs(finished.root / "jobs")
    at = render("train")
    at.button(key="go_explain").click().run()
    assert at.title[0].value == "Explain"
    assert at.query_params["run"] in (run.id, [run.id])


def test_coverage_is_drawn_on_the_whole_range_of_shares():
    table = pd.DataFrame({"label": ["1", "2 to 3"], "share": [1.0, 0.5], "clips": [5, 10]})
    spec = training.coverage_by_label(table, 0.9).to_dict()
    assert spec["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0, 1]


def members(at):
    return at.multiselect(key="train_members").value


def test_members_are_chosen_together_and_one_by_one(place):
    at = render("train")
    assert at.button(key="members_all").disabled  # as it begins
    at.button(key="members_quick").click().run()
    assert members(at) == ["lightgbm", "svr", "kernel_ridge", "ridge"]
    at.multiselect(key="train_members").unselect("svr").run()
    assert members(at) == ["lightgbm", "kernel_ridge", "ridge"]
    at.button(key="members_all").click().run()
    assert members(at) == list(CATALOGUE)


def test_home_leads_to_the_search_with_its_plan(place, tmp_path, monkeypatch):
    monkeypatch.setenv("EARMARK_MODELS", str(tmp_path / "none"))
    at = render("home")
    at.button(key="find_best_here").click().run()
    assert at.session_state["asked_for_best"]
    at = render("train")
    plan = "1. handcrafted features\n2. settings that each member finds on an inner split\n3. two augmented copies"
    assert plan in text(at)
    assert not at.checkbox(key="fetch_openai/whisper-base").value
    at.checkbox(key="fetch_openai/whisper-base").check().run()
    assert "--model openai/whisper-base" in text(at)


def test_the_plan_of_a_search_says_how_each_step_ended():
    planned = [LadderPlanned("baseline", "features", 20.0), LadderPlanned("gone", "an encoder", float("nan"), "it is not whole")]
    planned += [LadderPlanned("members", "more members", 100.0), LadderPlanned("search", "settings", 100.0)]
    done = {
        "baseline": LadderStepDone("baseline", "features", 0.5, 0.4, 0.6, True, "", 31.0),
        "members": LadderStepDone(
            "members", "more members", float("nan"), float("nan"), float("nan"), False, "no time is left", 0.0
        ),
    }
    table = best.plan_table(planned, done).to_numpy().tolist()
    assert table == [
        ["features", "about 20 s", "31 s", "kept"],
        ["an encoder", NOTHING, "", "it is not whole"],
        ["more members", "about 2 min", "", "passed over: no time is left"],
        ["settings", "about 2 min", "", ""],
    ]


def test_the_ladder_has_the_ceiling_as_a_dashed_line():
    table = pd.DataFrame([("features", 0.5, 0.4, 0.6, "kept")], columns=["step", "score", "low", "high", "state"])
    with_ceiling, without = (ladder(table, ceiling, "CCC").to_dict() for ceiling in (0.3, None))
    dashed = [layer for layer in with_ceiling["layer"] if "strokeDash" in layer["mark"]]
    assert [layer["encoding"]["x"]["field"] for layer in dashed] == ["ceiling"]
    assert not any("strokeDash" in layer["mark"] for layer in without["layer"])
    assert "Out-of-fold CCC" in str(without)


def test_what_is_to_be_extracted_first_is_told_with_its_time(place):
    assert "before that 15 clips to extract: the Features page can estimate it" in text(render("train"))
    place.measured(ExtractSettings(), clip_seconds=12.0, start_seconds=0.0, workers=1, clips=6)
    assert "before that 15 clips to extract: about 3 min" in text(render("train"))


def test_what_is_extracted_is_not_said_to_be_missing(finished):
    assert "to extract" not in text(render("train"))


def test_a_training_that_still_extracts_says_what_comes_then(place):
    job = place.claim("train")
    with FileLock(job.lock):
        place.tell(job, JobStarted(os.getpid(), "elsewhere"), ExtractionStarted(15, 0, 15), ClipExtracted("a", 0.1))
        said = text(render("train"))
    assert "Extracting: 1 of 15 clips" in said
    assert "then about" in said
    assert "of training" in said


def test_the_form_recommends_only_columns_that_can_be_chosen_as_groups(place):
    table = place.dataset / "csvs/train.csv"
    header, first, *rows = table.read_text().splitlines()
    rooms = ("hall", "attic")  # the first row has none, so the column would be refused
    lines = [f"{header},room", f"{first}, ", *(f"{row},{rooms[number % 2]}" for number, row in enumerate(rows))]
    table.write_text("\n".join(lines) + "\n")
    assert "Does one speaker have several clips?" in text(render("train"))


def test_time_left_counts_what_is_trained_beside_the_ensemble(place):
    ensemble = EnsembleSettings(members=("svr", "ridge"), folds=3, self_test=True)
    job, _ = jobs.claim("train", {**place.request, "extract": EXTRACT, "ensemble": ensemble}, place.root / "jobs")
    recorded = [Recorded(0.0, TrainingStarted(6)), *fits("svr", 1.0, 2)]
    assert live.fits_beside(job, recorded) == 18  # three permutations of as many; four of the ensemble are to come
    assert all_fits(ensemble) == 24
    recorded += [*fits("svr", 1.0, 4), Recorded(0.0, StageStarted("self-test 1 of 3")), Recorded(0.0, TrainingStarted(6))]
    assert live.fits_beside(job, recorded) == 12
    assert live.fits_beside(job, [*recorded, *fits("svr", 1.0, 1)]) == 12


def test_many_members_folds_repeats_and_rounds_are_drawn_with_few_points(place):
    names = ("xgboost", "lightgbm", "catboost", "random_forest", "extra_trees", "svr", "ridge")
    ensemble = EnsembleSettings(members=names, folds=5, repeats=3)
    job, _ = jobs.claim("train", {**place.request, "extract": EXTRACT, "ensemble": ensemble}, place.root / "jobs")
    rounds = [
        RoundsScored(name, repeat, fold, 1 + number, 1.0)
        for name in names[:3] for repeat in range(3) for fold in range(5) for number in range(120)
    ]  # fmt: skip
    scored = [
        FitFinished(name, fold, 1.0, None, 1.0, 1.0, 2.0, repeat) for repeat in range(3) for fold in range(5) for name in names
    ]
    with FileLock(job.lock):
        place.tell(job, JobStarted(os.getpid(), "elsewhere"), TrainingStarted(105), *rounds, *scored)
        at = render("train")
    assert "Training: 105 of 105 fits" in text(at)
    assert len(at.get("vega_lite_chart")) == 2 + 3
    table = training.round_table([one for one in rounds if one.model == "xgboost"])
    assert table.groupby(["repeat", "fold"]).size().max() <= 61


def fits(model, seconds, count=3):
    return [Recorded(0.0, FitFinished(model, fold, 1.0, None, seconds, 1.0, 2.0)) for fold in range(count)]


def test_a_training_takes_as_long_as_the_same_fits_took_before(tmp_path):
    run = write_run(
        tmp_path / "run",
        dataset={"path": "/nowhere", "name": "loudness", "fingerprint": "a", "train_clips": 400},
        columns=["c"] * 289,
    )
    known = known_fits([(run, fits("svr", 2.0) + fits("svr:mfcc", 4.0))])
    assert known == {("svr", "fast"): pytest.approx(3.0 / relative_time("svr", 400, 289, sets=1))}
    settings = EnsembleSettings(members=("svr",), folds=5, repeats=2)
    ahead = forecast(settings, 400, 289, known, 2, sets=1)
    assert ahead.seconds == pytest.approx(START_S + 3.0 * 10 / 2)
    assert (ahead.fits, ahead.measured) == (10, 1.0)


def test_what_was_never_fitted_is_reckoned_from_its_cost():
    settings = EnsembleSettings(members=("lightgbm", "ridge"), folds=5)
    ahead = forecast(settings, 400, 289, {("ridge", "fast"): 0.2}, 1)
    assert ahead.seconds == pytest.approx(START_S + 5 * (COST_S + 0.2))
    assert ahead.measured == 0.5


def test_trees_are_reckoned_with_the_columns_that_they_see():
    """A screen leaves 400: twelve times the columns are prepared, not fitted."""
    for model in ("lightgbm", "extra_trees"):
        assert relative_time(model, 400, 4800) < 4 * relative_time(model, 400, 400)
    assert relative_time("svr", 400, 289, sets=6) == pytest.approx(2 * relative_time("svr", 400, 289, sets=3))


def test_switches_self_test_and_size_make_a_training_longer():
    known = {("svr", "fast"): 10.0}

    def seconds(rows=400, **settings):
        return forecast(EnsembleSettings(members=("svr",), **settings), rows, 289, known, 1).seconds - START_S

    assert seconds(augment=1) == pytest.approx(2 * 50 * relative_time("svr", 800, 289))  # with copies, and once more without
    assert seconds(self_test=True) == pytest.approx(4 * seconds())
    assert seconds(rows=4000) > 5 * seconds()
    assert seconds(minutes=0.5) == 30
