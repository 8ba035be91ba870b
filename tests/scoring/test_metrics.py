import numpy as np
import pytest
from sklearn import metrics as oracle

from core.errors import DataError
from core.scoring import metrics


def test_scores_agree_with_scikit_learn(rng):
    labels, predictions = rng.normal(size=(2, 50))
    scores = metrics.evaluate(labels, predictions)
    assert scores["rmse"] == pytest.approx(oracle.root_mean_squared_error(labels, predictions), rel=1e-12)
    assert scores["mae"] == pytest.approx(oracle.mean_absolute_error(labels, predictions), rel=1e-12)
    assert scores["r2"] == pytest.approx(oracle.r2_score(labels, predictions), rel=1e-12)
    assert scores["pearson"] == pytest.approx(np.corrcoef(labels, predictions)[0, 1], rel=1e-12)


def test_a_perfect_prediction_is_perfect():
    assert metrics.evaluate(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0])) == {"rmse": 0, "mae": 0, "pearson": 1, "r2": 1}


def test_a_constant_has_no_correlation():
    scores = metrics.evaluate(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert scores["rmse"] == 1
    assert scores["r2"] == 0
    assert np.isnan(scores["pearson"])
    assert np.isnan(metrics.r2(np.ones(3), np.ones(3)))


@pytest.mark.parametrize("bad", [([1.0, 2.0], [1.0]), ([], []), ([1.0, np.nan], [1.0, 2.0]), ([[1.0]], [[1.0]])])
def test_what_cannot_be_scored_is_refused(bad):
    with pytest.raises(DataError, match=r"expected labels and predictions|must be finite"):
        metrics.rmse(*map(np.array, bad))
