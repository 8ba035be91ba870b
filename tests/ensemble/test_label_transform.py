from dataclasses import replace

import numpy as np
import pytest
from sklearn.preprocessing import PowerTransformer

from core.ensemble import EnsembleSettings, train_ensemble
from core.ensemble.checks import judge_switches
from core.ensemble.fitted import LAYOUT, Ensemble
from core.ensemble.label_transform import LABEL_TRANSFORMS, TransformedLabels, check_labels, learn_transform, on_labels
from core.ensemble.models import CATALOGUE, make_model
from core.ensemble.train import WorkFiles
from core.errors import DataError, RunError
from core.estimator import EarmarkRegressor
from core.events import FitFinished
from core.extraction.matrix import Matrix
from core.insight.contributions import contributions
from core.workspace import read_json, write_json

RIDGE = EnsembleSettings(members=("ridge::alpha=1",), folds=3, blend="mean", workers=0)
TWO = EnsembleSettings(members=("ridge::alpha=1", "kernel_ridge"), folds=3, workers=0)


def make_matrix(rng, n=90, *, decades=1.0, noise=0.02):
    """Labels 10 ** N, where N is linear in the first column and one column has nothing to do with it."""
    X = 1.5 * rng.uniform(-1, 1, (n, 3))
    y = 10 ** (decades * (X[:, 0] + noise * rng.normal(size=n)))
    return Matrix(X.astype(np.float32), y, ("set.a", "set.b", "set.c"), tuple(f"clip{row}" for row in range(n)))


def verdict(matrix, settings, folder):
    result = train_ensemble(matrix, settings, folder=folder / "with")

    def train(matrix, settings, name):
        return train_ensemble(matrix, settings, folder=folder / name)

    return result, judge_switches(matrix, settings, result, train)["label_transform"]


@pytest.mark.parametrize("settings", [RIDGE, TWO], ids=["ridge", "blend"])
def test_log_beats_none_where_the_logarithm_of_the_labels_is_linear(tmp_path, rng, settings):
    matrix = make_matrix(rng)
    result, judged = verdict(matrix, settings.replace(label_transform="log"), tmp_path)
    with_log = float(np.mean(result.oof.rmse_by_repeat(result.oof.predictions)))
    assert judged.verdict == "helps"
    assert with_log < 0.5 * (with_log - judged.difference)
    assert np.corrcoef(np.log(matrix.y), np.log(result.oof.predictions[0]))[0, 1] > 0.99


def test_a_transform_does_not_help_labels_that_are_linear_themselves(tmp_path, rng):
    matrix = make_matrix(rng)
    y = 3 * matrix.X[:, 0] + 0.5 * rng.normal(size=90)
    _, judged = verdict(replace(matrix, y=y), RIDGE.replace(label_transform="yeo-johnson"), tmp_path)
    assert judged.verdict in ("cannot tell", "hurts")


@pytest.mark.parametrize("name", ["log", "yeo-johnson"])
def test_an_extreme_label_of_a_scored_row_moves_no_prediction_of_its_fold(tmp_path, rng, name):
    matrix, settings = make_matrix(rng), TWO.replace(label_transform=name)
    first = train_ensemble(matrix, settings, folder=tmp_path / "a")
    y = matrix.y.copy()
    y[first.oof.plans[0][0].test_rows[0]] = 1e9
    train_ensemble(replace(matrix, y=y), settings, folder=tmp_path / "b")
    probe = rng.normal(size=(20, 3))
    one, other = (Ensemble.load(tmp_path / folder).folds for folder in "ab")
    assert np.array_equal(one[0].predict_members(probe), other[0].predict_members(probe))
    assert not np.array_equal(one[1].predict_members(probe), other[1].predict_members(probe))


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_stored_model_predicts_out_of_fold_what_its_training_said(tmp_path, rng, name):
    matrix = make_matrix(rng, 60)
    settings = EnsembleSettings(members=(name,), folds=2, label_transform="log", workers=0)
    result = train_ensemble(matrix, settings, folder=tmp_path)
    for fold, models in zip(result.oof.plans[0], Ensemble.load(tmp_path).folds, strict=True):
        assert np.array_equal(models.predict_members(matrix.X[fold.test_rows])[:, 0], result.members[name][0, fold.test_rows])


@pytest.mark.parametrize("name", ["log", "yeo-johnson"])
@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_predictions_and_intervals_follow_the_unit_of_the_labels(tmp_path, rng, name, factor):
    matrix, settings = make_matrix(rng), TWO.replace(label_transform=name)
    train_ensemble(matrix, settings, folder=tmp_path / "a")
    train_ensemble(replace(matrix, y=factor * matrix.y), settings, folder=tmp_path / "b")
    probe = rng.normal(size=(20, 3))
    one, other = (Ensemble.load(tmp_path / folder).score(probe, matrix.names) for folder in "ab")
    for kind in ("value", "low", "high"):
        assert np.allclose(factor * getattr(one, kind), getattr(other, kind), rtol=1e-4)  # the search for the power stops there


def test_without_a_transform_nothing_is_different_and_nothing_of_it_is_stored(tmp_path, rng):
    matrix = make_matrix(rng)
    train_ensemble(matrix, RIDGE, folder=tmp_path)
    model = make_model("ridge", parameters={"alpha": 1.0}, seed=0)
    assert learn_transform("none", matrix.y) is None
    assert on_labels(model, None) is model
    assert all("label_transform" not in fold for fold in read_json(tmp_path / LAYOUT)["folds"])


def test_a_resumed_training_keeps_fits_of_the_same_transform_only(tmp_path, rng):
    matrix, files = make_matrix(rng), WorkFiles(checkpoints=tmp_path / "kept")

    def fits(name):
        told = []
        result = train_ensemble(
            matrix, TWO.replace(label_transform=name), folder=tmp_path / "models", files=files, notify=told.append
        )
        return result, [event.seconds for event in told if isinstance(event, FitFinished)]

    (first, seconds), (again, kept) = fits("log"), fits("log")
    assert kept == seconds
    assert np.array_equal(first.oof.predictions, again.oof.predictions)
    assert not set(fits("yeo-johnson")[1]) & set(seconds)


def test_trials_copies_and_pseudo_labels_work_with_a_transform(tmp_path, rng):
    matrix = make_matrix(rng, 48)
    matrix = replace(matrix, copies=matrix.X[None] + 0.01)
    settings = TWO.replace(label_transform="log", trials=2, augment=1, tta=1, pseudo_labels=True, folds=2)
    result = train_ensemble(matrix, settings, folder=tmp_path, unlabelled=rng.normal(size=(10, 3)))
    assert np.corrcoef(np.log(matrix.y), np.log(result.oof.predictions[0]))[0, 1] > 0.98


@pytest.mark.parametrize("name", ["ridge", "svr", "kernel_ridge", "extra_trees", "lightgbm"])
def test_contributions_sum_to_the_prediction_on_the_scale_of_the_labels(rng, name):
    matrix = make_matrix(rng)
    transform = learn_transform("log", matrix.y)
    model = on_labels(make_model(name, parameters=CATALOGUE[name].presets["fast"], seed=0), transform)
    X = matrix.X.astype(float)
    model.fit(X, matrix.y, np.zeros(90, bool))
    values, base = contributions(model, X[:9], X, seed=0)
    assert isinstance(model, TransformedLabels)
    assert np.allclose(base + values.sum(axis=1), model.predict(X[:9]), rtol=1e-4)  # LightGBM and forests sum in single precision
    assert np.abs(values).mean(axis=0).argmax() == 0


def test_yeo_johnson_is_that_of_scikit_learn(rng):
    labels = rng.lognormal(size=(200, 1)) - 0.5
    labels /= np.abs(labels).mean()
    transform = learn_transform("yeo-johnson", labels[:, 0])
    expected = PowerTransformer(method="yeo-johnson").fit_transform(labels)[:, 0]
    assert np.allclose(transform.forward(labels[:, 0]), expected, atol=1e-4)  # both search for the power


@pytest.mark.parametrize("name", ["log", "yeo-johnson"])
@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_predictions_far_outside_of_the_training_range_stay_near_it(rng, name, factor):
    labels = factor * rng.lognormal(sigma=2, size=100)
    transform = learn_transform(name, labels)
    assert np.allclose(transform.inverse(transform.forward(labels)), labels, rtol=1e-9)
    ends = transform.inverse(np.array([-1e3, 1e3]))
    assert ends[0] <= labels.min()
    assert (1 - 1e-9) * labels.max() <= ends[1] < 10 * labels.max()  # a pole may stand right behind the largest label
    assert type(transform).from_record(transform.to_record()) == transform


@pytest.mark.parametrize("odd", [60, 200])
def test_a_label_far_from_all_others_has_a_way_back(rng, odd):
    for labels in (np.append(np.zeros(odd), 1.0), np.append(5 + 0.1 * rng.normal(size=odd), 1000.0)):
        transform = learn_transform("yeo-johnson", labels)
        assert transform.inverse(transform.forward(labels)) == pytest.approx(labels, rel=1e-8, abs=1e-8)


def test_equal_labels_have_a_transform():
    for name in LABEL_TRANSFORMS[1:]:
        transform = learn_transform(name, np.full(5, 7.0))
        assert np.allclose(transform.inverse(np.zeros(1)), 7)


def test_the_logarithm_of_labels_that_are_not_above_0_is_refused(tmp_path, rng):
    matrix = make_matrix(rng)
    y = matrix.y.copy()
    y[:3] = 0, -1, 0
    with pytest.raises(DataError, match="log needs labels above 0; 3 of 90 are not; choose yeo-johnson"):
        train_ensemble(replace(matrix, y=y), RIDGE.replace(label_transform="log"), folder=tmp_path)
    check_labels("yeo-johnson", y)


def test_a_stored_transform_of_another_version_is_refused(tmp_path, rng):
    train_ensemble(make_matrix(rng), RIDGE.replace(label_transform="log"), folder=tmp_path)
    layout = read_json(tmp_path / LAYOUT)
    layout["folds"][0]["label_transform"]["name"] = "cube root"
    write_json(tmp_path / LAYOUT, layout)
    with pytest.raises(RunError, match="cube root"):
        Ensemble.load(tmp_path)


def test_the_estimator_takes_the_metric_and_the_transform(rng):
    matrix = make_matrix(rng, 60)
    models = {
        name: EarmarkRegressor(members=["ridge::alpha=1"], folds=3, metric="mae", label_transform=name, workers=0).fit(
            matrix.X, matrix.y
        )
        for name in ("none", "log")
    }
    assert models["log"].scores_["oof_rmse"] < 0.5 * models["none"].scores_["oof_rmse"]
    low, high = models["log"].predict_interval(matrix.X)
    assert (low <= high).all()
    assert low.min() >= matrix.y.min()
