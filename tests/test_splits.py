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
    fit, stop = stopping_split(rows, seed=0)
    assert sorted([*fit, *stop]) == rows.tolist()
    assert len(stop) == 20


def test_early_stopping_keeps_groups_whole():
    groups = [f"s{index // 7}" for index in range(70)]
    fit, stop = stopping_split(np.arange(60), seed=0, groups=groups)
    assert not {groups[row] for row in fit} & {groups[row] for row in stop}
    assert 12 <= len(stop) < 19
    fit, stop = stopping_split(np.arange(10), seed=0, groups=["one"] * 10)
    assert (len(fit), len(stop)) == (8, 2)
    fit, stop = stopping_split(np.array([3, 4]), seed=0)
    assert (len(fit), len(stop)) == (1, 1)
