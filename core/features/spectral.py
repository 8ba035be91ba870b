"""Where the energy lies in frequency, frame by frame, from the shared magnitude spectrogram. Frequencies in Hz, contrast in dB."""

import numba
import numpy as np

from core.features.frames import LANES, POWER_FLOOR, Frames, blocks, side_by_side

ROLLOFF_SHARE = 0.85
CONTRAST_BANDS = 6
CONTRAST_LOWEST_HZ = 200.0
CONTRAST_QUANTILE = 0.02
CONTRAST_TOP_DB = 80.0

_FACTORS = 16  # a product of 16 powers between 1e-10 and 1e18 stays inside float64, and one logarithm serves them all
_SUMS = {"reassoc", "nsz"}  # sums may be taken in any order, so that they run side by side


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``spectral`` by column name."""
    S, f = frames.magnitude, frames.frequencies_hz
    centroid_hz = centroid(S, f)
    values: dict[str, float] = {}
    for name, unit, track in (
        ("centroid", "_hz", centroid_hz),
        ("bandwidth", "_hz", bandwidth(S, f, centroid_hz)),
        ("rolloff", "_hz", rolloff(S, f)),
        ("flatness", "", flatness(S)),
        ("flux", "", flux(S)),
    ):
        p10, p50, p90 = np.percentile(track, [10, 50, 90])
        stats = {"mean": track.mean(), "std": track.std(), "p10": p10, "p50": p50, "p90": p90}
        values |= {f"{name}_{stat}{unit}": value for stat, value in stats.items()}

    contrast_db = contrast(S, f)  # (7, t)
    over_bands = contrast_db.mean(axis=0)
    values |= {f"contrast_b{band}_mean": row.mean() for band, row in enumerate(contrast_db)}
    p10, p90 = np.percentile(over_bands, [10, 90])
    return values | {"contrast_std": over_bands.std(), "contrast_p10": p10, "contrast_p90": p90}


def energy(magnitude: np.ndarray) -> np.ndarray:
    """Summed squares of each frame.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)], float32

    Returns
    -------
    energy : np.ndarray [shape=(t,)], float64
    """
    return _energy(magnitude.T)


def centroid(magnitude: np.ndarray, frequencies_hz: np.ndarray) -> np.ndarray:
    """Magnitude-weighted mean frequency of each frame, 0 where it is empty: ``librosa.feature.spectral_centroid``.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)], float32
    frequencies_hz : np.ndarray [shape=(d,)]

    Returns
    -------
    centroid_hz : np.ndarray [shape=(t,)]
    """
    return _centroid(magnitude.T, frequencies_hz)


def bandwidth(magnitude: np.ndarray, frequencies_hz: np.ndarray, centroid_hz: np.ndarray) -> np.ndarray:
    """Magnitude-weighted standard deviation of frequency around the centroid: ``librosa.feature.spectral_bandwidth``.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)], float32
    frequencies_hz : np.ndarray [shape=(d,)]
    centroid_hz : np.ndarray [shape=(t,)]

    Returns
    -------
    bandwidth_hz : np.ndarray [shape=(t,)]
    """
    return _bandwidth(magnitude.T, frequencies_hz, centroid_hz)


def rolloff(magnitude: np.ndarray, frequencies_hz: np.ndarray) -> np.ndarray:
    """Lowest frequency below which 85 % of a frame's magnitude lie: ``librosa.feature.spectral_rolloff``.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)], float32
    frequencies_hz : np.ndarray [shape=(d,)]

    Returns
    -------
    rolloff_hz : np.ndarray [shape=(t,)]
    """
    return _rolloff(magnitude.T, frequencies_hz)


def flatness(magnitude: np.ndarray) -> np.ndarray:
    """Geometric over arithmetic mean of the power of each frame, floor 1e-10: ``librosa.feature.spectral_flatness``.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)], float32

    Returns
    -------
    flatness : np.ndarray [shape=(t,)], in (0, 1]
    """
    return _flatness(magnitude.T)


def flux(magnitude: np.ndarray) -> np.ndarray:
    """L2 distance between neighbouring magnitude frames, each normalised to sum 1; a single frame does not change (0).

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)], float32

    Returns
    -------
    flux : np.ndarray [shape=(max(t - 1, 1),)]
    """
    return _flux(magnitude.T)


def contrast(magnitude: np.ndarray, frequencies_hz: np.ndarray) -> np.ndarray:
    """Level of the peaks over that of the valleys in octave bands (Jiang et al. 2002): ``librosa.feature.spectral_contrast``.

    Peaks and valleys are the means of the highest and the lowest 2 % of a band's cells, in dB, each 80 dB deep.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(d, t)], float32
    frequencies_hz : np.ndarray [shape=(d,)]

    Returns
    -------
    contrast_db : np.ndarray [shape=(7, t)]
    """
    starts, ends, counts = _contrast_bands(frequencies_hz)
    peak, valley = np.empty((2, len(starts), magnitude.shape[1]))
    for some in blocks(magnitude.shape[1]):
        lines = side_by_side(magnitude[:, some].T)
        for band, (start, end, count) in enumerate(zip(starts, ends, counts, strict=True)):
            high, low = _extremes(lines[start:end], count)
            peak[band, some], valley[band, some] = high[: peak[band, some].size], low[: peak[band, some].size]
    return _to_db(peak) - _to_db(valley)


def _to_db(power: np.ndarray) -> np.ndarray:
    level_db = 10 * np.log10(np.maximum(power, POWER_FLOOR))
    return np.maximum(level_db, level_db.max() - CONTRAST_TOP_DB)


def _contrast_bands(frequencies_hz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and last row (exclusive) of each band, and how many cells make a peak.

    A band takes one row of its lower neighbour and gives up its own highest, but the last, which reaches to the end.
    """
    edges = np.concatenate(([0.0], CONTRAST_LOWEST_HZ * 2.0 ** np.arange(CONTRAST_BANDS + 1)))
    starts, ends, counts = [], [], []
    for band in range(CONTRAST_BANDS + 1):
        inside = np.flatnonzero((frequencies_hz >= edges[band]) & (frequencies_hz <= edges[band + 1]))
        start = inside[0] - (band > 0)
        end = len(frequencies_hz) if band == CONTRAST_BANDS else inside[-1] + 1
        counts.append(max(1, int(np.rint(CONTRAST_QUANTILE * (end - start)))))
        starts.append(start)
        ends.append(end if band == CONTRAST_BANDS else end - 1)
    return np.array(starts), np.array(ends), np.array(counts)


@numba.njit(cache=True, fastmath=_SUMS)
def _energy(frames):
    out = np.empty(len(frames))
    for t in range(len(frames)):
        total = 0.0
        for k in range(frames.shape[1]):
            total += np.float64(frames[t, k]) * frames[t, k]
        out[t] = total
    return out


@numba.njit(cache=True, fastmath=_SUMS)
def _centroid(frames, f):
    out = np.empty(len(frames))
    for t in range(len(frames)):
        total, moment = 0.0, 0.0
        for k in range(len(f)):
            total += frames[t, k]
            moment += frames[t, k] * f[k]
        out[t] = moment / total if total > 0 else 0.0
    return out


@numba.njit(cache=True, fastmath=_SUMS)
def _bandwidth(frames, f, centre):
    out = np.empty(len(frames))
    for t in range(len(frames)):
        total, moment = 0.0, 0.0
        for k in range(len(f)):
            distance = f[k] - centre[t]
            total += frames[t, k]
            moment += frames[t, k] * distance * distance
        out[t] = np.sqrt(moment / total) if total > 0 else 0.0
    return out


@numba.njit(cache=True)
def _rolloff(frames, f):
    out = np.empty(len(frames))
    sums = np.empty(len(f), np.float32)
    for t in range(len(frames)):
        total = np.float32(0)
        for k in range(len(f)):
            total += frames[t, k]
            sums[k] = total
        out[t] = f[np.searchsorted(sums, np.float32(ROLLOFF_SHARE * total))]
    return out


@numba.njit(cache=True, fastmath=_SUMS)
def _flatness(frames):
    count, width = frames.shape
    whole = width // _FACTORS
    out = np.empty(count)
    products = np.empty(whole + 1)
    for t in range(count):
        products[:] = 1.0
        total = 0.0
        for factor in range(_FACTORS):
            for group in range(whole):
                value = frames[t, factor * whole + group]
                power = np.float64(max(value * value, np.float32(POWER_FLOOR)))
                products[group] *= power
                total += power
        for k in range(whole * _FACTORS, width):
            power = np.float64(max(frames[t, k] * frames[t, k], np.float32(POWER_FLOOR)))
            products[whole] *= power
            total += power
        out[t] = np.exp(np.log(products).sum() / width) / (total / width)
    return out


@numba.njit(cache=True, fastmath=_SUMS)
def _flux(frames):
    count, width = frames.shape
    out = np.zeros(max(1, count - 1))
    before = 0.0
    for t in range(count):
        total = 0.0
        for k in range(width):
            total += frames[t, k]
        scale = 1 / total if total > 0 else 0.0
        if t > 0:
            squares = 0.0
            for k in range(width):
                change = frames[t, k] * scale - frames[t - 1, k] * before
                squares += change * change
            out[t - 1] = np.sqrt(squares)
        before = scale
    return out


@numba.njit(cache=True)
def _extremes(lines, count):
    """Mean of the largest and the smallest cells of 64 frames: each keeps so many of both in order, and every cell passes along."""
    high = np.full((count, LANES), -np.inf, np.float32)
    low = np.full((count, LANES), np.inf, np.float32)
    up, down = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for row in range(len(lines)):
        for lane in range(LANES):
            up[lane] = lines[row, lane]
            down[lane] = lines[row, lane]
        for place in range(count):
            for lane in range(LANES):
                here, new = high[place, lane], up[lane]
                high[place, lane] = here if here > new else new
                up[lane] = new if here > new else here
                here, new = low[place, lane], down[lane]
                low[place, lane] = here if here < new else new
                down[lane] = new if here < new else here
    return high.sum(axis=0) / count, low.sum(axis=0) / count
