"""Energy by pitch class, from a constant-Q transform and from the STFT, both at the clip's own tuning."""

import librosa
import numpy as np

from core.features.frames import HOP_LENGTH, Frames, entropy_bits, normalise_columns

PITCH_CLASSES = ("c", "cs", "d", "ds", "e", "f", "fs", "g", "gs", "a", "as", "b")


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``chroma`` by column name."""
    # The constant-Q transform has three bins a semitone, so a deviation of t semitones is one of 3 t bins.
    cqt_tuning = (3 * frames.tuning + 0.5) % 1 - 0.5
    cqt = chroma_cqt(frames.y, sr=frames.sr, tuning=cqt_tuning)
    stft = librosa.feature.chroma_stft(S=frames.power, sr=frames.sr, tuning=frames.tuning)
    values = {f"chroma_cqt_{name}_mean": row.mean() for name, row in zip(PITCH_CLASSES, cqt, strict=True)}
    return values | {
        "chroma_cqt_std": cqt.std(axis=1).mean(),
        "chroma_stft_entropy": np.nan if frames.is_silent else entropy_bits(stft).mean(),
        "chroma_stft_peak_share": np.nan if frames.is_silent else normalise_columns(stft).max(axis=0).mean(),
        "chroma_stft_std": stft.std(axis=1).mean(),
    }


def chroma_cqt(y: np.ndarray, *, sr: int, tuning: float) -> np.ndarray:
    """Constant-Q chroma, each frame normalised to maximum 1.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    sr : int > 0
    tuning : float in [-0.5, 0.5), in constant-Q bins

    Returns
    -------
    chroma : np.ndarray [shape=(12, t)]
    """
    return librosa.feature.chroma_cqt(y=y, sr=sr, hop_length=HOP_LENGTH, tuning=tuning)
