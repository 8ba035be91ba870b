"""One clip in, its shared frame analysis out: each family of features reads what it needs, nothing is computed twice.

Frames are 2048 samples, 512 apart, centred, zero-padded, at 22 050 Hz; the window is a periodic Hann. Amplitudes are relative to
full scale (FS), frequencies in Hz, times in seconds.
"""

from functools import cache, cached_property

import librosa
import numba
import numpy as np
from librosa import filters  # type: ignore[attr-defined]  # its stub does not re-export it

from core.data.audio import ANALYSIS_RATE_HZ, Clip, to_analysis_rate

N_FFT = 2048
HOP_LENGTH = 512
N_MELS = 128
N_MFCC = 20
POWER_FLOOR = 1e-10
LEVEL_FLOOR = 1e-10
LANES = 64
TUNING_HZ = (150.0, 4000.0)
TUNING_PEAK_SHARE = 0.1  # of the strongest cell of a frame


class Frames:
    """Everything that more than one family needs of a clip, each computed when it is first asked for.

    Parameters
    ----------
    clip : Clip, already trimmed
    """

    sr = ANALYSIS_RATE_HZ

    def __init__(self, clip: Clip):
        self.clip = clip

    @cached_property
    def y(self) -> np.ndarray:
        """Mono waveform at 22 050 Hz [shape=(n,)], float32."""
        return to_analysis_rate(self.clip.mono, self.clip.sample_rate_hz)

    @property
    def seconds(self) -> float:
        """Length of the trimmed clip."""
        return len(self.y) / self.sr

    @cached_property
    def is_silent(self) -> bool:
        """Whether the waveform holds no energy at all: its shares, ratios and entropies are not defined."""
        return not bool(np.abs(self.y).max() > LEVEL_FLOOR)

    @cached_property
    def magnitude(self) -> np.ndarray:
        """S, the magnitude spectrogram [shape=(1025, t)], float32, each frame in one piece.

        The transform runs in float64: bands that hold next to nothing are part of the spectral contrast.
        """
        return np.abs(librosa.stft(self.y, n_fft=N_FFT, hop_length=HOP_LENGTH))

    @cached_property
    def power(self) -> np.ndarray:
        """P, the power spectrogram [shape=(1025, t)]."""
        return self.magnitude**2

    @cached_property
    def frequencies_hz(self) -> np.ndarray:
        """Centre of each row of the spectrograms [shape=(1025,)]."""
        return librosa.fft_frequencies(sr=self.sr, n_fft=N_FFT)

    @cached_property
    def times_s(self) -> np.ndarray:
        """Centre of each frame [shape=(t,)]."""
        return librosa.times_like(self.rms, sr=self.sr, hop_length=HOP_LENGTH)

    @cached_property
    def rms(self) -> np.ndarray:
        """RMS of each frame of the waveform [shape=(t,)], in FS."""
        return np.sqrt(sum_frames(self.y.astype(np.float64) ** 2) / N_FFT)

    @cached_property
    def level_db(self) -> np.ndarray:
        """Level of each frame [shape=(t,)], in dBFS, not below -200."""
        return 20 * np.log10(np.maximum(self.rms, LEVEL_FLOOR))

    @cached_property
    def mel(self) -> np.ndarray:
        """Mel power spectrogram [shape=(128, t)], Slaney's scale and area normalisation."""
        return _mel_basis() @ self.power

    @cached_property
    def log_mel_db(self) -> np.ndarray:
        """Mel spectrogram in dB [shape=(128, t)], reference 1, 80 dB deep."""
        return librosa.power_to_db(self.mel, ref=1.0, top_db=80.0)

    @cached_property
    def mfcc(self) -> np.ndarray:
        """M, the first 20 cepstral coefficients [shape=(20, t)], orthonormal DCT-II."""
        return librosa.feature.mfcc(S=self.log_mel_db, n_mfcc=N_MFCC)

    @cached_property
    def tuning(self) -> float:
        """Deviation from A440 in semitones, in [-0.5, 0.5); 0 for a clip without energy."""
        if self.is_silent:
            return 0.0
        pitch_hz, strength = _spectral_peaks(self.power.T, self.frequencies_hz, *TUNING_HZ)
        return float(librosa.pitch_tuning(pitch_hz[strength >= np.median(strength)], bins_per_octave=12)) if len(pitch_hz) else 0.0


def blocks(count: int, *, size: int = LANES) -> list[slice]:
    """Slices of ``size`` frames: a block of that many fits into the processor's cache, from one step of its analysis to the next.

    Examples
    --------
    >>> blocks(100)
    [slice(0, 64, None), slice(64, 128, None)]
    """
    return [slice(start, start + size) for start in range(0, count, size)]


def side_by_side(block: np.ndarray) -> np.ndarray:
    """Turn frames [shape=(lanes, d)] so that the same cell of 64 frames lies in one line [shape=(d, 64)]; free lanes hold zeros.

    What is then done to a line is done to 64 frames by a few vector instructions, because the number of lanes is a constant.
    """
    lines = np.zeros((block.shape[1], LANES), np.float32)
    lines[:, : len(block)] = block.T
    return lines


def sum_frames(values: np.ndarray) -> np.ndarray:
    """Sum of the values of each frame, zeros beyond both ends: a frame is four hops long, so each hop is summed once.

    Parameters
    ----------
    values : np.ndarray [shape=(n,)], one for each sample

    Returns
    -------
    sums : np.ndarray [shape=(1 + n // 512,)]
    """
    hops = N_FFT // HOP_LENGTH
    count = 1 + len(values) // HOP_LENGTH
    padded = np.zeros((count + hops - 1) * HOP_LENGTH, values.dtype)
    inside = values[: len(padded) - N_FFT // 2]
    padded[N_FFT // 2 : N_FFT // 2 + len(inside)] = inside
    sums = padded.reshape(-1, HOP_LENGTH).sum(axis=1)
    return sum(sums[hop : hop + count] for hop in range(1, hops)) + sums[:count]


@cache
def _mel_basis() -> np.ndarray:
    return filters.mel(sr=ANALYSIS_RATE_HZ, n_fft=N_FFT, n_mels=N_MELS)


@numba.njit(cache=True)
def _spectral_peaks(frames, frequencies_hz, low_hz, high_hz):
    """Frequency and strength of each peak of each frame, by a parabola through its cell and both neighbours.

    As ``librosa.piptrack``: a peak reaches a tenth of the frame's strongest cell.
    """
    count, width = frames.shape
    pitch_hz, strength = np.empty(count * width // 2), np.empty(count * width // 2, np.float32)
    bin_hz = frequencies_hz[1]
    first, last = 1, 0
    for k in range(1, width - 1):
        if frequencies_hz[k] < low_hz:
            first = k + 1
        if frequencies_hz[k] < high_hz:
            last = k
    found = 0
    for t in range(count):
        least = np.float32(TUNING_PEAK_SHARE) * frames[t].max()
        for k in range(first, last + 1):
            left, middle, right = frames[t, k - 1], frames[t, k], frames[t, k + 1]
            if middle > least and middle > left and middle >= right:
                bend = left + right - 2 * middle
                lean = (right - left) / 2
                shift = -lean / bend if abs(lean) < abs(bend) else 0.0
                pitch_hz[found] = (k + shift) * bin_hz
                strength[found] = middle + np.float32(0.5) * lean * np.float32(shift)
                found += 1
    return pitch_hz[:found], strength[:found]


def entropy_bits(columns: np.ndarray) -> np.ndarray:
    """Entropy of each column after it is normalised to sum 1; an all-zero column has none (0).

    Parameters
    ----------
    columns : np.ndarray [shape=(d, t)], not negative

    Returns
    -------
    entropy : np.ndarray [shape=(t,)], in bits, 0 to log2(d)

    Examples
    --------
    >>> entropy_bits(np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])).tolist()
    [1.0, 0.0, 0.0]
    """
    shares = normalise_columns(columns)
    return (shares * -np.log(np.where(shares > 0, shares, 1.0))).sum(axis=0) / np.log(2) + 0.0


def normalise_columns(columns: np.ndarray) -> np.ndarray:
    """Scale each column to sum 1; all-zero columns stay zero.

    Parameters
    ----------
    columns : np.ndarray [shape=(d, t)], not negative

    Returns
    -------
    shares : np.ndarray [shape=(d, t)], float64
    """
    columns = columns.astype(np.float64)
    total = columns.sum(axis=0)
    return columns / np.where(total > 0, total, 1.0)


def slope(x: np.ndarray, values: np.ndarray) -> float:
    """Least-squares slope of values over x; 0 where x does not spread (a single frame).

    Examples
    --------
    >>> slope(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    2.0
    """
    centred = np.asarray(x, np.float64) - np.mean(x)
    spread = float(centred @ centred)
    return float(centred @ np.asarray(values, np.float64)) / spread if spread > 0 else 0.0


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each run of true values.

    Examples
    --------
    >>> runs(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.asarray(mask, np.int8), [0]))))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]
