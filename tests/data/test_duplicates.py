"""Rows that are another row with a little noise are found, and those that are not are left alone."""

import numpy as np
import pytest

from core.data.duplicates import near_pairs
from core.grouping import leaks


def rows(rng, n=60, d=40):
    return rng.normal(size=(n, d)).astype(np.float32)


def test_a_row_with_a_little_noise_is_a_twin_and_others_are_not(rng):
    X = rows(rng)
    X[41] = X[7] + 1e-3 * rng.normal(size=40)
    X[3] = X[50]
    X[10, :5] = np.nan
    assert near_pairs(X) == [(3, 50), (7, 41)]
    assert near_pairs(rows(rng)) == []


@pytest.mark.parametrize("shape", [(5, 40), (60, 3), (60, 0), (0, 5)])
def test_too_few_rows_or_columns_have_no_twins(rng, shape):
    X = rows(rng, *shape)
    if len(X) > 1:
        X[1] = X[0]
    assert near_pairs(X) == []


def test_test_clips_add_pairs_and_change_none_among_the_training_clips(rng):
    X = rows(rng, 60, 40)
    X[41] = X[7] + 0.1 * rng.normal(size=40)
    crowd = 0.05 * rows(rng, 200, 40)  # so near to each other that the pair is no nearer than is usual
    crowd[20] = X[3]
    assert near_pairs(X) == [(7, 41)]
    assert (7, 41) not in near_pairs(np.concatenate([X, crowd]))
    assert near_pairs(X, crowd) == [(7, 41), (3, 80)]
    assert near_pairs(X, np.empty((0, 40))) == [(7, 41)]


def test_twins_are_those_that_folds_are_offered_as_groups(rng):
    X = rows(rng, 200, 60)
    for row in range(0, 40, 2):
        X[row + 1] = X[row] + 10.0 ** -(1 + row % 4) * rng.normal(size=60)
    names = [str(row) for row in range(200)]
    [proposal] = [one for one in leaks.propose_groups(names, None, X) if one.kind == leaks.NEAR_IDENTICAL]
    tied = {(names.index(group), row) for row, group in enumerate(proposal.groups) if group != names[row]}
    assert tied == set(near_pairs(X))
    assert 10 <= len(tied) <= 20
