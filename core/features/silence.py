"""Zero crossings and pauses. A frame is silent 25 dB below the clip's 95th percentile of level, or below -80 dBFS."""

import numpy as np

from core.features.frames import HOP_LENGTH, LEVEL_FLOOR, N_FFT, Frames, runs, sum_frames

SILENCE_BELOW_P95_DB = 25.0
SILENCE_DBFS = -80.0
MIN_PAUSE_S = 0.2


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``silence`` by column name."""
    zcr = zero_crossing_rate(frames.y)
    silent = silent_frames(frames.level_db)
    hop_s = HOP_LENGTH / frames.sr
    lengths = np.array([end - start for start, end in runs(silent)]) * hop_s
    pauses = lengths[lengths >= MIN_PAUSE_S]
    any_pause = len(pauses) > 0
    return {
        "zcr_mean": zcr.mean(),
        "zcr_std": zcr.std(),
        "zcr_p50": np.median(zcr),
        "zcr_max": zcr.max(),
        "silence_ratio": silent.mean(),
        "pause_count": len(pauses),
        "pause_rate": len(pauses) / frames.seconds,
        "pause_mean_s": pauses.mean() if any_pause else 0.0,
        "pause_std_s": pauses.std() if any_pause else 0.0,
        "pause_max_s": pauses.max() if any_pause else 0.0,
    }


def zero_crossing_rate(y: np.ndarray) -> np.ndarray:
    """Share of the samples of each frame that have another sign than the sample before: ``librosa.feature.zero_crossing_rate``.

    Samples within 1e-10 of zero count as positive; the edges are held beyond both ends.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)], n >= 1

    Returns
    -------
    zcr : np.ndarray [shape=(1 + n // 512,)], in [0, 1)
    """
    negative = y < -LEVEL_FLOOR
    crossing = np.zeros(len(y), np.int64)
    crossing[1:] = negative[1:] != negative[:-1]
    # The first sample of a frame has none before it.
    starts = np.arange(1 + len(y) // HOP_LENGTH) * HOP_LENGTH - N_FFT // 2
    return (sum_frames(crossing) - np.where(starts > 0, crossing[np.maximum(starts, 0)], 0)) / N_FFT


def silent_frames(level_db: np.ndarray) -> np.ndarray:
    """Which frames are silent.

    Parameters
    ----------
    level_db : np.ndarray [shape=(t,)], dBFS

    Returns
    -------
    silent : np.ndarray [shape=(t,)], bool
    """
    return (level_db < np.percentile(level_db, 95) - SILENCE_BELOW_P95_DB) | (level_db < SILENCE_DBFS)
