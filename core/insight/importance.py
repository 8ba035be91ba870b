"""An explanation in, what it says about its features out: how many make the movement, what shuffling confirms, what interacts."""

from dataclasses import dataclass

import numpy as np

from core.insight.explain import Explanation
from core.scoring.associations import average_ranks

_COMPARED = 10  # features that move most, whose rise under shuffling is compared with its spread
_CANDIDATES = 60  # features that move most, among which an interaction is looked for


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far shuffling a feature agrees with the mean size of its contributions.

    Attributes
    ----------
    spearman : float in [-1, 1], of both over the features that were shuffled
    features : int >= 2, that were shuffled
    redundant : tuple of str, features that move much but whose rise is below twice its spread over the shuffles: other features
        carry the same information
    """

    spearman: float
    features: int
    redundant: tuple[str, ...]


def features_for_share(explanation: Explanation, *, share: float = 0.5) -> int:
    """How few features make this share of all movement, those that move most first; 0 where nothing moves.

    Parameters
    ----------
    explanation : Explanation
    share : float in (0, 1]
    """
    importance = np.sort(explanation.importance)[::-1]
    whole = float(importance.sum())
    return 0 if whole == 0 else int(np.searchsorted(np.cumsum(importance) / whole, share) + 1)


def shuffle_agreement(explanation: Explanation) -> Agreement | None:
    """Mean contributions beside the rise of the RMSE under shuffling; None where too few were shuffled, or all are equal."""
    checked = np.flatnonzero(np.isfinite(explanation.permutation))
    moved, rise = explanation.importance[checked], explanation.permutation[checked]
    if len(checked) < 2 or np.ptp(moved) == 0 or np.ptp(rise) == 0:
        return None
    spearman = float(np.corrcoef(average_ranks(moved), average_ranks(rise))[0, 1])
    top = checked[np.argsort(-moved, kind="stable")[:_COMPARED]]
    is_redundant = explanation.permutation[top] < 2 * explanation.permutation_std[top]
    return Agreement(spearman, len(checked), tuple(explanation.columns[index] for index in top[is_redundant]))


def strongest_interaction(explanation: Explanation, feature: int) -> int:
    """The feature that interacts most with another one.

    The contributions of a feature, minus their running mean along its value, are what its value alone does not explain. The
    feature with the largest absolute rank correlation with that remainder is taken.

    Parameters
    ----------
    explanation : Explanation
    feature : int, index of a feature

    Returns
    -------
    index : int, of another feature; the next one where nothing can be said
    """
    values, moved = explanation.values[:, feature].astype(float), explanation.contributions[:, feature].astype(float)
    best, most = (feature + 1) % len(explanation.columns), -1.0
    present = np.isfinite(values)
    if not present.any():
        return best
    order = np.argsort(values[present], kind="stable")
    ordered = moved[present][order]
    kernel = np.ones(max(5, len(ordered) // 15))
    smooth = np.convolve(ordered, kernel, "same") / np.convolve(np.ones(len(ordered)), kernel, "same")
    remainder = average_ranks(ordered - smooth)
    for other in np.argsort(-explanation.importance, kind="stable")[:_CANDIDATES].tolist():
        others = explanation.values[present, other][order].astype(float)
        if other == feature or not np.isfinite(others).all() or np.ptp(others) == 0 or np.ptp(remainder) == 0:
            continue
        correlation = abs(float(np.corrcoef(remainder, average_ranks(others))[0, 1]))
        if correlation > most:
            best, most = other, correlation
    return best
