"""Onsets, tempo and pulse, all from the shared log-mel spectrogram. Rates per second of the trimmed clip, tempo in BPM."""

import numpy as np
from librosa import beat, feature, onset  # type: ignore[attr-defined]  # its stub does not re-export them

from core.features.frames import HOP_LENGTH, Frames, entropy_bits


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``rhythm`` by column name."""
    grid = {"sr": frames.sr, "hop_length": HOP_LENGTH}
    strength = onset.onset_strength(S=frames.log_mel_db, **grid)
    onsets = onset.onset_detect(onset_envelope=strength, **grid)
    # The beat tracker follows the median over bands: a single loud band does not make a beat (librosa.beat.beat_track).
    beat_strength = onset.onset_strength(S=frames.log_mel_db, aggregate=np.median, **grid)
    tempo, beats_s = beat.beat_track(onset_envelope=beat_strength, units="time", **grid)
    pulse = feature.tempogram(onset_envelope=strength, **grid).mean(axis=1)[1:]
    positive = np.maximum(pulse, 0.0)
    return {
        "onset_strength_mean": strength.mean(),
        "onset_strength_std": strength.std(),
        "onset_strength_max": strength.max(),
        "onset_rate": len(onsets) / frames.seconds,
        "tempo_bpm": float(np.atleast_1d(tempo)[0]),
        "beat_interval_std_s": np.diff(beats_s).std() if len(beats_s) >= 3 else np.nan,
        "tempogram_peak_ratio": np.nan if frames.is_silent else _peak_ratio(pulse),
        "tempogram_entropy": np.nan if frames.is_silent else entropy_bits(positive[:, None])[0],
    }


def _peak_ratio(pulse: np.ndarray) -> float:
    """Largest over mean value; a clip without any onset has no pulse, so no peak stands out (1)."""
    mean = pulse.mean()
    return float(pulse.max() / mean) if mean > 0 else 1.0
