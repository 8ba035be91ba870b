import numpy as np
import pytest

from core.ensemble.blend import best_member, convex_weights, label_step, learn_blend, mean_of_good


@pytest.fixture
def labels(rng):
    return rng.normal(5, 2, size=400)


def parts_of(n, number=4):
    return [np.arange(start, n, number) for start in range(number)]


def equal(members):
    return np.full(members, 1 / members)


def rmse(labels, predictions):
    return np.sqrt(np.mean((predictions - labels) ** 2))


def test_a_perfect_member_gets_nearly_all_the_weight_and_noise_nearly_none(labels, rng):
    almost = labels + 0.01 * rng.normal(size=400)
    noise = rng.normal(5, 2, size=400)
    weights = convex_weights(np.column_stack([almost, noise, noise[::-1]]), labels, equal(3))
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert weights[0] > 0.97
    assert (weights >= 0).all()


def test_a_member_without_any_error_leaves_the_weights_where_they_start(labels, rng):
    start = np.array([1.0, 0.0])
    assert convex_weights(np.column_stack([labels, labels + 1]), labels, start) is start


def test_few_rows_leave_the_weights_near_their_start(labels, rng):
    few = labels[:10, None] + rng.normal(size=(10, 2)) * [1.0, 1.2]
    assert convex_weights(few, labels[:10], equal(2)) == pytest.approx([0.5, 0.5], abs=0.2)
    assert convex_weights(few, labels[:10], np.array([1.0, 0.0]))[0] > 0.75


def test_members_that_err_independently_share_the_weight_by_their_precision(labels, rng):
    """The best unbiased blend of independent errors weighs by inverse variance: 4 to 1 here."""
    many = np.tile(labels, 100)
    predictions = many[:, None] + rng.normal(size=(len(many), 2)) * [0.5, 1.0]
    assert convex_weights(predictions, many, equal(2))[0] == pytest.approx(0.8, abs=0.02)  # the pull is 30 rows of 40 000


def test_equal_members_share_equally(labels, rng):
    one = labels + rng.normal(size=400)
    assert convex_weights(np.column_stack([one, one, one]), labels, equal(3)) == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_one_bad_member_does_not_hurt_any_rule(labels, rng):
    good = labels[:, None] + 0.3 * rng.normal(size=(400, 3))
    bad = 8 * rng.normal(size=(400, 1)) + 5
    predictions = np.column_stack([good, bad])
    assert mean_of_good(predictions, labels) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert best_member(predictions, labels)[3] == 0
    for rule in ("auto", "weights", "best"):
        blend = learn_blend(predictions, labels, parts_of(400), rule=rule)
        assert blend.weights[3] < 0.05
    blended = predictions @ learn_blend(predictions, labels, parts_of(400)).weights
    assert rmse(labels, blended) < 1.02 * rmse(labels, good.mean(axis=1))


def test_weights_are_used_where_they_are_better_and_the_mean_where_they_are_not(labels, rng):
    alike = np.repeat(labels[:, None] + rng.normal(size=(400, 1)), 3, axis=1)
    assert learn_blend(alike, labels, parts_of(400)).rule == "mean"
    far = labels[:, None] + rng.normal(size=(400, 3)) * [0.85, 1.0, 1.0] + 0.9 * rng.normal(size=(400, 1)) * [0, 1, 1]
    blend = learn_blend(far, labels, parts_of(400))
    assert blend.rule.startswith("weights")
    assert 0.5 < blend.weights[0] < 0.9
    assert learn_blend(far, labels, parts_of(400), rule="mean").rule == "mean"


def planted(rng, spreads, shared, n=330):
    """Labels and members whose errors have these standard deviations, ``shared`` of their variance in common; n and 4000 rows."""
    labels = 1.4 * rng.normal(size=n + 4000)
    common, own = rng.normal(size=(n + 4000, 1)), rng.normal(size=(n + 4000, len(spreads)))
    return labels, labels[:, None] + (np.sqrt(shared) * common + np.sqrt(1 - shared) * own) * spreads


@pytest.mark.parametrize(
    ("bad", "shared"), [(0.7, 0.9), (0.8, 0.85), (0.95, 0.6), (1.3, 0.5)], ids=["near", "alike", "other", "awful"]
)
def test_one_good_member_and_six_bad_ones_cost_at_most_1_percent_over_the_good_one(bad, shared):
    ratios = []
    for seed in range(20):
        labels, members = planted(np.random.default_rng(seed), np.array([0.63] + 6 * [bad]), shared)
        weights = learn_blend(members[:330], labels[:330], parts_of(330, 3)).weights
        ratios.append(rmse(labels[330:], members[330:] @ weights) / rmse(labels[330:], members[330:, 0]))
    assert np.mean(ratios) < 1.01


@pytest.mark.parametrize("shared", [0.5, 0.9])
def test_seven_equal_members_gain_as_their_mean_does(shared):
    ratios = []
    for seed in range(20):
        labels, members = planted(np.random.default_rng(seed), np.full(7, 0.7), shared)
        weights = learn_blend(members[:330], labels[:330], parts_of(330, 3)).weights
        ratios.append(rmse(labels[330:], members[330:] @ weights) / rmse(labels[330:], members[330:].mean(axis=1)))
    assert np.mean(ratios) < 1.01


@pytest.mark.parametrize(
    ("labels", "step"), [([1, 2, 5], 1.0), ([10, 30], 10.0), ([1.5, 2], 0.5), ([8.75, 9.25], 0.25), ([0.333, 1], None)]
)
def test_the_grid_is_the_largest_step_of_which_all_labels_are_multiples(labels, step):
    assert label_step(np.array(labels, float)) == step
