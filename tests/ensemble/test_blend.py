import numpy as np
import pytest

from core.ensemble.blend import convex_weights, label_step, learn_blend, mean_of_good


@pytest.fixture
def labels(rng):
    return rng.normal(5, 2, size=400)


def parts_of(n, number=4):
    return [np.arange(start, n, number) for start in range(number)]


def test_a_perfect_member_gets_nearly_all_the_weight_and_noise_nearly_none(labels, rng):
    many = np.tile(labels, 20)
    noise = rng.normal(5, 2, size=len(many))
    weights = convex_weights(np.column_stack([many, noise, noise[::-1]]), many)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > 0.97
    assert (weights >= 0).all()


def test_few_rows_leave_the_weights_near_equal(labels, rng):
    noise = rng.normal(5, 2, size=20)
    weights = convex_weights(np.column_stack([labels[:20], noise]), labels[:20])
    assert 0.5 < weights[0] < 0.8


def test_members_that_err_independently_share_the_weight_by_their_precision(labels, rng):
    """The best unbiased blend of independent errors weighs by inverse variance: 4 to 1 here."""
    many = np.tile(labels, 100)
    predictions = many[:, None] + rng.normal(size=(len(many), 2)) * [0.5, 1.0]
    assert convex_weights(predictions, many)[0] == pytest.approx(0.8, abs=0.02)  # the shrinkage is 100 rows of 40 000


def test_equal_members_share_equally(labels, rng):
    one = labels + rng.normal(size=400)
    assert convex_weights(np.column_stack([one, one, one]), labels) == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_one_bad_member_does_not_hurt_either_rule(labels, rng):
    good = labels[:, None] + 0.3 * rng.normal(size=(400, 3))
    bad = 8 * rng.normal(size=(400, 1)) + 5
    predictions = np.column_stack([good, bad])
    assert mean_of_good(predictions, labels) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    for rule in ("auto", "weights"):
        blend = learn_blend(predictions, labels, parts_of(400), rule=rule)
        assert blend.weights[3] < 0.05
    without = np.sqrt(np.mean((good.mean(axis=1) - labels) ** 2))
    blended = predictions @ learn_blend(predictions, labels, parts_of(400)).weights
    assert np.sqrt(np.mean((blended - labels) ** 2)) < 1.02 * without


def test_weights_are_used_where_they_are_better_and_the_mean_where_they_are_not(labels, rng):
    unequal = labels[:, None] + rng.normal(size=(400, 3)) * [1.0, 1.15, 1.2] + rng.normal(size=(400, 1)) * [0, 0.1, 0.2]
    alike = np.repeat(labels[:, None] + rng.normal(size=(400, 1)), 3, axis=1)
    assert learn_blend(alike, labels, parts_of(400)).rule == "mean"
    far = labels[:, None] + rng.normal(size=(400, 3)) * [0.85, 1.0, 1.0] + 0.9 * rng.normal(size=(400, 1)) * [0, 1, 1]
    assert learn_blend(far, labels, parts_of(400)).rule == "weights"
    assert learn_blend(unequal, labels, parts_of(400), rule="mean").rule == "mean"


@pytest.mark.parametrize(
    ("labels", "step"), [([1, 2, 5], 1.0), ([10, 30], 10.0), ([1.5, 2], 0.5), ([8.75, 9.25], 0.25), ([0.333, 1], None)]
)
def test_the_grid_is_the_largest_step_of_which_all_labels_are_multiples(labels, step):
    assert label_step(np.array(labels, float)) == step
