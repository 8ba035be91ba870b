"""Waveform in, one pitch track out: F0, voicing and harmonicity from short-term autocorrelation.

After Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound", IFA Proceedings 17, 97-110. Times in seconds, frequencies in Hz; F0 is NaN in unvoiced frames.
"""

from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
import scipy.fft

from core.errors import ParameterError
from core.features.frames import blocks

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

_SINC_REACH = 16  # samples to each side


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

    Raises
    ------
    ParameterError
        The sample rate is too low for the range of F0.
    """
    if sr < (_SINC_REACH + 2) * ceiling_hz:
        raise ParameterError(f"sr={sr} must be at least {(_SINC_REACH + 2) * ceiling_hz:.0f} Hz to find F0 up to {ceiling_hz:g} Hz")
    y = (y - np.mean(y, dtype=np.float64)).astype(np.float32)
    window_s = PITCH_PERIODS / floor_hz
    step_s = window_s / FRAMES_PER_PITCH_WINDOW
    count = int((len(y) / sr - window_s) / step_s + 1) if len(y) / sr >= window_s else 0
    if count == 0:
        return PitchTrack(np.zeros(0), step_s, np.zeros(0), np.zeros(0))
    times_s = 0.5 * (len(y) / sr - (count - 1) * step_s) + step_s * np.arange(count)
    global_peak = np.abs(y).max()
    if global_peak <= 0:
        return PitchTrack(times_s, step_s, np.full(count, np.nan), np.full(count, np.nan))

    centres = np.round(times_s * sr).astype(np.int64)
    shortest, longest = sr / ceiling_hz, sr / floor_hz
    window = round(PITCH_PERIODS * longest)
    # One longest period around the centre says how loud it is there.
    loudness = _local_peaks(y, centres, window // 2, int(longest / 2)) / global_peak / (SILENCE_THRESHOLD / (1 + VOICING_THRESHOLD))
    unvoiced_value = VOICING_THRESHOLD + np.maximum(0.0, 2.0 - loudness)
    scale = 1 / (COSTS_PER_S * step_s)
    # The best of candidates, with both changes of voicing saved, does not outweigh silence: there is no need to look for any.
    audible = unvoiced_value < 1 + OCTAVE_COST * np.log2(ceiling_hz / floor_hz) + 2 * VOICED_UNVOICED_COST * scale
    r = _autocorrelation(y, centres[audible], window=window, max_lag=longest)
    (place, strength), number = np.zeros((2, count, MAX_VOICED_CANDIDATES + 1)), np.ones(count, np.int64)
    place[audible], strength[audible], number[audible] = _candidates(r, shortest, longest, 0.5 * VOICING_THRESHOLD, _sinc_kernel())
    f0 = np.where(place > 0, sr / np.where(place > 0, place, 1.0), 0.0)  # (t, candidates), 0 = unvoiced
    value = strength + OCTAVE_COST * np.log2(np.where(f0 > 0, f0, floor_hz) / floor_hz)
    value[:, 0] = unvoiced_value
    f0_hz = f0[np.arange(count), _best_path(f0, value, number, OCTAVE_JUMP_COST * scale, VOICED_UNVOICED_COST * scale)]
    f0_hz[f0_hz == 0] = np.nan

    voiced = np.flatnonzero(f0_hz > 0)
    r = _autocorrelation(y, centres[voiced], window=round(HARMONICITY_PERIODS * longest), max_lag=longest)
    peak = _candidates(r, shortest, longest, 0.0, _sinc_kernel())[1].max(axis=1)
    peak = np.where(peak > 0, np.minimum(peak, 1 - 1e-10), np.nan)
    hnr_db = np.full(count, np.nan)
    hnr_db[voiced] = 10 * np.log10(peak / (1 - peak))
    return PitchTrack(times_s, step_s, f0_hz, hnr_db)


def _autocorrelation(y: np.ndarray, centres: np.ndarray, *, window: int, max_lag: float) -> np.ndarray:
    """Normalised autocorrelation of the signal behind the window, by lag in samples.

    The autocorrelation r_xw of a windowed frame fades with the lag as that of the window, r_w, does: r_x = r_xw / r_w (Boersma
    1993, equation 9).

    Parameters
    ----------
    y : np.ndarray [shape=(n,)], float32
    centres : np.ndarray [shape=(t,)], int, of the frames, in samples
    window : int, in samples
    max_lag : float, in samples; some lags more are given, for the interpolation of peaks

    Returns
    -------
    r : np.ndarray [shape=(t, lags)], float32
    """
    half = window // 2
    lags = int(np.ceil(max_lag)) + _SINC_REACH + 3
    n_fft = scipy.fft.next_fast_len(2 * half + lags, real=True)
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(2 * half) + 0.5) / (2 * half))).astype(np.float32)

    def normalised(x: np.ndarray) -> np.ndarray:
        spectrum = scipy.fft.rfft(x, n_fft)
        r = scipy.fft.irfft(spectrum.real**2 + spectrum.imag**2, n_fft)[..., :lags]
        return r / np.maximum(r[..., :1], np.finfo(np.float32).tiny)

    r_window = normalised(hann)
    r = np.empty((len(centres), lags), np.float32)
    for some in blocks(len(centres)):
        r[some] = normalised(_windowed(y, centres[some], hann, n_fft)) / r_window
    return r


@numba.njit(cache=True, fastmath={"reassoc", "nsz"})
def _mean(x, length):
    """Mean of what there is of a stretch, zeros for the rest."""
    total = 0.0
    for k in range(len(x)):
        total += x[k]
    return np.float32(total / length)


@numba.njit(cache=True)
def _windowed(y, centres, hann, n_fft):
    """Frames around the centres, without their mean, behind the window, zeros after them [shape=(t, n_fft)]."""
    out = np.zeros((len(centres), n_fft), np.float32)
    half = len(hann) // 2
    frame = np.empty(len(hann), np.float32)
    for t in range(len(centres)):
        first = centres[t] - half
        start, end = max(0, first), min(len(y), first + len(hann))
        mean = _mean(y[start:end], len(hann))
        frame[: start - first] = 0
        frame[start - first : end - first] = y[start:end]
        frame[end - first :] = 0
        row = out[t]
        for k in range(len(hann)):
            row[k] = (frame[k] - mean) * hann[k]
    return out


@numba.njit(cache=True)
def _local_peaks(y, centres, half, reach):
    """Largest distance from the mean of the frame, within reach of its centre."""
    out = np.empty(len(centres))
    for t in range(len(centres)):
        mean = _mean(y[max(0, centres[t] - half) : min(len(y), centres[t] + half)], 2 * half)
        peak = np.float32(0)
        for value in y[max(0, centres[t] - reach) : min(len(y), centres[t] + reach)]:
            peak = max(peak, abs(value - mean))
        out[t] = peak
    return out


@cache
def _sinc_kernel() -> np.ndarray:
    """Weights that give a band-limited signal one, two and three quarters of a sample behind a sample [shape=(3, 32)]."""
    distance = np.arange(1 - _SINC_REACH, _SINC_REACH + 1) - np.arange(1, 4)[:, None] / 4
    hann = 0.5 + 0.5 * np.cos(np.pi * distance / _SINC_REACH)
    kernel = np.sinc(distance) * hann
    return (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)  # the top of a slow wave is as high between samples


@numba.njit(cache=True, fastmath={"reassoc", "nsz"})
def _between(around, kernel):
    """Value between the two middle ones of 32, by a windowed sinc."""
    total = np.float32(0)
    for k in range(2 * _SINC_REACH):
        total += around[k] * kernel[k]
    return total


@numba.njit(cache=True)
def _refine(r, lag, kernel):
    """Place and height of the peak at a lag: the best quarter of a sample around it, then a parabola."""
    fine = np.empty(9, np.float32)
    fine[0], fine[4], fine[8] = r[lag - 1], r[lag], r[lag + 1]
    first = lag - _SINC_REACH
    for quarter in range(3):
        fine[1 + quarter] = _between(r[first : first + 2 * _SINC_REACH], kernel[quarter])
        fine[5 + quarter] = _between(r[first + 1 : first + 1 + 2 * _SINC_REACH], kernel[quarter])
    best = 4
    for k in range(1, 8):
        if fine[k] > fine[best]:
            best = k
    left, middle, right = np.float64(fine[best - 1]), np.float64(fine[best]), np.float64(fine[best + 1])
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return lag - 1 + 0.25 * (best + offset), middle - 0.25 * (left - right) * offset


@numba.njit(cache=True)
def _candidates(r, min_lag, max_lag, min_height, kernel):
    """Peaks of each frame between two lags: place and height, in any order behind column 0 (unvoiced), and how many there are."""
    count = r.shape[0]
    place = np.zeros((count, MAX_VOICED_CANDIDATES + 1))
    height = np.zeros((count, MAX_VOICED_CANDIDATES + 1))
    number = np.ones(count, np.int64)
    rank = np.empty(MAX_VOICED_CANDIDATES + 1)
    for t in range(count):
        found = 0
        for lag in range(int(np.floor(min_lag)), int(np.ceil(max_lag)) + 1):
            left, middle, right = r[t, lag - 1], r[t, lag], r[t, lag + 1]
            # Between samples a peak is somewhat higher than at the next sample, by a fifth at most where speech has power.
            if not (middle > left and middle >= right and middle > 0.8 * min_height):
                continue
            where, top = _refine(r[t], lag, kernel)
            if where < min_lag - 0.25 or where > max_lag + 0.25 or top <= min_height:
                continue
            where = min(max_lag, max(min_lag, where))
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
        number[t] = found + 1
    return place, height, number


@numba.njit(cache=True)
def _best_path(f0, value, number, octave_jump_cost, voiced_unvoiced_cost):
    """Viterbi search: the candidate of each frame on the path of the highest total value."""
    count, width = f0.shape
    octave = np.log2(np.maximum(f0, 1.0))
    back = np.zeros((count, width), np.int64)
    total = value[0].copy()
    for t in range(1, count):
        best = np.full(width, -np.inf)
        for here in range(number[t]):
            for before in range(number[t - 1]):
                if here == 0 and before == 0:
                    cost = 0.0
                elif here == 0 or before == 0:
                    cost = voiced_unvoiced_cost
                else:
                    cost = octave_jump_cost * abs(octave[t, here] - octave[t - 1, before])
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
