"""Confidence intervals against SciPy's bootstrap, against copies that say nothing new, and against a score that is known."""

import numpy as np
import pytest
from scipy import stats

from core.errors import DataError, ParameterError
from core.scoring import metrics
from core.scoring.bootstrap import confidence, expanded_tail


def pair(rng, n, noise=0.7):
    """Labels with ties, and predictions of them."""
    labels = rng.normal(size=n).round(1)
    return labels, labels + noise * rng.normal(size=n)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_ends_are_those_of_scipy_but_for_the_luck_of_the_draws(name, rng):
    labels, predictions = pair(rng, 150)
    low, high = confidence(labels, predictions, draws=3000)[name]
    outside = 2 * expanded_tail(0.025, 150)
    oracle = stats.bootstrap(
        (labels, predictions),
        metrics.METRICS[name].score,
        paired=True,
        vectorized=False,
        n_resamples=1500,
        method="percentile",
        confidence_level=1 - outside,
        rng=rng,
    ).confidence_interval
    width = oracle.high - oracle.low
    assert (low, high) == pytest.approx(tuple(oracle), abs=0.12 * width)  # two standard errors of a 2.5 % quantile of 1500


def test_many_rows_have_the_same_tau_as_few_but_for_the_luck_of_the_draws(rng):
    labels, predictions = pair(rng, 1500)
    low, high = confidence(labels, predictions)["kendall"]
    resampled = [metrics.kendall(labels[rows], predictions[rows]) for rows in rng.integers(0, 1500, (400, 1500))]
    expected = np.quantile(resampled, [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(expected), abs=0.15 * np.ptp(expected))
    assert low < metrics.kendall(labels, predictions) < high


def test_copies_of_a_clip_in_its_group_say_nothing_new(rng):
    labels, predictions = pair(rng, 40)
    once = confidence(labels, predictions)
    groups = np.repeat([f"speaker{number:02}" for number in range(40)], 3)
    copied = confidence(np.repeat(labels, 3), np.repeat(predictions, 3), groups=groups)
    for name, ends in once.items():
        assert copied[name] == pytest.approx(ends, abs=1e-9)  # sums in another order


def test_groups_that_err_together_make_the_interval_wider(rng):
    labels, offsets = rng.normal(size=300), np.repeat(rng.normal(size=10), 30)
    groups = np.repeat([f"room{number}" for number in range(10)], 30)
    by_clip, by_group = (confidence(labels, labels + offsets, groups=given)["rmse"] for given in (None, groups))
    assert np.diff(by_group) > 2.5 * np.diff(by_clip)


def test_the_true_rmse_is_inside_as_often_as_asked_for():
    """100 data sets whose error is 1 by construction: a standard error of the share is 0.022."""
    inside = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = rng.normal(size=60)
        low, high = confidence(labels, labels + rng.normal(size=60), draws=300)["rmse"]
        inside.append(low <= 1 <= high)
    assert np.mean(inside) >= 0.88


def test_the_same_seed_gives_the_same_ends_and_repeats_that_agree_change_nothing(rng):
    labels, predictions = pair(rng, 50)
    once = confidence(labels, predictions)
    assert confidence(labels, predictions) == once
    twice = confidence(labels, np.array([predictions, predictions]))
    assert all(twice[name] == pytest.approx(once[name], abs=1e-12) for name in once)


@pytest.mark.parametrize("scale", [4e6, 4e-6])
def test_the_unit_of_the_label_scales_errors_and_leaves_correlations(scale, rng):
    labels, predictions = pair(rng, 60)
    plain, scaled = confidence(labels, predictions), confidence(scale * labels, scale * predictions)
    for name, metric in metrics.METRICS.items():
        factor = scale if metric.in_label_unit else 1
        assert scaled[name] == pytest.approx([factor * end for end in plain[name]], rel=1e-6)


def test_what_is_undefined_has_no_ends(rng):
    ends = confidence(rng.normal(size=30), np.zeros(30))
    assert np.isfinite(ends["rmse"]).all()
    assert np.isfinite(ends["ccc"]).all()
    for name in ("pearson", "spearman", "kendall"):
        assert np.isnan(ends[name]).all()
    assert np.isnan(confidence(np.arange(5.0), np.arange(5.0), groups=["a"] * 5)["rmse"]).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"level": 1.0}, ParameterError, "level=1.0 must be above 0 and below 1"),
        ({"draws": 5}, ParameterError, "draws=5 must be 100 or more"),
        ({"groups": ["a"]}, DataError, "a group for each of 3 clips, received 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        confidence(np.arange(3.0), np.arange(3.0), **options)
