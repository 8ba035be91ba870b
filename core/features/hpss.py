"""Harmonic and percussive parts of the clip, split by median filters over the magnitude spectrogram (Fitzgerald 2010)."""

import librosa
import numpy as np
import scipy.ndimage

from core.features.frames import POWER_FLOOR, Frames

KERNEL = 31


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``hpss`` by column name."""
    H, Q = split(frames.magnitude)
    harmonic, percussive = (H.astype(np.float64) ** 2).sum(axis=0), (Q.astype(np.float64) ** 2).sum(axis=0)
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
    for name, part in (("harmonic", H), ("percussive", Q)):
        rms = librosa.feature.rms(S=part)
        values |= {
            f"{name}_rms_mean": rms.mean(),
            f"{name}_rms_std": rms.std(),
            f"{name}_centroid_mean_hz": librosa.feature.spectral_centroid(S=part, sr=frames.sr).mean(),
            f"{name}_flatness_mean": librosa.feature.spectral_flatness(S=part).mean(),
        }
    return values


def split(magnitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Harmonic and percussive magnitudes, by a soft mask of power 2 and margin 1: ``librosa.decompose.hpss``.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)]

    Returns
    -------
    harmonic, percussive : np.ndarray [shape=(d, t)]; they sum to the magnitude
    """
    along_time, along_frequency = median(magnitude, axis=1), median(magnitude, axis=0)
    harmonic = librosa.util.softmask(along_time, along_frequency, power=2.0, split_zeros=True)
    percussive = librosa.util.softmask(along_frequency, along_time, power=2.0, split_zeros=True)
    return magnitude * harmonic, magnitude * percussive


def median(values: np.ndarray, *, axis: int) -> np.ndarray:
    """Running median over 31 values, the edges mirrored.

    SciPy's filter reads memory behind the array where an axis is shorter than the kernel (seen with 1.17.1: three frames gave
    NaN now and then), so the mirroring is done here and the filter never reaches an edge that counts.

    Parameters
    ----------
    values : np.ndarray [shape=(d, t)]
    axis : int, 0 or 1

    Returns
    -------
    medians : np.ndarray [shape=(d, t)]
    """
    reach = KERNEL // 2
    pad, size, inner = [(0, 0), (0, 0)], [1, 1], [slice(None), slice(None)]
    pad[axis], size[axis], inner[axis] = (reach, reach), KERNEL, slice(reach, -reach)
    filtered = scipy.ndimage.median_filter(np.pad(values, pad, mode="symmetric"), size=size, mode="nearest")
    return filtered[tuple(inner)]
