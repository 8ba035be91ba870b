"""Onsets, tempo and pulse, all from the shared log-mel spectrogram. Rates per second of the trimmed clip, tempo in BPM."""

import numpy as np
import scipy.fft
from librosa import beat, feature, onset, time_to_frames  # type: ignore[attr-defined]  # its stub does not re-export them

from core.features.frames import HOP_LENGTH, Frames, blocks, entropy_bits

TEMPOGRAM_FRAMES = 384  # 8.9 s
TEMPO_WINDOW_S = 8.0


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``rhythm`` by column name."""
    grid = {"sr": frames.sr, "hop_length": HOP_LENGTH}
    strength = onset.onset_strength(S=frames.log_mel_db, **grid)
    onsets = onset.onset_detect(onset_envelope=strength, **grid)
    # The beat tracker follows the median over bands: a single loud band does not make a beat (librosa.beat.beat_track).
    beat_strength = onset.onset_strength(S=frames.log_mel_db, aggregate=np.median, **grid)
    beats = mean_tempogram(beat_strength, time_to_frames(TEMPO_WINDOW_S, **grid))
    tempo = feature.tempo(tg=beats[:, None], **grid) if beat_strength.any() else np.zeros(1)
    _, beats_s = beat.beat_track(onset_envelope=beat_strength, bpm=tempo, units="time", **grid)
    pulse = mean_tempogram(strength, TEMPOGRAM_FRAMES)[1:]
    positive = np.maximum(pulse, 0.0)
    return {
        "onset_strength_mean": strength.mean(),
        "onset_strength_std": strength.std(),
        "onset_strength_max": strength.max(),
        "onset_rate": len(onsets) / frames.seconds,
        "tempo_bpm": float(tempo[0]),
        "beat_interval_std_s": np.diff(beats_s).std() if len(beats_s) >= 3 else np.nan,
        "tempogram_peak_ratio": np.nan if frames.is_silent else _peak_ratio(pulse),
        "tempogram_entropy": np.nan if frames.is_silent else entropy_bits(positive[:, None])[0],
    }


def mean_tempogram(strength: np.ndarray, frames: int) -> np.ndarray:
    """Mean over time of the windowed autocorrelation around each frame, each scaled to maximum 1: ``librosa.feature.tempogram``.

    Parameters
    ----------
    strength : np.ndarray [shape=(t,)], onset strength
    frames : int > 0, length of the Hann window

    Returns
    -------
    pulse : np.ndarray [shape=(frames,)], by lag in frames
    """
    padded = np.pad(strength.astype(np.float64), frames // 2, mode="linear_ramp")
    windows = np.lib.stride_tricks.sliding_window_view(padded, frames)[: len(strength)]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frames) / frames)
    n_fft = scipy.fft.next_fast_len(2 * frames - 1, real=True)
    pulse = np.zeros(frames)
    for some in blocks(len(windows)):
        spectrum = scipy.fft.rfft(windows[some] * hann, n_fft)
        r = scipy.fft.irfft(spectrum.real**2 + spectrum.imag**2, n_fft)[:, :frames]
        top = np.abs(r).max(axis=1, keepdims=True)
        pulse += (r / np.where(top < np.finfo(np.float64).tiny, 1, top)).sum(axis=0)
    return pulse / len(windows)


def _peak_ratio(pulse: np.ndarray) -> float:
    """Largest over mean value; a clip without any onset has no pulse, so no peak stands out (1)."""
    mean = pulse.mean()
    return float(pulse.max() / mean) if mean > 0 else 1.0
