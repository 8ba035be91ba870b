"""One clip in, its windows out, and the vectors of windows pooled as one: mean and standard deviation. Lengths in seconds."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from core.data.audio import Clip
from core.features.sets import MIN_WINDOW_S

# Raise it whenever windows are cut or pooled in another way: stored vectors over windows are then computed anew.
WINDOWS_VERSION = 1


def cut(clip: Clip, window_s: float) -> list[Clip]:
    """Consecutive windows of the decoded part of a clip, each a clip of its own.

    They are cut where the clock says, at the rate of the file: pauses stay in them, and what is relative to the clip, such as the
    level below which a frame is silent, is relative to the window. The length and the size of the file stay those of the file.

    Parameters
    ----------
    clip : Clip
    window_s : float >= 1

    Returns
    -------
    windows : list of Clip; a last one that is not full is kept where it lasts at least 1 s. A clip shorter than one window is one
    """
    length = round(window_s * clip.sample_rate_hz)
    least = min(length, round(MIN_WINDOW_S * clip.sample_rate_hz))
    parts = [clip.samples[start : start + length] for start in range(0, len(clip.samples), length)]
    return [dataclasses.replace(clip, samples=part) for part in parts[:1] + [part for part in parts[1:] if len(part) >= least]]


def pool(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Mean and population standard deviation of each column over the windows that have a value, NaN where none has.

    Parameters
    ----------
    vectors : of windows, each np.ndarray [shape=(d,)], at least one

    Returns
    -------
    pooled : np.ndarray [shape=(2 * d,)], float32, first all means

    Examples
    --------
    >>> pool([np.array([1.0, 5.0]), np.array([3.0, np.nan])]).tolist()
    [2.0, 5.0, 1.0, 0.0]
    """
    values = np.stack(vectors).astype(np.float64)  # (windows, d)
    there = ~np.isnan(values)
    count = np.where(there.any(axis=0), there.sum(axis=0), np.nan)
    mean = np.where(there, values, 0.0).sum(axis=0) / count
    squares = np.where(there, values - mean, 0.0) ** 2
    return np.concatenate([mean, np.sqrt(squares.sum(axis=0) / count)]).astype(np.float32)
