import numpy as np
import pytest

from core.errors import ParameterError
from core.splits import make_folds, stopping_split


def test_each_row_is_scored_once_and_never_fitted_on_there():
    plan = make_folds(23, folds=5, seed=42)
    assert sorted(np.concatenate([fold.test_rows for fold in plan])) == list(range(23))
    for fold in plan:
        assert sorted([*fold.train_rows, *fold.test_rows]) == list(range(23))


def test_the_seed_decides_the_plan():
    first, same, other = (make_folds(40, seed=seed)[0].test_rows.tolist() for seed in (1, 1, 2))
    assert first == same != other


def test_a_group_is_in_one_fold_only():
    groups = [f"speaker{index % 9}" for index in range(60)]
    for fold in make_folds(60, groups=groups):
        assert not {groups[row] for row in fold.train_rows} & {groups[row] for row in fold.test_rows}


def test_too_few_rows_or_groups_are_refused():
    with pytest.raises(ParameterError, match=r"folds=5 needs .* there are 4 labelled clips"):
        make_folds(4, folds=5)
    with pytest.raises(ParameterError, match="there are 2 groups"):
        make_folds(20, folds=3, groups=["a", "b"] * 10)


def test_early_stopping_looks_at_a_fifth_of_the_training_rows():
    rows = np.arange(100, 200)
    fit, stop = stopping_split(rows, np.arange(200.0), seed=0)
    assert sorted([*fit, *stop]) == rows.tolist()
    assert len(stop) == 20


@pytest.mark.parametrize("seed", range(6))
def test_early_stopping_keeps_groups_whole_and_near_a_fifth(seed):
    labels = np.arange(100.0)
    groups = [f"s{index // 7}" for index in range(100)]
    fit, stop = stopping_split(np.arange(60), labels, seed=seed, groups=groups)
    assert not {groups[row] for row in fit} & {groups[row] for row in stop}
    assert 8 <= len(stop) <= 16
    giant = ["one"] * 90 + [f"s{index}" for index in range(10)]
    fit, stop = stopping_split(np.arange(100), labels, seed=seed, groups=giant)
    assert len(stop) == 10
    assert {giant[row] for row in fit} == {"one"}


def test_early_stopping_never_leaves_equal_labels_to_fit_on():
    two = np.r_[np.ones(6), 2 * np.ones(6)]
    for seed in range(6):
        fit, stop = stopping_split(np.arange(12), two, seed=seed, groups=["a"] * 6 + ["b"] * 6)  # a group holds one label
        assert np.ptp(two[fit]) == 1
        assert len(stop) == 2
    fit, stop = stopping_split(np.array([0, 11]), two, seed=0)
    assert (fit.tolist(), stop.tolist()) == ([0, 11], [])
