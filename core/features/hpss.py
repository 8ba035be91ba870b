"""Harmonic and percussive parts of the clip, split by median filters over the magnitude spectrogram (Fitzgerald 2010)."""

import numba
import numpy as np

from core.features.frames import LANES, POWER_FLOOR, Frames, blocks, side_by_side
from core.features.spectral import centroid, energy, flatness

KERNEL = 31


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``hpss`` by column name."""
    H, Q = split(frames.magnitude)
    harmonic, percussive = energy(H), energy(Q)
    ratio_db = 10 * np.log10(np.maximum(harmonic, POWER_FLOOR) / np.maximum(percussive, POWER_FLOOR))
    values = {"hp_ratio_std_db": ratio_db.std()}
    if frames.is_silent:
        values |= dict.fromkeys(("harmonic_energy_ratio", "percussive_energy_ratio", "hp_ratio_db"), np.nan)
    else:
        h, q = max(harmonic.sum(), POWER_FLOOR), max(percussive.sum(), POWER_FLOOR)
        values |= {
            "harmonic_energy_ratio": h / (h + q),
            "percussive_energy_ratio": q / (h + q),
            "hp_ratio_db": 10 * np.log10(h / q),
        }
    for name, part, total in (("harmonic", H, harmonic), ("percussive", Q, percussive)):
        rms = spectral_rms(part, total)
        values |= {
            f"{name}_rms_mean": rms.mean(),
            f"{name}_rms_std": rms.std(),
            f"{name}_centroid_mean_hz": centroid(part, frames.frequencies_hz).mean(),
            f"{name}_flatness_mean": flatness(part).mean(),
        }
    return values


def spectral_rms(magnitude: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """RMS of the waveform behind each frame, by Parseval's theorem: ``librosa.feature.rms(S=...)``.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)], of a transform of 2 (d - 1) points
    energy : np.ndarray [shape=(t,)], summed squares of each frame

    Returns
    -------
    rms : np.ndarray [shape=(t,)]
    """
    n_fft = 2 * (len(magnitude) - 1)
    edges = 0.5 * (magnitude[0].astype(np.float64) ** 2 + magnitude[-1].astype(np.float64) ** 2)  # DC and Nyquist stand once
    return np.sqrt(2 * np.maximum(energy - edges, 0.0)) / n_fft


def split(magnitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Harmonic and percussive magnitudes, by a soft mask of power 2 and margin 1: ``librosa.decompose.hpss``.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)], float32

    Returns
    -------
    harmonic, percussive : np.ndarray [shape=(d, t)], float32; they sum to the magnitude
    """
    along_time, along_frequency = median(magnitude, axis=1), median(magnitude, axis=0)
    harmonic, percussive = _soft_masks(_by_frame(magnitude), _by_frame(along_time), _by_frame(along_frequency))
    return harmonic.T, percussive.T


def median(values: np.ndarray, *, axis: int) -> np.ndarray:
    """Running median over 31 values, the edges mirrored: bit by bit ``scipy.ndimage.median_filter``.

    SciPy's filter reads memory behind the array where an axis is shorter than the kernel (seen with 1.17.1: three frames gave
    NaN now and then); here the mirroring is a list of rows.

    Parameters
    ----------
    values : np.ndarray [shape=(d, t)], float32, no NaN
    axis : int, 0 or 1

    Returns
    -------
    medians : np.ndarray [shape=(d, t)], float32
    """
    frames = _by_frame(values)
    return _median_down(frames).T if axis == 1 else _median_across(frames).T


def _by_frame(values: np.ndarray) -> np.ndarray:
    """[shape=(t, d)], each frame in one piece: no copy where the spectrogram came from the STFT."""
    return np.ascontiguousarray(values.T, np.float32)


def _median_down(frames: np.ndarray) -> np.ndarray:
    """Median over neighbouring rows."""
    out = np.empty_like(frames)
    rows = np.pad(np.arange(len(frames)), KERNEL // 2, mode="symmetric")
    for some in blocks(frames.shape[1]):
        out[:, some] = _running_median(side_by_side(frames[:, some].T), rows)[:, : out[:, some].shape[1]]
    return out


def _median_across(frames: np.ndarray) -> np.ndarray:
    """Median over neighbouring columns."""
    out = np.empty_like(frames)
    rows = np.pad(np.arange(frames.shape[1]), KERNEL // 2, mode="symmetric")
    for some in blocks(len(frames)):
        out[some] = _running_median(side_by_side(frames[some]), rows).T[: len(out[some])]
    return out


@numba.njit(cache=True)
def _running_median(block, rows):
    """Median of 31 rows around each row, for 64 columns side by side.

    Each column keeps its 31 values sorted. A step moves down what is not below the value that leaves, then lets the new one find
    its place; both are chains of minima and maxima, without a branch.
    """
    count = len(rows) - KERNEL + 1
    out = np.empty((count, LANES), np.float32)
    window = np.full((KERNEL + 1, LANES), np.inf, np.float32)  # the last row stays infinite
    below = np.empty(LANES, np.float32)
    for row in rows[:KERNEL]:
        for lane in range(LANES):
            new = block[row, lane]
            for place in range(KERNEL):
                here = window[place, lane]
                window[place, lane] = min(here, new)
                new = max(here, new)
    out[0] = window[KERNEL // 2]
    for row in range(1, count):
        leaves, enters = rows[row - 1], rows[row + KERNEL - 1]
        below[:] = -np.inf
        for place in range(KERNEL):
            for lane in range(LANES):
                here, above = window[place, lane], window[place + 1, lane]
                kept = here if here < block[leaves, lane] else above
                new = block[enters, lane]
                lower = new if new < kept else kept
                window[place, lane] = lower if lower > below[lane] else below[lane]
                below[lane] = kept
        out[row] = window[KERNEL // 2]
    return out


@numba.njit(cache=True)
def _soft_masks(magnitude, along_time, along_frequency):
    """Share of each cell that is harmonic, the rest is percussive; half and half where both medians are zero."""
    harmonic, percussive = np.empty_like(magnitude), np.empty_like(magnitude)
    tiny = np.finfo(np.float32).tiny
    one, half = np.float32(1), np.float32(0.5)
    for row in range(magnitude.shape[0]):
        for column in range(magnitude.shape[1]):
            a, b = along_time[row, column], along_frequency[row, column]
            top = max(a, b)
            scale = top if top >= tiny else one
            a, b = (a / scale) * (a / scale), (b / scale) * (b / scale)
            share = a / (a + b) if top >= tiny else half
            rest = b / (a + b) if top >= tiny else half
            harmonic[row, column] = magnitude[row, column] * share
            percussive[row, column] = magnitude[row, column] * rest
    return harmonic, percussive
