"""Energy by pitch class, from a constant-Q transform and from the STFT, both at the clip's own tuning."""

from functools import cache

import librosa
import numba
import numpy as np
import scipy.fft
from librosa import filters  # type: ignore[attr-defined]  # its stub does not re-export it

from core.features.frames import HOP_LENGTH, Frames, entropy_bits, normalise_columns

OCTAVES = 7  # from C1 up
BINS_PER_OCTAVE = 36

_HEARD_SHARE = 1e-6  # of the loudest frame: what is weaker is the rounding of one spectrum for the whole clip
_REACH = 6.0  # lines of a filter that count, in units of its bandwidth: beyond, a Hann window is 60 dB down
_STEPS = 256  # of the tabled response within one such unit
PITCH_CLASSES = ("c", "cs", "d", "ds", "e", "f", "fs", "g", "gs", "a", "as", "b")


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``chroma`` by column name."""
    # The constant-Q transform has three bins a semitone, so a deviation of t semitones is one of 3 t bins.
    cqt_tuning = (3 * frames.tuning + 0.5) % 1 - 0.5
    cqt = chroma_cqt(frames.y, sr=frames.sr, tuning=cqt_tuning)
    stft = librosa.feature.chroma_stft(S=frames.power, sr=frames.sr, tuning=frames.tuning)
    values = {f"chroma_cqt_{name}_mean": row.mean() for name, row in zip(PITCH_CLASSES, cqt, strict=True)}
    return values | {
        "chroma_cqt_std": cqt.std(axis=1).mean(),
        "chroma_stft_entropy": np.nan if frames.is_silent else entropy_bits(stft).mean(),
        "chroma_stft_peak_share": np.nan if frames.is_silent else normalise_columns(stft).max(axis=0).mean(),
        "chroma_stft_std": stft.std(axis=1).mean(),
    }


def chroma_cqt(y: np.ndarray, *, sr: int, tuning: float) -> np.ndarray:
    """Constant-Q chroma, each frame normalised to maximum 1: ``librosa.feature.chroma_cqt``; 0 where no sound is in reach.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    sr : int > 0
    tuning : float in [-0.5, 0.5), in constant-Q bins

    Returns
    -------
    chroma : np.ndarray [shape=(12, t)]
    """
    magnitude, reached = constant_q(y, sr=sr, tuning=tuning)
    chroma = _chroma_basis() @ magnitude
    top = chroma.max(axis=0)
    heard = reached & (top > _HEARD_SHARE * top.max())
    return chroma * heard / np.where(heard, top, 1)


def constant_q(y: np.ndarray, *, sr: int, tuning: float) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes of seven octaves of 36 bins from C1 up, a frame each 512 samples.

    Each bin is a Hann-windowed tone of Q periods (Brown 1991). In the spectrum of the whole clip its filter is the transform of
    the Hann window, a function that is the same for all bins but for its width. The inverse transform is needed at each 512th
    sample only, so the filtered lines are folded onto as many as there are frames before it.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
    sr : int > 0
    tuning : float in [-0.5, 0.5), in bins

    Returns
    -------
    magnitude : np.ndarray [shape=(252, t)], float32, as ``librosa.cqt``
    reached : np.ndarray [shape=(t,)], bool, whether the longest filter around a frame reaches any sound
    """
    bins = np.arange(OCTAVES * BINS_PER_OCTAVE)
    frequencies_hz = librosa.note_to_hz("C1") * 2.0 ** ((bins + tuning) / BINS_PER_OCTAVE)
    step = 2.0 ** (2 / BINS_PER_OCTAVE)
    lengths = (step + 1) / (step - 1) * sr / frequencies_hz  # in samples
    count = 1 + len(y) // HOP_LENGTH
    reach = int(np.ceil(lengths[0] / 2))
    frames = scipy.fft.next_fast_len(-(-(len(y) + reach) // HOP_LENGTH))  # what a filter reaches beyond the ends is zero
    n_fft = frames * HOP_LENGTH
    spectrum = scipy.fft.rfft(y, n_fft)
    folded = _filter_and_fold(spectrum, frames, n_fft * frequencies_hz / sr, n_fft / lengths, _hann_response())
    scale = np.sqrt(lengths) / n_fft * frames
    magnitude = np.abs(scipy.fft.ifft(folded, axis=1)[:, :count]) * scale[:, None].astype(np.float32)

    sounding = np.concatenate(([0], np.cumsum(y != 0)))
    centres = np.arange(count) * HOP_LENGTH
    reached = sounding[np.minimum(centres + reach, len(y))] > sounding[np.maximum(centres - reach, 0)]
    return magnitude, reached


@cache
def _chroma_basis() -> np.ndarray:
    basis = filters.cq_to_chroma(OCTAVES * BINS_PER_OCTAVE, bins_per_octave=BINS_PER_OCTAVE, n_chroma=12)
    return np.asarray(basis, np.float32)


@cache
def _hann_response() -> np.ndarray:
    """Transform of a Hann window of sum 1, at multiples of 1 / 256 of the inverse of its length: sinc(u) / (1 - u^2)."""
    u = np.arange(int(_REACH * _STEPS) + 2) / _STEPS
    u[_STEPS] = 0.0
    response = np.sinc(u) / (1 - u**2)
    response[_STEPS] = 0.5  # the limit at u = 1
    return response


@numba.njit(cache=True)
def _add_weighted(out, lines, distance, scale, response):
    """Add lines that stand at a distance from the centre and beyond, each weighed by the response of the filter there."""
    for k in range(len(lines)):
        position = abs(distance + k) * scale
        step = int(position)
        share = position - step
        weight = response[step] * (1 - share) + response[step + 1] * share
        out[k] += lines[k] * np.float32(weight)


@numba.njit(cache=True)
def _filter_and_fold(spectrum, frames, centres, widths, response):
    """Weigh the lines around each centre, and add up those that are a multiple of ``frames`` apart.

    Centres and widths (the inverse of a filter's length) are counted in lines.
    """
    folded = np.zeros((len(centres), frames), np.complex64)
    for k in range(len(centres)):
        first = max(0, int(np.ceil(centres[k] - _REACH * widths[k])))
        last = min(len(spectrum) - 1, int(np.floor(centres[k] + _REACH * widths[k])))
        while first <= last:
            place = first % frames
            count = min(last + 1 - first, frames - place)  # up to where the lines are folded
            _add_weighted(folded[k, place:], spectrum[first : first + count], first - centres[k], _STEPS / widths[k], response)
            first += count
    return folded
