"""Waveform in, one pitch track out: F0, voicing and harmonicity from short-term autocorrelation.

After Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound", IFA Proceedings 17, 97-110. Times in seconds, frequencies in Hz; F0 is NaN in unvoiced frames.
"""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.fft

FLOOR_HZ = 65.0
CEILING_HZ = 500.0
PITCH_PERIODS = 3.0  # of the floor in one window
HARMONICITY_PERIODS = 4.5
FRAMES_PER_PITCH_WINDOW = 4
MAX_VOICED_CANDIDATES = 14

SILENCE_THRESHOLD = 0.03
VOICING_THRESHOLD = 0.48  # with the octave cost counted from the floor; counted from the ceiling it would be 0.45
OCTAVE_COST = 0.01
OCTAVE_JUMP_COST = 0.35
VOICED_UNVOICED_COST = 0.14
COSTS_PER_S = 100.0  # the two transition costs are meant for frames 0.01 s apart

_UPSAMPLING = 4


@dataclass(frozen=True, slots=True)
class PitchTrack:
    """Pitch of a clip on an even grid of frames.

    Attributes
    ----------
    times_s : np.ndarray [shape=(t,)], centres of the frames
    step_s : float, distance of the frames
    f0_hz : np.ndarray [shape=(t,)], NaN where unvoiced
    hnr_db : np.ndarray [shape=(t,)], harmonics-to-noise ratio, NaN where unvoiced or without any peak to measure
    """

    times_s: np.ndarray
    step_s: float
    f0_hz: np.ndarray
    hnr_db: np.ndarray

    @property
    def voiced(self) -> np.ndarray:
        """Which frames are voiced [shape=(t,)], bool."""
        return ~np.isnan(self.f0_hz)


def track_pitch(y: np.ndarray, *, sr: int, floor_hz: float = FLOOR_HZ, ceiling_hz: float = CEILING_HZ) -> PitchTrack:
    """Find F0 and harmonics-to-noise ratio.

    Each frame offers the peaks of its autocorrelation as candidates, and the option to be unvoiced; the path through all frames
    with the highest strength less the costs of jumps wins. A clip shorter than one window (46 ms) has no frames.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    sr : int > 0
    floor_hz, ceiling_hz : float, range of F0

    Returns
    -------
    track : PitchTrack
    """
    y = np.asarray(y, np.float64)
    y = y - y.mean()
    window_s = PITCH_PERIODS / floor_hz
    step_s = window_s / FRAMES_PER_PITCH_WINDOW
    count = int((len(y) / sr - window_s) / step_s + 1) if len(y) / sr >= window_s else 0
    if count == 0:
        return PitchTrack(np.zeros(0), step_s, np.zeros(0), np.zeros(0))
    times_s = 0.5 * (len(y) / sr - (count - 1) * step_s) + step_s * np.arange(count)
    global_peak = np.abs(y).max()
    if global_peak <= 0:
        return PitchTrack(times_s, step_s, np.full(count, np.nan), np.full(count, np.nan))

    lags = (sr / ceiling_hz, sr / floor_hz)
    r, local_peak = _autocorrelation(y, times_s, sr=sr, window=round(PITCH_PERIODS * sr / floor_hz), max_lag=lags[1])
    place, strength = _candidates(r, lags[0] * _UPSAMPLING, lags[1] * _UPSAMPLING, 0.5 * VOICING_THRESHOLD)
    f0 = np.where(place > 0, sr * _UPSAMPLING / np.where(place > 0, place, 1.0), 0.0)  # (t, candidates), 0 = unvoiced
    loudness = local_peak / global_peak / (SILENCE_THRESHOLD / (1 + VOICING_THRESHOLD))
    value = np.where(f0 > 0, strength + OCTAVE_COST * np.log2(np.where(f0 > 0, f0, floor_hz) / floor_hz), -np.inf)
    value[:, 0] = VOICING_THRESHOLD + np.maximum(0.0, 2.0 - loudness)
    scale = 1 / (COSTS_PER_S * step_s)
    f0_hz = f0[np.arange(count), _best_path(f0, value, OCTAVE_JUMP_COST * scale, VOICED_UNVOICED_COST * scale)]
    f0_hz[f0_hz == 0] = np.nan

    r, _ = _autocorrelation(y, times_s, sr=sr, window=round(HARMONICITY_PERIODS * sr / floor_hz), max_lag=lags[1])
    peak = _candidates(r, lags[0] * _UPSAMPLING, lags[1] * _UPSAMPLING, 0.0)[1].max(axis=1)
    defined = ~np.isnan(f0_hz) & (peak > 0)
    peak = np.where(defined, np.minimum(peak, 1 - 1e-10), 0.5)
    hnr_db = np.where(defined, 10 * np.log10(peak / (1 - peak)), np.nan)
    return PitchTrack(times_s, step_s, f0_hz, hnr_db)


def _autocorrelation(y: np.ndarray, times_s: np.ndarray, *, sr: int, window: int, max_lag: float) -> tuple[np.ndarray, np.ndarray]:
    """Normalised autocorrelation of the signal behind the window, four values a sample, and the peak of each frame.

    The autocorrelation r_xw of a windowed frame fades with the lag as that of the window, r_w, does: r_x = r_xw / r_w (Boersma
    1993, equation 9). Zeros behind the power spectrum interpolate it exactly, because it is band-limited.
    """
    half = window // 2
    padded = np.pad(y, (half, half + 1))
    starts = np.clip(np.round(times_s * sr).astype(int), 0, len(y))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * half)[np.minimum(starts, len(padded) - 2 * half)]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(2 * half) + 0.5) / (2 * half))
    n_fft = scipy.fft.next_fast_len(2 * half + int(np.ceil(max_lag)) + 2, real=True)
    n_fft += n_fft % 2
    reach = int(max_lag / 2)  # one longest period around the centre says how loud it is there
    lags = int(np.ceil(max_lag * _UPSAMPLING)) + 3

    def fine(x: np.ndarray) -> np.ndarray:
        power = np.abs(scipy.fft.rfft(x, n_fft, axis=-1)) ** 2
        power[..., -1] *= 0.5  # the Nyquist line is shared between both halves of the longer spectrum
        r = scipy.fft.irfft(power, n_fft * _UPSAMPLING, axis=-1)[..., :lags]
        return r / np.maximum(r[..., :1], 1e-300)

    r = np.empty((len(frames), lags))
    peaks = np.empty(len(frames))
    r_window = fine(hann)
    for start in range(0, len(frames), 256):  # blocks keep the memory of long clips small
        block = frames[start : start + 256]
        block = block - block.mean(axis=1, keepdims=True)
        peaks[start : start + 256] = np.abs(block[:, half - reach : half + reach]).max(axis=1)
        r[start : start + 256] = fine(block * hann) / r_window
    return r, peaks


@numba.njit(cache=True)
def _candidates(r, min_lag, max_lag, min_height):
    """Peaks of each frame between two lags: place (a fraction of lags) and height, strongest first behind column 0 (unvoiced)."""
    count = r.shape[0]
    place = np.zeros((count, MAX_VOICED_CANDIDATES + 1))
    height = np.zeros((count, MAX_VOICED_CANDIDATES + 1))
    rank = np.empty(MAX_VOICED_CANDIDATES + 1)
    for t in range(count):
        found = 0
        for lag in range(max(1, int(np.floor(min_lag))), min(int(np.ceil(max_lag)), r.shape[1] - 2) + 1):
            left, middle, right = r[t, lag - 1], r[t, lag], r[t, lag + 1]
            if not (middle > left and middle >= right and middle > min_height):
                continue
            bend = left - 2 * middle + right
            offset = 0.5 * (left - right) / bend
            where = lag + offset
            if where < min_lag or where > max_lag:
                continue
            top = middle - 0.25 * (left - right) * offset
            if top > 1.0:  # a window that holds few periods can overshoot
                top = 1.0 / top
            # Short lags first among equals: every multiple of a period is a period too.
            score = top + OCTAVE_COST * np.log2(max_lag / where)
            if found < MAX_VOICED_CANDIDATES:
                found += 1
                slot = found
            else:
                slot = 1
                for other in range(2, MAX_VOICED_CANDIDATES + 1):
                    if rank[other] < rank[slot]:
                        slot = other
                if rank[slot] >= score:
                    continue
            rank[slot] = score
            place[t, slot] = where
            height[t, slot] = top
    return place, height


@numba.njit(cache=True)
def _best_path(f0, value, octave_jump_cost, voiced_unvoiced_cost):
    """Viterbi search: the candidate of each frame on the path of the highest total value."""
    count, width = f0.shape
    back = np.zeros((count, width), np.int64)
    total = value[0].copy()
    for t in range(1, count):
        best = np.full(width, -np.inf)
        for here in range(width):
            if value[t, here] == -np.inf:
                continue
            for before in range(width):
                if total[before] == -np.inf:
                    continue
                if f0[t, here] == 0 and f0[t - 1, before] == 0:
                    cost = 0.0
                elif f0[t, here] == 0 or f0[t - 1, before] == 0:
                    cost = voiced_unvoiced_cost
                else:
                    cost = octave_jump_cost * abs(np.log2(f0[t, here] / f0[t - 1, before]))
                score = total[before] - cost + value[t, here]
                if score > best[here]:
                    best[here] = score
                    back[t, here] = before
        total = best
    path = np.zeros(count, np.int64)
    path[-1] = np.argmax(total)
    for t in range(count - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path
