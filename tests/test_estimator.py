"""The ensemble as an estimator: scikit-learn's own checks, and whether what it says of itself is what others measure."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from core.ensemble import EnsembleSettings, train_ensemble
from core.ensemble.models import CATALOGUE
from core.errors import DataError, ParameterError
from core.estimator import EarmarkRegressor
from core.extraction.matrix import Matrix

CHEAP = EarmarkRegressor(members=("ridge::alpha=1", "svr"), folds=3, workers=0)
SMALL = {
    "xgboost": "rounds=5",
    "lightgbm": "rounds=5",
    "catboost": "rounds=5",
    "random_forest": "n_estimators=5",
    "extra_trees": "n_estimators=5",
}
EVERY = EarmarkRegressor([f"{name}::{SMALL[name]}" if name in SMALL else name for name in CATALOGUE], folds=3, workers=0)


@parametrize_with_checks([CHEAP])
def test_it_keeps_the_contract_of_scikit_learn(estimator, check):
    """None of the checks is declined."""
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([EVERY])
def test_it_keeps_the_contract_with_every_model_of_the_catalogue(estimator, check):
    check(estimator)


@pytest.fixture
def problem(rng):
    """Two hundred rows with a few gaps, of which a fifth of the variance is noise."""
    X = rng.normal(size=(200, 6))
    y = X @ [2, 1, 1, 0, 0, 0] + 1.2 * rng.normal(size=200)
    X[rng.random(X.shape) < 0.02] = np.nan
    return X, y


def test_it_is_the_ensemble_that_the_command_line_trains(problem, tmp_path):
    X, y = problem
    model = clone(CHEAP).fit(X, y)
    names = tuple(f"column_{number}" for number in range(6))
    settings = EnsembleSettings(members=CHEAP.members, folds=3, workers=0)
    result = train_ensemble(Matrix(X, y, names, tuple(map(str, range(200)))), settings, folder=tmp_path)
    assert model.scores_ == result.scores() == model.ensemble_.scores_
    assert model.scores_["badges"]["oof_rmse"] == "nested"
    assert np.array_equal(model.oof_prediction_, result.oof.predictions[0])


def test_the_error_that_it_states_is_the_one_that_others_measure(problem):
    X, y = problem
    stated = clone(CHEAP).fit(X, y).scores_["oof_rmse"]
    measured = np.mean(-cross_val_score(clone(CHEAP), X, y, cv=5, scoring="neg_root_mean_squared_error"))
    assert stated == pytest.approx(measured, rel=0.1)  # two thirds of the rows to learn from, or half of them
    assert stated > 1.2  # the noise


def test_it_stands_at_the_end_of_a_pipeline_and_in_a_search(problem):
    X, y = problem
    pipeline = make_pipeline(StandardScaler(), clone(CHEAP))
    predictions = cross_val_predict(pipeline, X, y, cv=3)
    assert np.corrcoef(predictions, y)[0, 1] > 0.8
    search = GridSearchCV(pipeline, {"earmarkregressor__members": [["svr::C=0.0001"], ["ridge::alpha=1"]]}, cv=2).fit(X, y)
    assert search.best_params_ == {"earmarkregressor__members": ["ridge::alpha=1"]}


def test_a_group_stays_whole(rng):
    """What identifies a speaker says nothing of another one, so a score that keeps speakers whole is that of a constant."""
    of = np.repeat(np.arange(20), 6)
    X = rng.normal(size=(20, 5))[of] + 0.01 * rng.normal(size=(120, 5))
    y = rng.normal(size=20)[of]
    model = EarmarkRegressor(members=["svr::C=100"], workers=0)
    splendid = clone(model).fit(X, y).scores_
    honest = clone(model).fit(X, y, groups=of).scores_
    assert splendid["oof_rmse"] < 0.3 * splendid["constant_rmse"]
    assert honest["oof_rmse"] > 0.9 * honest["constant_rmse"]


def test_an_interval_holds_the_share_of_new_labels_that_was_asked_for(problem, rng):
    X, y = problem
    low, high = EarmarkRegressor(members=["ridge::alpha=1"], level=0.8, workers=0).fit(X[:150], y[:150]).predict_interval(X[150:])
    assert np.mean((low <= y[150:]) & (y[150:] <= high)) == pytest.approx(0.8, abs=0.17)  # three standard deviations of 50 rows


def test_members_choose_among_sets_of_a_data_frame_or_name_them(problem):
    X, y = problem
    frame = pd.DataFrame(X, columns=[*"abcdef"])
    sets = {"signal": ["a", "b", "c"], "noise": ["d", "e", "f"]}
    named = EarmarkRegressor(members=["ridge:signal:alpha=1", "ridge:noise"], sets=sets, folds=3, workers=0).fit(frame, y)
    assert named.feature_names_in_.tolist() == [*"abcdef"]
    assert named.ensemble_.names == (*"abcdef",)
    assert named.scores_["blend"]["ridge:signal:alpha=1"] > 0.9
    numbers = {name: ["abcdef".index(column) for column in columns] for name, columns in sets.items()}
    numbered = clone(named).set_params(sets=numbers).fit(X, y)
    assert np.array_equal(named.predict(frame), numbered.predict(X))
    for wrong in ({"signal": ["a", "z"]}, {"signal": [6]}):
        with pytest.raises(ParameterError, match=r"'signal' has columns that are not among the 6 of X"):
            clone(named).set_params(sets=wrong).fit(frame, y)


def test_the_seed_is_given_as_everywhere_in_scikit_learn(problem):
    X, y = problem
    model = EarmarkRegressor(members=["ridge"], folds=2, workers=0)
    by_number, again = (clone(model).set_params(random_state=3).fit(X, y).oof_prediction_ for _ in range(2))
    assert np.array_equal(by_number, again)
    by_state = [model.set_params(random_state=np.random.RandomState(seed)).fit(X, y).oof_prediction_ for seed in (3, 3, 4)]
    assert np.array_equal(by_state[0], by_state[1])
    assert not np.array_equal(by_state[0], by_state[2])
    assert not np.array_equal(model.set_params(random_state=None).fit(X, y).oof_prediction_, by_number)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"members": ["svm"]}, ParameterError, "model 'svm' not among xgboost"),
        ({"members": ["ridge:ultra"]}, ParameterError, "feature sets ultra are not among those of this training"),
        ({"blend": "median"}, ParameterError, "blend='median' not among auto, mean, weights"),
        ({"random_state": -1}, ParameterError, "seed=-1 must be 0 or more"),
        ({"folds": 7}, ValueError, "6 sample.* a minimum of 7 is required"),
    ],
)
def test_what_cannot_be_trained_is_said_when_it_is_fitted(options, error, match):
    model = EarmarkRegressor(**{"members": ["ridge"], "workers": 0} | options)
    with pytest.raises(error, match=match):
        model.fit(np.eye(6), np.arange(6.0))


def test_four_rows_and_labels_that_do_not_differ_are_refused():
    model = EarmarkRegressor(members=["ridge"], folds=2, workers=0)
    with pytest.raises(ValueError, match=r"4 sample.* a minimum of 5 is required"):
        model.fit(np.eye(4), np.arange(4.0))
    with pytest.raises(DataError, match="rows of one label"):
        model.fit(np.eye(6), np.ones(6))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(np.eye(6), np.arange(6.0), groups=["a"])
