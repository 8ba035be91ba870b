"""Where the energy lies in frequency, frame by frame, from the shared magnitude spectrogram. Frequencies in Hz, contrast in dB."""

import librosa
import numpy as np

from core.features.frames import Frames, normalise_columns


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``spectral`` by column name."""
    S, sr = frames.magnitude, frames.sr
    centroid = librosa.feature.spectral_centroid(S=S, sr=sr)
    values: dict[str, float] = {}
    for name, unit, track in (
        ("centroid", "_hz", centroid[0]),
        ("bandwidth", "_hz", librosa.feature.spectral_bandwidth(S=S, sr=sr, centroid=centroid)[0]),
        ("rolloff", "_hz", librosa.feature.spectral_rolloff(S=S, sr=sr)[0]),
        ("flatness", "", librosa.feature.spectral_flatness(S=S)[0]),
        ("flux", "", flux(S)),
    ):
        p10, p50, p90 = np.percentile(track, [10, 50, 90])
        stats = {"mean": track.mean(), "std": track.std(), "p10": p10, "p50": p50, "p90": p90}
        values |= {f"{name}_{stat}{unit}": value for stat, value in stats.items()}

    contrast = librosa.feature.spectral_contrast(S=S, sr=sr)  # (7, t)
    over_bands = contrast.mean(axis=0)
    values |= {f"contrast_b{band}_mean": row.mean() for band, row in enumerate(contrast)}
    p10, p90 = np.percentile(over_bands, [10, 90])
    return values | {"contrast_std": over_bands.std(), "contrast_p10": p10, "contrast_p90": p90}


def flux(magnitude: np.ndarray) -> np.ndarray:
    """L2 distance between neighbouring magnitude frames, each normalised to sum 1; a single frame does not change (0).

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)]

    Returns
    -------
    flux : np.ndarray [shape=(max(t - 1, 1),)]
    """
    shares = normalise_columns(magnitude)
    if shares.shape[1] < 2:
        return np.zeros(1)
    return np.linalg.norm(np.diff(shares, axis=1), axis=0)
