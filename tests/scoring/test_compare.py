"""Verdicts on simulated predictions, of which it is known whether one is better."""

import numpy as np
import pytest

from core.errors import DataError, ParameterError
from core.scoring.compare import CANNOT_TELL, HELPS, HURTS, Verdict, paired_verdict, rmse_interval
from core.scoring.losses import CHOICES
from core.scoring.metrics import METRICS

QUICK = 300  # draws, where the ends need not be exact


def two_settings(seed, *, n=100, repeats=2, before_sd=1.0, after_sd=1.0):
    """Labels, and what two settings say: errors that both share, which differ a little between repeats, and each one's own."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=n)
    shared = labels + 0.5 * rng.normal(size=n)
    before, after = (shared + sd * rng.normal(size=n) + 0.2 * rng.normal(size=(repeats, n)) for sd in (before_sd, after_sd))
    return labels, before, after


def test_the_difference_is_that_of_the_rmse_in_the_mean_over_repeats():
    labels = np.zeros(4)
    before, after = np.array([np.full(4, 3.0), np.full(4, 5.0)]), np.array([np.full(4, -1.0), np.full(4, 2.0)])
    found = paired_verdict(labels, before, after)
    assert (found.difference, found.low, found.high) == (-2.5, -2.5, -2.5)  # each clip alike: nothing to be unsure of
    assert found.verdict == HELPS


def test_changing_sides_mirrors_the_verdict():
    labels, before, after = two_settings(0, after_sd=0.4)
    there, back = paired_verdict(labels, before, after), paired_verdict(labels, after, before)
    assert (there.verdict, back.verdict) == (HELPS, HURTS)
    mirrored = (-back.difference, -back.high, -back.low)
    assert (there.difference, there.low, there.high) == pytest.approx(mirrored, abs=1e-12)


def test_settings_that_differ_by_noise_alone_cannot_be_told_apart():
    verdicts = [paired_verdict(*two_settings(seed), draws=QUICK).verdict for seed in range(200)]
    assert verdicts.count(CANNOT_TELL) >= 180


def test_of_groups_that_err_together_chance_is_not_taken_for_a_gain():
    """Ten groups of ten clips; taken clip by clip, their chance differences look like evidence."""

    def verdicts(by_group):
        for seed in range(200):
            rng = np.random.default_rng(seed)
            groups = np.repeat([f"speaker{index}" for index in range(10)], 10)
            before, after = (np.repeat(rng.normal(size=10), 10) + 0.2 * rng.normal(size=100) for _ in range(2))
            yield paired_verdict(np.zeros(100), before, after, groups=groups if by_group else None, draws=QUICK).verdict

    assert list(verdicts(by_group=True)).count(CANNOT_TELL) >= 180
    assert list(verdicts(by_group=False)).count(CANNOT_TELL) < 150


def test_a_planted_gain_is_found_with_many_clips_and_not_with_few():
    few = [paired_verdict(*two_settings(seed, n=20, after_sd=0.9), draws=QUICK).verdict for seed in range(40)]
    many = [paired_verdict(*two_settings(seed, n=3000, after_sd=0.9), draws=QUICK).verdict for seed in range(6)]
    assert few.count(CANNOT_TELL) > 30
    assert many == [HELPS] * 6


def test_whole_groups_make_the_interval_wider_where_they_err_together(rng):
    groups = np.repeat([f"speaker{index}" for index in range(12)], 20)
    before, after = (np.repeat(rng.normal(size=12), 20) + 0.1 * rng.normal(size=240) for _ in range(2))
    by_clip, by_group = (paired_verdict(np.zeros(240), before, after, groups=of) for of in (None, groups))
    assert by_group.difference == by_clip.difference
    assert by_group.high - by_group.low > 2 * (by_clip.high - by_clip.low)
    assert (by_clip.groups, by_group.groups) == (None, 12)


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    """The true one is that of the errors' distributions; half a percent of 400 data sets is what counting them is unsure by."""
    truth = np.sqrt(0.25 + 0.7**2 + 0.04) - np.sqrt(0.25 + 1 + 0.04)
    found = [paired_verdict(*two_settings(seed, n=60, after_sd=0.7), level=0.8, draws=QUICK) for seed in range(400)]
    assert np.mean([one.low <= truth <= one.high for one in found]) == pytest.approx(0.8, abs=0.06)  # three standard errors


def test_the_seed_decides_the_interval():
    data = two_settings(3)
    first, same, other = (paired_verdict(*data, seed=seed, draws=QUICK) for seed in (1, 1, 2))
    assert first == same
    assert (first.low, first.high) != (other.low, other.high)


def test_one_repeat_may_come_as_a_row():
    labels, before, after = two_settings(4, repeats=1)
    assert paired_verdict(labels, before[0], after[0]) == paired_verdict(labels, before, after)


def test_the_sentence_has_as_many_digits_as_the_interval_can_bear():
    verdict = Verdict(-12.3456, -20.4, -4.2, 0.95, 100, None, HELPS, 0.0)
    assert verdict.sentence() == "helps with 100 clips: RMSE -12 (-20 to -4)"
    sure = Verdict(0.25, 0.25, 0.25, 0.95, 8, 2, HURTS, 3.0)
    assert sure.sentence() == "hurts with 8 clips of 2 groups: RMSE +0.250 (+0.250 to +0.250), +3.0 minutes"


def test_what_cannot_be_compared_is_refused():
    labels, before, after = two_settings(5, n=10)
    for wrong in (after[:1], after[:, :9], after[None]):
        with pytest.raises(DataError, match="compare runs on the same clips and repeats"):
            paired_verdict(labels, before, wrong)
    with pytest.raises(DataError, match="in as many repeats of 9 clips"):
        paired_verdict(labels[:9], before, after)
    with pytest.raises(DataError, match="finite"):
        paired_verdict(labels, before, np.full_like(after, np.nan))
    with pytest.raises(DataError, match="a group for each of 10 clips, received 2"):
        paired_verdict(labels, before, after, groups=["a", "b"])
    with pytest.raises(DataError, match="expected two groups at least, received 1"):
        paired_verdict(labels, before, after, groups=["a"] * 10)
    with pytest.raises(ParameterError, match=r"level=1\.0"):
        paired_verdict(labels, before, after, level=1.0)
    with pytest.raises(ParameterError, match="draws=3"):
        paired_verdict(labels, before, after, draws=3)


def test_a_difference_of_rounding_is_not_told_digit_by_digit():
    verdict = Verdict(1e-17, -8e-16, 0.0, 0.95, 150, 30, "cannot tell", 0.0)
    assert verdict.sentence() == "cannot tell with 150 clips of 30 groups: RMSE +0.000000 (-0.000000 to +0.000000)"


def test_the_interval_of_an_rmse_holds_the_true_one_as_often_as_it_says():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        labels = rng.normal(size=60)
        low, high = rmse_interval(labels, labels + 2.0 * rng.normal(size=60))
        held += low <= 2.0 <= high
    assert 180 <= held <= 199  # 190 expected; a share of 0.95 in 200 has a standard deviation of 3


def test_the_interval_of_an_rmse_is_wider_where_whole_groups_share_their_error():
    rng = np.random.default_rng(4)
    labels, groups = rng.normal(size=200), [str(row // 20) for row in range(200)]
    predictions = labels + np.repeat(rng.normal(size=10), 20)
    widths = [np.diff(rmse_interval(labels, predictions, groups=of))[0] for of in (None, groups)]
    assert widths[1] > 2 * widths[0]


def test_errors_that_are_all_alike_leave_nothing_to_be_unsure_of():
    assert rmse_interval(np.arange(5.0), np.arange(5.0) - 3.0) == (3.0, 3.0)


@pytest.mark.parametrize("metric", CHOICES)
def test_by_any_metric_the_difference_is_that_of_the_metric_and_a_planted_gain_helps(metric):
    labels, before, after = two_settings(0, n=600, after_sd=0.3)
    there, back = (paired_verdict(labels, *pair, metric=metric) for pair in ((before, after), (after, before)))
    score = METRICS[metric].score
    expected = np.mean([score(labels, one) - score(labels, other) for one, other in zip(after, before, strict=True)])
    assert there.difference == pytest.approx(expected, abs=1e-9)
    assert (there.verdict, back.verdict) == (HELPS, HURTS)
    assert there.low < there.difference < there.high
    assert (there.difference > 0) is METRICS[metric].higher_is_better
    assert f": {METRICS[metric].label} {'+' if there.difference > 0 else '-'}" in there.sentence()


@pytest.mark.parametrize("metric", CHOICES)
def test_by_any_metric_noise_cannot_be_told_apart(metric):
    verdicts = [paired_verdict(*two_settings(seed), metric=metric, draws=QUICK).verdict for seed in range(60)]
    assert verdicts.count(CANNOT_TELL) >= 52


def test_predictions_of_another_scale_help_by_a_correlation_and_not_by_an_error():
    labels, before, after = two_settings(0, n=600, after_sd=0.3)
    assert paired_verdict(labels, before, 10 * after, metric="spearman").verdict == HELPS
    assert paired_verdict(labels, before, 10 * after, metric="mae").verdict == HURTS


def test_a_metric_that_choices_do_not_know_is_refused():
    with pytest.raises(ParameterError, match="metric='pearson' not among rmse, mae, ccc, spearman"):
        paired_verdict(np.arange(4.0), np.arange(4.0), np.arange(4.0), metric="pearson")
