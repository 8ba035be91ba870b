"""A decoded clip in, the frequency above which it has no more sound out; and what that says of a set of clips. Frequencies in Hz.

A sample rate can promise more than there is: of a telephone nothing above 3.4 kHz is left at any rate, and an MP3 of a low bit
rate is cut off too. Such an edge is a steep fall of the long-term spectrum to a floor that lasts up to half the sample
rate. Sound that grows weaker little by little, as that of a piano, has no edge, however weak it becomes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.data.levels import SILENT_RMS, SPECTRUM_FRAME, long_term_power

LEAST_FALL_DB = 25.0  # within a third of an octave; partials of a piano fall by up to 15 dB
LEAST_DEPTH_DB = 40.0  # of all that lies above it, below the strongest band
NARROW_SHARE = 0.8  # of half the sample rate, below which a bandwidth is narrow
TELEPHONE_HZ = 4000.0
_LOWEST_HZ = 2000.0  # below it is no edge of a channel
_LEAST_LINES = 200  # of the spectrum below an edge: a tone fills few of those that are compared
_BAND = 2 ** (1 / 6)  # a sixth of an octave on each side of an edge is compared ...
_GAP = 1.05  # ... but for what filters take to close, on each side
_LOW = 0.25  # quantile of the lines below an edge: a partial that stands out over them is no edge
_CLOSED_DB = 10.0  # below the level in front of the edge
_SORTS_RATIO = 1.5  # between neighbouring bandwidths of two sorts of clips
_SORTS_SHARE = 0.05  # of the clips, the smaller sort at least
_HIGH_SHARES = (0.75, 0.9)  # of half the sample rate, where sound shows that there is no edge
_RANGE_DB = 100.0  # below the strongest line that is looked at; below is what the window spreads, and the rounding of 16 bits


def bandwidth_hz(mono: np.ndarray, sample_rate_hz: int) -> float | None:
    """The frequency above which a signal has no more sound.

    Parameters
    ----------
    mono : np.ndarray [shape=(n,)], float32
    sample_rate_hz : int > 0

    Returns
    -------
    bandwidth_hz : float, half the sample rate where the spectrum has no edge; None for silence, and where what lies high is too
        weak to show whether there is an edge
    """
    if not float(np.sqrt(np.mean(np.square(mono, dtype=np.float64)))) > SILENT_RMS:
        return None
    power = long_term_power(mono[: max(SPECTRUM_FRAME, len(mono) - len(mono) % SPECTRUM_FRAME)])  # a cut has energy everywhere
    nyquist_hz = sample_rate_hz / 2
    level_db = 10 * np.log10(np.maximum(power / power.max(), 10 ** (-_RANGE_DB / 10)))
    hz = np.linspace(0, nyquist_hz, len(power))
    lowest_hz, highest_hz = max(_LOWEST_HZ, hz[_LEAST_LINES]), nyquist_hz / _GAP / 1.02
    if lowest_hz >= highest_hz:
        return nyquist_hz
    edges_hz = np.geomspace(lowest_hz, highest_hz, 400)
    below_db = _quantiles(level_db, hz, edges_hz / _GAP / _BAND, edges_hz / _GAP, quantile=_LOW)
    above_db = _quantiles(level_db, hz, edges_hz * _GAP, np.minimum(edges_hz * _GAP * _BAND, nyquist_hz), quantile=0.5)
    rest_db = np.maximum.accumulate(above_db[::-1])[::-1]  # the strongest band from there on
    falls_db = below_db - rest_db
    is_edge = (falls_db >= LEAST_FALL_DB) & (rest_db <= -LEAST_DEPTH_DB)
    if not is_edge.any():
        high = (hz >= _HIGH_SHARES[0] * nyquist_hz) & (hz <= _HIGH_SHARES[1] * nyquist_hz)
        return nyquist_hz if np.median(level_db[high]) > 1 - _RANGE_DB else None
    edge = int(is_edge.argmax())
    around = (hz >= edges_hz[edge] / _GAP / _BAND) & (hz <= edges_hz[edge] * _GAP * _BAND)
    open_hz = hz[around & (level_db >= below_db[edge] - _CLOSED_DB)]
    return float(open_hz.max())


@dataclass(frozen=True, slots=True)
class Bandwidths:
    """What the clips of a set hold, beside what their sample rates promise.

    Attributes
    ----------
    clips : int, with a bandwidth: silent ones have none
    median_hz : float; None where there is no such clip
    narrow : int, clips with less than 80 % of half their sample rate
    sentences : tuple of str, one for each sample rate with narrow clips
    mixed : str, that there are two sorts of clips; empty where there are not
    """

    clips: int
    median_hz: float | None
    narrow: int
    sentences: tuple[str, ...]
    mixed: str


def summarise(sample_rates_hz: Sequence[int], bandwidths_hz: Sequence[float | None], *, limit_hz: float) -> Bandwidths:
    """Put the bandwidths of the clips of a set together.

    Parameters
    ----------
    sample_rates_hz, bandwidths_hz : of each clip; None for silence
    limit_hz : float, up to which features hear: what lies above it tells no clips apart

    Returns
    -------
    bandwidths : Bandwidths
    """
    known = [(rate, width) for rate, width in zip(sample_rates_hz, bandwidths_hz, strict=True) if width is not None]
    if not known:
        return Bandwidths(0, None, 0, (), "")
    narrow = [(rate, width) for rate, width in known if width < NARROW_SHARE * rate / 2]
    of_rate, sentences = Counter(rate for rate, _ in known), []
    for rate in sorted({rate for rate, _ in narrow}):
        widths = [width for at, width in narrow if at == rate]
        median_hz = float(np.median(widths))
        why = "a telephone band or a low-bit-rate MP3" if median_hz <= TELEPHONE_HZ else "a low-bit-rate MP3 or a lower rate before"
        sentences.append(
            f"sample rate {khz(rate)}, but sound only up to {khz(median_hz)} in {len(widths)} of {of_rate[rate]} clips: {why}"
        )
    widths_hz = np.sort([width for _, width in known])
    mixed = _mixed(np.minimum(widths_hz, limit_hz), limit_hz)
    return Bandwidths(len(known), float(np.median(widths_hz)), len(narrow), tuple(sentences), mixed)


def khz(hz: float) -> str:
    """A frequency in kHz, to be read.

    Examples
    --------
    >>> khz(44100), khz(3398.2), khz(16000.0)
    ('44.1 kHz', '3.4 kHz', '16 kHz')
    """
    return f"{round(hz / 1000, 1):g} kHz"


def _mixed(widths_hz: np.ndarray, limit_hz: float) -> str:
    """Where two sorts of clips part: at the widest gap between neighbouring bandwidths [shape=(n,)], sorted."""
    if len(widths_hz) < 2:
        return ""
    ratios = widths_hz[1:] / widths_hz[:-1]
    narrow = int(ratios.argmax()) + 1
    if ratios.max() < _SORTS_RATIO or min(narrow, len(widths_hz) - narrow) < max(1, _SORTS_SHARE * len(widths_hz)):
        return ""
    low_hz, high_hz = float(np.median(widths_hz[:narrow])), float(np.median(widths_hz[narrow:]))
    more = " or more" if high_hz >= limit_hz else ""
    return (
        f"two bandwidths in one set: {narrow} clips with sound up to about {khz(low_hz)}, {len(widths_hz) - narrow} up to about "
        f"{khz(high_hz)}{more}; a model can tell them apart by that alone, so check that no label goes with one of them"
    )


def _quantiles(level_db: np.ndarray, hz: np.ndarray, low_hz: np.ndarray, high_hz: np.ndarray, *, quantile: float) -> np.ndarray:
    """Level of each band, by a quantile of its lines: of a few lines of a tone over a floor, that of the floor."""
    starts, stops = np.searchsorted(hz, low_hz), np.searchsorted(hz, high_hz, side="right")
    return np.array(
        [np.quantile(level_db[start : max(stop, start + 1)], quantile) for start, stop in zip(starts, stops, strict=True)]
    )
