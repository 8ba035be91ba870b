"""Errors by label and by group, and coverage by label, on clips whose errors are known beforehand."""

import numpy as np
import pytest

from core.scoring.residuals import coverage_bins, error_bins, errors_by_group

LABELS = np.repeat([1.0, 2.0, 3.0, 4.0], 5)
PREDICTIONS = LABELS + np.tile([0.5, -0.5, 0.0, 0.5, -0.5], 4) + (LABELS == 4)  # the highest label is 1 too high
LOW, HIGH = LABELS - 1, LABELS + np.where(LABELS == 4, -0.5, 1)


def test_errors_by_group_are_those_of_its_clips():
    worst, best = errors_by_group(LABELS, PREDICTIONS, ["a"] * 15 + ["b"] * 5)
    assert (worst.group, worst.clips, best.group, best.clips) == ("b", 5, "a", 15)
    assert (worst.mean_error, best.mean_error) == pytest.approx((1.0, 0.0))
    assert (worst.rmse, best.rmse) == pytest.approx((np.sqrt(1.2), np.sqrt(0.2)))


def test_clips_without_a_group_are_left_out():
    assert errors_by_group(LABELS, PREDICTIONS, [None] * 20) == []
    assert [row.clips for row in errors_by_group(LABELS, PREDICTIONS, [*[None] * 19, "b"])] == [1]


def test_mean_errors_by_label_keep_equal_labels_together():
    table = error_bins(LABELS, PREDICTIONS)
    assert [row.label for row in table] == [1, 2, 3, 4]
    assert [row.error for row in table] == pytest.approx([0, 0, 0, 1])
    assert [row.clips for row in table] == [5] * 4


def test_labels_that_are_all_equal_make_one_bin():
    [only] = error_bins(np.full(20, 2.0), PREDICTIONS)
    assert (only.label, only.clips) == (2.0, 20)


def test_labels_that_all_differ_make_bins_of_as_many_clips(rng):
    labels = rng.permutation(np.arange(100.0))
    assert [row.clips for row in error_bins(labels, labels)] == [10] * 10
    assert [(row.low, row.high) for row in coverage_bins(labels, labels, labels, bins=4)] == [(0, 24), (25, 49), (50, 74), (75, 99)]


def test_coverage_by_label_finds_where_intervals_are_too_narrow():
    assert [row.share for row in coverage_bins(LABELS, LOW, HIGH)] == [1, 1, 1, 0]


def test_a_label_on_the_end_of_its_interval_is_inside():
    assert [row.share for row in coverage_bins(LABELS, LABELS, LABELS)] == [1, 1, 1, 1]
