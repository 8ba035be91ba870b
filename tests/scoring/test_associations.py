"""Correlations against other libraries, and against matrices whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from core.scoring.associations import (
    alike,
    average_ranks,
    correlations,
    distinct_columns,
    equal_columns,
    principal_axes,
    usual,
    with_label,
)

ROUNDING = 1e-12  # sums in another order


@pytest.fixture
def holed(rng):
    X = rng.normal(size=(60, 8)) * 10.0 ** np.arange(-3, 5)
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


def test_correlations_of_columns_with_holes_are_those_of_pandas(holed):
    r, rows = correlations(holed)
    frame = pd.DataFrame(holed)
    assert np.allclose(r, frame.corr(), atol=ROUNDING)
    there = np.isfinite(holed)
    assert (rows == (there[:, :, None] & there[:, None, :]).sum(axis=0)).all()


def test_correlations_with_a_label_are_those_of_pandas_and_leave_out_what_has_no_label(holed, rng):
    y = rng.integers(0, 5, 60).astype(float)  # ties
    y[:4] = np.nan
    found, frame, label = with_label(holed, y), pd.DataFrame(holed), pd.Series(y)
    assert np.allclose(found.pearson, [frame[one].corr(label) for one in frame], atol=ROUNDING)
    assert np.allclose(found.spearman, [frame[one].corr(label, method="spearman") for one in frame], atol=ROUNDING)
    assert found.rows.tolist() == np.isfinite(holed[4:]).sum(axis=0).tolist()


def test_a_curve_that_only_rises_has_a_spearman_of_one_and_a_smaller_pearson():
    y = np.arange(1.0, 21.0)
    found = with_label(np.exp(y)[:, None], y)
    assert found.spearman[0] == pytest.approx(1)
    assert found.pearson[0] < 0.8


@pytest.mark.parametrize("odd", [np.zeros(9), np.full(9, 0.1), np.full(9, np.nan), np.r_[1.0, np.full(8, np.nan)]])
def test_a_column_that_does_not_vary_has_no_correlation(odd):
    y = np.arange(9.0)
    found = with_label(odd[:, None], y)
    assert np.isnan(found.pearson[0])
    assert np.isnan(found.spearman[0])
    r, _ = correlations(np.column_stack([odd, y]))
    assert np.isnan(r[0]).all()
    assert alike(r, at_least=0) == []


def test_a_column_that_does_not_vary_where_the_other_is_there_has_no_correlation_with_it():
    r, rows = correlations(np.array([[1.0, np.nan], [1.0, 2.0], [1.0, 3.0], [5.0, np.nan]]))
    assert np.isnan(r[0, 1])
    assert rows[0, 1] == 2


def test_a_copy_and_a_mirror_image_come_first(rng):
    x = rng.normal(size=50).astype(np.float32)
    r, _ = correlations(np.column_stack([x, rng.normal(size=50), -3 * x, x + 0.1 * rng.normal(size=50)]))
    pairs = alike(r, at_least=0.9)
    assert pairs[0] == (0, 2)
    assert set(pairs) == {(0, 2), (0, 3), (2, 3)}


def test_numbers_at_the_end_of_their_range_do_not_overflow():
    x = np.array([-1e30, 0, 1e30, 2e30])
    r, _ = correlations(np.column_stack([x, 1e-60 * x]))
    assert r[0, 1] == pytest.approx(1)
    assert with_label(x[:, None], x).pearson[0] == pytest.approx(1)


def test_ranks_are_those_of_scipy(rng):
    values = rng.integers(0, 9, 40).astype(float)
    assert (average_ranks(values) == rankdata(values)).all()
    assert len(average_ranks(np.empty(0))) == 0


def test_the_first_axis_is_the_direction_of_what_varies_together(rng):
    t = rng.normal(size=300)
    X = np.column_stack([t, 2 * t, -3 * t + 5, rng.normal(size=300)])
    axes = principal_axes(X)
    assert abs(np.corrcoef(axes.points[:, 0], t)[0, 1]) > 0.99
    assert axes.shares == pytest.approx([0.75, 0.25], abs=0.03)  # three of four columns say the same
    assert axes.columns == 4
    shifted = principal_axes(100 * X + 7)
    assert np.allclose(shifted.points, axes.points)


def test_axes_are_the_same_with_more_columns_than_rows_and_with_holes_they_are_finite(rng):
    X = rng.normal(size=(12, 40))
    wide, tall = principal_axes(X), principal_axes(np.vstack([X, X, X, X, X]))
    assert np.allclose(np.abs(wide.points), np.abs(tall.points[:12]), atol=1e-9)
    X[3, :7] = np.nan
    X[:, 8] = np.nan
    X[:, 9] = 1.0
    holed = principal_axes(X)
    assert np.isfinite(holed.points).all()
    assert holed.columns == 38
    assert np.abs(holed.points).max() < 100


@pytest.mark.parametrize("X", [np.ones((5, 3)), np.zeros((0, 3)), np.full((4, 2), np.nan), np.zeros((3, 0))])
def test_where_nothing_varies_all_points_are_one(X):
    axes = principal_axes(X)
    assert axes.points.shape == (len(X), 2)
    assert not axes.points.any()
    assert not axes.shares.any()


def test_distances_are_standard_deviations_of_what_is_spread_normally_and_tails_stay_on_their_side(rng):
    X = np.column_stack(
        [rng.normal(5, 2, size=20_000), np.exp(rng.normal(size=20_000)), np.r_[np.zeros(19_999), 1], np.ones(20_000)]
    )
    most = usual(X)
    assert most.distance(np.array([11.0, 1, 1, 1]))[0] == pytest.approx(3, abs=0.1)
    assert most.distance(most.p95)[:2] == pytest.approx([1.645, 1.645])
    assert most.distance(most.p5)[:2] == pytest.approx([-1.645, -1.645])
    assert most.distance(np.array([0, 0, 1.0, 1]))[2] > 50
    assert np.isnan(most.distance(X[0])[3])
    assert np.isnan(usual(np.full((3, 1), np.nan)).distance(np.array([1.0]))).all()


def test_columns_that_vary_stand_with_those_that_equal_them_and_once_among_the_distinct():
    values, nan = [1.0, 3.0, 2.0], np.nan
    holed = [1.0, nan, 2.0]
    X = np.array([[5.0] * 3, values, holed, [nan] * 3, values, [7.0, nan, 7.0], holed, [-1.0, -3.0, -2.0], [1.0, np.inf, nan]]).T
    for dtype in (np.float32, np.float64):
        assert equal_columns(X.astype(dtype)) == [(1, 4), (2, 6), (7,)]
        assert distinct_columns(X.astype(dtype)).tolist() == [1, 2, 7]
    for shape in ((0, 3), (3, 0), (1, 4)):
        assert distinct_columns(np.ones(shape)).tolist() == []
