"""Predictions and labels in, where the errors are out: by label, by group, and how often an interval covers its label.

An error is the prediction minus the label, in the unit of the label: above 0 the prediction is too high.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LabelBin:
    """Clips whose labels are next to each other.

    Attributes
    ----------
    label : float, mean label of the bin
    error : float, mean error
    clips : int >= 1
    """

    label: float
    error: float
    clips: int


@dataclass(frozen=True, slots=True)
class CoverageBin:
    """How often the intervals of clips with similar labels, or predictions, cover the label.

    Attributes
    ----------
    low, high : float, smallest and largest label or prediction of the bin
    share : float in [0, 1], interval coverage
    clips : int >= 1
    """

    low: float
    high: float
    share: float
    clips: int


@dataclass(frozen=True, slots=True)
class GroupErrors:
    """Errors of the clips that share a group.

    Attributes
    ----------
    group : str
    clips : int >= 1
    rmse : float >= 0
    mean_error : float, far from 0 where the whole group is misjudged
    """

    group: str
    clips: int
    rmse: float
    mean_error: float


def error_bins(labels: np.ndarray, predictions: np.ndarray, *, bins: int = 10) -> list[LabelBin]:
    """Mean error by label, in bins of about as many clips each; equal labels share a bin.

    Parameters
    ----------
    labels, predictions : np.ndarray [shape=(n,)]
    bins : int >= 1, at most

    Returns
    -------
    table : list of LabelBin, lowest label first

    Examples
    --------
    >>> error_bins(np.array([1.0, 1.0, 5.0]), np.array([1.5, 2.5, 4.0]))
    [LabelBin(label=1.0, error=1.0, clips=2), LabelBin(label=5.0, error=-1.0, clips=1)]
    """
    labels, errors = np.asarray(labels, float), np.asarray(predictions, float) - np.asarray(labels, float)
    return [
        LabelBin(float(labels[members].mean()), float(errors[members].mean()), len(members))
        for members in _members_by_bin(labels, bins)
    ]


def coverage_bins(
    labels: np.ndarray, low: np.ndarray, high: np.ndarray, *, by: np.ndarray | None = None, bins: int = 8
) -> list[CoverageBin]:
    """Interval coverage by label, or by prediction, in bins of about as many clips each; equal values share a bin.

    Parameters
    ----------
    labels, low, high : np.ndarray [shape=(n,)]; a label on an end of its interval is inside
    by : np.ndarray [shape=(n,)], what the bins are of; None takes the labels
    bins : int >= 1, at most

    Returns
    -------
    table : list of CoverageBin, lowest first

    Examples
    --------
    >>> coverage_bins(np.array([1.0, 1.0, 5.0]), np.array([0.0, 1.5, 4.0]), np.array([1.0, 2.5, 6.0]))
    [CoverageBin(low=1.0, high=1.0, share=0.5, clips=2), CoverageBin(low=5.0, high=5.0, share=1.0, clips=1)]
    """
    labels = np.asarray(labels, float)
    inside = (np.asarray(low, float) <= labels) & (labels <= np.asarray(high, float))
    values = labels if by is None else np.asarray(by, float)
    return [
        CoverageBin(float(values[members].min()), float(values[members].max()), float(inside[members].mean()), len(members))
        for members in _members_by_bin(values, bins)
    ]


def errors_by_group(labels: np.ndarray, predictions: np.ndarray, groups: Sequence[str | None]) -> list[GroupErrors]:
    """RMSE and mean error of each group.

    Parameters
    ----------
    labels, predictions : np.ndarray [shape=(n,)]
    groups : sequence of str [length=n]; rows with None are left out

    Returns
    -------
    table : list of GroupErrors, largest RMSE first; where two are equal, the group that comes first in ``groups``

    Examples
    --------
    >>> errors_by_group(np.zeros(3), np.array([1.0, 3.0, -3.0]), ["a", "b", "b"])[0]
    GroupErrors(group='b', clips=2, rmse=3.0, mean_error=0.0)
    """
    errors = np.asarray(predictions, float) - np.asarray(labels, float)
    by_group: dict[str, list[float]] = {}
    for group, error in zip(groups, errors.tolist(), strict=True):
        if group is not None:
            by_group.setdefault(group, []).append(error)
    table = [
        GroupErrors(group, len(its), float(np.sqrt(np.mean(np.square(its)))), float(np.mean(its)))
        for group, its in by_group.items()
    ]
    return sorted(table, key=lambda row: -row.rmse)


def _members_by_bin(labels: np.ndarray, bins: int) -> list[np.ndarray]:
    """Row numbers of each bin that has rows, lowest labels first; the edges are quantiles of the labels."""
    ordered = np.sort(labels)
    edges = np.unique(ordered[np.linspace(0, len(ordered), bins + 1).astype(int)[1:-1].clip(0, len(ordered) - 1)])
    index = np.searchsorted(edges, labels, side="right")
    return [np.flatnonzero(index == number) for number in np.unique(index)]
