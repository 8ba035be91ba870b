import numpy as np
import pytest

from core.scoring.agreement import Ratings, agreement, krippendorff_alpha, mean_habits, mean_ratings, noise_ceiling, rater_offsets

# Table 2 of Shrout and Fleiss (1979): six targets, four judges.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
# Krippendorff (2011), section C: four observers, twelve units, NaN where one did not observe.
NAN = np.nan
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T


def rated(table, *, named=True):
    """Ratings from a table with a row a clip and a column a rater."""
    clips, raters = np.nonzero(np.isfinite(table))
    names = tuple(f"rater{number}" for number in range(table.shape[1]))
    return Ratings(clips, table[clips, raters], *((raters, names) if named else ()))


def simulated(seed, *, clips=4000, offsets=(1.0, 0.0, -1.0), noise=0.9, missing=0.0):
    """True marks with variance 4, and what raters with such habits say of them."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 2, clips)
    table = truth[:, None] + np.array(offsets) + rng.normal(0, noise, (clips, len(offsets)))
    table[rng.random(table.shape) < missing] = np.nan
    return truth, table[np.isfinite(table).any(axis=1)]


def test_coefficients_are_those_of_shrout_and_fleiss():
    found = agreement(rated(SHROUT_FLEISS))
    assert (found.icc_1k, found.icc_2k) == pytest.approx((0.44, 0.62), abs=0.005)
    assert np.isnan(agreement(rated(SHROUT_FLEISS, named=False)).icc_2k)


def test_alpha_is_that_of_krippendorffs_example():
    assert krippendorff_alpha(rated(KRIPPENDORFF)) == pytest.approx(0.849, abs=0.0005)


def test_raters_who_say_the_same_agree_fully_and_leave_nothing_to_a_ceiling():
    found = agreement(rated(np.repeat(np.arange(6.0)[:, None], 3, axis=1)))
    assert (found.spread, found.icc_1k, found.alpha) == pytest.approx((0, 1, 1))
    assert (found.ceiling.rmse, found.ceiling.pearson) == pytest.approx((0, 1))


def test_a_panels_habits_are_no_noise_and_those_of_strangers_are():
    """Three raters: noise 0.9 of each, habits with variance 1 (ddof 1)."""
    _, table = simulated(1)
    assert noise_ceiling(rated(table)).rmse == pytest.approx(0.9 / np.sqrt(3), rel=0.03)
    strangers = noise_ceiling(rated(table, named=False))
    assert strangers.rmse == pytest.approx(np.sqrt((0.81 + 1) / 3), rel=0.03)
    assert not strangers.is_panel


def test_the_ceiling_is_the_error_and_the_correlation_of_the_truth_itself():
    truth, table = simulated(2)
    ceiling, labels = noise_ceiling(rated(table)), table.mean(axis=1)
    assert ceiling.rmse == pytest.approx(np.std(labels - truth), rel=0.03)
    assert ceiling.pearson == pytest.approx(np.corrcoef(labels, truth)[0, 1], abs=0.005)
    assert ceiling.rmse_low < ceiling.rmse < ceiling.rmse_high
    assert ceiling.pearson_low < ceiling.pearson < ceiling.pearson_high


def test_the_interval_of_the_ceiling_holds_the_true_figure_about_as_often_as_it_says():
    inside = 0
    for seed in range(60):
        ceiling = noise_ceiling(rated(simulated(seed, clips=150)[1]), seed=seed)
        inside += ceiling.rmse_low <= 0.9 / np.sqrt(3) <= ceiling.rmse_high
    assert inside >= 52


def test_offsets_are_found_where_raters_rated_other_clips():
    _, table = simulated(3, missing=0.4)
    assert rater_offsets(rated(table)) == pytest.approx([1, 0, -1], abs=0.06)


def test_the_order_of_the_ratings_changes_nothing():
    _, table = simulated(4, clips=200, missing=0.1)
    ratings, order = rated(table), np.random.default_rng(0).permutation(int(np.isfinite(table).sum()))
    shuffled = Ratings(ratings.clips[order], ratings.values[order], ratings.raters[order], ratings.names)
    one, other = agreement(ratings), agreement(shuffled)
    assert (one.icc_1k, one.icc_2k, one.alpha, one.ceiling.rmse) == pytest.approx(
        (other.icc_1k, other.icc_2k, other.alpha, other.ceiling.rmse)
    )
    assert 0.5 < one.icc_2k < 0.95


def test_offsets_come_from_the_clips_that_are_named_only():
    table = np.array([[1.0, 3.0], [1.0, 3.0], [9.0, 1.0]])
    assert rater_offsets(rated(table), [0, 1]) == pytest.approx([-1, 1])
    assert rater_offsets(rated(table), [2]) == pytest.approx([4, -4])


def test_a_mean_rating_without_habits_is_that_of_the_whole_panel():
    """The strict rater did not rate the second clip."""
    ratings = rated(np.array([[4.0, 8.0], [NAN, 8.0], [2.0, 6.0], [3.0, 7.0]]))
    labels, counts = mean_ratings(ratings)
    assert (labels.tolist(), counts.tolist()) == ([6, 8, 4, 5], [2, 1, 2, 2])
    assert labels - mean_habits(ratings, rater_offsets(ratings)) == pytest.approx([6, 6, 4, 5])


def test_single_ratings_have_no_ceiling():
    single = Ratings(np.arange(4), np.arange(4.0))
    assert noise_ceiling(single) is None
    assert np.isnan(agreement(single).alpha)
