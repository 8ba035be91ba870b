"""Feature sets and labels in, the widths of a radial kernel out: one a set, chosen on an inner split of a fold's training rows.

The kernel of two clips is exp(-sum over sets of width x d), where d is the mean squared difference of their scaled columns in that
set. So a set of ten strong columns can count as much as one of a thousand, or more; a set of width 0 has no part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.ensemble.regressor import Parameters

WIDTHS = (0.0, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0)
ALONE, BESIDE = 0.25, 0.12  # where a set begins, without others and with some
GAIN = 0.02  # share of the squared error by which a change must be better: a few hundred rows do not tell smaller ones from luck
MOST_ROWS = 1000  # of each side of a part, which tell widths apart as well as all would

# Kernel of the rows that are fitted, their labels, the kernel of new rows with them, and parameters in; predictions out.
PredictKernel = Callable[[np.ndarray, np.ndarray, np.ndarray, Parameters], np.ndarray]


@dataclass(frozen=True, slots=True)
class KernelPart:
    """One part of an inner split.

    Attributes
    ----------
    within : dict of set to np.ndarray [shape=(a, a)], distances between the rows that are fitted
    across : dict of set to np.ndarray [shape=(b, a)], distances from the rows that are scored to those
    labels : np.ndarray [shape=(a,)]
    targets : np.ndarray [shape=(b,)]
    """

    within: Mapping[str, np.ndarray]
    across: Mapping[str, np.ndarray]
    labels: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """What was chosen.

    Attributes
    ----------
    widths : dict of set to float > 0; sets that have no part are not in it
    parameters : dict, of the model
    """

    widths: dict[str, float]
    parameters: Parameters


def unit(columns: np.ndarray) -> float:
    """What columns of a set are multiplied by, so that the mean squared difference of two rows in them is about 2.

    Parameters
    ----------
    columns : np.ndarray [shape=(n, d)], d >= 1, scaled columns of a set
    """
    return 1.0 / np.sqrt(columns.shape[1] * (float(columns.var()) or 1.0))


def distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared distance of each row from each of the others [shape=(b, a)], float32.

    Examples
    --------
    >>> distances(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0]])).tolist()
    [[0.0], [25.0]]
    """
    squares = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None, :] - 2 * rows @ others.T
    return np.maximum(squares, 0).astype(np.float32)


def choose_widths(parts: Sequence[KernelPart], predict: PredictKernel, penalties: Sequence[Parameters]) -> KernelChoice:
    """Widths and parameters with a low squared error over the parts of an inner split.

    From equal widths on, the one change of one width or of the parameters that lowers the error most is made, until none lowers it
    by ``GAIN``.

    Parameters
    ----------
    parts : sequence of KernelPart, of the same sets
    predict : PredictKernel
    penalties : sequence of dict, parameters that are tried; it begins with the first

    Returns
    -------
    choice : KernelChoice
    """
    sets = list(parts[0].within)
    known: dict[tuple[tuple[float, ...], int], float] = {}

    def error(widths: tuple[float, ...], penalty: int) -> float:
        if (widths, penalty) not in known:
            known[widths, penalty] = sum(
                _squared_error(part, dict(zip(sets, widths, strict=True)), predict, penalties[penalty]) for part in parts
            )
        return known[widths, penalty]

    state = ((ALONE if len(sets) == 1 else BESIDE,) * len(sets), 0)
    while True:
        best = min(_neighbours(*state, len(penalties)), key=lambda candidate: error(*candidate), default=state)
        if not error(*best) < (1 - GAIN) * error(*state):
            widths, penalty = state
            return KernelChoice({name: width for name, width in zip(sets, widths, strict=True) if width}, penalties[penalty])
        state = best


def _neighbours(widths: tuple[float, ...], penalty: int, penalties: int) -> list[tuple[tuple[float, ...], int]]:
    """What differs in one width or in the parameters, without the case that no set has a part."""
    changed = [
        ((*widths[:index], width, *widths[index + 1 :]), penalty)
        for index in range(len(widths))
        for width in WIDTHS
        if width != widths[index]
    ]
    changed = [candidate for candidate in changed if any(candidate[0])]
    return changed + [(widths, other) for other in range(penalties) if other != penalty]


def _squared_error(part: KernelPart, widths: Mapping[str, float], predict: PredictKernel, parameters: Parameters) -> float:
    kernels = [
        np.exp(-sum(width * by_set[name] for name, width in widths.items() if width), dtype=np.float64)
        for by_set in (part.within, part.across)
    ]
    errors = predict(kernels[0], part.labels, kernels[1], parameters) - part.targets
    return float(errors @ errors)
