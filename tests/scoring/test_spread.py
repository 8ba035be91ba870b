"""A spread around labels whose noise is known: intervals are to hold as many labels where it is small as where it is large."""

import numpy as np
import pytest

from core.scoring.folds import make_folds
from core.scoring.intervals import coverage, cv_plus, oof_intervals
from core.scoring.spread import FEWEST_ROWS, Spread, conformity, learn_spread


def two_halves(rng, n):
    """Predictions from 0 to 1, and labels that are off by 0.1 in the lower half and by 1 in the upper."""
    predictions = rng.uniform(size=n)
    return predictions, predictions + np.where(predictions < 0.5, 0.1, 1.0) * rng.normal(size=n)


def halves(predictions, labels, low, high):
    return [coverage(labels[half], low[half], high[half]) for half in (predictions < 0.5, predictions >= 0.5)]


def test_the_spread_is_that_of_the_noise(rng):
    predictions, labels = two_halves(rng, 20_000)
    sides = learn_spread(predictions, labels, level=0.9).sides(np.array([0.05, 0.95]))
    expected = 1.645 * np.array([0.1, 1.0])  # between 5 and 95 % of a normal distribution
    assert sides[0] == pytest.approx(expected, rel=0.1)
    assert sides[1] == pytest.approx(expected, rel=0.1)


def test_each_side_has_its_own_spread(rng):
    predictions = rng.uniform(size=5000)
    below, above = learn_spread(predictions, predictions + rng.exponential(size=5000), level=0.9).sides(np.array([0.5]))
    assert above == pytest.approx(np.log(20), rel=0.1)  # the 95th percentile of an exponential
    assert below < 0.25 * above


def test_both_halves_hold_what_was_asked_for_where_one_width_fails():
    """Means over 40 sets of 400 clips: the standard error of a share is below 0.01."""
    fitted, constant = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        predictions = rng.uniform(size=400)
        labels = predictions + (0.1 + predictions) * rng.normal(size=400)
        sides = np.empty((2, 400))
        for fold in make_folds(400, seed=seed):
            spread = learn_spread(predictions[fold.train_rows], labels[fold.train_rows], level=0.9)
            sides[:, fold.test_rows] = spread.sides(predictions[fold.test_rows])
        fitted.append(halves(predictions, labels, *oof_intervals(predictions, labels, sides=sides)))
        constant.append(halves(predictions, labels, *oof_intervals(predictions, labels)))
    assert np.mean(fitted, axis=0) == pytest.approx([0.9, 0.9], abs=0.03)
    low, high = np.mean(constant, axis=0)
    assert low > 0.96
    assert high < 0.84


def test_new_clips_have_intervals_as_wide_as_the_spread_of_their_fold():
    spreads = [Spread(np.array([0.0, 10.0]), np.array([1.0, 1.0]), np.array([1.0, 3.0])) for _ in range(2)]
    predictions = np.array([[0.0, 10.0], [0.0, 10.0]])
    sides = np.array([spread.sides(row) for spread, row in zip(spreads, predictions, strict=True)])
    low, high = cv_plus(predictions, np.arange(1.0, 20.0), np.arange(19) % 2, level=0.9, sides=sides)
    assert (low.tolist(), high.tolist()) == ([-18, -8], [18, 64])  # the 18th of 19 scores, times 1 and 3


def test_a_spread_of_one_is_none(rng):
    predictions, labels = rng.normal(size=(2, 50))
    ones = np.ones((2, 50))
    assert np.array_equal(oof_intervals(predictions, labels, sides=ones), oof_intervals(predictions, labels))
    assert np.array_equal(conformity(labels - predictions, ones), np.abs(labels - predictions))


def test_too_few_rows_or_no_error_tell_no_spread(rng):
    predictions, labels = two_halves(rng, FEWEST_ROWS)
    assert learn_spread(predictions, labels, level=0.9) is not None
    assert learn_spread(predictions[1:], labels[1:], level=0.9) is None
    assert learn_spread(labels, labels, level=0.9) is None


def test_a_spread_reads_back_as_it_was_written_and_a_damaged_one_is_refused(rng):
    spread = learn_spread(*two_halves(rng, FEWEST_ROWS), level=0.8)
    again = Spread.from_record(spread.to_record())
    assert np.array_equal(again.sides(np.linspace(-1, 2, 9)), spread.sides(np.linspace(-1, 2, 9)))
    with pytest.raises(ValueError, match="as many knots as positive widths"):
        Spread.from_record(spread.to_record() | {"below": [0.0]})
