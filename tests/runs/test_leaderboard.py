"""Runs side by side: rows, differences, and when errors can be compared clip by clip."""

import json
import re

import numpy as np
import pytest

from core.errors import RunError
from core.runs import OOF, best_run, ranked
from core.runs.leaderboard import comparable, leaderboard, load_oof, settings_difference, table_lines
from core.scoring.metrics import METRICS
from tests.conftest import write_run


def change_oof(run, **arrays):
    with np.load(run.folder / OOF) as file:
        whole = {name: file[name] for name in file.files}
    whole |= arrays
    np.savez_compressed(run.folder / OOF, **{name: array for name, array in whole.items() if array is not None})


def test_a_row_says_what_was_trained_and_how_well_it_scored(tmp_path):
    members = ["svr", "svr:mfcc", "ridge", "lightgbm", "catboost"]
    run = write_run(tmp_path / "one", ensemble={"members": members, "groups": "speaker", "stratified": True})
    assert leaderboard([run]) == [
        {
            "run_id": "one",
            "name": None,
            "notes": None,
            "created": "2026-11-23T10:00:00.000000+00:00",
            "dataset": "loudness",
            "clips": 6,
            "members": "svr, svr:mfcc, ridge and 2 more",
            "plan": "2 x 3 stratified folds by speaker",
            "oof_rmse": 0.5,
            "oof_mae": 0.375,
            "oof_pearson": 0.875,
            "oof_r2": 0.75,
            "oof_spearman": None,
            "oof_kendall": None,
            "oof_ccc": None,
            "confidence": None,
            "group_level": None,
            "badge": "nested",
            "constant_rmse": 1.5,
            "ceiling_rmse": None,
            "leak_gap": 0.25,
            "seconds": 90.0,
            "metric": "rmse",
            "best": True,
        }
    ]


def test_the_best_run_of_each_kind_is_marked(tmp_path):
    grouped = {"groups": "speaker"}
    runs = [
        write_run(tmp_path / "plain", scores={"oof_rmse": 0.6}),
        write_run(tmp_path / "grouped", ensemble=grouped, scores={"oof_rmse": 0.9}),
        write_run(tmp_path / "better", scores={"oof_rmse": 0.5}),
        write_run(tmp_path / "worse", ensemble=grouped, scores={"oof_rmse": 1.0}),
    ]
    assert [row["run_id"] for row in leaderboard(runs) if row["best"]] == ["grouped", "better"]
    assert leaderboard([]) == []


def test_the_best_run_is_that_of_the_metric_which_the_newest_was_trained_for(tmp_path):
    close = write_run(tmp_path / "close", scores={"oof_rmse": 0.5, "oof_mae": 0.4, "oof_ccc": 0.7})
    ordered = write_run(tmp_path / "ordered", scores={"oof_rmse": 0.8, "oof_mae": 0.6, "oof_ccc": 0.9}, ensemble={"metric": "ccc"})
    old = write_run(tmp_path / "old", scores={"oof_rmse": 0.3})  # of an earlier version, which had no CCC
    assert best_run([close, old, ordered]) is ordered
    assert [row["run_id"] for row in leaderboard([close, old, ordered]) if row["best"]] == ["ordered"]
    assert best_run([ordered, close]) is close
    assert [row["run_id"] for row in leaderboard([close, ordered], metric="mae") if row["best"]] == ["close"]
    assert ranked([close, old, ordered], METRICS["ccc"]) == [ordered, close, old]
    assert ranked([ordered, close, old], METRICS["rmse"]) == [old, close, ordered]


def test_what_was_not_computed_is_a_dash(tmp_path):
    run = write_run(tmp_path / "old", ensemble={"repeats": 1}, scores={"leak_gap": None, "badges": {}}, seconds=5)
    (row,) = leaderboard([run])
    assert [row[name] for name in ("name", "badge", "leak_gap")] == [None] * 3
    assert " ".join(table_lines([row])[1].split()) == (
        "* old - 2026-11-23 10:00 loudness 6 svr, ridge:mfcc:seed=7 3 folds 0.5000 - 0.3750 - - - 1.5000 - - 5.0"
    )


def test_the_table_is_aligned_figures_to_the_right_and_texts_to_the_left(tmp_path):
    short = write_run(tmp_path / "a", scores={"oof_rmse": 0.5})
    long = write_run(tmp_path / "a-long-name", scores={"oof_rmse": 1234.5}, seconds=7)
    title, first, second = table_lines(leaderboard([short, long]))
    assert first.index("a ") == second.index("a-long-name") == title.index("run")
    assert first.index("0.5000") + 6 == second.index("1234.5000") + 9 == title.index("OOF RMSE") + 8
    assert first.startswith("*")
    assert second.startswith(" ")
    assert len(title) == len(first) == len(second)


@pytest.mark.parametrize(("scale", "shown"), [(1, "0.5000"), (4e6, "2.000e+06"), (4e-6, "2.000e-06")])
def test_errors_of_any_size_are_legible_and_aligned(scale, shown, tmp_path):
    ends = {"level": 0.95, "draws": 1000, "units": 6, "by_group": False, "ends": {"rmse": [0.25 * scale, 0.75 * scale]}}
    figures = {"oof_rmse": 0.5 * scale, "constant_rmse": 1.5 * scale, "leak_gap": 0.25 * scale, "confidence": ends}
    lines = table_lines(
        leaderboard([write_run(tmp_path / "one", scores=figures), write_run(tmp_path / "longer-id", scores=figures)])
    )
    assert len({len(line) for line in lines}) == 1
    assert all(line.index(f"  {shown}  ") == lines[0].index("OOF RMSE") + len("OOF RMSE") - len(shown) - 2 for line in lines[1:])
    assert all(" to " in line and "0.0000" not in line and "000000" not in line for line in lines[1:])


def test_only_settings_that_differ_are_named(tmp_path):
    one = write_run(tmp_path / "one", ensemble={"members": ["svr"], "seed": 1})
    other = write_run(tmp_path / "other", ensemble={"members": ["ridge"], "seed": 1, "tta": 3})
    assert settings_difference(one, other) == [("ensemble.members", ["svr"], ["ridge"]), ("ensemble.tta", None, 3)]
    assert settings_difference(one, one) == []


def test_predictions_read_back_as_they_were_written(tmp_path):
    oof = load_oof(write_run(tmp_path / "one"))
    assert oof.filenames == ("a", "b", "c", "d", "e", "f")
    assert oof.contents[1] == "11"
    assert oof.groups == ("",) * 6
    assert oof.folds.tolist() == [[0, 1, 2, 0, 1, 2], [2, 1, 0, 0, 1, 2]]
    assert np.array_equal(oof.predictions - oof.labels, np.repeat([[0.5], [-0.5]], 6, axis=1))


def test_runs_on_the_same_clips_and_folds_are_comparable(tmp_path):
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other", ensemble={"members": ["svr"]})
    change_oof(other, predictions=np.zeros((2, 6)))
    assert comparable(one, other) is None


DIFFERENT = {
    "1 clip only in one .first: f.": {"filenames": np.array(["a", "b", "c", "d", "e", "g"])},
    "the same clips in another order": {"filenames": np.array(["b", "a", "c", "d", "e", "f"])},
    "the audio of 2 clips is not the same .first: b.": {"contents": np.array(["00", "x", "x", "33", "44", "55"])},
    "the labels of 1 clip differ .first: e, 4 and 9.": {"labels": np.array([0.0, 1, 2, 3, 9, 5])},
    "one has 2 repeats, other has 1 repeat": {"folds": np.zeros((1, 6), int), "predictions": np.zeros((1, 6))},
    "folds differ .seed 42 and 7.; train one again": {"folds": np.zeros((2, 6), int)},
}


def test_folds_without_groups_are_said_to_have_none(tmp_path):
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other", ensemble={"groups": "speaker"})
    change_oof(other, folds=np.zeros((2, 6), int))
    assert "folds differ (groups none and speaker)" in comparable(one, other)


@pytest.mark.parametrize(("reason", "arrays"), DIFFERENT.items())
def test_what_makes_runs_incomparable_is_named(reason, arrays, tmp_path):
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other", ensemble={"seed": 7})
    change_oof(other, **arrays)
    assert re.search(reason, comparable(one, other) or "comparable")


DAMAGED = {
    "an array contents": {"contents": None},
    "numbers as labels, not 6 of <U1": {"labels": np.array(["a"] * 6)},
    r"groups of shape \(6,\), not \(2,\)": {"groups": np.array(["x", "y"])},
    r"predictions of shape \(repeats, 6\), not \(6,\)": {"predictions": np.zeros(6)},
    "finite predictions": {"predictions": np.full((2, 6), np.nan)},
    "texts as filenames, not 0 of": {"filenames": np.array([], str)},
}


@pytest.mark.parametrize(("problem", "arrays"), DAMAGED.items())
def test_damaged_predictions_are_named(problem, arrays, tmp_path):
    run = write_run(tmp_path / "one")
    change_oof(run, **arrays)
    with pytest.raises(RunError, match=f"oof_repeats.npz: expected {problem}"):
        load_oof(run)


def test_a_run_without_its_predictions_cannot_be_compared(tmp_path):
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other")
    whole = (one.folder / OOF).read_bytes()
    for content in (b"", b"not an archive", whole[: len(whole) // 2], whole[:200] + bytes(50) + whole[250:]):
        (one.folder / OOF).write_bytes(content)
        with pytest.raises(RunError, match="cannot be read"):
            load_oof(one)
    (one.folder / OOF).unlink()
    with pytest.raises(RunError, match="an earlier version, which did not keep its folds"):
        load_oof(one)
    assert "an earlier version" in comparable(other, one)


def test_rows_are_fit_for_json(tmp_path):
    rows = leaderboard([write_run(tmp_path / "one")])
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
