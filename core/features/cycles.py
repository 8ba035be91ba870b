"""Pitch track in, glottal cycles out: the instant of each period, and how periods and their amplitudes vary.

A contour of one F0 every 10 ms shows intonation, not jitter, so each cycle is found in the waveform: from the loudest point near
the middle of a voiced stretch outwards, the next cycle is where the neighbourhood of the last one correlates best. Perturbation
quotients are those of the voice literature (Davis 1976; Baken and Orlikoff 2000, "Clinical Measurement of Speech and Voice").
Times in seconds.
"""

import numba
import numpy as np

from core.features.frames import runs
from core.features.pitch import PitchTrack

MIN_PERIOD_S = 1e-4
MAX_PERIOD_S = 0.02
MAX_PERIOD_FACTOR = 1.3
MAX_AMPLITUDE_FACTOR = 1.6
MIN_CORRELATION = 0.3
SEARCH = (0.8, 1.25)  # the next cycle lies this many periods away
AMPLITUDE_REACH = 0.2  # of the periods on both sides


def find_pulses(y: np.ndarray, track: PitchTrack, *, sr: int) -> np.ndarray:
    """One instant for each cycle of each voiced stretch.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    track : PitchTrack of y
    sr : int > 0

    Returns
    -------
    pulses_s : np.ndarray [shape=(k,)], ascending
    """
    y = np.asarray(y, np.float64)
    energy = np.concatenate(([0.0], np.cumsum(y**2)))
    found: list[np.ndarray] = []
    for start, end in runs(track.voiced):
        left_s = track.times_s[start] - track.step_s / 2
        right_s = track.times_s[end - 1] + track.step_s / 2
        f0 = track.f0_hz[start:end]
        pulses = _pulses_of_run(y, energy, float(sr), left_s, right_s, track.times_s[start], track.step_s, f0)
        if found:
            pulses = pulses[pulses > found[-1][-1]]
        if len(pulses):
            found.append(pulses)
    return np.concatenate(found) if found else np.zeros(0)


def perturbation(values: np.ndarray, valid: np.ndarray, *, points: int, factors: np.ndarray, mean: float) -> float:
    """Mean distance of a value from the mean of its neighbourhood, over the mean value.

    Parameters
    ----------
    values : np.ndarray [shape=(k,)], consecutive periods or amplitudes
    valid : np.ndarray [shape=(k,)], bool
    points : int, size of the neighbourhood: 5 for ppq5 and apq5; 2 gives the mean difference of neighbours (local)
    factors : np.ndarray [shape=(k - 1,)], bool, whether each step from one value to the next is small enough to count
    mean : float > 0, of the valid values

    Returns
    -------
    perturbation : float, NaN where no neighbourhood is complete
    """
    if len(values) < points:
        return float("nan")
    blocks = np.lib.stride_tricks.sliding_window_view(values, points)
    complete = np.lib.stride_tricks.sliding_window_view(valid, points).all(axis=1)
    complete &= np.lib.stride_tricks.sliding_window_view(factors, points - 1).all(axis=1)
    if not complete.any():
        return float("nan")
    blocks = blocks[complete]
    distance = np.abs(np.diff(blocks, axis=1)[:, 0]) if points == 2 else np.abs(blocks[:, points // 2] - blocks.mean(axis=1))
    return float(distance.mean() / mean)


def jitter(pulses_s: np.ndarray) -> dict[str, float]:
    """Period perturbation: ``local`` (NaN under 3 periods) and ``ppq5`` (NaN under 6).

    Parameters
    ----------
    pulses_s : np.ndarray [shape=(k,)], ascending

    Returns
    -------
    jitter : dict, shares of the mean period
    """
    periods, valid, steps = _periods(pulses_s)
    if valid.sum() < 3:
        return {"local": float("nan"), "ppq5": float("nan")}
    mean = float(periods[valid].mean())
    ppq5 = perturbation(periods, valid, points=5, factors=steps, mean=mean) if valid.sum() >= 6 else float("nan")
    return {"local": perturbation(periods, valid, points=2, factors=steps, mean=mean), "ppq5": ppq5}


def shimmer(y: np.ndarray, pulses_s: np.ndarray, *, sr: int) -> dict[str, float]:
    """Amplitude perturbation: ``local`` (NaN under 3 periods) and ``apq5`` (NaN under 6).

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    pulses_s : np.ndarray [shape=(k,)], ascending
    sr : int > 0

    Returns
    -------
    shimmer : dict, shares of the mean amplitude
    """
    _, valid, steps = _periods(pulses_s)
    undefined = {"local": float("nan"), "apq5": float("nan")}
    if valid.sum() < 3:
        return undefined
    # The pulse between two good periods has an amplitude; (k - 2,) of them.
    inner = valid[:-1] & valid[1:] & steps
    amplitudes = _amplitudes(np.asarray(y, np.float64), float(sr), pulses_s)
    inner &= amplitudes > 0
    if inner.sum() < 2:
        return undefined
    ratio = np.maximum(amplitudes[1:], 1e-300) / np.maximum(amplitudes[:-1], 1e-300)
    close = np.maximum(ratio, 1 / ratio) <= MAX_AMPLITUDE_FACTOR
    mean = float(amplitudes[inner].mean())
    apq5 = perturbation(amplitudes, inner, points=5, factors=close, mean=mean) if valid.sum() >= 6 else float("nan")
    return {"local": perturbation(amplitudes, inner, points=2, factors=close, mean=mean), "apq5": apq5}


def _periods(pulses_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Consecutive periods, which of them are of a voice, and whether each step between two is small enough."""
    periods = np.diff(pulses_s)
    valid = (periods >= MIN_PERIOD_S) & (periods <= MAX_PERIOD_S)
    ratio = periods[1:] / periods[:-1]
    return periods, valid, np.maximum(ratio, 1 / ratio) <= MAX_PERIOD_FACTOR


@numba.njit(cache=True)
def _f0_at(time_s, first_s, step_s, f0):
    """F0 between frames, by a straight line; the outer frames' beyond them."""
    position = (time_s - first_s) / step_s
    if position <= 0:
        return f0[0]
    if position >= len(f0) - 1:
        return f0[-1]
    frame = int(position)
    share = position - frame
    return f0[frame] * (1 - share) + f0[frame + 1] * share


@numba.njit(cache=True, fastmath={"reassoc", "nsz"})
def _product(a, b):
    """Inner product."""
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@numba.njit(cache=True)
def _next_pulse(y, energy, sr, pulse_s, period_s, direction):
    """Where the neighbourhood of a pulse (half a period to each side) comes again: time and normalised correlation.

    ``energy`` holds the sum of squares before each sample.
    """
    half = max(1, int(round(0.5 * period_s * sr)))
    length = 2 * half + 1
    here = int(round(pulse_s * sr)) - half
    first = max(1, int(np.floor(SEARCH[0] * period_s * sr)))
    last = int(np.ceil(SEARCH[1] * period_s * sr))
    if here < 0 or here + length > len(y):
        return -1.0, 0.0
    xx = energy[here + length] - energy[here]
    r = np.full(last - first + 3, -2.0)
    for index in range(len(r)):
        there = here + direction * (first - 1 + index)
        if there < 0 or there + length > len(y):
            continue
        yy = energy[there + length] - energy[there]
        if xx > 0 and yy > 0:
            r[index] = _product(y[here : here + length], y[there : there + length]) / np.sqrt(xx * yy)
    best = 1
    for index in range(2, len(r) - 1):
        if r[index] > r[best]:
            best = index
    if r[best] < -1:
        return -1.0, 0.0
    offset = 0.0
    if r[best - 1] >= -1 and r[best + 1] >= -1:
        bend = r[best - 1] - 2 * r[best] + r[best + 1]
        if bend < 0:
            offset = min(1.0, max(-1.0, 0.5 * (r[best - 1] - r[best + 1]) / bend))
    return pulse_s + direction * (first - 1 + best + offset) / sr, r[best]


@numba.njit(cache=True)
def _pulses_of_run(y, energy, sr, left_s, right_s, first_s, step_s, f0):
    middle_s = 0.5 * (left_s + right_s)
    period_s = 1 / _f0_at(middle_s, first_s, step_s, f0)
    low = max(0, int(np.ceil((middle_s - 0.5 * period_s) * sr)))
    high = min(len(y) - 1, int(np.floor((middle_s + 0.5 * period_s) * sr)))
    loudest = low
    for index in range(low, high + 1):
        if abs(y[index]) > abs(y[loudest]):
            loudest = index
    start_s = loudest / sr
    # Two pulses cannot be closer than the shortest search step, which bounds the room that they need.
    room = int((right_s - left_s) * sr) + 3
    pulses = np.empty(room)
    count = 1
    pulses[0] = start_s
    for direction in (1, -1):
        pulse_s = start_s
        while count < room:
            period_s = 1 / _f0_at(pulse_s, first_s, step_s, f0)
            pulse_s, correlation = _next_pulse(y, energy, sr, pulse_s, period_s, direction)
            if correlation < MIN_CORRELATION or pulse_s < left_s or pulse_s > right_s:
                break
            pulses[count] = pulse_s
            count += 1
    return np.sort(pulses[:count])


@numba.njit(cache=True)
def _amplitudes(y, sr, pulses_s):
    """RMS around each inner pulse, behind a Hann window that reaches 0.2 of the period to each side."""
    amplitudes = np.zeros(max(0, len(pulses_s) - 2))
    for index in range(1, len(pulses_s) - 1):
        here = pulses_s[index]
        left = AMPLITUDE_REACH * (here - pulses_s[index - 1])
        right = AMPLITUDE_REACH * (pulses_s[index + 1] - here)
        energy = 0.0
        weights = 0.0
        for sample in range(max(0, int(np.ceil((here - left) * sr))), min(len(y) - 1, int(np.floor((here + right) * sr))) + 1):
            distance = sample / sr - here
            reach = left if distance < 0 else right
            weight = 0.5 + 0.5 * np.cos(np.pi * distance / reach) if reach > 0 else 0.0
            energy += (y[sample] * weight) ** 2
            weights += weight**2
        if weights > 0:
            amplitudes[index - 1] = np.sqrt(energy / weights)
    return amplitudes
