"""Clips as a decode worker prepares them in, vectors of the sets that PyTorch computes out: batch by batch, in this process.

The three kinds of sets (``torch200``, ``voice256`` and encoders) have one shape: ``prepare_clip`` runs in a worker, without
PyTorch, and an ``Extractor`` is loaded once and takes what was prepared of several clips at a time.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Generic, TypeVar

import numpy as np

from core.data.audio import Clip
from core.encoders import pretrained, transcripts, voices
from core.errors import AudioError, EarmarkError, JobError, ParameterError
from core.events import BatchHalved, Notify, ignore
from core.features import chooser, columns, extract, parse_set
from core.features.sets import ENCODER, NEVER, TORCH200, TRANSCRIPT, VOICE256
from core.runtime import weights
from core.runtime.device import Device, free_memory, in_batches, require_torch, use_all_cores

Key = TypeVar("Key", bound=Hashable)

_CPU_BATCH_S = 40.0  # of audio, before a batch is computed: some seconds of work, so that progress is seen and little is lost
_GPU_BATCH_S = 1200.0
_WINDOW_S = 10.0  # what a piece of a batch lasts at most where somebody says how many


def check_installed(sets: Sequence[str]) -> None:
    """Refuse sets whose libraries or weights are not there, before any clip is read; the hub is asked for weights.

    Raises
    ------
    ParameterError
        One sentence that says what to install, or which files to bring and where to put them.
    """
    for name in sets:
        of = parse_set(name)
        if not of.on_device:
            continue
        require_torch(name)
        if of.base == ENCODER:
            weights.encoder_shape(weights.fetch(of.model))
            columns(name)
        elif of.base == TRANSCRIPT:
            weights.fetch(of.model)
        elif of.base == VOICE256:
            _module(of.base).check_installed()


@dataclass(frozen=True, slots=True)
class SetState:
    """Whether a set can be computed on this machine.

    Attributes
    ----------
    is_ready : bool, nothing has to be installed, fetched or brought
    words : str, what it rests on, or what is missing and what to do
    """

    is_ready: bool
    words: str


def state_of(set_name: str) -> SetState:
    """Whether what a set needs is here; the network is not asked, and PyTorch is not imported."""
    of = parse_set(set_name)
    if not of.on_device:
        return SetState(True, "needs no weights")
    try:
        require_torch(set_name)
        if of.base == ENCODER:
            found = weights.find(of.model)
            columns(set_name)
            return SetState(True, f"weights in {found.folder}")
        if of.base == TRANSCRIPT:
            return SetState(True, f"weights in {weights.find(of.model).folder}")
        if of.base == VOICE256:
            _module(of.base).check_installed()
            return SetState(True, "weights of the package Resemblyzer")
    except ParameterError as error:
        return SetState(False, str(error))
    return SetState(True, "needs no weights")


def definition(set_name: str, *, device: Device) -> dict[str, Any]:
    """What the numbers of a set depend on besides the audio and the way it is decoded.

    Raises
    ------
    ParameterError
        The weights of the set are not on this machine.
    """
    of = parse_set(set_name)
    if of.base == ENCODER:
        return pretrained.definition(weights.find(of.model), precision=device.precision)
    if of.base == TRANSCRIPT:
        return transcripts.definition(weights.find(of.model), precision=device.precision)
    listed = [(column.name, column.unit, column.definition, column.nan_when) for column in columns(set_name)]
    return {"set": set_name, "version": _module(of.base).VERSION, "columns": listed, "torch": _minor("torch")}


def prepare(clip: Clip, set_name: str) -> Any:
    """What the extractor of a set reads of a clip; runs in a decode worker.

    Raises
    ------
    AudioError
        The clip cannot be used.
    """
    of = parse_set(set_name)
    if of.base == ENCODER:
        return pretrained.prepare_clip(clip, weights.find(of.model))
    if of.base == TRANSCRIPT:
        return transcripts.prepare_clip(clip)
    return _module(of.base).prepare_clip(clip)


@dataclass(frozen=True, slots=True)
class Computed(Generic[Key]):
    """What came of a prepared clip: a vector, or a reason why there is none; of a transcript also its timed words, as JSON."""

    key: Key
    vector: np.ndarray | None
    error: str | None
    text: str | None = None


class OneByOne:
    """Vectors of clips, one after the other, of one set; what is not of PyTorch is computed as anywhere else.

    Parameters
    ----------
    set_name : str
    device : Device

    Raises
    ------
    ParameterError
        There is no such set, or what it needs is not on this machine.
    """

    def __init__(self, set_name: str, *, device: Device):
        check_installed([set_name])
        self.set_name = set_name
        self._choose = chooser(set_name)
        self._batches: Batches[int] | None = None
        if parse_set(set_name).on_device:
            self._batches = Batches(parse_set(set_name).stored, device=device, batch=1, notify=ignore)

    def __call__(self, clip: Clip) -> np.ndarray:
        """The columns of a clip.

        Raises
        ------
        AudioError
            The clip cannot be used.
        """
        if self._batches is None:
            return extract(clip, (self.set_name,))[self.set_name]
        done = self._batches.add(0, prepare(clip, self.set_name)) or self._batches.flush()
        if done[0].vector is None:
            raise AudioError(clip.path, done[0].error or "no reason was given")
        return self._choose(done[0].vector)


class Batches(Generic[Key]):
    """Collects what workers prepare for one set, and computes it when there is enough.

    Parameters
    ----------
    set_name : str, of a set that PyTorch computes
    device : Device
    batch : int >= 1, pieces at once: windows of 10 s for an encoder, clips for the others; None takes what the device should bear
    notify : called with BatchHalved
    """

    def __init__(self, set_name: str, *, device: Device, batch: int | None, notify: Notify):
        self.set_name = set_name
        self._device, self._batch, self._notify = device, batch, notify
        self._waiting: list[tuple[Key, Any]] = []
        self._seconds = 0.0
        self._extractor: Any = None
        self._defined = np.array([column.nan_when == NEVER for column in columns(set_name)])

    def load(self) -> None:
        """Have the model ready: it takes seconds, and no clip is to be charged with them."""
        if self._extractor is None:
            use_all_cores()
            self._extractor = self._load()

    def add(self, key: Key, prepared: Any) -> list[Computed[Key]]:
        """Take a prepared clip; what is computed meanwhile comes back."""
        self.load()
        self._waiting.append((key, prepared))
        self._seconds += self._extractor.seconds(prepared)
        return self.flush() if self._is_full() else []

    def flush(self) -> list[Computed[Key]]:
        """Compute what waits."""
        waiting, self._waiting, self._seconds = self._waiting, [], 0.0
        if not waiting:
            return []
        keys, items = zip(*waiting, strict=True)
        try:
            vectors = self._compute(items)
        except JobError:  # memory
            raise
        except EarmarkError:  # one of the clips: each is tried on its own
            return [self._alone(key, item) for key, item in waiting]
        return [self._checked(key, vector) for key, vector in zip(keys, vectors, strict=True)]

    def close(self) -> None:
        """Let go of the model and of the memory that it takes."""
        if self._extractor is not None:
            self._extractor = None
            free_memory()

    def _is_full(self) -> bool:
        if not parse_set(self.set_name).model and self._batch is not None:
            return len(self._waiting) >= self._batch
        enough = _GPU_BATCH_S if self._device.kind == "cuda" else _CPU_BATCH_S
        return self._seconds >= (enough if self._batch is None else self._batch * _WINDOW_S)

    def _load(self) -> Any:
        of = parse_set(self.set_name)
        if of.base == ENCODER:
            return pretrained.Extractor(
                weights.find(of.model),
                device=self._device.kind,
                precision=self._device.precision,
                batch=self._batch,
                halved=self._halved,
            )
        if of.base == TRANSCRIPT:
            return _Transcriber(
                transcripts.Recogniser(
                    weights.find(of.model),
                    device=self._device.kind,
                    precision=self._device.precision,
                    batch=self._batch,
                    halved=self._halved,
                )
            )
        return _module(of.base).Extractor(device=self._device.kind)

    def _compute(self, items: Sequence[Any]) -> Sequence[Any]:
        if parse_set(self.set_name).model:  # makes batches of its own, of windows
            return self._extractor(items)
        most = self._batch or len(items)
        return in_batches(self._extractor, items, batch=most, halved=self._halved)

    def _halved(self, batch: int) -> None:
        self._batch = batch
        self._notify(BatchHalved(self.set_name, batch))

    def _alone(self, key: Key, item: Any) -> Computed[Key]:
        try:
            [vector] = self._compute([item])
        except JobError:
            raise
        except EarmarkError as error:
            return Computed(key, None, error.reason if isinstance(error, AudioError) else str(error))
        return self._checked(key, vector)

    def _checked(self, key: Key, found: Any) -> Computed[Key]:
        """A value that is always defined must be one: no vector is better than a wrong one."""
        vector, text = found if isinstance(found, tuple) else (found, None)
        bad = np.isinf(vector)
        if len(vector) == len(self._defined):
            bad |= np.isnan(vector) & self._defined
        else:  # all layers of an encoder
            bad |= np.isnan(vector)
        if bad.any():
            return Computed(
                key, None, f"{self.set_name}: {int(bad.sum())} of {len(vector)} values are not finite, which they always should be"
            )
        return Computed(key, vector, None, text)


class _Transcriber:
    """A recogniser as an extractor: of each clip the columns of its words, and the words themselves."""

    def __init__(self, recogniser: transcripts.Recogniser):
        self._recogniser = recogniser
        self.seconds = recogniser.seconds

    def __call__(self, items: Sequence[np.ndarray]) -> list[tuple[np.ndarray, str]]:
        said = self._recogniser(items)
        return [
            (
                transcripts.text_columns(transcripts.text_of(words), seconds=self.seconds(item)),
                transcripts.words_as_json(words),
            )
            for item, words in zip(items, said, strict=True)
        ]


def _module(base: str) -> Any:
    from core.encoders import torch200

    return torch200 if base == TORCH200 else voices


def _minor(library: str) -> str:
    return ".".join(version(library).split(".")[:2])
