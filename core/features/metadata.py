"""What the file itself says: size, length, rate, and its plain amplitudes before any resampling."""

import numpy as np

from core.features.frames import LEVEL_FLOOR, Frames


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``metadata`` by column name."""
    clip = frames.clip
    amplitude = clip.mono.astype(np.float64)
    magnitude = np.abs(amplitude)
    peak = magnitude.max()
    silent = not peak > LEVEL_FLOOR
    return {
        "file_size_bytes": clip.file_size_bytes,
        "duration_s": clip.duration_s,
        "sample_rate_hz": clip.sample_rate_hz,
        "amplitude_mean": amplitude.mean() + clip.offset,
        "amplitude_std": amplitude.std(),
        "amplitude_abs_mean": magnitude.mean(),
        "peak_amplitude": peak,
        "peak_time_ratio": np.nan if silent else magnitude.argmax() / clip.sample_rate_hz / clip.duration_s,
        "peak_to_rms_db": np.nan if silent else 20 * np.log10(peak / np.sqrt((amplitude**2).mean())),
    }
