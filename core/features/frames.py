"""One clip in, its shared frame analysis out: each family of features reads what it needs, nothing is computed twice.

Frames are 2048 samples, 512 apart, centred, zero-padded, at 22 050 Hz; the window is a periodic Hann. Amplitudes are relative to
full scale (FS), frequencies in Hz, times in seconds.
"""

from functools import cached_property

import librosa
import numpy as np

from core.audio import ANALYSIS_RATE_HZ, Clip, to_analysis_rate

N_FFT = 2048
HOP_LENGTH = 512
N_MELS = 128
N_MFCC = 20
POWER_FLOOR = 1e-10
LEVEL_FLOOR = 1e-10


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
        """S, the magnitude spectrogram [shape=(1025, t)]."""
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
        return librosa.feature.rms(y=self.y, frame_length=N_FFT, hop_length=HOP_LENGTH)[0]

    @cached_property
    def level_db(self) -> np.ndarray:
        """Level of each frame [shape=(t,)], in dBFS, not below -200."""
        return 20 * np.log10(np.maximum(self.rms, LEVEL_FLOOR))

    @cached_property
    def mel(self) -> np.ndarray:
        """Mel power spectrogram [shape=(128, t)], Slaney's scale and area normalisation."""
        return librosa.feature.melspectrogram(S=self.power, sr=self.sr, n_mels=N_MELS)

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
        return float(librosa.estimate_tuning(S=self.power, sr=self.sr, bins_per_octave=12))


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
    return (shares * -np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=0) + 0.0


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
