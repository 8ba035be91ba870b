"""What an explanation says about its features, on explanations whose answer is known beforehand."""

import numpy as np
import pytest

from core.insight.explain import Explanation
from core.insight.importance import features_for_share, shuffle_agreement, strongest_interaction


def explanation(contributions, **changes):
    """Features that move predictions so much; values are the contributions unless given."""
    contributions = np.asarray(contributions, np.float32)
    n, d = contributions.shape
    unknown = np.full(d, np.nan)
    parts = {
        "filenames": tuple(f"clip{row}" for row in range(n)),
        "columns": tuple("abcdefgh"[:d]),
        "equal": {},
        "families": ("own",) * d,
        "labels": np.zeros(n),
        "oof_prediction": np.zeros(n),
        "prediction": contributions.sum(axis=1),
        "base": np.zeros(n),
        "contributions": contributions,
        "values": contributions,
        "members": {},
        "permutation": unknown,
        "permutation_std": unknown,
        "seconds": 1.0,
    }
    return Explanation(**{**parts, **changes})


def test_features_are_counted_until_they_make_the_share():
    assert features_for_share(explanation([[0.25] * 4, [-0.25] * 4])) == 2
    assert features_for_share(explanation([[3.0, 1.0, 1.0, 1.0]])) == 1
    assert features_for_share(explanation([[3.0, 1.0, 1.0, 1.0]]), share=0.8) == 3
    assert features_for_share(explanation(np.zeros((2, 4)))) == 0


def test_the_feature_that_interacts_is_found(rng):
    values = rng.normal(size=(300, 4)).astype(np.float32)
    contributions = 0.1 * values
    contributions[:, 0] = values[:, 0] * (values[:, 0] > 0) + 0.3 * values[:, 2]  # what the value itself leaves is feature 2
    assert strongest_interaction(explanation(contributions, values=values), 0) == 2


def test_interaction_of_a_feature_without_any_value_is_still_another_feature():
    nothing = explanation(np.ones((6, 4)), values=np.full((6, 4), np.nan, np.float32))
    assert strongest_interaction(nothing, 0) in (1, 2, 3)


def test_shuffling_that_ranks_features_alike_agrees_wholly_and_the_other_way_round_not_at_all():
    moved, std = [[3.0, 2.0, 1.0]], np.full(3, 0.01)
    alike = shuffle_agreement(explanation(moved, permutation=np.array([0.3, 0.2, 0.1]), permutation_std=std))
    assert alike is not None
    assert (alike.spearman, alike.features, alike.redundant) == (pytest.approx(1.0), 3, ())
    opposite = shuffle_agreement(explanation(moved, permutation=np.array([0.01, 0.2, 0.3]), permutation_std=std))
    assert opposite is not None
    assert (opposite.spearman, opposite.redundant) == (pytest.approx(-1.0), ("a",))  # its rise is within its spread


def test_features_that_were_not_shuffled_do_not_count():
    some = explanation([[4.0, 3.0, 2.0, 1.0]], permutation=np.array([0.4, 0.3, 0.2, np.nan]), permutation_std=np.zeros(4))
    agreed = shuffle_agreement(some)
    assert agreed is not None
    assert agreed.features == 3
    assert shuffle_agreement(explanation([[4.0, 3.0]])) is None
