"""Intervals against MAPIE, against quantiles that can be counted by hand, and against labels that were simulated."""

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st
from mapie.regression import CrossConformalRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

from core.errors import DataError, ParameterError
from core.scoring.folds import make_folds
from core.scoring.intervals import coverage, cv_plus, oof_intervals, rank


def cross_validated(X, y, new, plan):
    """Predictions of new rows by each fold's linear model, absolute errors, and whose they are."""
    predictions, residuals, model_of = [], np.empty(len(y)), np.empty(len(y), int)
    for number, (train, test) in enumerate(plan):
        model = LinearRegression().fit(X[train], y[train])
        predictions.append(model.predict(new))
        residuals[test], model_of[test] = np.abs(y[test] - model.predict(X[test])), number
    return np.array(predictions), residuals, model_of


# At levels where level * (n + 1) is a whole number MAPIE's lower end may be the next lower value, by rounding of 1 - level.
@pytest.mark.parametrize(("n", "level"), [(60, 0.9), (61, 0.8), (97, 0.95), (40, 0.77)])
def test_ends_are_those_of_mapie(n, level, rng):
    X, new = rng.normal(size=(n, 3)), rng.normal(size=(9, 3))
    y = X @ [1.0, 2.0, -1.0] + rng.normal(size=n)
    folds = KFold(5, shuffle=True, random_state=1)
    oracle = CrossConformalRegressor(LinearRegression(), confidence_level=level, method="plus", cv=folds).fit_conformalize(X, y)
    ends = oracle.predict_interval(new)[1][:, :, 0]
    low, high = cv_plus(*cross_validated(X, y, new, folds.split(X)), level=level)
    assert np.allclose(low, ends[:, 0], atol=1e-9)  # least squares in another order
    assert np.allclose(high, ends[:, 1], atol=1e-9)


def test_with_one_prediction_for_all_models_the_width_is_a_quantile_of_the_residuals():
    low, high = cv_plus(np.full((3, 1), 10.0), np.arange(1.0, 20.0), np.arange(19) % 3, level=0.9)
    assert (low[0], high[0]) == (10 - 18, 10 + 18)  # the 18th of 19, as 0.9 * 20 = 18


def test_a_higher_level_is_never_narrower(rng):
    predictions, residuals, model_of = rng.normal(size=(5, 8)), rng.exponential(size=50), np.arange(50) % 5
    ends = [cv_plus(predictions, residuals, model_of, level=level) for level in (0.5, 0.8, 0.9, 0.95)]
    for (low, high), (lower, higher) in itertools.pairwise(ends):
        assert (lower <= low).all()
        assert (high <= higher).all()


def test_repeats_of_the_same_errors_change_nothing(rng):
    predictions, residuals, model_of = rng.normal(size=(5, 8)), rng.exponential(size=23), np.arange(23) % 5
    once = cv_plus(predictions, residuals, model_of)
    twice = cv_plus(np.tile(predictions, (2, 1)), np.tile(residuals, 2), np.r_[model_of, model_of + 5], rows=23)
    assert np.array_equal(once, twice)


def test_too_few_rows_tell_no_end():
    low, high = cv_plus(np.zeros((2, 3)), np.ones(8), np.arange(8) % 2, level=0.9)
    assert (low == -np.inf).all()
    assert (high == np.inf).all()
    low, high = oof_intervals(np.zeros(9), np.arange(9.0), level=0.9)
    assert (high - low == np.inf).all()
    assert np.isfinite(oof_intervals(np.zeros(10), np.arange(10.0), level=0.9)).all()


def test_new_labels_are_inside_as_often_as_asked_for():
    """Over 60 simulated data sets of 50 clips, each with 40 new ones: the standard error of the mean coverage is below 0.01."""
    inside = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(90, 4))
        y = X @ [2.0, 1.0, 0.0, -1.0] + rng.standard_t(4, size=90)
        plan = [(fold.train_rows, fold.test_rows) for fold in make_folds(50, seed=seed)]
        low, high = cv_plus(*cross_validated(X[:50], y[:50], X[50:], plan), level=0.9)
        inside.append(coverage(y[50:], low, high))
    assert 0.87 <= np.mean(inside) <= 0.95


def test_the_labelled_clips_own_coverage_is_as_asked_for():
    inside = []
    for seed in range(60):
        labels = np.random.default_rng(seed).normal(size=45)
        inside.append(coverage(labels, *oof_intervals(np.zeros(45), labels, level=0.8)))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.02)


def test_a_rows_interval_does_not_know_its_own_error_nor_its_groups():
    labels = np.r_[np.arange(20.0), 500.0]
    alone = oof_intervals(np.zeros(21), labels, level=0.9)[1]
    assert alone[20] == 18  # the 19th of the 20 others, though its own error is 500
    labels = np.r_[np.arange(20.0), np.full(20, 500.0)]
    high = oof_intervals(np.zeros(40), labels, groups=["usual"] * 20 + ["odd"] * 20, level=0.9)[1]
    assert (high[20:] == 18).all()
    assert (high[:20] == 500).all()


def test_groups_of_one_are_as_no_groups(rng):
    labels, predictions = rng.normal(size=(2, 30))
    single = oof_intervals(predictions, labels, groups=[f"clip{row}" for row in range(30)])
    assert np.array_equal(single, oof_intervals(predictions, labels))


def simulated_groups(seed, *, count, of_each=15, effect=3.0):
    """Errors that a group's clips share, and whose they are."""
    rng = np.random.default_rng(seed)
    errors = np.repeat(effect * rng.normal(size=count), of_each) + rng.normal(size=count * of_each)
    return errors, np.repeat([f"speaker{index}" for index in range(count)], of_each)


def test_a_groups_intervals_are_those_it_would_get_as_a_new_group():
    labels, groups = simulated_groups(0, count=6)
    ends = oof_intervals(np.zeros(90), labels, groups=groups)
    for group in set(groups):
        others = np.abs(labels[groups != group])
        as_new = cv_plus(np.zeros((1, 15)), others, np.zeros(75, int))
        assert np.array_equal([end[groups == group] for end in ends], as_new)


def test_a_group_that_errs_more_is_not_covered_by_knowing_itself():
    """85 usual errors below 1, and a group of 15 with errors of 10 and more: its own errors would stretch its intervals."""
    labels, groups = np.r_[np.linspace(0, 1, 85), np.linspace(10, 11, 15)], ["usual"] * 85 + ["odd"] * 15
    with_own, without = (oof_intervals(np.zeros(100), labels, groups=of) for of in (None, groups))
    assert coverage(labels, *with_own) == pytest.approx(0.9, abs=0.01)
    assert coverage(labels[85:], *(end[85:] for end in with_own)) > 0.3
    assert coverage(labels[85:], *(end[85:] for end in without)) == 0


def test_few_groups_that_share_their_errors_are_covered_less_than_the_level():
    with_own, without = [], []
    for seed in range(100):
        labels, groups = simulated_groups(seed, count=3)
        with_own.append(coverage(labels, *oof_intervals(np.zeros(45), labels)))
        without.append(coverage(labels, *oof_intervals(np.zeros(45), labels, groups=groups)))
    assert np.mean(with_own) == pytest.approx(0.9, abs=1 / 45)  # to a row
    assert np.mean(without) < 0.8


def test_with_many_groups_coverage_is_near_the_level():
    inside = []
    for seed in range(10):
        labels, groups = simulated_groups(seed, count=60)
        inside.append(coverage(labels, *oof_intervals(np.zeros(len(labels)), labels, groups=groups)))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


@given(st.integers(1, 500), st.floats(0.01, 0.99))
def test_the_rank_is_the_first_that_reaches_the_level(n, level):
    place = rank(n, level=level)
    if place is None:
        assert n / (n + 1) < level
    else:
        assert place / (n + 1) >= level - 1e-8  # a whole number but for rounding counts as reached
        assert (place - 1) / (n + 1) < level


def test_what_cannot_be_an_interval_is_refused():
    fine = (np.zeros((2, 3)), np.ones(4), np.array([0, 1, 0, 1]))
    for level in (0, 1, 1.5):
        with pytest.raises(ParameterError, match="above 0 and below 1"):
            cv_plus(*fine, level=level)
        with pytest.raises(ParameterError, match="above 0 and below 1"):
            oof_intervals(np.zeros(3), np.zeros(3), level=level)
    with pytest.raises(DataError, match=r"received shapes \(2, 3\), \(4,\) and \(3,\)"):
        cv_plus(fine[0], fine[1], fine[2][:3])
    with pytest.raises(DataError, match="0 or more"):
        cv_plus(fine[0], -fine[1], fine[2])
    with pytest.raises(DataError, match="predictions of 2"):
        cv_plus(fine[0], fine[1], fine[2] + 1)
    with pytest.raises(DataError, match="one length"):
        oof_intervals(np.zeros(3), np.zeros(4))
    with pytest.raises(DataError, match="finite"):
        oof_intervals(np.zeros(3), np.array([1.0, np.nan, 2.0]))
    with pytest.raises(DataError, match="a group for each of 3 rows, received 2"):
        oof_intervals(np.zeros(3), np.zeros(3), groups=["a", "b"])
    with pytest.raises(DataError, match="both ends of one length"):
        coverage(np.zeros(3), np.zeros(2), np.zeros(3))
