"""Correlations against other libraries, and against matrices whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from core.associations import alike, average_ranks, correlations, with_label

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
