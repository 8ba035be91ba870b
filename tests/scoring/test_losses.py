"""What a choice makes small, against the metric itself and against leaving rows out one by one."""

import numpy as np
import pytest

from core.scoring import metrics
from core.scoring.losses import CHOICES, loss, row_losses


@pytest.mark.parametrize("metric", CHOICES)
def test_the_better_predictions_have_the_smaller_loss(metric, rng):
    labels, noise = rng.normal(size=(2, 200))
    close, far = labels + 0.3 * noise, labels + 2 * noise
    assert loss(metric, labels, close) < loss(metric, labels, far)
    assert row_losses(metric, labels, close).mean() < row_losses(metric, labels, far).mean()


@pytest.mark.parametrize(
    ("metric", "expected"), [("rmse", lambda value: value**2), ("mae", float), ("ccc", lambda value: 1 - value)]
)
def test_the_parts_of_the_rows_add_up_to_the_score(metric, expected, rng):
    labels, noise = rng.normal(size=(2, 300))
    predictions = labels + noise
    parts = row_losses(metric, labels, predictions)
    score = metrics.METRICS[metric].score(labels, predictions)
    assert parts.mean() == pytest.approx(expected(score), abs=0.01)  # the jackknife takes out a bias of the order 1 / n


@pytest.mark.parametrize("metric", ["ccc", "spearman"])
def test_the_part_of_a_row_is_what_leaving_it_out_changes(metric, rng):
    labels, noise = rng.normal(size=(2, 12))
    predictions = labels + noise
    if metric == "spearman":  # ranks stay those of all rows
        first, second, score = metrics.ranks(labels), metrics.ranks(predictions), metrics.pearson
    else:
        first, second, score = labels, predictions, metrics.ccc
    for row, part in enumerate(row_losses(metric, labels, predictions)):
        without = 1 - score(np.delete(first, row), np.delete(second, row))
        assert part == pytest.approx(12 * (1 - score(first, second)) - 11 * without)


def test_a_constant_has_no_correlation_and_so_the_loss_of_none():
    labels = np.arange(5.0)
    assert loss("ccc", labels, np.full(5, 2.0)) == loss("spearman", labels, np.zeros(5)) == 1
    assert np.allclose(row_losses("spearman", labels, np.zeros(5)), 1)
