"""Mel-frequency cepstral coefficients 0 to 19 and their first and second deltas: mean and standard deviation over frames."""

import librosa
import numpy as np

from core.features.frames import Frames

DELTA_WIDTH = 9


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``mfcc`` by column name; deltas are NaN for a clip of under nine frames."""
    values = {}
    for suffix, matrix in (("", frames.mfcc), ("_delta", delta(frames.mfcc, 1)), ("_delta2", delta(frames.mfcc, 2))):
        for coefficient, row in enumerate(matrix.astype(np.float64)):
            values[f"mfcc{coefficient}{suffix}_mean"] = row.mean()
            values[f"mfcc{coefficient}{suffix}_std"] = row.std()
    return values


def delta(matrix: np.ndarray, order: int) -> np.ndarray:
    """Savitzky-Golay derivative over nine frames, NaN where there are fewer.

    Parameters
    ----------
    matrix : np.ndarray [shape=(d, t)]
    order : int, 1 or 2

    Returns
    -------
    delta : np.ndarray [shape=(d, t)]
    """
    if matrix.shape[1] < DELTA_WIDTH:
        return np.full_like(matrix, np.nan)
    return librosa.feature.delta(matrix, width=DELTA_WIDTH, order=order)
