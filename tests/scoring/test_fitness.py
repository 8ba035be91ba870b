"""What predictions are good for: answers that are known beforehand, and SciPy's rank correlation as an oracle."""

import numpy as np
import pytest
from scipy import stats

from core.scoring.fitness import fitness, label_step, ordered_share


def test_perfect_predictions_are_all_within_a_step_and_in_order(rng):
    labels = rng.integers(1, 11, 200).astype(float)
    found = fitness(labels, labels)
    assert (found.step, found.within_step, found.ordered) == (1.0, 1.0, 1.0)


def test_reversed_predictions_have_no_pair_in_order(rng):
    labels = rng.normal(size=100)
    assert ordered_share(labels, -labels) == 0.0


def test_one_prediction_for_all_is_chance(rng):
    assert ordered_share(rng.normal(size=50), np.full(50, 3.0)) == 0.5


def test_without_ties_the_share_is_that_of_kendalls_tau(rng):
    labels, predictions = rng.normal(size=(2, 300))
    predictions += labels
    tau = stats.kendalltau(labels, predictions).statistic
    assert ordered_share(labels, predictions) == pytest.approx((tau + 1) / 2, abs=1e-12)


def test_pairs_with_equal_labels_do_not_count():
    assert ordered_share(np.array([1.0, 1.0, 2.0]), np.array([5.0, 9.0, 7.0])) == 0.5


def test_with_ties_the_share_is_that_of_all_pairs_one_by_one(rng):
    labels, predictions = rng.integers(0, 9, 101).astype(float), rng.normal(size=101).round(1)
    pairs = [(a, b) for a in range(101) for b in range(101) if labels[a] < labels[b]]
    scored = [0.5 + 0.5 * np.sign(predictions[b] - predictions[a]) for a, b in pairs]
    assert ordered_share(labels, predictions) == pytest.approx(np.mean(scored), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "step"),
    [
        ([1, 2, 5, 5], 1.0),
        ([0.1, 0.2, 0.3, 0.6], 0.1),
        ([4e6, 5e6, 7e6], 1e6),
        ([1, 2, 3.3], None),  # measurements
        ([2, 2, 2], None),
        ([7], None),
        (np.arange(100), None),  # whole, but no scale that somebody marks on
    ],
)
def test_marks_of_a_scale_have_a_step_and_measurements_none(labels, step):
    found = label_step(np.array(labels, float))
    assert found == (None if step is None else pytest.approx(step))


def test_an_error_of_exactly_a_step_is_within_it_and_repeats_are_averaged():
    labels = np.array([0.1, 0.2, 0.3, 0.4])
    found = fitness(labels, np.array([[0.2, 0.3, 0.4, 0.5], [0.4, 0.5, 0.6, 0.7]]))
    assert found.within_step == 0.5
    assert found.ordered == 1.0


def test_labels_that_are_all_equal_leave_nothing_to_say():
    assert fitness(np.full(5, 2.0), np.arange(5.0)).sentence() is None


def test_predictions_of_other_clips_are_refused():
    with pytest.raises(ValueError, match="expected predictions of 3 clips"):
        fitness(np.arange(3.0), np.arange(4.0))
