"""What moves a prediction: base and contributions sum to it, and agree with what is known of simple models."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core import jobs
from core.data.dataset import read_dataset
from core.ensemble import EnsembleSettings
from core.ensemble.models import CATALOGUE, make_model
from core.errors import ParameterError, RunError
from core.events import ExplainStarted, PartExplained
from core.extraction.config import ExtractSettings
from core.insight import explain
from core.insight.contributions import contributions
from core.insight.explain import explain_run, find_clips, load_explanation
from core.jobs.runner import perform
from core.runs import Run, read_run
from core.runs.schema import RunRecord
from core.scoring.associations import equal_columns
from core.tasks.kinds import work
from core.tasks.train import train_dataset
from core.workspace import Workspace
from tests.conftest import write_dataset

SMALL = {
    "xgboost": {"rounds": 20, "max_depth": 3},
    "lightgbm": {"rounds": 20, "min_data_in_leaf": 5},
    "catboost": {"rounds": 20, "depth": 3},
    "random_forest": {"n_estimators": 5},
    "extra_trees": {"n_estimators": 5},
    "svr": {},
    "kernel_ridge": {},
    "ridge": {},
}


def fitted(name, X, y):
    parameters = CATALOGUE[name].presets["fast"] | SMALL[name]
    return make_model(name, parameters=parameters, seed=1).fit(X, y, np.zeros(len(y), bool))


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(60, 6))
    return X, 3 + 2 * X[:, 0] - X[:, 1] * X[:, 2]


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_base_and_contributions_sum_to_the_prediction(name, rows):
    X, y = rows
    model = fitted(name, X[:40], y[:40])
    values, base = contributions(model, X[40:], X[:40], seed=0)
    assert values.shape == (20, 6)
    assert np.allclose(base + values.sum(axis=1), model.predict(X[40:]), atol=1e-5)  # XGBoost adds in single precision


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_column_that_says_nothing_adds_nothing(name, rows):
    X, y = rows
    X = X.copy()
    X[:, 5] = 0.0
    values, _ = contributions(fitted(name, X[:40], y[:40]), X[40:], X[:40], seed=0)
    assert np.allclose(values[:, 5], 0, atol=1e-12)
    assert np.abs(values[:, 0]).mean() > np.abs(values[:, 3]).mean()


def test_ridge_adds_its_coefficient_times_the_distance_from_the_mean(rows):
    X, y = rows
    model = fitted("ridge", X, y)
    values, base = contributions(model, X, X, seed=0)
    step = np.eye(6)
    slopes = model.predict(step) - model.predict(np.zeros((6, 6)))  # of a linear model, exactly
    assert np.allclose(values, (X - X.mean(axis=0)) * slopes)
    assert np.allclose(base, model.predict(X.mean(axis=0)[None]))


def shapley(value, columns):
    """Shapley values by their definition, from the value of each set of columns."""
    found = np.zeros(columns)
    for column in range(columns):
        others = [other for other in range(columns) if other != column]
        for size in range(columns):
            weight = math.factorial(size) * math.factorial(columns - size - 1) / math.factorial(columns)
            for some in itertools.combinations(others, size):
                found[column] += weight * (value({*some, column}) - value(set(some)))
    return found


def test_support_vectors_come_close_to_shapley_values_by_their_definition(rng):
    X = rng.normal(size=(40, 3))
    y = X[:, 0] + X[:, 1] * X[:, 2]
    model = fitted("svr", X, y)
    row, background = X[:1], X[:40]

    def value(some):
        mixed = background.copy()
        mixed[:, list(some)] = row[0, list(some)]
        return float(model.predict(mixed).mean())

    exact = shapley(value, 3)
    drawn = np.mean([contributions(model, row, background, seed=seed)[0][0] for seed in range(60)], axis=0)
    assert np.allclose(drawn, exact, atol=0.05 * np.abs(exact).max())  # 60 of the 6 orders there are, drawn at random


def test_support_vectors_agree_with_the_permutation_explainer_of_shap(rng):
    import shap

    X = rng.normal(size=(50, 5))
    model = fitted("svr", X, X[:, 0] + np.sin(X[:, 1]))
    ours, base = contributions(model, X[:8], X, seed=0)
    masker = shap.maskers.Independent(X, max_samples=50)
    theirs = shap.PermutationExplainer(model.predict, masker, seed=0)(X[:8], max_evals=500, silent=True)
    assert np.allclose(base, theirs.base_values)
    assert np.corrcoef(ours.ravel(), theirs.values.ravel())[0, 1] > 0.99  # the orders are drawn: few there, one pair here


def test_trees_agree_with_shapley_values_over_their_paths(rng):
    """Two splits on two columns: the tree's mean under each set of known columns is counted by hand from its rows."""
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 10, float)
    y = np.array([0.0, 0.0, 4.0, 8.0] * 10)
    model = make_model("random_forest", parameters={"n_estimators": 1, "max_features": 1.0, "bootstrap": False}, seed=0)
    model.fit(X, y, np.zeros(len(y), bool))
    of = {frozenset(): 3.0, frozenset({0}): 6.0, frozenset({1}): 4.0, frozenset({0, 1}): 8.0}  # for the row (1, 1)
    values, base = contributions(model, np.array([[1.0, 1.0]]), X, seed=0)
    assert base[0] == 3.0
    assert np.allclose(values[0], shapley(lambda some: of[frozenset(some)], 2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Members of all kinds, one with a set of its own, two repeats; the label is the loudness."""
    folder = tmp_path_factory.mktemp("explain")
    dataset = read_dataset(write_dataset(folder / "loudness", 18))
    members = ("ridge", "svr:mfcc", "lightgbm::rounds=10,min_data_in_leaf=2", "extra_trees::n_estimators=5")
    ensemble = EnsembleSettings(members=members, folds=3, repeats=2, blend="mean", workers=0)
    return train_dataset(
        dataset, ExtractSettings(features=("mfcc", "metadata"), workers=0), ensemble, Workspace(folder / "workspace")
    )


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    import shutil

    shutil.copytree(trained.folder, tmp_path / trained.id)
    return read_run(tmp_path / trained.id)


def test_an_explanation_sums_to_what_the_models_said_that_had_not_seen_the_row(run):
    found = explain_run(run, workers=0)
    matrix, ensemble = run.load_matrix(), run.load_ensemble()
    assert found.filenames == matrix.filenames
    assert np.allclose(found.base + found.contributions.sum(axis=1), found.prediction, atol=1e-5)
    with np.load(run.folder / "oof_repeats.npz") as arrays:
        fold_of = arrays["folds"]
    expected = np.zeros(len(matrix.y))
    for repeat in range(2):
        for row in range(len(matrix.y)):
            fold = ensemble.folds[3 * repeat + fold_of[repeat, row]]
            said = [
                model.predict(steps.transform(matrix.X[row : row + 1, columns])) for steps, model, columns in fold.members.values()
            ]
            expected[row] += float(np.array(said)[:, 0] @ fold.weights) / 2
    assert np.allclose(found.prediction, expected, atol=1e-4)
    inside = (expected > matrix.y.min()) & (expected < matrix.y.max())
    assert inside.any()
    blended = sum(run.scores.blend[name] * values for name, values in found.members.items())
    assert np.allclose(blended, found.contributions, atol=1e-4)  # equal weights in all folds


def test_an_explanation_is_kept_with_the_run_and_read_again(run):
    assert load_explanation(run) is None
    made = explain_run(run, workers=0)
    kept = load_explanation(run)
    assert kept is not None
    assert kept.columns == made.columns
    assert kept.equal == made.equal
    assert list(kept.members) == list(run.scores.models)
    for name in ("contributions", "base", "prediction", "values", "permutation", "permutation_std", "labels", "oof_prediction"):
        assert np.array_equal(getattr(kept, name), getattr(made, name), equal_nan=True), name
    assert not list(run.folder.glob(".explaining*"))


def test_the_loudness_moves_most_by_contribution_and_by_shuffling(run):
    found = explain_run(run, workers=0)
    loud = {"metadata.peak_amplitude", "metadata.amplitude_std", "metadata.amplitude_abs_mean", "mfcc.mfcc0_mean"}
    top = [found.columns[place] for place in np.argsort(-found.importance)[:5]]
    everyone = {name for one in top for name in (one, *found.equal.get(one, ()))}
    assert everyone & loud, top
    best = int(np.argmax(found.importance))
    assert found.permutation[best] > 0


@pytest.mark.slow
def test_processes_and_this_process_give_the_same_explanation(run):
    here = explain_run(run, workers=0)
    there = explain_run(run, workers=2)
    assert np.array_equal(here.contributions, there.contributions)
    assert np.array_equal(here.permutation, there.permutation, equal_nan=True)


def test_columns_with_equal_values_are_one_and_constants_none():
    X = np.array([[1, 1, 5, np.nan], [2, 2, 5, np.nan], [np.nan, np.nan, 5, np.nan]], np.float32)
    assert equal_columns(X) == [(0, 1)]


def test_more_clips_than_are_explained_are_drawn_and_named_ones_are_among_them():
    chosen = explain._choose(100, [97, 3], 10, 0)
    assert len(chosen) == 10
    assert {97, 3} <= set(chosen.tolist())
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert explain._choose(10, [], 10, 0).tolist() == list(range(10))


def test_work_that_was_stopped_goes_on_where_it_was(run, tmp_path, monkeypatch):
    told = []

    def stop_after_five(event):
        told.append(event)
        if sum(isinstance(one, PartExplained) for one in told) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain_run(run, workers=0, checkpoints=tmp_path / "parts", notify=stop_after_five)
    assert load_explanation(run) is None
    assert len(list((tmp_path / "parts").glob("*.npz"))) == 5
    asked = []
    real = explain.contributions
    monkeypatch.setattr(explain, "contributions", lambda *args, **rest: asked.append(1) or real(*args, **rest))
    resumed = explain_run(run, workers=0, checkpoints=tmp_path / "parts")
    assert len(asked) == 2 * 3 * 4 - 5
    assert not (tmp_path / "parts").exists()
    undisturbed = explain_run(run, workers=0)
    assert np.array_equal(resumed.contributions, undisturbed.contributions)


def test_a_part_of_other_work_or_that_is_damaged_is_done_again(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        explain_run(run, workers=0, seed=1, checkpoints=tmp_path / "parts", notify=lambda event: _stop(event))
    for path in (tmp_path / "parts").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    again = explain_run(run, workers=0, checkpoints=tmp_path / "parts")
    assert np.array_equal(again.contributions, explain_run(run, workers=0).contributions)


def _stop(event):
    if isinstance(event, PartExplained):
        raise KeyboardInterrupt


def test_what_is_damaged_or_of_other_models_is_told_with_the_way_out(run):
    explain_run(run, workers=0)
    path = run.folder / explain.EXPLANATION
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=f"explain the run again: earmark explain {run.id}"):
        load_explanation(run)
    path.write_bytes(whole)
    record = json.loads((run.folder / "run.json").read_text())
    record["model_files"] = dict.fromkeys(record["model_files"], "0")
    with pytest.raises(RunError, match="of another version or of other models"):
        load_explanation(replace(run, record=RunRecord.model_validate(record)))


def test_a_clip_is_found_by_name_and_an_unknown_one_is_told_with_those_like_it(run):
    names = ("clip_1.wav", "clip_2.wav", "deep/clip_3.wav")
    assert find_clips(run, names, ["clip_1.wav", "/elsewhere/clip_2.flac", "clip_3"]) == [
        "clip_1.wav",
        "clip_2.wav",
        "deep/clip_3.wav",
    ]
    with pytest.raises(ParameterError, match=r"'clip_11.wav' is not among the 3 clips .* like it: .*clip_1.wav"):
        find_clips(run, names, ["clip_11.wav"])
    with pytest.raises(ParameterError, match="may be a/x"):
        find_clips(run, ("a/x.wav", "b/x.wav"), ["x.wav"])


def test_an_explanation_is_a_job_that_tells_its_parts(trained):
    workspace = trained.folder.parents[1]
    job, mine = jobs.claim("explain", {"run": trained.id, "clips": []}, workspace / "jobs")
    assert mine
    told = []
    result = perform(job, work, notify=told.append)
    assert result == {"run_id": trained.id, "clips": 18}
    started = next(event for event in told if isinstance(event, ExplainStarted))
    assert started.parts == sum(isinstance(event, PartExplained) for event in told) == 2 * 3 * 4 + 3
    assert not (job.folder / "checkpoints").exists()
    assert load_explanation(trained) is not None
