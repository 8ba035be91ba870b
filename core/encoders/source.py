"""What every kind of set that PyTorch computes can do: from a clip that a worker prepares to a vector that a loaded model gives.

A kind is one module with a ``FeatureSource``, and one line in ``registry``: nothing else asks which kind a set is of. Waveforms are
mono float32; most models read them at 16 kHz.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from core.data.audio import Clip
from core.encoders.shared_pass import EncodedWindows
from core.features.sets import FeatureSet, SetKind
from core.runtime.device import Device, in_batches

SAMPLE_RATE_HZ = 16_000

WHOLE_WINDOW, TO_CLIP = "30", "clip"  # what an encoder of Whisper reads of a clip shorter than its 30 s
ENCODER_WINDOWS = (TO_CLIP, WHOLE_WINDOW)

Item = TypeVar("Item")
Value = TypeVar("Value")


class VectorWithText(NamedTuple):
    """A vector and the text that it was made of, which is stored beside it."""

    vector: np.ndarray
    text: str


class Extractor(Protocol):
    """A loaded model."""

    def seconds(self, item: Any) -> float:
        """Length of what was prepared of a clip."""
        ...

    def __call__(self, items: Sequence[Any]) -> Sequence[Any]:
        """Of each clip its vector, np.ndarray [shape=(d,)], float32, or a ``VectorWithText``."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """How a model is loaded.

    Attributes
    ----------
    device : Device
    batch : int >= 1, pieces at once; None takes what the device should bear
    halved : told the new size where memory runs out
    encoder_window : str, one of ``ENCODER_WINDOWS``
    encoded : EncodedWindows or None, what the encoders of models that are loaded together share
    """

    device: Device
    batch: int | None = None
    halved: Callable[[int], None] = lambda batch: None
    encoder_window: str = TO_CLIP
    encoded: EncodedWindows | None = None


class FeatureSource(SetKind, Protocol):
    """A kind of set that PyTorch computes, or that is computed clip by clip beside the handcrafted ones.

    Attributes
    ----------
    base : str, by which a ``FeatureSet`` names its kind
    cuts_windows : bool, its extractor cuts clips into windows of 10 s and makes batches of them itself; else a batch is of clips
    unread : str, why a clip has no values for a text, and what to do; empty where a set reads no text
    """

    base: str
    cuts_windows: bool = False
    unread: str = ""

    def check(self, feature_set: FeatureSet) -> None:
        """Refuse a set whose libraries or weights are not there; the hub is asked for weights.

        Raises
        ------
        ParameterError
            One sentence that says what to install, or which files to bring and where to put them.
        """
        return None

    def state(self, feature_set: FeatureSet) -> str:
        """What a set rests on, in words; the network is not asked, and PyTorch is not imported.

        Raises
        ------
        ParameterError
            What is missing, and what to do.
        """
        return "needs no weights"

    def definition(self, feature_set: FeatureSet, *, device: Device, encoder_window: str = TO_CLIP) -> dict[str, Any]:
        """What the numbers of a set depend on besides the audio and the way it is decoded.

        Parameters
        ----------
        feature_set : FeatureSet
        device : Device
        encoder_window : str, one of ``ENCODER_WINDOWS``

        Raises
        ------
        ParameterError
            The weights of the set are not on this machine.
        """
        listed = [(column.name, column.unit, column.definition, column.nan_when) for column in self.columns(feature_set)]
        return {
            "set": feature_set.name,
            "version": self.version(feature_set),
            "columns": listed,
            "torch": minor_version("torch"),
        }

    def prepare(self, clip: Clip, feature_set: FeatureSet) -> Any:
        """What the extractor of a set reads of a clip; runs in a decode worker. Of a set without an extractor its vector.

        Raises
        ------
        AudioError
            The clip cannot be used.
        """
        ...

    def load(self, feature_set: FeatureSet, how: Load) -> Extractor:
        """The model of a set, ready; it takes seconds.

        Raises
        ------
        ParameterError
            What it needs is not on this machine, or cannot be loaded.
        """
        ...


class WindowModel:
    """A loaded model that reads windows of waveforms at 16 kHz, several at once; where memory runs out they become fewer.

    Parameters
    ----------
    batch : int >= 1, windows at once
    halved : told the new number where memory runs out
    """

    def __init__(self, batch: int, halved: Callable[[int], None]):
        self.batch = batch
        self._halved = halved

    def seconds(self, item: np.ndarray) -> float:
        """Length of an item."""
        return len(item) / SAMPLE_RATE_HZ

    def in_batches(self, function: Callable[[Sequence[Item]], Sequence[Value]], windows: Sequence[Item]) -> list[Value]:
        """Apply a function to windows, so many at once as memory holds; a smaller number stays so."""
        return in_batches(function, windows, batch=self.batch, halved=self._shrink)

    def _shrink(self, batch: int) -> None:
        self.batch = batch
        self._halved(batch)


def to_16_khz(clip: Clip) -> np.ndarray:
    """Waveform of a clip at 16 kHz [shape=(n,)]."""
    import librosa

    return librosa.resample(clip.mono, orig_sr=clip.sample_rate_hz, target_sr=SAMPLE_RATE_HZ, res_type="soxr_hq")


def minor_version(library: str) -> str:
    """Version of an installed library without its last part, within which numbers stay."""
    return ".".join(version(library).split(".")[:2])


def library_versions() -> dict[str, str]:
    """What pretrained models are computed with."""
    return {name: minor_version(name) for name in ("torch", "transformers")}
