"""Decoded samples in, the samples that are analysed out, and in words what is odd about their levels and channels.

Samples are float32 [shape=(n, channels)] with full scale at 1. What is in order comes out bit for bit as it went in.
"""

from dataclasses import dataclass

import numpy as np

INTEGER_SCALES = (1 << 15, 1 << 23)  # full scale of 16 and 24 bits
LARGEST_FLOAT = 16.0  # times full scale; no gain of a studio reaches it, integers in a float file do
LEAST_OFFSET = 0.005  # of full scale
INVERTED_CORRELATION = -0.9  # equal channels of it lose 13 dB in their mean
DIFFERENT_DB = 20.0
DEAD_DB = 40.0
FULL_SCALE = (0.999, 1.001)  # samples in between are at full scale, whatever rounding or a codec did
SILENT_RMS = 1e-4
SPECTRUM_FRAME = 4096

_BLACKMAN_HARRIS = np.array([0.35875, -0.48829, 0.14128, -0.01168])  # Harris 1978: side lobes at -92 dB
_SEGMENTS = 8
_FRAME_S = 0.1
_ACTIVE_DB = 30.0  # below the loudest frame


@dataclass(frozen=True, slots=True)
class Mended:
    """Samples as they are analysed.

    Attributes
    ----------
    samples : np.ndarray [shape=(n, channels)], float32
    offset : float, that was taken off the mean of the channels
    warnings : tuple of str
    """

    samples: np.ndarray
    offset: float
    warnings: tuple[str, ...]


def mend(samples: np.ndarray, sample_rate_hz: int) -> Mended:
    """Scale integers back, take an offset off, turn an inverted channel around, and say so; say where channels differ.

    Parameters
    ----------
    samples : np.ndarray [shape=(n, channels)], float32, finite
    sample_rate_hz : int > 0

    Returns
    -------
    mended : Mended
    """
    samples, *warnings = _scale_back(samples)
    samples, offset, *more = _center(samples)
    warnings += more
    if samples.shape[1] > 1:
        samples, *more = _turn_around(samples)
        warnings += more + _differences(samples, sample_rate_hz)
    return Mended(samples, offset, tuple(warnings))


def level_warnings(samples: np.ndarray) -> list[str]:
    """Whether samples are beyond full scale, or cut off at it."""
    magnitude = np.abs(samples)
    beyond = float((magnitude > FULL_SCALE[1]).mean())
    clipped = float(((magnitude >= FULL_SCALE[0]) & (magnitude <= FULL_SCALE[1])).mean())
    warnings = []
    if beyond > 0.001:
        peak = float(magnitude.max())
        warnings.append(
            f"beyond full scale: {100 * beyond:.1f} % of the samples, up to {peak:.2f} times ({20 * np.log10(peak):+.1f} dBFS)"
        )
    if clipped > 0.001:
        warnings.append(f"clipped: {100 * clipped:.1f} % of the samples are at full scale")
    return warnings


def _scale_back(samples: np.ndarray) -> tuple[np.ndarray, *tuple[str, ...]]:
    """Integers that were written as floats without division: all are whole, or larger than a gain explains."""
    peak = float(np.abs(samples).max())
    if peak <= 2:
        return (samples,)
    are_whole = bool((samples == np.round(samples)).all())
    scale = next((scale for scale in INTEGER_SCALES if peak <= scale * (1 if are_whole else 2)), None)
    if scale is None or (not are_whole and (peak <= LARGEST_FLOAT or scale != INTEGER_SCALES[0])):
        return (samples,)
    bits = scale.bit_length()
    return samples / np.float32(
        scale
    ), f"integers of {bits} bits in a file of floats, up to {peak:.0f}: scaled back to full scale 1"


def _center(samples: np.ndarray) -> tuple[np.ndarray, float, *tuple[str, ...]]:
    """An offset has the same sign in every eighth of a clip; the rest of a long period has not."""
    offsets = samples.mean(axis=0, dtype=np.float64)
    if np.abs(offsets).max() <= LEAST_OFFSET:
        return samples, 0.0
    segments = [part.mean(axis=0, dtype=np.float64) for part in np.array_split(samples, _SEGMENTS)]
    steady = np.abs(np.sign(segments).sum(axis=0)) == _SEGMENTS
    removed = np.where(steady & (np.abs(offsets) > LEAST_OFFSET), offsets, 0.0)
    if not removed.any():
        return samples, 0.0
    share = 100 * removed[np.abs(removed).argmax()]
    centred = (samples - removed).astype(np.float32)
    return centred, float(removed.mean()), f"offset of {share:+.1f} % of full scale: taken off"


def _turn_around(samples: np.ndarray) -> tuple[np.ndarray, *tuple[str, ...]]:
    """Channels that are the loudest one upside down would take it away in the mean."""
    y = samples - samples.mean(axis=0, dtype=np.float32)
    power = np.einsum("nc,nc->c", y, y, dtype=np.float64)
    loudest = int(power.argmax())
    with_loudest = np.einsum("nc,n->c", y, y[:, loudest], dtype=np.float64)
    inverted = with_loudest < INVERTED_CORRELATION * np.sqrt(power * power[loudest])
    inverted &= power > len(y) * SILENT_RMS**2
    if not inverted.any():
        return (samples,)
    numbers = ", ".join(str(number + 1) for number in np.flatnonzero(inverted))
    return samples * np.where(inverted, -1, 1).astype(np.float32), (
        f"channel {numbers} is inverted: turned around before the mix; to analyse one channel alone, use --channel left"
    )


def _differences(samples: np.ndarray, sample_rate_hz: int) -> list[str]:
    """Channels that carry something else than the others; features see their mean all the same."""
    rms = np.sqrt((samples.astype(np.float64) ** 2).mean(axis=0))
    if rms.max() <= SILENT_RMS:
        return []
    dead = np.flatnonzero(rms < rms.max() * 10 ** (-DEAD_DB / 20))
    if len(dead):
        numbers = ", ".join(str(number + 1) for number in dead)
        lower_db = 20 * np.log10(1 - len(dead) / len(rms))
        return [
            f"channel {numbers} is (nearly) silent: the mix is {lower_db:.1f} dB lower for it; "
            "to leave it out, use --channel loudest"
        ]
    starts = np.arange(0, len(samples), max(1, round(_FRAME_S * sample_rate_hz)))
    power = np.add.reduceat(samples.astype(np.float64) ** 2, starts, axis=0)
    loud, quiet = power.max(axis=1), power.min(axis=1)
    active = loud > loud.max() * 10 ** (-_ACTIVE_DB / 10)
    different = float((quiet < loud * 10 ** (-DIFFERENT_DB / 10))[active].mean())
    if different <= 0.5:
        return []
    return [
        f"its channels differ by over {DIFFERENT_DB:.0f} dB in {100 * different:.0f} % of the time, as with a speaker on each: "
        "features see their mean; to analyse one of them, use --channel left or --channel right"
    ]


def share_above(mono: np.ndarray, sample_rate_hz: int, limit_hz: float) -> float:
    """Share of the energy of a signal above a frequency, its offset left out; 0 for silence.

    Parameters
    ----------
    mono : np.ndarray [shape=(n,)]
    sample_rate_hz : int
    limit_hz : float

    Returns
    -------
    share : float between 0 and 1
    """
    if sample_rate_hz <= 2 * limit_hz:
        return 0.0
    energy = long_term_power(mono)
    total = float(energy.sum())
    above = np.fft.rfftfreq(SPECTRUM_FRAME, 1 / sample_rate_hz) > limit_hz
    return float(energy[above].sum()) / total if total > 0 else 0.0


def long_term_power(mono: np.ndarray) -> np.ndarray:
    """Power spectrum of a signal, summed over frames of 4096 samples whose means are left out.

    Parameters
    ----------
    mono : np.ndarray [shape=(n,)]

    Returns
    -------
    power : np.ndarray [shape=(2049,)], float64, from 0 to half the sample rate
    """
    frames = np.pad(mono, (0, -len(mono) % SPECTRUM_FRAME)).reshape(-1, SPECTRUM_FRAME)
    phase = 2 * np.pi * np.arange(SPECTRUM_FRAME) / SPECTRUM_FRAME
    window = (_BLACKMAN_HARRIS @ np.cos(np.outer(range(len(_BLACKMAN_HARRIS)), phase))).astype(np.float32)
    power = np.zeros(SPECTRUM_FRAME // 2 + 1)
    for frame in frames:  # one after another: a long clip of a high rate is large
        power += np.abs(np.fft.rfft((frame - frame.mean()) * window)) ** 2
    return power
