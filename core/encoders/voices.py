"""Clips in, what a speaker encoder hears of their voices out: 256 numbers, scaled to length 1.

The encoder is the one that ships with its weights inside the package Resemblyzer 0.1.4 (Apache-2.0): three LSTM layers over mel
spectrograms, trained with the generalised end-to-end loss (Wan et al. 2018). What it reads is made as there, constants included
(``resemblyzer/audio.py``, ``hparams.py``): 16 kHz, quiet clips raised to -30 dBFS, long pauses cut by the WebRTC voice detector, 40
mel bands each 10 ms, parts of 1.6 s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from core.data.audio import Clip
from core.encoders.source import SAMPLE_RATE_HZ, FeatureSource, Load, to_16_khz
from core.errors import ParameterError
from core.features.sets import NEVER, VOICE256, Column, FeatureSet
from core.runtime.device import require_torch

# Raise it whenever what is heard or how it is pooled changes: stored vectors are then computed anew.
VERSION = 1
UNITS = 256

_TARGET_DBFS = -30.0
_VAD_MODE = 3  # the one that takes least for speech
_VAD_WINDOW = 480  # samples, 30 ms
_VAD_MEAN = 8  # windows that are averaged
_VAD_REACH = 6  # windows around speech that are kept
_N_FFT, _HOP, _MELS = 400, 160, 40
_PART = 160  # frames of a part, 1.6 s
_PARTS_PER_S = 1.3
_LEAST_COVERAGE = 0.75  # of the last part
_PARTS_AT_ONCE = 512
_INT16 = 2**15 - 1


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the encoder reads of a clip: mels [shape=(parts, 160, 40)], float32, and how long the clip is."""

    mels: np.ndarray
    seconds: float


class Voices(FeatureSource):
    """The set ``voice256``."""

    base = VOICE256
    titles: ClassVar[Mapping[str, str]] = {VOICE256: "what a speaker encoder hears of a voice"}

    def parse(self, name: str) -> FeatureSet | None:
        return FeatureSet(name, VOICE256, on_device=True) if name == VOICE256 else None

    def columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        return _columns()

    def version(self, feature_set: FeatureSet) -> int:
        return VERSION

    def check(self, feature_set: FeatureSet) -> None:
        check_installed()

    def state(self, feature_set: FeatureSet) -> str:
        check_installed()
        return "weights of the package Resemblyzer"

    def prepare(self, clip: Clip, feature_set: FeatureSet) -> Prepared:
        return prepare_clip(clip)

    def load(self, feature_set: FeatureSet, how: Load) -> "Extractor":
        return Extractor(device=how.device.kind)


@cache
def _columns() -> tuple[Column, ...]:
    definition = "unit {} of the speaker encoder, mean over parts of 1.6 s, scaled to length 1"
    reference = "Wan et al. 2018, as trained in Resemblyzer 0.1.4"
    return tuple(
        Column(VOICE256, unit, VOICE256, f"voice{unit}", "1", definition.format(unit), NEVER, reference) for unit in range(UNITS)
    )


def is_installed() -> bool:
    """Whether the weights and the voice detector are there; neither is imported."""
    return _weights() is not None and find_spec("webrtcvad") is not None


def check_installed() -> None:
    """Refuse where they are not.

    Raises
    ------
    ParameterError
    """
    if not is_installed():
        raise ParameterError(
            "voice256 needs the speaker encoder of Resemblyzer, which is not installed; run: make offline "
            "(pip install --no-deps Resemblyzer==0.1.4 webrtcvad-wheels==2.0.14.post1)"
        )


def prepare_clip(clip: Clip) -> Prepared:
    """Mel spectrogram of the voiced parts of a clip, in parts of 1.6 s that overlap; a clip without a voice is taken whole.

    Raises
    ------
    ParameterError
        The voice detector is not installed.
    """
    check_installed()
    import librosa

    y = to_16_khz(clip)
    raised = raise_level(y)
    voiced = raised[voiced_samples(raised)]
    heard = voiced if len(voiced) else raised
    starts = part_starts(len(heard))
    reach = (starts[-1] + _PART) * _HOP
    padded = np.pad(heard, (0, max(0, reach - len(heard))))
    mel = librosa.feature.melspectrogram(y=padded, sr=SAMPLE_RATE_HZ, n_fft=_N_FFT, hop_length=_HOP, n_mels=_MELS)
    return Prepared(np.stack([mel.T[start : start + _PART] for start in starts]).astype(np.float32), clip.seconds)


def raise_level(y: np.ndarray) -> np.ndarray:
    """Amplify what is quieter than -30 dBFS to that level; silence stays silence."""
    rms = float(np.sqrt(np.mean(y.astype(np.float64) ** 2)))
    gain = 10 ** (_TARGET_DBFS / 20) / rms if rms > 0 else 1.0
    return (y * gain).astype(np.float32) if gain > 1 else y


def voiced_samples(y: np.ndarray) -> np.ndarray:
    """Samples that belong to speech or lie near it [shape=(n,)], bool; what does not fill the last 30 ms does not."""
    import webrtcvad
    from scipy.ndimage import binary_dilation

    count = len(y) // _VAD_WINDOW
    keep = np.zeros(len(y), bool)
    if count == 0:
        return keep
    pcm = np.clip(np.round(y[: count * _VAD_WINDOW] * _INT16), -_INT16 - 1, _INT16).astype("<i2")
    detector = webrtcvad.Vad(mode=_VAD_MODE)
    flags = [detector.is_speech(window.tobytes(), SAMPLE_RATE_HZ) for window in pcm.reshape(count, _VAD_WINDOW)]
    padded = np.concatenate([np.zeros((_VAD_MEAN - 1) // 2), flags, np.zeros(_VAD_MEAN // 2)])
    smooth = np.round(np.convolve(padded, np.ones(_VAD_MEAN), "valid") / _VAD_MEAN).astype(bool)
    near = binary_dilation(smooth, np.ones(_VAD_REACH + 1))
    keep[: count * _VAD_WINDOW] = np.repeat(near, _VAD_WINDOW)
    return keep


def part_starts(samples: int) -> list[int]:
    """First frame of each part, as ``VoiceEncoder.compute_partial_slices``.

    Examples
    --------
    >>> part_starts(16_000), part_starts(48_000)
    ([0], [0, 77, 154])
    """
    frames = -(-(samples + 1) // _HOP)
    step = round(SAMPLE_RATE_HZ / _PARTS_PER_S / _HOP)
    starts = list(range(0, max(1, frames - _PART + step + 1), step))
    if len(starts) > 1 and (samples - starts[-1] * _HOP) / (_PART * _HOP) < _LEAST_COVERAGE:
        starts.pop()
    return starts


class Extractor:
    """The loaded encoder.

    Parameters
    ----------
    device : str, cpu or cuda

    Raises
    ------
    ParameterError
        torch or the weights are not installed.
    """

    def __init__(self, *, device: str):
        require_torch("voice256")
        check_installed()
        import torch

        self.device = device
        weights = _weights()
        state = torch.load(str(weights), map_location="cpu", weights_only=True)["model_state"]
        self._lstm = torch.nn.LSTM(_MELS, UNITS, 3, batch_first=True)
        self._linear = torch.nn.Linear(UNITS, UNITS)
        for part, prefix in ((self._lstm, "lstm."), (self._linear, "linear.")):
            part.load_state_dict({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})
            part.eval().requires_grad_(False).to(device)

    def seconds(self, item: Prepared) -> float:
        """Length of an item."""
        return item.seconds

    def __call__(self, items: Sequence[Prepared]) -> list[np.ndarray]:
        """Voices of clips: the mean of their parts, scaled to length 1.

        Returns
        -------
        vectors : list of np.ndarray [shape=(256,)], float32; NaN for a clip of which the encoder hears nothing at all
        """
        mels = np.concatenate([item.mels for item in items])
        parts = np.concatenate([self._embed(mels[start : start + _PARTS_AT_ONCE]) for start in range(0, len(mels), _PARTS_AT_ONCE)])
        ends = np.cumsum([len(item.mels) for item in items])
        with np.errstate(invalid="ignore"):
            means = [part.mean(axis=0, dtype=np.float64) for part in np.split(parts, ends[:-1])]
            return [(mean / np.linalg.norm(mean)).astype(np.float32) for mean in means]

    def _embed(self, mels: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            _, (hidden, _) = self._lstm(torch.from_numpy(mels).to(self.device))
            raw: Any = torch.relu(self._linear(hidden[-1]))
            return (raw / raw.norm(dim=1, keepdim=True)).cpu().numpy()


def _weights() -> Path | None:
    """The file with the weights, inside of the package."""
    spec = find_spec("resemblyzer")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("pretrained.pt")
    return path if path.is_file() else None
