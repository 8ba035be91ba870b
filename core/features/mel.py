"""How power spreads over mel bands, and how it is modulated over time (syllables pulse at 3 to 8 Hz)."""

import librosa
import numpy as np

from core.features.frames import HOP_LENGTH, POWER_FLOOR, Frames, entropy_bits

BAND_ROWS = 16
MODULATION_HZ = (0.5, 20.0)
SYLLABLE_HZ = (3.0, 8.0)
MIN_MODULATION_POINTS = 2048  # zero padding: a short clip too has spectral lines in every band


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``mel`` by column name."""
    mel = frames.mel.astype(np.float64)
    depth_db = librosa.power_to_db(mel, ref=np.max, top_db=80.0)
    p5, p95 = np.percentile(depth_db, [5, 95])
    values = {"mel_std_db": depth_db.std(), "mel_range_db": p95 - p5}
    total = mel.sum()
    if frames.is_silent or total <= 0:
        undefined = [f"mel_band{band}_share" for band in range(len(mel) // BAND_ROWS)]
        undefined += ["mel_entropy_mean", "mel_entropy_std", "mel_temporal_centroid", "syllable_band_share", "modulation_peak_hz"]
        return values | dict.fromkeys(undefined, np.nan)

    bands = mel.reshape(-1, BAND_ROWS, mel.shape[1]).sum(axis=(1, 2)) / total
    entropy = entropy_bits(mel)
    energy = mel.sum(axis=0)
    frequencies_hz, modulation = modulation_spectrum(energy, frames.sr / HOP_LENGTH)
    syllables = (frequencies_hz >= SYLLABLE_HZ[0]) & (frequencies_hz <= SYLLABLE_HZ[1])
    all_power = modulation.sum()
    return (
        values
        | {f"mel_band{band}_share": share for band, share in enumerate(bands)}
        | {
            "mel_entropy_mean": entropy.mean(),
            "mel_entropy_std": entropy.std(),
            "mel_temporal_centroid": min(1.0, float(energy @ frames.times_s) / energy.sum() / frames.seconds),
            "syllable_band_share": modulation[syllables].sum() / all_power if all_power > 0 else 0.0,
            "modulation_peak_hz": frequencies_hz[modulation.argmax()],
        }
    )


def modulation_spectrum(energy: np.ndarray, frame_rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Power spectrum, 0.5 to 20 Hz, of the mean-free, Hann-windowed log energy.

    Parameters
    ----------
    energy : np.ndarray [shape=(t,)], mel power of each frame
    frame_rate_hz : float > 0

    Returns
    -------
    frequencies_hz : np.ndarray [shape=(f,)]
    power : np.ndarray [shape=(f,)]
    """
    level_db = 10 * np.log10(np.maximum(energy, POWER_FLOOR))
    windowed = (level_db - level_db.mean()) * np.hanning(len(level_db))
    n = max(MIN_MODULATION_POINTS, len(windowed))
    frequencies_hz = np.fft.rfftfreq(n, 1 / frame_rate_hz)
    inside = (frequencies_hz >= MODULATION_HZ[0]) & (frequencies_hz <= MODULATION_HZ[1])
    return frequencies_hz[inside], (np.abs(np.fft.rfft(windowed, n)) ** 2)[inside]
