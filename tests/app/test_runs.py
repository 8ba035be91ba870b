"""The Runs page: a table of each kind, one run with its words, several beside each other."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from app.charts import runs
from app.views import runs as runs_view
from core.data.layouts.layout import Layout
from core.events import JobFailed
from core.runs import describe_run, list_runs, read_run
from core.workspace import to_json
from tests.app.conftest import render, text
from tests.conftest import write_run

FIRST, SECOND, OTHER = "20260101-000000-0001", "20260101-000000-0002", "20260101-000000-0003"


@pytest.fixture
def three(place):
    """Two runs on the chosen data set, one on another."""
    settings = {"extract": {"features": ["mfcc"], "max_seconds": 45.0}, "layout": to_json(Layout())}
    here = {"name": "loudness", "path": str(place.dataset), "fingerprint": "aa", "train_clips": 6}

    def ensemble(**changes):
        return {"members": ["svr"], "folds": 3, "repeats": 2, "groups": None, "stratified": False, "seed": 42} | changes

    made = {}
    for run_id, dataset, members, rmse in (
        (FIRST, here, ["svr"], 0.7),
        (SECOND, here, ["svr", "ridge"], 0.5),
        (OTHER, here | {"path": "/gone", "name": "else", "fingerprint": "bb"}, ["svr"], 0.1),
    ):
        of = ensemble(members=members)
        files = {str(number): "" for number in range(2 * 6 * len(members) + 1)}
        run = write_run(
            place.root / "jobs" / run_id,
            ensemble=of,
            scores={"oof_rmse": rmse, "oof_mae": 0.4},
            dataset=dataset,
            settings=settings | {"ensemble": of},
            model_files=files,
        )
        (run.folder / "oof.csv").write_text(
            "filename,label,fold,oof_prediction,low,high\n"
            + "".join(f"{name},{number},1,{number + rmse},{number - 1},{number + 1}\n" for number, name in enumerate("abcdef"))
        )
        made[run_id] = run
    return made


def test_without_a_run_there_is_one_way_on(place):
    at = render("runs")
    assert "There is no finished run yet" in text(at)
    assert [button.label for button in at.button] == ["Train one"]


def test_the_best_run_here_is_opened_first_and_stands_on_top(three):
    at = render("runs")
    assert at.query_params["run"] == [SECOND] or at.query_params["run"] == SECOND
    [table] = [frame.value for frame in at.dataframe if "rmse" in frame.value]
    assert table["rmse"].tolist() == [0.5, 0.7]
    assert table["best"].tolist() == ["best", ""]


def test_errors_on_other_data_stand_in_a_table_of_their_own(three):
    at = render("runs", runs_show="All")
    tables = [frame.value for frame in at.dataframe if "rmse" in frame.value]
    assert [table["rmse"].tolist() for table in tables] == [[0.5, 0.7], [0.1]]  # the chosen data set first
    assert "not comparable" in text(at)


def test_search_looks_at_names_notes_and_members(three):
    at = render("runs")
    at.text_input(key="runs_search").set_value("ridge").run()
    [table] = [frame.value for frame in at.dataframe if "rmse" in frame.value]
    assert table["rmse"].tolist() == [0.5]
    at.text_input(key="runs_search").set_value(FIRST).run()
    [table] = [frame.value for frame in at.dataframe if "rmse" in frame.value]
    assert table["best"].tolist() == [""]  # the best one is not among what was found
    at.text_input(key="runs_search").set_value("nothing like that").run()
    assert "No run matches" in text(at)


def test_a_name_and_notes_are_kept_at_once_and_shown_elsewhere(three):
    at = render("runs", run=FIRST)
    at.text_input(key=f"run_name_{FIRST}").set_value("*plain* svr").run()
    at.text_area(key=f"run_notes_{FIRST}").set_value("first try").run()
    kept = read_run(three[FIRST].folder)
    assert (kept.name, kept.notes) == ("*plain* svr", "first try")
    assert at.subheader[0].value == r"\*plain\* svr"
    assert any("*plain* svr" in option for option in render("explain").selectbox(key="run_box").options)


def test_words_that_a_colleague_wrote_meanwhile_are_shown_and_kept(three):
    at = render("runs", run=FIRST)
    describe_run(three[FIRST], name="by a colleague")
    at.text_area(key=f"run_notes_{FIRST}").set_value("first try").run()
    kept = read_run(three[FIRST].folder)
    assert (kept.name, kept.notes) == ("by a colleague", "first try")
    assert at.text_input(key=f"run_name_{FIRST}").value == "by a colleague"


def test_a_name_that_is_refused_stays_to_be_mended_with_the_reason(three):
    at = render("runs", run=FIRST)
    at.text_input(key=f"run_name_{FIRST}").set_value("a\x07b").run()
    assert "characters that cannot be seen" in text(at)
    assert at.text_input(key=f"run_name_{FIRST}").value == "a\x07b"
    at.text_input(key=f"run_name_{FIRST}").set_value("ab").run()
    assert "characters that cannot be seen" not in text(at)
    assert read_run(three[FIRST].folder).name == "ab"


def test_runs_of_the_same_name_are_told_apart_by_their_ids(three):
    same = [describe_run(three[one], name="same") for one in (FIRST, SECOND)]
    assert list(runs_view.labels(same).values()) == [f"same ({FIRST})", f"same ({SECOND})"]
    assert set(runs_view.fold_table(same)[0]["run"]) == {f"same ({FIRST})", f"same ({SECOND})"}


def test_a_row_that_is_clicked_is_opened(three):
    at = render("runs", run=SECOND)
    key = next(frame.key for frame in at.dataframe if str(frame.key).startswith("runs_"))
    at.session_state[key] = {"selection": {"rows": [], "columns": [], "cells": [[1, "run"]]}}
    at.run()
    assert "run_name_" + FIRST in [box.key for box in render("runs", run=FIRST).text_input]


def test_a_run_in_the_address_that_is_not_there_shows_the_best_one(three):
    for name in ("20200101-000000-0000", "../../etc", "x" * 3000):
        assert SECOND in text(render("runs", run=name))


def test_two_runs_on_the_same_folds_are_compared_with_an_interval(three):
    at = render("runs", run=FIRST, compare=SECOND)
    said = text(at)
    assert f"{SECOND} instead of {FIRST}" in said
    assert "with 6 clips" in said
    [settings] = [frame.value for frame in at.dataframe if "Setting" in frame.value and SECOND in frame.value]
    assert settings["Setting"].tolist() == ["ensemble.members"]
    assert len(at.get("vega_lite_chart")) == 3


def test_runs_whose_folds_differ_say_why_they_cannot_be_compared(three):
    path = three[SECOND].folder / "oof_repeats.npz"
    with np.load(path) as kept:
        arrays = dict(kept)
    np.savez(path, **arrays | {"folds": np.roll(arrays["folds"], 1, axis=1)})
    said = text(render("runs", run=FIRST, compare=SECOND))
    assert f"{SECOND} cannot be compared with {FIRST}: their folds differ" in said


def test_deleting_asks_first_and_says_what_goes(three):
    at = render("runs", run=FIRST)
    at.button(key="delete_run").click().run()
    assert "This cannot be undone" in text(at)
    assert three[FIRST].folder.is_dir()


def test_a_training_that_did_not_end_well_is_listed_with_its_way_on(place, three):
    job = place.claim("train")
    place.end(job, JobFailed("the disk is full"))
    at = render("runs")
    assert f"Training on loudness, {job.id}: the disk is full" in text(at)
    assert at.button(key=f"resume_{job.id}")


def test_a_damaged_record_is_named(three):
    (three[FIRST].folder / "run.json").write_text("{")
    assert f"The run in {FIRST} cannot be read" in text(render("runs"))


def test_two_hundred_runs_are_listed(place):
    for number in range(200):
        dataset = {"name": "loudness", "path": "/gone", "fingerprint": "aa", "train_clips": 6}
        write_run(place.root / "jobs" / f"20260101-000000-{number:04d}", dataset=dataset, scores={"oof_rmse": 1 - number / 1000})
    at = render("runs", runs_show="All")
    [table] = [frame.value for frame in at.dataframe if "rmse" in frame.value]
    assert len(table) == 200
    assert table["rmse"].is_monotonic_increasing


def test_what_is_taken_away_holds_the_whole_run_and_nothing_of_the_job(finished):
    [run] = list_runs(finished.root / "jobs")
    with zipfile.ZipFile(io.BytesIO(runs_view.whole(run))) as archive:
        names = {name.split("/", 1)[1] for name in archive.namelist()}
    assert {"run.json", "oof.csv", "oof_repeats.npz", "matrix.npz"} <= names
    assert {f"models/{name}" for name in run.record.model_files} <= names
    assert not any(name.startswith(("checkpoints", "events", "log", "lock")) for name in names)


def test_folds_of_several_repeats_are_named_after_their_repeat(three):
    table, places = runs_view.fold_table([three[FIRST]])
    assert places == ["1.1", "1.2", "1.3", "2.1", "2.2", "2.3"]
    assert table["rmse"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_a_difference_is_drawn_from_low_to_high_with_zero_in_sight():
    table = pd.DataFrame({"run": ["b"], "difference": [0.2], "low": [0.1], "high": [0.3], "verdict": ["hurts"]})
    spec = runs.differences(table).to_dict()
    low, high = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low < 0 < 0.3 < high
