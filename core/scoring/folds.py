"""Row numbers in, folds out: seeded, and with a group (a speaker, a note) never on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from core.errors import DataError, ParameterError
from core.section import Flag, Section

STOP_SHARE = 0.2  # of a fold's training rows, that early stopping looks at
MOST_BINS = 10  # of labels, to stratify by
FEWEST_INNER = 4  # rows that can be split once more


class FoldSettings(Section):
    """The folds of a training: two trainings with the same ones score the same rows in the same folds."""

    folds: Annotated[int, Field(ge=2, title="Folds", description="Folds of the cross-validation.")] = 5
    group_by: Annotated[
        str | None,
        Flag(("--group-by", "--groups"), metavar="COLUMN"),
        Field(
            title="Groups",
            description="Column whose clips of one value stay in one fold, such as speaker; auto takes what audio, names and "
            "features tie together. The score is then the one that a new speaker, room or instrument will get. Without groups it "
            "flatters.",
        ),
    ] = None
    stratified: Annotated[
        bool, Field(title="Stratified folds", description="Each fold gets about the same distribution of labels.")
    ] = False
    seed: Annotated[int, Field(ge=0, lt=2**31, title="Seed", description="The same seed makes the same folds.")] = 42
    level: Annotated[
        float,
        Flag(metavar="P"),
        Field(gt=0, lt=1, title="Interval", description="Share of labels that the interval of a prediction is to cover."),
    ] = 0.9

    @field_validator("group_by")
    @classmethod
    def _names_a_column(cls, group_by: str | None) -> str | None:
        if group_by is not None and not group_by.strip():
            raise ParameterError(f"group_by={group_by!r} names no column; leave the option out to train without groups")
        return group_by

    @property
    def plan_count(self) -> int:
        """How often the folds are drawn."""
        return 1

    def plans(self, labels: np.ndarray, groups: Sequence[str] | None) -> list[list["Fold"]]:
        """The folds, as often as they are drawn; each time with another seed.

        Parameters
        ----------
        labels : np.ndarray [shape=(n,)]
        groups : sequence of str [n] or None: rows with the same value stay in one fold

        Raises
        ------
        ParameterError
            There are fewer rows, or fewer groups, than folds.
        DataError
            The labels of a fold's training rows are all equal.
        """
        make = partial(make_folds, len(labels), folds=self.folds, groups=groups, labels=labels, stratified=self.stratified)
        plans = [make(seed=(self.seed + repeat) % 2**31) for repeat in range(self.plan_count)]
        for plan in plans:
            check_plan(plan, labels)
        return plans


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows that are fitted on and rows that are scored, ascending.

    Attributes
    ----------
    train_rows, test_rows : np.ndarray [shape=(k,)], int
    """

    train_rows: np.ndarray
    test_rows: np.ndarray


def make_folds(
    n: int,
    *,
    folds: int = 5,
    seed: int = 42,
    groups: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
    stratified: bool = False,
) -> list[Fold]:
    """Shuffle n rows into folds; each row is scored once.

    Parameters
    ----------
    n : int, number of rows
    folds : int >= 2
    seed : int
    groups : sequence of str [n], optional: rows with the same value stay in one fold
    labels : np.ndarray [shape=(n,)], finite; looked at only to stratify
    stratified : bool, low, middling and high labels are spread evenly over the folds, as far as whole groups allow

    Returns
    -------
    plan : list of Fold

    Raises
    ------
    ParameterError
        There are fewer rows, or fewer groups, than folds; or labels to stratify by are missing.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    check_units(n, groups, folds=folds)
    if not stratified:
        splitter = (KFold if groups is None else GroupKFold)(folds, shuffle=True, random_state=seed)
        return [Fold(train, test) for train, test in splitter.split(np.zeros(n), groups=groups)]
    if labels is None or len(labels) != n or not np.isfinite(labels).all():
        raise ParameterError(f"stratified=True needs a finite label for each of {n} rows")
    splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    return [Fold(train, test) for train, test in splitter.split(np.zeros(n), label_bins(labels, least=folds), groups)]


def check_units(n: int, groups: Sequence[str] | None, *, folds: int) -> None:
    """Refuse fewer rows, or fewer groups, than folds.

    Raises
    ------
    ParameterError
    """
    units, what = (len(set(groups)), "groups") if groups is not None else (n, "labelled clips")
    if folds < 2 or units < folds:
        raise ParameterError(f"folds={folds} needs 2 or more folds and at least as many {what}; there are {units} {what}")


def check_plan(plan: Sequence[Fold], labels: np.ndarray) -> None:
    """Refuse a plan with a fold that has nothing to learn.

    Raises
    ------
    DataError
        The labels of a fold's training rows are all equal.
    """
    for number, fold in enumerate(plan):
        if np.ptp(labels[fold.train_rows]) == 0:
            raise DataError(f"fold {number + 1} would train on {len(fold.train_rows)} rows of one label; use other folds or groups")


def label_bins(labels: np.ndarray, *, least: int) -> np.ndarray:
    """Number the bins that labels fall in: one a value where there are few values, else one a tenth of the rows.

    Neighbouring bins are merged until each has enough members.

    Parameters
    ----------
    labels : np.ndarray [shape=(n,)], finite
    least : int >= 1, members of a bin, where n allows

    Returns
    -------
    bins : np.ndarray [shape=(n,)], int from 0 on, rising with the label

    Examples
    --------
    >>> label_bins(np.array([1, 1, 1, 2, 3, 3, 5]), least=2)
    array([0, 0, 0, 1, 1, 1, 1])
    """
    values, where = np.unique(labels, return_inverse=True)
    if len(values) > MOST_BINS:
        edges = np.quantile(labels, np.arange(1, MOST_BINS) / MOST_BINS)
        where = np.searchsorted(edges, labels, side="right")
    sizes = np.bincount(where)
    merged, members = np.zeros(len(sizes), int), 0
    for bin_, size in enumerate(sizes):
        if members >= least and sizes[bin_:].sum() >= least:  # this one is full, and what comes makes another
            merged[bin_:] += 1
            members = 0
        members += size
    return merged[where]


def inner_folds(
    rows: np.ndarray, labels: np.ndarray, *, folds: int = 3, seed: int, groups: Sequence[str] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split a fold's training rows once more, for the choices that are made before the fold is scored.

    Groups are kept whole; where there are fewer groups than folds, there are as many folds as groups. Rows are split one by one
    where all are of one group, or where whole groups would leave equal labels to fit on.

    Parameters
    ----------
    rows : np.ndarray [shape=(k,)], row numbers, ascending
    labels : np.ndarray [shape=(n,)], of all rows of the data set
    folds : int >= 2
    seed : int
    groups : sequence of str [n], optional, of all rows of the data set

    Returns
    -------
    parts : list of (fit_rows, score_rows), row numbers of the data set; each of ``rows`` is scored once, and the labels to fit on
        are never all equal. Empty where that cannot be: there are fewer than 4 rows, or hardly a label differs.
    """
    if len(rows) < FEWEST_INNER:
        return []
    of_rows = None if groups is None else [groups[row] for row in rows]
    for units in ([of_rows] if of_rows is not None and len(set(of_rows)) > 1 else []) + [None]:
        most = len(rows) if units is None else len(set(units))
        plan = make_folds(len(rows), folds=min(folds, most), seed=seed, groups=units)
        parts = [(rows[fold.train_rows], rows[fold.test_rows]) for fold in plan]
        if all(np.ptp(labels[fit]) > 0 for fit, _ in parts):
            return parts
    return []


def stopping_split(
    rows: np.ndarray, labels: np.ndarray, *, seed: int, groups: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Part a fold's training rows: those to fit on, and about a fifth that early stopping may look at.

    Parameters
    ----------
    rows : np.ndarray [shape=(k,)], row numbers, k >= 2
    labels : np.ndarray [shape=(n,)], of all rows of the data set; those of ``rows`` are not all equal
    seed : int
    groups : sequence of str [n], optional: kept whole where the rows to fit on then still differ in their labels

    Returns
    -------
    fit_rows, stop_rows : np.ndarray; the labels of ``fit_rows`` are not all equal, ``stop_rows`` is empty where that cannot be
    """
    rng = np.random.default_rng(seed)
    candidates = [np.arange(len(rows))]
    if groups is not None:
        candidates.insert(0, np.unique([groups[row] for row in rows], return_inverse=True)[1])
    for units in candidates:
        stop = _draw(units, max(1, round(STOP_SHARE * len(rows))), rng)
        if stop.any() and np.ptp(labels[rows[~stop]]) > 0:
            return rows[~stop], rows[stop]
    return rows, rows[:0]


def _draw(units: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Mark whole units at random until about ``wanted`` rows are marked; a unit too large to come nearer is passed over."""
    sizes = np.bincount(units)
    marked = np.zeros(len(units), bool)
    for unit in rng.permutation(len(sizes)):
        have = marked.sum()
        if abs(have + sizes[unit] - wanted) < abs(have - wanted):
            marked |= units == unit
    return marked
