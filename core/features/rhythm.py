"""Onsets, tempo and pulse, all from the shared log-mel spectrogram. Rates per second of the trimmed clip, tempo in BPM."""

import numpy as np
import scipy.fft
from librosa import beat, feature, onset, time_to_frames  # type: ignore[attr-defined]  # its stub does not re-export them

from core.data.audio import ANALYSIS_RATE_HZ
from core.features.frames import HOP_LENGTH, Frames, blocks, entropy_bits

TEMPOGRAM_FRAMES = 384  # 8.9 s
GRID = {"sr": ANALYSIS_RATE_HZ, "hop_length": HOP_LENGTH}
TEMPO_FRAMES = int(time_to_frames(8.0, **GRID))


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``rhythm`` by column name."""
    strength = onset.onset_strength(S=frames.log_mel_db, **GRID)
    # The beat tracker follows the median over bands: a single loud band does not make a beat (librosa.beat.beat_track).
    beat_strength = onset.onset_strength(S=frames.log_mel_db, aggregate=np.median, **GRID)
    beats, pulse = mean_tempogram(beat_strength, TEMPO_FRAMES), mean_tempogram(strength, TEMPOGRAM_FRAMES)
    return describe(strength, beat_strength, beats, pulse, onsets(strength), seconds=frames.seconds, is_silent=frames.is_silent)


def onsets(strength: np.ndarray) -> np.ndarray:
    """Frames at which something begins [shape=(k,)], int."""
    return onset.onset_detect(onset_envelope=strength, **GRID)


def describe(
    strength: np.ndarray,
    beat_strength: np.ndarray,
    beats: np.ndarray,
    pulse: np.ndarray,
    onsets: np.ndarray,
    *,
    seconds: float,
    is_silent: bool,
) -> dict[str, float]:
    """Values of family ``rhythm`` by column name.

    Parameters
    ----------
    strength, beat_strength : np.ndarray [shape=(t,)], onset strength: mean and median over mel bands
    beats : np.ndarray [shape=(344,)], mean tempogram of ``beat_strength``
    pulse : np.ndarray [shape=(384,)], mean tempogram of ``strength``
    onsets : np.ndarray [shape=(k,)], frames
    seconds : float, length of the trimmed clip
    is_silent : bool
    """
    tempo = feature.tempo(tg=beats[:, None], **GRID) if beat_strength.any() else np.zeros(1)
    _, beats_s = beat.beat_track(onset_envelope=beat_strength, bpm=tempo, units="time", **GRID)
    pulse = pulse[1:]
    positive = np.maximum(pulse, 0.0)
    return {
        "onset_strength_mean": strength.mean(),
        "onset_strength_std": strength.std(),
        "onset_strength_max": strength.max(),
        "onset_rate": len(onsets) / seconds,
        "tempo_bpm": float(tempo[0]),
        "beat_interval_std_s": np.diff(beats_s).std() if len(beats_s) >= 3 else np.nan,
        "tempogram_peak_ratio": np.nan if is_silent else _peak_ratio(pulse),
        "tempogram_entropy": np.nan if is_silent else entropy_bits(positive[:, None])[0],
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
