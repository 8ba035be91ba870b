"""How well the clip was recorded: peaks, dynamics, noise, clipping, offset and the balance of the long-term spectrum."""

import numpy as np

from core.data.audio import clipped_share
from core.features.frames import POWER_FLOOR, Frames, slope

BAND_EDGES_HZ = {"low": (0.0, 250.0), "mid": (250.0, 1000.0), "presence": (1000.0, 4000.0), "high": (4000.0, np.inf)}
TILT_HZ = (100.0, 8000.0)
SNR_FLOOR = 1e-20


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``quality`` by column name."""
    spectrum = frames.power.mean(axis=1, dtype=np.float64)
    f = frames.frequencies_hz
    tilted = (f >= TILT_HZ[0]) & (f <= TILT_HZ[1])
    values = of_waveform(frames) | {
        "spectral_tilt_db_per_oct": slope(np.log2(f[tilted]), 10 * np.log10(np.maximum(spectrum[tilted], POWER_FLOOR))),
    }
    for name, (low, high) in BAND_EDGES_HZ.items():
        inside = (f >= low) & (f < high)
        values[f"band_{name}_share"] = np.nan if frames.is_silent else spectrum[inside].sum() / spectrum.sum()
    return values


def of_waveform(frames: Frames) -> dict[str, float]:
    """Those of the values that need no spectrum."""
    y = frames.y.astype(np.float64)
    p5, p95 = np.percentile(frames.level_db, [5, 95])
    return {
        "dynamic_range_db": p95 - p5,
        "snr_db": snr_db(frames.rms),
        "clipping_ratio": clipped_share(frames.clip),
        "dc_offset": y.mean() + frames.clip.offset,
        "crest_factor_db": np.nan if frames.is_silent else 20 * np.log10(np.abs(y).max() / np.sqrt((y**2).mean())),
    }


def snr_db(rms: np.ndarray) -> float:
    """Mean power of the loudest half of the frames over that of the quietest 10 % (at least one frame each), in dB.

    Parameters
    ----------
    rms : np.ndarray [shape=(t,)], t >= 1

    Returns
    -------
    snr_db : float >= 0
    """
    power = np.sort(rms.astype(np.float64) ** 2)
    loud = power[-max(1, len(power) // 2) :].mean()
    quiet = power[: max(1, len(power) // 10)].mean()
    return float(10 * np.log10(max(loud, SNR_FLOOR) / max(quiet, SNR_FLOOR)))
