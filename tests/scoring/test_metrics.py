import numpy as np
import pytest
from scipy import stats
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
    scores = metrics.evaluate(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0]))
    assert scores == pytest.approx({name: float(not metric.in_label_unit) for name, metric in metrics.METRICS.items()})


def test_rank_correlations_agree_with_scipy_where_values_are_tied(rng):
    labels, predictions = rng.integers(0, 5, (2, 60)).astype(float)
    predictions += labels
    assert metrics.spearman(labels, predictions) == pytest.approx(stats.spearmanr(labels, predictions).statistic, rel=1e-12)
    pairs = [
        (np.sign(a - b), np.sign(c - d))
        for a, c in zip(labels, predictions, strict=True)
        for b, d in zip(labels, predictions, strict=True)
    ]
    first, second = np.array(pairs).T
    by_definition = (first * second).sum() / np.sqrt(np.abs(first).sum() * np.abs(second).sum())  # Kendall 1945, tau-b
    assert metrics.kendall(labels, predictions) == pytest.approx(by_definition, rel=1e-12)


def test_concordance_is_pearson_times_the_bias_correction_of_lin(rng):
    labels = rng.normal(size=50)
    predictions = 0.5 * labels + 1 + 0.3 * rng.normal(size=50)
    scale = labels.std() / predictions.std()
    shift = (labels.mean() - predictions.mean()) / np.sqrt(labels.std() * predictions.std())
    expected = metrics.pearson(labels, predictions) * 2 / (scale + 1 / scale + shift**2)
    assert metrics.ccc(labels, predictions) == pytest.approx(expected, rel=1e-12)
    assert metrics.ccc(labels, labels + 5) < metrics.pearson(labels, labels + 5) == pytest.approx(1)


def test_each_metric_knows_its_best_value_and_puts_what_is_undefined_last():
    for metric in metrics.METRICS.values():
        good, bad = (0.9, 0.1) if metric.higher_is_better else (0.1, 0.9)
        assert sorted([bad, None, float("nan"), good], key=metric.order)[:2] == [good, bad]


def test_a_constant_has_no_correlation():
    scores = metrics.evaluate(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert scores["rmse"] == 1
    assert scores["r2"] == 0
    assert all(np.isnan(scores[name]) for name in ("pearson", "spearman", "kendall"))
    assert scores["ccc"] == 0
    assert np.isnan(metrics.ccc(np.ones(3), np.ones(3)))
    assert np.isnan(metrics.r2(np.ones(3), np.ones(3)))


@pytest.mark.parametrize("bad", [([1.0, 2.0], [1.0]), ([], []), ([1.0, np.nan], [1.0, 2.0]), ([[1.0]], [[1.0]])])
def test_what_cannot_be_scored_is_refused(bad):
    with pytest.raises(DataError, match=r"expected labels and predictions|must be finite"):
        metrics.rmse(*map(np.array, bad))
