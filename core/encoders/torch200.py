"""Clips in, 200 columns out, many clips at a time on a GPU or on the processor: parts of ``ultra`` and ``mfcc`` in PyTorch.

``core/features/TORCH200.csv`` says what the columns are; those that the other two sets have too are the same to three digits.
A worker measures what is of the waveform (voice, level); the spectra of clips of unequal length are computed side by side, padded
with zeros and masked: what a clip's values are does not depend on its neighbours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy.fft

from core.data.audio import ANALYSIS_RATE_HZ, Clip
from core.encoders.source import FeatureSource, Load
from core.errors import AudioError
from core.features import prepare
from core.features.sets import NEVER, TORCH200, Column, FeatureSet, columns, read_columns
from core.runtime.device import require_torch

if TYPE_CHECKING:
    from torch import Tensor

# Raise it whenever the code changes what a column holds: stored vectors are then computed anew.
VERSION = 2
SAMPLE_RATE_HZ = ANALYSIS_RATE_HZ
N_FFT, HOP_LENGTH, N_MELS, N_MFCC, N_BANDS = 2048, 512, 128, 20, 20
TOP_DB, POWER_FLOOR = 80.0, 1e-10
DELTA_REACH = 4  # frames to each side
ROLLOFF_SHARE = 0.85
TILT_HZ = (100.0, 8000.0)
_GPU_SAMPLES = 64 * 45 * SAMPLE_RATE_HZ  # of a batch, its padding included
_CPU_SAMPLES = 45 * SAMPLE_RATE_HZ
_OF_WORKERS = ("basic", "energy", "silence", "quality", "voice")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a worker knows of a clip: the mono waveform at 22 050 Hz [shape=(n,)] and the values that are of it alone."""

    path: Path
    y: np.ndarray
    is_silent: bool
    values: dict[str, float]


class Torch200(FeatureSource):
    """The set ``torch200``."""

    base = TORCH200
    titles: ClassVar[Mapping[str, str]] = {
        TORCH200: "cepstra, spectrum, mel bands, voice, rhythm and level by PyTorch, on a GPU where there is one"
    }

    def parse(self, name: str) -> FeatureSet | None:
        return FeatureSet(name, TORCH200, on_device=True, is_compiled=True) if name == TORCH200 else None

    def columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        return read_columns("TORCH200.csv", TORCH200)

    def version(self, feature_set: FeatureSet) -> int:
        return VERSION

    def prepare(self, clip: Clip, feature_set: FeatureSet) -> Prepared:
        return prepare_clip(clip)

    def load(self, feature_set: FeatureSet, how: Load) -> "Extractor":
        return Extractor(device=how.device.kind)


def prepare_clip(clip: Clip) -> Prepared:
    """Resample a clip and measure its voice and its level, as the families of those names do."""
    from core.features import basic, energy, quality, silence, voice
    from core.features.frames import Frames

    prepare()
    frames = Frames(clip)
    wanted = {column.name for column in columns(TORCH200) if column.family in _OF_WORKERS} - {"spectral_tilt_db_per_oct"}
    values = basic.columns(frames) | energy.columns(frames) | silence.columns(frames) | voice.columns(frames)
    values |= quality.of_waveform(frames)
    return Prepared(clip.path, frames.y, frames.is_silent, {name: float(values[name]) for name in wanted})


class Extractor:
    """The filters of the set on a device.

    Parameters
    ----------
    device : str, cpu or cuda

    Raises
    ------
    ParameterError
        torch or torchaudio are not installed.
    """

    def __init__(self, *, device: str):
        require_torch(TORCH200)
        import torch
        from torchaudio import functional

        self.device = device
        rows = N_FFT // 2 + 1
        banks = {"f_min": 0.0, "f_max": SAMPLE_RATE_HZ / 2, "sample_rate": SAMPLE_RATE_HZ, "norm": "slaney", "mel_scale": "slaney"}
        self._mel = functional.melscale_fbanks(rows, n_mels=N_MELS, **banks).to(device)  # (rows, mels)
        self._bands = functional.melscale_fbanks(rows, n_mels=N_BANDS, **banks).to(device)
        # torchaudio's create_dct is of single precision: of 128 equal levels coefficients are left that should vanish.
        self._dct = torch.from_numpy(scipy.fft.dct(np.eye(N_MELS), norm="ortho")[:, :N_MFCC].copy()).to(device)  # (mels, mfcc)
        self._frequencies = torch.linspace(0, SAMPLE_RATE_HZ / 2, rows, dtype=torch.float64, device=device)
        self._window = torch.hann_window(N_FFT, dtype=torch.float64, device=device)
        self._names = [column.name for column in columns(TORCH200)]
        self._never = np.array([column.nan_when == NEVER for column in columns(TORCH200)])

    def seconds(self, item: Prepared) -> float:
        """Length of an item."""
        return len(item.y) / SAMPLE_RATE_HZ

    def __call__(self, items: Sequence[Prepared]) -> list[np.ndarray]:
        """Vectors of clips.

        Parameters
        ----------
        items : of what ``prepare_clip`` gives

        Returns
        -------
        vectors : list of np.ndarray [shape=(200,)], float32; NaN only where a column has a rule for it

        Raises
        ------
        AudioError
            A column that is always defined came out without a finite value.
        """
        import torch

        vectors: list[np.ndarray] = [np.empty(0)] * len(items)
        with torch.inference_mode():
            for places in self._batches(items):
                values = self._compute([items[place] for place in places])
                for row, place in enumerate(places):
                    vectors[place] = self._vector(items[place], {name: of[row] for name, of in values.items()})
        return vectors

    def _batches(self, items: Sequence[Prepared]) -> Iterator[list[int]]:
        """Clips of similar length together, so many that the padded waveforms stay below a limit."""
        most = _GPU_SAMPLES if self.device == "cuda" else _CPU_SAMPLES
        batch: list[int] = []
        for place in sorted(range(len(items)), key=lambda at: len(items[at].y)):
            if batch and (len(batch) + 1) * len(items[place].y) > most:
                yield batch
                batch = []
            batch.append(place)
        yield batch

    def _vector(self, item: Prepared, values: dict[str, float]) -> np.ndarray:
        known = values | item.values
        vector = np.array([known[name] for name in self._names], np.float32)
        if (bad := np.isinf(vector) | (np.isnan(vector) & self._never)).any():
            name = self._names[int(np.flatnonzero(bad)[0])]
            raise AudioError(item.path, f"feature {TORCH200}.{name} has no finite value, which it always should")
        return vector

    def _compute(self, items: Sequence[Prepared]) -> dict[str, np.ndarray]:
        """All columns but those of the workers, each [shape=(clips,)]."""
        import torch
        from torchaudio import functional

        lengths = [len(item.y) for item in items]
        y = torch.zeros(len(items), max(lengths), dtype=torch.float64, device=self.device)
        for row, item in enumerate(items):
            y[row, : lengths[row]] = torch.from_numpy(item.y).to(self.device)
        frames = torch.tensor([1 + length // HOP_LENGTH for length in lengths], device=self.device)
        spectrum = functional.spectrogram(
            y, pad=0, window=self._window, n_fft=N_FFT, hop_length=HOP_LENGTH, win_length=N_FFT, power=None, normalized=False,
            center=True, pad_mode="constant",
        )  # fmt: skip
        S = spectrum.abs().float().transpose(1, 2)  # (clips, frames, rows); the transform ran in float64
        del spectrum
        mask = torch.arange(S.shape[1], device=self.device) < frames[:, None]  # (clips, frames)
        S *= mask[:, :, None]
        P = S.square()

        log_mel = _to_db(P @ self._mel, mask)  # (clips, frames, mels)
        values = self._cepstra(log_mel.double() @ self._dct, mask, frames)
        bands = _to_db(P @ self._bands, mask)
        for stat, of_bands in zip(("mean", "std"), _mean_and_std(bands, mask), strict=True):
            values |= {f"mel20_b{band}_{stat}_db": of_bands[:, band] for band in range(N_BANDS)}
        values |= self._spectral(S, P, mask)
        values["spectral_tilt_db_per_oct"] = self._tilt(P, frames)
        found = {name: value.double().cpu().numpy() for name, value in values.items()}
        return found | self._rhythm(items, log_mel, mask, frames)

    def _cepstra(self, mfcc: "Tensor", mask: "Tensor", frames: "Tensor") -> dict[str, "Tensor"]:
        """Mean and standard deviation of coefficients and of their derivatives, as ``librosa.feature.delta`` of width 9."""
        import torch

        values: dict[str, Tensor] = {}
        for stat, of in zip(("mean", "std"), _mean_and_std(mfcc, mask), strict=True):
            values |= {f"mfcc{c}_{stat}": of[:, c] for c in range(N_MFCC)}
        reach = DELTA_REACH
        enough = frames > 2 * reach
        # A line through nine values; the one of the outermost nine holds for the frames at the ends.
        middle = torch.arange(mfcc.shape[1], device=mfcc.device).clamp(min=reach).expand(len(mfcc), -1)
        middle = torch.minimum(middle, (frames - 1 - reach).clamp(min=reach)[:, None])
        slopes = torch.zeros_like(mfcc)
        for step in range(1, reach + 1):
            ahead, behind = ((middle + at).clamp(0, mfcc.shape[1] - 1)[:, :, None].expand_as(mfcc) for at in (step, -step))
            slopes += step * (mfcc.gather(1, ahead) - mfcc.gather(1, behind))
        slopes /= 2 * sum(step**2 for step in range(1, reach + 1))
        for stat, of in zip(("mean", "std"), _mean_and_std(slopes, mask), strict=True):
            of = torch.where(enough[:, None], of, torch.nan)
            values |= {f"mfcc{c}_delta_{stat}": of[:, c] for c in range(N_MFCC)}
        return values

    def _spectral(self, S: "Tensor", P: "Tensor", mask: "Tensor") -> dict[str, "Tensor"]:
        """Eight tracks, each with mean, standard deviation and three percentiles."""
        import torch

        # The moments are summed in float64: frames of a click differ by less than float32 resolves at 5 kHz.
        f = self._frequencies
        exact = S.double()
        total, first, second = (exact @ torch.stack([torch.ones_like(f), f, f.square()], dim=1)).unbind(dim=2)
        some = torch.where(total > 0, total, 1.0)
        centroid = first / some
        spread = (second / some - centroid.square()).clamp(min=0).sqrt()
        sums = exact.cumsum_(dim=2)
        reached = (sums < ROLLOFF_SHARE * sums[:, :, -1:]).sum(dim=2).clamp(max=S.shape[2] - 1)
        shares = S / some.float()[:, :, None]
        power = P.clamp(min=POWER_FLOOR)
        flat = power.log().mean(dim=2, dtype=torch.float64).exp() / power.mean(dim=2, dtype=torch.float64)
        f_khz = f / 1000
        slope = (centroid / 1000 - f_khz.mean()) / (f_khz - f_khz.mean()).square().sum()
        entropy = torch.special.entr(shares).sum(dim=2, dtype=torch.float64) / float(np.log(2))
        tracks = {
            "centroid": (centroid, "_hz"),
            "bandwidth": (spread, "_hz"),
            "rolloff": (f[reached], "_hz"),
            "flatness": (flat, ""),
            "entropy": (entropy, "_bits"),
            "slope": (torch.where(total > 0, slope, 0.0), "_per_khz"),
            "crest": (torch.where(total > 0, S.amax(dim=2) / (some / S.shape[2]), 0.0), ""),
        }
        values: dict[str, Tensor] = {}
        for name, (track, unit) in tracks.items():
            values |= _statistics(name, track.double(), mask, unit)
        changes = (shares[:, 1:] - shares[:, :-1]).square().sum(dim=2).sqrt()
        single = mask[:, :1] & (mask.sum(dim=1, keepdim=True) == 1)  # one frame does not change: it counts as one change of 0
        changes = torch.cat([torch.zeros_like(total[:, :1]), changes], dim=1)
        return values | _statistics("flux", changes.double(), torch.cat([single, mask[:, 1:]], dim=1), "")

    def _tilt(self, P: "Tensor", frames: "Tensor") -> "Tensor":
        """Least-squares slope of the mean spectrum in dB over octaves, 100 Hz to 8 kHz."""
        inside = (self._frequencies >= TILT_HZ[0]) & (self._frequencies <= TILT_HZ[1])
        octaves = self._frequencies[inside].log2()
        octaves -= octaves.mean()
        level_db = 10 * (P.double().sum(dim=1)[:, inside] / frames[:, None]).clamp(min=POWER_FLOOR).log10()
        return level_db @ octaves / octaves.square().sum()

    def _rhythm(self, items: Sequence[Prepared], log_mel: "Tensor", mask: "Tensor", frames: "Tensor") -> dict[str, np.ndarray]:
        """Onset strength on the device; peaks and beats on the processor."""
        import torch

        from core.features import rhythm

        rises = (log_mel[:, 1:] - log_mel[:, :-1]).clamp(min=0)
        ordered = rises.sort(dim=2).values[:, :, N_MELS // 2 - 1 : N_MELS // 2 + 1]
        shift = 1 + N_FFT // (2 * HOP_LENGTH)  # centred frames answer so much later, as in librosa.onset.onset_strength
        tracks = []
        for track in (rises.mean(dim=2), ordered.mean(dim=2)):
            padded = torch.nn.functional.pad(track, (shift, 0))[:, : log_mel.shape[1]]
            tracks.append(torch.where(mask, padded, 0.0).cpu().numpy())
        rows = []
        for row, item in enumerate(items):
            count = int(frames[row])
            strength, beat_strength = (track[row, :count] for track in tracks)
            beats = self._mean_tempogram(beat_strength, rhythm.TEMPO_FRAMES)
            pulse = self._mean_tempogram(strength, rhythm.TEMPOGRAM_FRAMES)
            onsets, seconds = rhythm.onsets(strength), len(item.y) / SAMPLE_RATE_HZ
            values = rhythm.describe(strength, beat_strength, beats, pulse, onsets, seconds=seconds, is_silent=item.is_silent)
            gaps_s = np.diff(onsets) * HOP_LENGTH / SAMPLE_RATE_HZ
            values["onset_strength_p50"] = float(np.median(strength))
            values["onset_interval_std_s"] = float(gaps_s.std()) if len(onsets) >= 3 else np.nan
            rows.append(values)
        return {name: np.array([values[name] for values in rows], np.float64) for name in rows[0]}

    def _mean_tempogram(self, strength: np.ndarray, width: int) -> np.ndarray:
        """``core.features.rhythm.mean_tempogram``, or the same on a GPU."""
        import torch

        from core.features import rhythm

        if self.device == "cpu":
            return rhythm.mean_tempogram(strength, width)
        padded = np.pad(strength.astype(np.float64), width // 2, mode="linear_ramp")
        windows = torch.from_numpy(padded).to(self.device).unfold(0, width, 1)[: len(strength)]
        hann = torch.hann_window(width, dtype=torch.float64, device=self.device)
        spectrum = torch.fft.rfft(windows * hann, 2 * width)
        r = torch.fft.irfft(spectrum.abs().square(), 2 * width)[:, :width]
        top = r.abs().amax(dim=1, keepdim=True)
        return (r / torch.where(top < np.finfo(np.float64).tiny, 1.0, top)).mean(dim=0).cpu().numpy()


def _to_db(power: "Tensor", mask: "Tensor") -> "Tensor":
    """Power in dB, 80 dB deep below the highest of each clip's own frames [shape=(clips, frames, d)]."""
    import torch

    level_db = 10 * power.clamp(min=POWER_FLOOR).log10()
    top = torch.where(mask[:, :, None], level_db, -torch.inf).amax(dim=(1, 2), keepdim=True)
    return torch.maximum(level_db, top - TOP_DB)


def _mean_and_std(values: "Tensor", mask: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Over the frames of each clip [shape=(clips, d)], float64."""
    weights = mask[:, :, None].double()
    count = weights.sum(dim=1)
    mean = (values * weights).sum(dim=1) / count
    return mean, (((values - mean[:, None]) ** 2 * weights).sum(dim=1) / count).sqrt()


def _statistics(name: str, track: "Tensor", mask: "Tensor", unit: str) -> dict[str, "Tensor"]:
    """Mean, standard deviation and percentiles over the frames of each clip; percentiles between two values are linear."""
    import torch

    mean, std = (of[:, 0] for of in _mean_and_std(track[:, :, None], mask))
    ordered = torch.where(mask, track, torch.inf).sort(dim=1).values
    last = mask.sum(dim=1) - 1
    values = {"mean": mean, "std": std}
    for percent in (10, 50, 90):
        place = last.double() * percent / 100
        below = place.floor().long()
        above = torch.minimum(below + 1, last)
        low, high = (ordered.gather(1, at[:, None])[:, 0] for at in (below, above))
        values[f"p{percent}"] = low + (high - low) * (place - below)
    return {f"{name}_{stat}{unit}": value for stat, value in values.items()}
