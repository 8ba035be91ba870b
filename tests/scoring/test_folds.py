import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.model_selection import GroupKFold, KFold

from core.errors import ParameterError
from core.scoring.folds import inner_folds, label_bins, make_folds, stopping_split

SKEWED = np.exp(1.5 * np.random.default_rng(5).normal(size=120))
SPEAKERS = [f"s{index % 24}" for index in range(120)]
MODES = [
    pytest.param({"groups": groups, "stratified": stratified}, id=f"{'grouped' if groups else 'single'}-{stratified=}")
    for groups in (None, SPEAKERS)
    for stratified in (False, True)
]


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


@pytest.mark.parametrize("mode", MODES)
@given(seed=st.integers(0, 2**31 - 1), folds=st.integers(2, 8))
@settings(max_examples=25, deadline=None)
def test_in_every_mode_each_row_is_scored_once_and_no_group_is_on_both_sides(mode, seed, folds):
    plan = make_folds(120, folds=folds, seed=seed, labels=SKEWED, **mode)
    assert len(plan) == folds
    assert sorted(np.concatenate([fold.test_rows for fold in plan])) == list(range(120))
    for fold in plan:
        assert sorted([*fold.train_rows, *fold.test_rows]) == list(range(120))
        assert len(fold.test_rows) > 0
        assert (np.diff(fold.train_rows) > 0).all()
        if mode["groups"]:
            assert not {SPEAKERS[row] for row in fold.train_rows} & {SPEAKERS[row] for row in fold.test_rows}


@pytest.mark.parametrize("mode", MODES)
def test_in_every_mode_the_seed_decides_the_plan(mode):
    first, same, other = (
        [fold.test_rows.tolist() for fold in make_folds(120, seed=seed, labels=SKEWED, **mode)] for seed in (1, 1, 2)
    )
    assert first == same != other


def test_labels_do_not_change_folds_that_are_not_stratified():
    for groups in (None, SPEAKERS):
        blind, told = make_folds(120, groups=groups), make_folds(120, groups=groups, labels=SKEWED)
        assert [fold.test_rows.tolist() for fold in blind] == [fold.test_rows.tolist() for fold in told]


def test_folds_are_those_of_scikit_learn():
    oracles = [
        (KFold(5, shuffle=True, random_state=42), {}),
        (GroupKFold(5, shuffle=True, random_state=42), {"groups": SPEAKERS}),
    ]
    for oracle, mode in oracles:
        expected = [test.tolist() for _, test in oracle.split(SKEWED, groups=mode.get("groups"))]
        assert [fold.test_rows.tolist() for fold in make_folds(120, **mode)] == expected


@pytest.mark.parametrize("groups", [None, SPEAKERS], ids=["single", "grouped"])
def test_stratified_folds_are_alike_in_their_labels(groups):
    """Ranks of a skewed label, so that no single extreme row decides; over seeds, because one plain plan may be lucky."""
    ranks = np.argsort(np.argsort(SKEWED)).astype(float)

    def unevenness(stratified):
        plans = [make_folds(120, seed=seed, groups=groups, labels=SKEWED, stratified=stratified) for seed in range(12)]
        return np.mean([abs(ranks[fold.test_rows].mean() - ranks.mean()) for plan in plans for fold in plan])

    assert unevenness(True) < 0.7 * unevenness(False)


def test_a_stratified_folds_mean_label_is_nearer_to_the_whole():
    def miss(stratified):
        plans = [make_folds(120, seed=seed, labels=SKEWED, stratified=stratified) for seed in range(12)]
        return np.mean([abs(SKEWED[fold.test_rows].mean() - SKEWED.mean()) for plan in plans for fold in plan])

    assert miss(True) < miss(False)


def test_few_values_are_bins_of_their_own_and_each_fold_has_its_share():
    labels = np.repeat([1.0, 2.0, 9.0], [50, 30, 20])
    for fold in make_folds(100, labels=labels, stratified=True):
        assert [int((labels[fold.test_rows] == value).sum()) for value in (1, 2, 9)] == [10, 6, 4]


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0, *range(20, 40)]), min_size=8, max_size=80), st.integers(2, 8))
@settings(max_examples=60, deadline=None)
def test_bins_follow_the_labels_and_none_is_rare(labels, least):
    labels = np.array(labels)
    bins = label_bins(labels, least=least)
    assert np.bincount(bins).min() >= least
    order = np.argsort(labels, kind="stable")
    assert (np.diff(bins[order]) >= 0).all()
    assert all(len(set(bins[labels == value])) == 1 for value in labels)


def test_stratifying_needs_labels():
    for labels in (None, np.ones(9), np.r_[np.nan, np.ones(9)]):
        with pytest.raises(ParameterError, match="finite label for each of 10 rows"):
            make_folds(10, labels=labels, stratified=True)


@pytest.mark.parametrize("seed", range(8))
def test_an_inner_split_is_of_the_training_rows_alone_and_keeps_groups_whole(seed):
    fold = make_folds(120, groups=SPEAKERS)[0]
    parts = inner_folds(fold.train_rows, SKEWED, seed=seed, groups=SPEAKERS)
    assert len(parts) == 3
    assert sorted(np.concatenate([score for _, score in parts])) == fold.train_rows.tolist()
    for fit, score in parts:
        assert sorted([*fit, *score]) == fold.train_rows.tolist()
        assert not {SPEAKERS[row] for row in fit} & {SPEAKERS[row] for row in score}


def test_an_inner_split_makes_do_with_fewer_groups_and_with_one():
    labels, rows = np.arange(40.0), np.arange(10, 40)
    two = ["a"] * 20 + ["b"] * 20
    parts = inner_folds(rows, labels, seed=0, groups=two)
    assert sorted(score.tolist() for _, score in parts) == [list(range(10, 20)), list(range(20, 40))]
    one = inner_folds(rows, labels, seed=0, groups=["a"] * 40)
    assert sorted(np.concatenate([score for _, score in one])) == rows.tolist()
    assert len(one) == 3


def test_an_inner_split_never_leaves_equal_labels_to_fit_on():
    rows, labels = np.arange(12), np.r_[np.ones(6), np.full(6, 2.0)]
    parts = inner_folds(rows, labels, seed=0, groups=["a"] * 6 + ["b"] * 6)  # a group holds one label
    assert all(np.ptp(labels[fit]) == 1 for fit, _ in parts)
    assert len(parts) == 3
    assert inner_folds(rows, np.r_[np.ones(11), 2.0], seed=0) == []
    assert inner_folds(rows[:3], labels, seed=0) == []


def test_the_seed_decides_the_inner_split():
    first, same, other = ([score.tolist() for _, score in inner_folds(np.arange(60), SKEWED, seed=seed)] for seed in (1, 1, 2))
    assert first == same != other


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
