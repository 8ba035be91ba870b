import subprocess
import sys
import zipfile

import numpy as np
import pytest
import skops.io

from core.ensemble.boosting import PATIENCE
from core.ensemble.models import CATALOGUE, make_model
from core.ensemble.preprocess import DropRedundant, make_preprocessor
from core.ensemble.storage import load_skops, save_skops
from core.errors import ParameterError, RunError
from tests.conftest import ROOT


@pytest.fixture
def problem(rng):
    """Ten columns of which two matter, and 20 rows for early stopping."""
    X = rng.normal(size=(100, 10))
    y = 3 * X[:, 0] - 2 * X[:, 1] + 0.1 * rng.normal(size=100)
    return X, y, np.arange(100) >= 80


def preset_model(name, preset="fast", *, seed=1):
    """A model with the parameters of a preset, not fitted."""
    return make_model(name, parameters=CATALOGUE[name].presets[preset], seed=seed)


@pytest.mark.parametrize("preset", ["fast", "classic"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_model_learns_and_reloads_to_equal_predictions(tmp_path, problem, rng, name, preset):
    X, y, stopping = problem
    model = preset_model(name, preset).fit(X, y, stopping)
    new = rng.normal(size=(50, 10))
    truth = 3 * new[:, 0] - 2 * new[:, 1]
    predictions = model.predict(new)
    assert np.corrcoef(predictions, truth)[0, 1] > 0.8
    path = tmp_path / f"model{model.suffix}"
    model.save(path)
    again = CATALOGUE[name].load(path)
    assert np.array_equal(again.predict(new), predictions)
    assert again.rounds_ == model.rounds_


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_same_seed_gives_the_same_model(problem, rng, name):
    X, y, stopping = problem
    new = rng.normal(size=(30, 10))
    one, same, other = (preset_model(name, seed=seed).fit(X, y, stopping).predict(new) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert np.array_equal(one, other) == (name in ("svr", "kernel_ridge", "ridge"))  # which draw nothing


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost"])
def test_early_stopping_ends_where_the_stopping_rows_stop_improving(problem, name, rng):
    X, y, stopping = problem
    noise = preset_model(name, "classic").fit(X, rng.normal(size=100), stopping)
    signal = preset_model(name, "classic").fit(X, y, stopping)
    assert noise.rounds_ < signal.rounds_
    assert noise.rounds_ <= 10 * PATIENCE


@pytest.mark.parametrize("name", CATALOGUE)
def test_without_stopping_rows_all_rounds_are_fitted(problem, name):
    X, y, _ = problem
    model = preset_model(name).fit(X, y, np.zeros(100, bool))
    assert model.rounds_ == (600 if name in ("xgboost", "lightgbm", "catboost") else None)


def test_presets_are_those_of_their_description():
    for name in ("xgboost", "lightgbm", "catboost"):
        assert CATALOGUE[name].presets["classic"]["rounds"] == 2000
        assert CATALOGUE[name].presets["fast"]["rounds"] <= 600
        assert CATALOGUE[name].presets["classic"]["learning_rate"] == 0.05
    for name in ("random_forest", "extra_trees"):
        assert CATALOGUE[name].presets["classic"]["n_estimators"] == 500


def test_unknown_names_are_refused():
    with pytest.raises(ParameterError, match="model 'svm' not among xgboost, lightgbm"):
        make_model("svm", parameters={}, seed=1)


def test_redundant_columns_are_those_of_the_fitted_rows():
    X = np.array([[1.0, 5, 1, 2, 0], [2.0, 5, 2, 1, 0], [3.0, 5, 3, 9, 0]])
    drop = DropRedundant().fit(X)
    assert drop.kept_.tolist() == [0, 3]
    assert drop.transform(X).tolist() == X[:, [0, 3]].tolist()
    assert DropRedundant().fit(np.ones((3, 2))).kept_.tolist() == [0]


def test_preprocessing_fills_drops_and_scales_from_its_own_rows(rng):
    X = rng.normal(5, 3, size=(40, 4)).astype(np.float32)
    X[:, 1] = np.nan
    X[0, 0] = np.nan
    X[:, 3] = X[:, 2]
    fitted = make_preprocessor().fit(X)
    inside = fitted.transform(X)
    assert inside.shape == (40, 2)
    assert np.allclose(inside.mean(axis=0), 0, atol=1e-9)
    assert np.allclose(inside.std(axis=0), 1)
    assert inside[0, 0] == pytest.approx((np.nanmedian(X[:, 0]) - fitted[-1].mean_[0]) / fitted[-1].scale_[0], rel=1e-6)
    new = np.full((1, 4), np.nan)
    assert np.isfinite(fitted.transform(new)).all()


def test_a_stored_estimator_holds_no_pickle_and_only_trusted_types(tmp_path, rng):
    path = tmp_path / "a.skops"
    save_skops(make_preprocessor().fit(rng.normal(size=(10, 3))), path)
    assert not [name for name in zipfile.ZipFile(path).namelist() if name.endswith((".pkl", ".pickle"))]
    with pytest.raises(RunError, match="expected int, found Pipeline"):
        load_skops(path, int)

    skops.io.dump(_Stranger(), path)
    with pytest.raises(RunError, match="holds types that Earmark does not load"):
        load_skops(path, object)
    path.write_bytes(b"not a zip")
    with pytest.raises(RunError, match="not a readable model"):
        load_skops(path, object)


def test_reading_a_stored_estimator_does_not_import_torch_nor_keep_others_from_it(tmp_path, rng):
    path = tmp_path / "a.skops"
    save_skops(make_preprocessor().fit(rng.normal(size=(10, 3))), path)
    code = (
        "import sys; from pathlib import Path; from sklearn.pipeline import Pipeline\n"
        "from core.ensemble.storage import load_skops\n"
        f"load_skops(Path({str(path)!r}), Pipeline)\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'sklearn.externals.array_api_compat.torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


class _Stranger:
    def __init__(self):
        self.value = 1


def test_a_forest_whose_trees_point_outside_is_refused(tmp_path, problem, monkeypatch):
    X, y, stopping = problem
    model = preset_model("extra_trees").fit(X, y, stopping)
    tree = model.estimator_.estimators_[7].tree_
    tree.children_left[0] = 10**6
    model.save(tmp_path / "a.skops")
    with pytest.raises(RunError, match="points outside itself"):
        CATALOGUE["extra_trees"].load(tmp_path / "a.skops")
