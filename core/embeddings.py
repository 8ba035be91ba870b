"""Clips in, what a pretrained encoder makes of them out: mean and standard deviation over frames of every layer.

Encoders of the Hugging Face kind that read a waveform (Wav2Vec2, HuBERT, WavLM and their relatives) and the encoder of Whisper.
Waveforms are mono float32 at 16 kHz.

An encoder with a norm over time must not see padding (a padded neighbour would change every frame), so a clip is cut into windows
of exactly 10 s, the last of them the clip's last 10 s; a shorter clip is one window of its own length, and only windows of one
length share a batch. Frames that two windows cover count half in each. Whisper reads windows of 30 s, padded as it was trained, and
the frames past the end of the clip are left out.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from core.audio import Clip
from core.checkpoints import PREPROCESSOR, WHISPER, Checkpoint, encoder_shape
from core.device import in_batches, require_torch
from core.errors import AudioError, ParameterError

# Raise it whenever windows, normalisation or pooling change: stored vectors are then computed anew.
VERSION = 1
SAMPLE_RATE_HZ = 16_000
WINDOW_S = 10.0
WHISPER_WINDOW_S = 30.0
PRECISIONS = ("fp32", "bf16", "fp16")
_NORM_FLOOR = 1e-7  # as transformers' Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm
_CPU_WINDOWS = 4  # more at once are no faster there
_BYTES_PER_ACTIVATION = (
    28  # of the first convolution, which is the largest: measured as the peak over its number of values, in fp32
)
_MOST_WINDOWS = 256


@dataclass(frozen=True, slots=True)
class _Window:
    """A part of a clip: where it starts, in samples, how many it has, and which clip of the batch it is of."""

    clip: int
    start: int
    length: int
    shared_start: int  # samples at its start that the window before it covers too
    shared_end: int


def definition(checkpoint: Checkpoint, *, precision: str) -> dict[str, Any]:
    """Everything besides the audio that the numbers depend on."""
    from importlib.metadata import version

    libraries = {name: ".".join(version(name).split(".")[:2]) for name in ("torch", "transformers")}
    return {
        "encoder": VERSION,
        "revision": checkpoint.revision,
        "precision": precision,
        "window_s": _window_s(checkpoint),
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "normalised": _normalises(checkpoint),
        "libraries": libraries,
    }


def prepare_clip(clip: Clip, checkpoint: Checkpoint) -> np.ndarray:
    """Waveform at 16 kHz, normalised as the checkpoint was trained.

    Parameters
    ----------
    clip : Clip
    checkpoint : Checkpoint

    Returns
    -------
    y : np.ndarray [shape=(n,)], float32

    Raises
    ------
    AudioError
        The clip is shorter than one frame of the encoder.
    """
    import librosa

    y = librosa.resample(clip.mono, orig_sr=clip.sample_rate_hz, target_sr=SAMPLE_RATE_HZ, res_type="soxr_hq")
    least = 1 if checkpoint.architecture == WHISPER else _receptive_field(checkpoint)[0]
    if len(y) < least:
        raise AudioError(clip.path, f"{len(y)} samples at 16 kHz; {checkpoint.model} reads frames of {least}")
    if _normalises(checkpoint):
        y = normalise(y)
    return np.ascontiguousarray(y, dtype=np.float32)


def normalise(y: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over the clip, as ``Wav2Vec2FeatureExtractor`` does for a clip on its own.

    Examples
    --------
    >>> normalise(np.array([1.0, 3.0])).round(3).tolist()
    [-1.0, 1.0]
    """
    wide = y.astype(np.float64)
    return ((wide - wide.mean()) / np.sqrt(wide.var() + _NORM_FLOOR)).astype(np.float32)


class Extractor:
    """A loaded encoder.

    Parameters
    ----------
    checkpoint : Checkpoint, whose weights are in its folder
    device : str, cpu or cuda
    precision : str, fp32, bf16 or fp16
    batch : int >= 1, windows at once; None takes what the free memory should hold
    halved : told the new size where memory runs out all the same

    Raises
    ------
    ParameterError
        torch is not installed, the folder holds no encoder of this kind, or its weights cannot be loaded.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str,
        precision: str = "fp32",
        batch: int | None = None,
        halved: Callable[[int], None] = lambda batch: None,
    ):
        require_torch(checkpoint.model)
        encoder_shape(checkpoint)
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        if precision not in PRECISIONS:
            raise ParameterError(f"precision={precision!r} not among {', '.join(PRECISIONS)}")
        self._is_whisper = checkpoint.architecture == WHISPER
        self._model = _load(checkpoint, device, self.precision)
        self._features = _whisper_features(checkpoint) if self._is_whisper else None
        self._halved = halved
        self.batch = batch or _fitting_batch(checkpoint, device, self.precision)

    def seconds(self, item: np.ndarray) -> float:
        """Length of an item."""
        return len(item) / SAMPLE_RATE_HZ

    def __call__(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Pooled layers of clips.

        Parameters
        ----------
        items : of what ``prepare_clip`` gives, each np.ndarray [shape=(n,)]

        Returns
        -------
        vectors : list of np.ndarray [shape=(layers * 2 * width,)], float32: of each layer first all means, then all standard
            deviations; layer 0 is what enters the first one
        """
        windows = [window for index, y in enumerate(items) for window in self._cut(index, len(y))]
        alike: dict[int, list[_Window]] = defaultdict(list)
        for window in windows:
            alike[self._samples(window)].append(window)
        parts: dict[int, list[tuple[float, np.ndarray, np.ndarray]]] = defaultdict(list)
        for same in alike.values():
            pooled = in_batches(lambda some: self._pool(items, some), same, batch=self.batch, halved=self._shrink)
            for window, part in zip(same, pooled, strict=True):
                parts[window.clip].append(part)
        return [_join(parts[index]).astype(np.float32).ravel() for index in range(len(items))]

    def _shrink(self, batch: int) -> None:
        self.batch = batch
        self._halved(batch)

    def _cut(self, clip: int, n: int) -> list[_Window]:
        length = round(_window_s(self.checkpoint) * SAMPLE_RATE_HZ)
        if self._is_whisper:
            return [_Window(clip, start, min(length, n - start), 0, 0) for start in range(0, n, length)]
        if n == length:
            return [_Window(clip, 0, n, 0, 0)]
        if n < length:  # whole frames only, so that clips of nearly one length share a batch
            frame, hop = _receptive_field(self.checkpoint)
            return [_Window(clip, 0, (n - frame) // hop * hop + frame, 0, 0)]
        starts = [*range(0, n - length, length), n - length]
        shared = [max(0, first + length - second) for first, second in pairwise(starts)]
        return [
            _Window(clip, start, length, before, after)
            for start, before, after in zip(starts, [0, *shared], [*shared, 0], strict=True)
        ]

    def _samples(self, window: _Window) -> int:
        """Length of what the model reads: windows of one length share a batch."""
        return 0 if self._is_whisper else window.length

    def _pool(self, items: Sequence[np.ndarray], windows: Sequence[_Window]) -> list[tuple[float, np.ndarray, np.ndarray]]:
        """Of each window: the weight of its frames, their mean and their variance, both [shape=(layers, width)]."""
        import torch

        sounds = [items[window.clip][window.start : window.start + window.length] for window in windows]
        with torch.inference_mode():
            if self._features is not None:
                read = self._features(sounds, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")["input_features"]
            else:
                read = torch.from_numpy(np.stack(sounds))
            read = read.to(self.device, _dtype(self.precision))
            states = self._model(read, output_hidden_states=True).hidden_states
            weights = torch.from_numpy(np.stack([self._weights(window, states[0].shape[1]) for window in windows])).to(self.device)
            total = weights.sum(dim=1, keepdim=True)
            share = (weights / total).unsqueeze(1)  # (windows, 1, frames)
            means, variances = [], []
            for state in states:
                wide = state.float()
                mean = torch.bmm(share, wide)
                means.append(mean.squeeze(1))
                variances.append(torch.bmm(share, (wide - mean).square()).squeeze(1))
            mean_of, variance_of = (torch.stack(of, dim=1).cpu().numpy() for of in (means, variances))
        return [
            (float(weight), mean, variance)
            for weight, mean, variance in zip(total[:, 0].tolist(), mean_of, variance_of, strict=True)
        ]

    def _weights(self, window: _Window, frames: int) -> np.ndarray:
        """How much each frame counts [shape=(frames,)], float32: half where another window covers its centre too."""
        if self._is_whisper:
            hop = round(WHISPER_WINDOW_S * SAMPLE_RATE_HZ) / frames
            return (np.arange(frames) * hop < window.length).astype(np.float32)
        centre = (np.arange(frames) + 0.5) * window.length / frames
        shared = (centre < window.shared_start) | (centre >= window.length - window.shared_end)
        return np.where(shared, 0.5, 1.0).astype(np.float32)


def _join(parts: Sequence[tuple[float, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Mean and standard deviation over the frames of all windows [shape=(layers, 2, width)], joined as Chan et al. 1979."""
    weights = np.array([weight for weight, _, _ in parts])[:, None, None]
    means, variances = (np.stack([part[at] for part in parts]).astype(np.float64) for at in (1, 2))
    mean = (weights * means).sum(axis=0) / weights.sum()
    variance = (weights * (variances + (means - mean) ** 2)).sum(axis=0) / weights.sum()
    return np.stack([mean, np.sqrt(variance)], axis=1)


def _window_s(checkpoint: Checkpoint) -> float:
    return WHISPER_WINDOW_S if checkpoint.architecture == WHISPER else WINDOW_S


def _normalises(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint was trained on normalised waveforms: large models mostly are, WavLM base is not."""
    return checkpoint.architecture != WHISPER and bool(checkpoint.preprocessor.get("do_normalize", True))


def _receptive_field(checkpoint: Checkpoint) -> tuple[int, int]:
    """Samples of one frame, and between two, after all convolutions."""
    frame, hop = 1, 1
    for kernel, stride in zip(checkpoint.config["conv_kernel"], checkpoint.config["conv_stride"], strict=True):
        frame += (kernel - 1) * hop
        hop *= stride
    return frame * int(checkpoint.config.get("squeeze_factor", 1)), hop * int(checkpoint.config.get("squeeze_factor", 1))


def _dtype(precision: str) -> Any:
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _load(checkpoint: Checkpoint, device: str, precision: str) -> Any:
    import torch
    from safetensors import SafetensorError
    from torch.nn.utils import parametrize
    from transformers import AutoModel
    from transformers.utils import logging

    shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # heads that were trained with the encoder and are not used here
    logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(checkpoint.folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParameterError(f"{checkpoint.model}: the weights in {checkpoint.folder} cannot be loaded ({reason})") from None
    finally:
        logging.set_verbosity(shown[0])
        if shown[1]:
            logging.enable_progress_bar()
    if checkpoint.architecture == WHISPER:
        model = model.get_encoder()
    for module in model.modules():  # weights that are computed anew at each call, from their direction and their length
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return model.eval().requires_grad_(False).to(device, _dtype(precision))


def _whisper_features(checkpoint: Checkpoint) -> Any:
    from transformers import WhisperFeatureExtractor

    if not (checkpoint.folder / PREPROCESSOR).is_file():
        return WhisperFeatureExtractor(feature_size=checkpoint.config["num_mel_bins"])
    return WhisperFeatureExtractor.from_pretrained(checkpoint.folder, local_files_only=True)


def _fitting_batch(checkpoint: Checkpoint, device: str, precision: str) -> int:
    """Windows that half of the free memory of a GPU should hold; a few on the processor."""
    if device != "cuda":
        return _CPU_WINDOWS
    import torch

    free, _ = torch.cuda.mem_get_info()
    layers, width = encoder_shape(checkpoint)
    if checkpoint.architecture == WHISPER:
        values = 1500 * width * (layers + 8)
    else:
        values = round(WINDOW_S * SAMPLE_RATE_HZ / checkpoint.config["conv_stride"][0]) * checkpoint.config["conv_dim"][0]
    bytes_each = values * _BYTES_PER_ACTIVATION // (1 if precision == "fp32" else 2)
    return int(np.clip(free // 2 // bytes_each, 1, _MOST_WINDOWS))
