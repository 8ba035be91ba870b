"""Clips in, what a pretrained encoder makes of them out: mean, standard deviation and mean step over frames of every layer.

Encoders of the Hugging Face kind that read a waveform (Wav2Vec2, HuBERT, WavLM and their relatives) and the encoder of Whisper.
Waveforms are mono float32 at 16 kHz.

An encoder with a norm over time must not see padding (a padded neighbour would change every frame), so a clip is cut into windows
of exactly 10 s, the last of them the clip's last 10 s; a shorter clip is one window of its own length, and only windows of one
length share a batch. Frames that two windows cover count half in each. Whisper reads windows of 30 s, padded as it was trained, or
cut to the clip with half a second of silence behind it (``whisper``); frames past the end of the clip are left out.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np

from core.data.audio import Clip
from core.encoders import whisper
from core.encoders.shared_pass import EncodedWindows
from core.encoders.source import SAMPLE_RATE_HZ as SAMPLE_RATE_HZ, Load, WindowModel, library_versions, to_16_khz
from core.errors import AudioError, ParameterError
from core.runtime.device import in_memory, require_torch
from core.runtime.weights import WHISPER, Checkpoint, encoder_shape, loading

# Raise it whenever windows or normalisation change: stored vectors and frames are then computed anew.
VERSION = 1
WINDOW_S = 10.0
PRECISIONS = ("fp32", "bf16", "fp16")
_NORM_FLOOR = 1e-7  # as transformers' Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm
_CPU_WINDOWS = 4  # more at once are no faster there
_BYTES_PER_ACTIVATION = (
    28  # of the first convolution, which is the largest: measured as the peak over its number of values, in fp32
)
_MOST_WINDOWS = 256
_LEAST_WEIGHT = 0.5  # of a frame or a step that counts at all

Value = TypeVar("Value")

POOLS = ("mean", "std", "delta")  # over frames, of each layer; the last is the mean step from a frame to the next


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a clip: which clip of a batch it is of, where it starts, in samples, and how many it has."""

    clip: int
    start: int
    length: int
    shared_start: int  # samples at its start that the window before it covers too
    shared_end: int


class Pooled(NamedTuple):
    """The frames of a window: weights are sums over frames and over steps between them, the arrays [shape=(layers, width)]."""

    weight: float
    mean: np.ndarray
    variance: np.ndarray
    step_weight: float
    delta: np.ndarray


def definition(checkpoint: Checkpoint, *, precision: str, to_clip: bool = False) -> dict[str, Any]:
    """Everything besides the audio that the numbers depend on; ``to_clip`` as of ``Extractor``."""
    windows = whisper.definition(to_clip=to_clip) if checkpoint.architecture == WHISPER else {"window_s": WINDOW_S}
    return {
        "encoder": VERSION,
        "revision": checkpoint.revision,
        "precision": precision,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "normalised": _normalises(checkpoint),
        "libraries": library_versions(),
    } | windows


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
    y = to_16_khz(clip)
    least = 1 if checkpoint.architecture == WHISPER else _receptive_field(checkpoint)[0]
    if len(y) < least:
        raise AudioError(clip.path, f"{len(y)} samples at 16 kHz; {checkpoint.model} reads frames of {least}")
    if _normalises(checkpoint):
        y = normalise(y)
    return np.ascontiguousarray(y, dtype=np.float32)


def cut_windows(checkpoint: Checkpoint, clip: int, n: int) -> list[Window]:
    """The windows of a clip of n samples at 16 kHz, in order of time.

    Parameters
    ----------
    checkpoint : Checkpoint
    clip : int, its number in a batch
    n : int >= 1
    """
    length = round(_window_s(checkpoint) * SAMPLE_RATE_HZ)
    if checkpoint.architecture == WHISPER:
        return [Window(clip, start, min(length, n - start), 0, 0) for start in range(0, n, length)]
    if n == length:
        return [Window(clip, 0, n, 0, 0)]
    if n < length:  # whole frames only, so that clips of nearly one length share a batch
        frame, hop = _receptive_field(checkpoint)
        return [Window(clip, 0, (n - frame) // hop * hop + frame, 0, 0)]
    starts = [*range(0, n - length, length), n - length]
    shared = [max(0, first + length - second) for first, second in pairwise(starts)]
    return [
        Window(clip, start, length, before, after) for start, before, after in zip(starts, [0, *shared], [*shared, 0], strict=True)
    ]


def frame_weights(checkpoint: Checkpoint, window: Window, frames: int) -> np.ndarray:
    """How much each frame of a window counts [shape=(frames,)], float32: half where another window covers its centre too."""
    if checkpoint.architecture == WHISPER:
        return (np.arange(frames) * whisper.FRAME_SAMPLES < window.length).astype(np.float32)
    centre = (np.arange(frames) + 0.5) * window.length / frames
    shared = (centre < window.shared_start) | (centre >= window.length - window.shared_end)
    return np.where(shared, 0.5, 1.0).astype(np.float32)


def own_frames(checkpoint: Checkpoint, window: Window, frames: int) -> slice:
    """Frames of a window that no window before it covers: with all windows, each moment of a clip once, in order."""
    if checkpoint.architecture == WHISPER:
        return slice(0, int(frame_weights(checkpoint, window, frames).sum()))
    centre = (np.arange(frames) + 0.5) * window.length / frames
    return slice(int((centre < window.shared_start).sum()), frames)


def normalise(y: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over the clip, as ``Wav2Vec2FeatureExtractor`` does for a clip on its own.

    Examples
    --------
    >>> normalise(np.array([1.0, 3.0])).round(3).tolist()
    [-1.0, 1.0]
    """
    wide = y.astype(np.float64)
    return ((wide - wide.mean()) / np.sqrt(wide.var() + _NORM_FLOOR)).astype(np.float32)


class Extractor(WindowModel):
    """A loaded encoder.

    Parameters
    ----------
    checkpoint : Checkpoint, whose weights are in its folder
    device : str, cpu or cuda
    precision : str, fp32, bf16 or fp16
    batch : int >= 1, windows at once; None takes what the free memory should hold
    halved : told the new size where memory runs out all the same
    to_clip : bool, windows of Whisper are cut to the clip instead of padded to 30 s; others are never padded
    encoded : EncodedWindows or None, where frames of Whisper are left for a recogniser

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
        to_clip: bool = False,
        encoded: EncodedWindows | None = None,
    ):
        require_torch(checkpoint.model)
        encoder_shape(checkpoint)
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        if precision not in PRECISIONS:
            raise ParameterError(f"precision={precision!r} not among {', '.join(PRECISIONS)}")
        self._is_whisper = checkpoint.architecture == WHISPER
        self._model = load_encoder(checkpoint, device, self.precision)
        self._features = whisper.load_features(checkpoint) if self._is_whisper else None
        self._to_clip, self._encoded = to_clip, encoded
        super().__init__(batch or _fitting_batch(checkpoint, device, self.precision), halved)

    def __call__(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Pooled layers of clips.

        Parameters
        ----------
        items : of what ``prepare_clip`` gives, each np.ndarray [shape=(n,)]

        Returns
        -------
        vectors : list of np.ndarray [shape=(layers * 3 * width,)], float32: of each layer first all means, then all standard
            deviations, then all mean steps; layer 0 is what enters the first one
        """
        parts = self._by_clip(items, self._pool)
        return [join_windows([part for _, part in parts[index]]).astype(np.float32).ravel() for index in range(len(items))]

    def frames(self, items: Sequence[np.ndarray], *, layer: int | None = None) -> list[np.ndarray]:
        """What one layer says of each frame of clips.

        Parameters
        ----------
        items : of what ``prepare_clip`` gives, each np.ndarray [shape=(n,)]
        layer : int >= 0, 0 is what enters the first one; None takes the last

        Returns
        -------
        frames : list of np.ndarray [shape=(t, width)], float32, in order of time
        """

        def hear(items: Sequence[np.ndarray], windows: Sequence[Window]) -> list[np.ndarray]:
            state = self._states(items, windows)[-1 if layer is None else layer].float().cpu().numpy()
            return [of[own_frames(self.checkpoint, window, len(of))] for window, of in zip(windows, state, strict=True)]

        parts = self._by_clip(items, hear)
        return [np.concatenate([part for _, part in sorted(parts[index], key=itemgetter(0))]) for index in range(len(items))]

    def _by_clip(
        self, items: Sequence[np.ndarray], function: Callable[[Sequence[np.ndarray], Sequence[Window]], list[Value]]
    ) -> dict[int, list[tuple[int, Value]]]:
        """Apply a function to windows of one length at a time; of each clip, where its windows start and what came of them."""
        alike: dict[int, list[Window]] = defaultdict(list)
        for index, y in enumerate(items):
            for window in cut_windows(self.checkpoint, index, len(y)):
                alike[self._samples(window)].append(window)
        parts: dict[int, list[tuple[int, Value]]] = defaultdict(list)
        for same in alike.values():
            values = self.in_batches(lambda some: function(items, some), same)
            for window, value in zip(same, values, strict=True):
                parts[window.clip].append((window.start, value))
        return parts

    def _samples(self, window: Window) -> int:
        """Length of what the model reads: windows of one length share a batch."""
        if not self._is_whisper:
            return window.length
        return whisper.read_samples(window.length) if self._to_clip else round(whisper.WINDOW_S * SAMPLE_RATE_HZ)

    def _pool(self, items: Sequence[np.ndarray], windows: Sequence[Window]) -> list[Pooled]:
        """Of each window its frames, pooled. A step counts as much as the lesser of its two frames."""
        import torch

        with torch.inference_mode():
            states = self._states(items, windows)
            weights = torch.from_numpy(
                np.stack([frame_weights(self.checkpoint, window, states[0].shape[1]) for window in windows])
            ).to(self.device)
            total = weights.sum(dim=1, keepdim=True)
            share = (weights / total).unsqueeze(1)  # (windows, 1, frames)
            step_weights = torch.minimum(weights[:, 1:], weights[:, :-1])
            steps = step_weights.sum(dim=1, keepdim=True)
            step_share = (step_weights / steps.clamp(min=_LEAST_WEIGHT)).unsqueeze(1)  # (windows, 1, frames - 1)
            means, variances, deltas = [], [], []
            for state in states:
                wide = state.float()
                mean = torch.bmm(share, wide)
                means.append(mean.squeeze(1))
                variances.append(torch.bmm(share, (wide - mean).square()).squeeze(1))
                deltas.append(torch.bmm(step_share, (wide[:, 1:] - wide[:, :-1]).abs()).squeeze(1))
            stacked = [torch.stack(of, dim=1).cpu().numpy() for of in (means, variances, deltas)]
        columns = total[:, 0].tolist(), *stacked[:2], steps[:, 0].tolist(), stacked[2]
        return [Pooled(*of) for of in zip(*columns, strict=True)]

    def _states(self, items: Sequence[np.ndarray], windows: Sequence[Window]) -> Any:
        """All layers of windows that are read at one length, each a tensor [shape=(windows, frames, width)]."""
        import torch

        sounds = [items[window.clip][window.start : window.start + window.length] for window in windows]
        length: AbstractContextManager[None] = nullcontext()
        if self._features is not None:
            samples = self._samples(windows[0])
            read, length = whisper.spectrograms(self._features, sounds, samples=samples), whisper.shortened(self._model, samples)
        else:
            read = torch.from_numpy(np.stack(sounds))
        with torch.inference_mode(), length:
            states = self._model(read.to(self.device, _dtype(self.precision)), output_hidden_states=True).hidden_states
        if self._features is not None and self._encoded is not None:
            for y, frames in zip(sounds, states[-1], strict=True):
                self._encoded.put(self.checkpoint, y, frames, samples=samples)
        return states


def load(checkpoint: Checkpoint, how: Load, *, to_clip: bool = False) -> Extractor:
    """An encoder in the precision of its device; ``to_clip`` as of ``Extractor``."""
    device = how.device
    return Extractor(
        checkpoint,
        device=device.kind,
        precision=device.precision,
        batch=how.batch,
        halved=how.halved,
        to_clip=to_clip,
        encoded=how.encoded,
    )


def join_windows(parts: Sequence[Pooled]) -> np.ndarray:
    """Mean, standard deviation and mean step over the frames of all windows, joined as Chan et al. 1979.

    Parameters
    ----------
    parts : sequence of Pooled, one a window

    Returns
    -------
    pooled : np.ndarray [shape=(layers, 3, width)], float64; where there is one frame alone, no step: 0
    """
    weights, steps = (np.array(of)[:, None, None] for of in zip(*((part.weight, part.step_weight) for part in parts), strict=True))
    means, variances, deltas = (
        np.stack(of).astype(np.float64) for of in zip(*((part.mean, part.variance, part.delta) for part in parts), strict=True)
    )
    mean = (weights * means).sum(axis=0) / weights.sum()
    variance = (weights * (variances + (means - mean) ** 2)).sum(axis=0) / weights.sum()
    delta = (steps * deltas).sum(axis=0) / max(steps.sum(), _LEAST_WEIGHT)
    return np.stack([mean, np.sqrt(variance), delta], axis=1)


def _window_s(checkpoint: Checkpoint) -> float:
    return whisper.WINDOW_S if checkpoint.architecture == WHISPER else WINDOW_S


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


def load_encoder(checkpoint: Checkpoint, device: str, precision: str) -> Any:
    """The encoder alone, frozen, with layers that can be read and copied.

    Raises
    ------
    ParameterError
        Its weights cannot be loaded.
    """
    import torch
    from torch.nn.utils import parametrize
    from transformers import AutoModel

    with loading(checkpoint):
        model = AutoModel.from_pretrained(checkpoint.folder, local_files_only=True, dtype=torch.float32)
    if checkpoint.architecture == WHISPER:
        model = model.get_encoder()
    for module in model.modules():  # weights that are computed anew at each call, from their direction and their length
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    with in_memory(checkpoint.model):
        return model.eval().requires_grad_(False).to(device, _dtype(precision))


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
