"""Clips in, pairs of them that are one recording, or nearly, out: by their sound, by their features, by their names."""

from dataclasses import dataclass

import numpy as np

from core.scoring.associations import robust_scale

SAME_AUDIO, NEAR_AUDIO, COPY_NAME = "same audio", "nearly the same audio", "name of a copy"

# A pair of nearly the same audio is so much nearer to each other than to the tenth nearest of the others, and than that is usual;
# and their vectors are that alike. The numbers are those of ``leaks``, which makes groups of such pairs.
_NEIGHBOURS = 10
_NEAR = 0.125
_ALIKE = 0.95
_FEWEST_COLUMNS = 20
_FEWEST_VALUES = 0.5
_LIMIT = 3.0
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Twins:
    """Two clips that say the same.

    Attributes
    ----------
    kind : str, "same audio", "nearly the same audio" or "name of a copy"
    split, file : str, the one that stands first
    other_split, other_file : str, the other
    """

    kind: str
    split: str
    file: str
    other_split: str
    other_file: str


def near_pairs(X: np.ndarray) -> list[tuple[int, int]]:
    """Rows whose features are all but another row's: another format, a little noise, another level.

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)], NaN where a feature is not defined

    Returns
    -------
    pairs : list of (int, int), the smaller row number first, the nearest pair first; none where rows or columns are too few
    """
    known = np.isfinite(X)
    rows = np.flatnonzero(known.mean(axis=1) > _FEWEST_VALUES) if X.shape[1] else np.empty(0, int)
    if len(rows) < 2 * _NEIGHBOURS:
        return []
    Z = _different(robust_scale(X[rows], spread="quartiles").Z)
    if Z.shape[1] < _FEWEST_COLUMNS:
        return []
    Z = np.clip(np.nan_to_num(Z), -_LIMIT, _LIMIT)
    order, distances = _nearest(Z)
    reach = np.minimum(distances[:, -1], np.median(distances[:, -1]))
    first, place = np.nonzero(distances <= _NEAR * reach[:, None])
    second = order[first, place]
    near = distances[first, place] <= _NEAR * reach[second]
    centred = Z - Z.mean(axis=1, keepdims=True)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(float).tiny)
    near &= np.einsum("ij,ij->i", unit[first], unit[second]) > _ALIKE
    found: dict[tuple[int, int], float] = {}
    for one, other, distance in zip(rows[first[near]], rows[second[near]], distances[first, place][near], strict=True):
        found[min(one, other), max(one, other)] = distance
    return [(int(one), int(other)) for one, other in sorted(found, key=lambda pair: (found[pair], pair))]


def _different(Z: np.ndarray) -> np.ndarray:
    """The columns that vary, each once."""
    first: dict[bytes, int] = {}
    for column in np.flatnonzero(np.isfinite(Z).any(axis=0)):
        first.setdefault(np.ascontiguousarray(Z[:, column]).tobytes(), int(column))
    return Z[:, sorted(first.values())]


def _nearest(Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest others of each row and their Euclidean distances [shape=(n, 10)], the nearest first."""
    n = len(Z)
    points = Z.astype(np.float32)
    squares = (points**2).sum(axis=1)
    order, distances = np.empty((n, _NEIGHBOURS), int), np.empty((n, _NEIGHBOURS))
    for start in range(0, n, _BLOCK):
        block = np.arange(start, min(n, start + _BLOCK))
        rough = squares - 2 * points[block] @ points.T  # less what is the same for all
        rough[np.arange(len(block)), block] = np.inf
        near = np.argpartition(rough, _NEIGHBOURS - 1, axis=1)[:, :_NEIGHBOURS]
        exact = np.sqrt(((Z[block][:, None, :] - Z[near]) ** 2).sum(axis=2))
        best = np.argsort(exact, axis=1, kind="stable")
        order[block] = np.take_along_axis(near, best, axis=1)
        distances[block] = np.take_along_axis(exact, best, axis=1)
    return order, distances
