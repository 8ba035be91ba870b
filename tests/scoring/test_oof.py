"""Figures of a cross-validation whose predictions are planted."""

import numpy as np
import pytest

from core.scoring import metrics
from core.scoring.folds import make_folds
from core.scoring.oof import measure

GROUPS = [f"speaker{number}" for number in range(8) for _ in range(5)]


def measured(predictions, labels, groups=None):
    return measure(
        [make_folds(len(labels), folds=4, groups=groups)] * len(predictions), predictions, labels, groups=groups, level=0.9
    )


def test_scores_of_groups_are_those_of_their_means(rng):
    labels = np.repeat(np.arange(8.0), 5)
    noise = rng.normal(size=(8, 5))
    noise -= noise.mean(axis=1, keepdims=True)  # what a group's mean does not have
    predictions = (labels + 3 * noise.ravel() + 0.5)[None]
    level = measured(predictions, labels, GROUPS).scores()["group_level"]
    assert level["groups"] == 8
    assert level["rmse"] == pytest.approx(0.5)
    assert (level["spearman"], level["kendall"]) == pytest.approx((1, 1))
    assert level["ccc"] == pytest.approx(metrics.ccc(np.arange(8.0), np.arange(8.0) + 0.5))
    assert level["confidence"]["units"] == 8
    assert level["confidence"]["ends"]["rmse"] == pytest.approx([0.5, 0.5])


def test_repeats_count_alike(rng):
    labels = np.repeat(np.arange(8.0), 5)
    off = np.array([[0.5], [1.5]])
    scores = measured(labels + off, labels, GROUPS).scores()
    assert scores["oof_rmse"] == scores["oof_mae"] == scores["group_level"]["rmse"] == pytest.approx(1)
    assert scores["confidence"]["ends"]["rmse"] == pytest.approx([1, 1])
    assert scores["confidence"]["units"] == 8
    assert scores["confidence"]["by_group"]


@pytest.mark.parametrize("groups", [None, [f"clip{number}" for number in range(40)]])
def test_without_groups_of_several_clips_there_is_no_second_block(groups, rng):
    labels = rng.normal(size=40)
    scores = measured(labels[None] + 1, labels, groups).scores()
    assert scores["group_level"] is None
    assert "group_level" not in scores["badges"]
    assert scores["confidence"]["units"] == 40
