"""How loud the clip is and how its loudness moves: statistics of frame RMS, relative to full scale (FS)."""

import numpy as np
import scipy.stats

from core.features.frames import Frames, slope


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``energy`` by column name. A constant level has skewness and kurtosis 0, one frame has change 0."""
    rms = frames.rms.astype(np.float64)
    change = np.diff(rms) if len(rms) > 1 else np.zeros(1)
    p10, p25, p50, p75, p90 = np.percentile(rms, [10, 25, 50, 75, 90])
    moves = rms.std() > 1e-9 * max(rms.max(), 1e-10)
    return {
        "rms_mean": rms.mean(),
        "rms_std": rms.std(),
        "rms_min": rms.min(),
        "rms_max": rms.max(),
        "rms_p10": p10,
        "rms_p25": p25,
        "rms_p50": p50,
        "rms_p75": p75,
        "rms_p90": p90,
        "rms_skew": float(scipy.stats.skew(rms)) if moves else 0.0,
        "rms_kurtosis": float(scipy.stats.kurtosis(rms)) if moves else 0.0,
        "rms_delta_abs_mean": np.abs(change).mean(),
        "rms_delta_std": change.std(),
        "rms_slope_per_s": slope(frames.times_s, rms),
    }
