"""Clips in, pairs of them that are one recording, or nearly, out: by their sound, by their features, by their names."""

from dataclasses import dataclass

import numpy as np

from core.scoring.associations import distinct_columns

SAME_AUDIO, NEAR_AUDIO, COPY_NAME = "same audio", "nearly the same audio", "name of a copy"

# A pair of nearly the same audio is so much nearer to each other than to the tenth nearest of the others, and than that is usual.
# Of speech, another lossless format, faint noise and a level lower by a tenth mostly stay below; the most alike of different
# recordings stay above (0.14 for notes of a piano, 0.46 for sentences of one speaker).
_NEIGHBOURS = 10
_NEAR = 0.125
_ALIKE = 0.95  # correlation of their vectors
_FEWEST_COLUMNS = 20  # fewer say too little to recognise a recording by
_FEWEST_VALUES = 0.5  # of a row's values: what is missing in both is no likeness
_BLOCK = 512  # rows at once
_LIMIT = 3.0  # distances between the quartiles: what lies further from the median is brought there

# Scalar product of the fingerprints of one recording. Copies of speech stay above 0.85, whether as MP3 of 31 kbit/s, 12 dB lower or
# without their first 80 ms; different sentences of one speaker stay below 0.25, strikes of one piano key below 0.78.
# Of soft notes and tones without noise, MP3 of 64 kbit/s stays above as well, but mostly not that of 31 kbit/s: it leaves less of
# them than two strikes of a key have in common.
_SAME_RECORDING = 0.8


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


def copied_pairs(fingerprints: np.ndarray) -> list[tuple[int, int]]:
    """Clips that are one recording: another level, format or sample rate, or a few milliseconds more or less at the ends.

    Parameters
    ----------
    fingerprints : np.ndarray [shape=(n, d)], float32, as ``core.data.fingerprints.fingerprint`` gives them

    Returns
    -------
    pairs : list of (int, int), the smaller row number first, in order
    """
    pairs = []
    for start in range(0, len(fingerprints), _BLOCK):
        alike = fingerprints[start : start + _BLOCK] @ fingerprints[start:].T
        first, second = np.nonzero(alike > _SAME_RECORDING)
        pairs += [(int(start + row), int(start + other)) for row, other in zip(first, second, strict=True) if row < other]
    return pairs


def near_pairs(X: np.ndarray, others: np.ndarray | None = None) -> list[tuple[int, int]]:
    """Rows whose features are all but another row's: another format, a little noise, another level.

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)], training clips, NaN where a feature is not defined
    others : np.ndarray [shape=(m, d)], optional: clips that take no part in training, numbered behind those of X. They add pairs,
        and change none among the training clips: those are the ones that ``--group-by auto`` keeps in one fold

    Returns
    -------
    pairs : list of (int, int), the smaller row number first, the nearest pair first; none where rows or columns are too few
    """
    pairs = _near_pairs(X)
    if others is not None and len(others):
        pairs += [pair for pair in _near_pairs(np.concatenate([X, others])) if pair[1] >= len(X)]
    return pairs


def _near_pairs(X: np.ndarray) -> list[tuple[int, int]]:
    known = np.isfinite(X)
    rows = np.flatnonzero(known.mean(axis=1) > _FEWEST_VALUES) if X.shape[1] else np.empty(0, int)
    if len(rows) < 2 * _NEIGHBOURS:
        return []
    Z = _scaled(np.where(known, X, np.nan)[rows])
    if Z.shape[1] < _FEWEST_COLUMNS:
        return []
    neighbours, distances = _nearest(Z)
    reach = np.minimum(distances[:, -1], np.median(distances[:, -1]))
    first, rank = np.nonzero(distances <= _NEAR * reach[:, None])
    second = neighbours[first, rank]
    near = distances[first, rank] <= _NEAR * reach[second]
    centred = Z - Z.mean(axis=1, keepdims=True)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.finfo(float).tiny)
    near &= np.einsum("ij,ij->i", unit[first], unit[second]) > _ALIKE
    pairs: dict[tuple[int, int], float] = {}
    for row, other, distance in zip(rows[first[near]], rows[second[near]], distances[first, rank][near], strict=True):
        pairs[int(min(row, other)), int(max(row, other))] = float(distance)
    return sorted(pairs, key=lambda pair: (pairs[pair], pair))


def _scaled(X: np.ndarray) -> np.ndarray:
    """Features that vary, each once, between -3 and 3 quartile distances from the median [shape=(n, k)]; what is missing is there.

    As a model with robust scaling takes them in, but without scikit-learn, which a page need not load for it.
    """
    known = ~np.isnan(X).all(axis=0)
    filled = np.zeros(X.shape)
    filled[:, known] = np.where(np.isnan(X[:, known]), np.nanmedian(X[:, known], axis=0), X[:, known])
    filled = filled[:, distinct_columns(filled)]
    low, middle, high = np.percentile(filled, (25, 50, 75), axis=0)
    scale = np.where(high - low < 10 * np.finfo(float).eps, 1.0, high - low)
    return np.clip((filled - middle) / scale, -_LIMIT, _LIMIT)


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
