"""What workers prepare of clips in, what a model makes of them out: batch by batch, in this process.

What the work is says a ``BatchWork``: a model is loaded once and takes what was prepared of several clips at a time. ``SetWork`` is
that of a feature set.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from core.data.audio import Clip
from core.encoders.registry import SOURCES, source_of
from core.encoders.shared_pass import EncodedWindows
from core.encoders.source import TO_CLIP, Extractor, Load, VectorWithText
from core.errors import AudioError, EarmarkError, JobError, ParameterError
from core.events import BatchHalved, Notify, ignore
from core.features import chooser, columns, extract, parse_set
from core.features.sets import NEVER
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
        feature_set = parse_set(name)
        if feature_set.on_device:
            require_torch(name)
            source_of(name).check(feature_set)


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
    feature_set = parse_set(set_name)
    if not feature_set.on_device:
        return SetState(True, "needs no weights")
    try:
        require_torch(set_name)
        return SetState(True, source_of(set_name).state(feature_set))
    except ParameterError as error:
        return SetState(False, str(error))


class BatchWork(Protocol):
    """What is computed in batches.

    Attributes
    ----------
    name : str, in events
    cuts_windows : bool, as of a ``FeatureSource``
    """

    @property
    def name(self) -> str: ...

    @property
    def cuts_windows(self) -> bool: ...

    def load(self, how: Load) -> Extractor:
        """The model, ready."""
        ...

    def flaw(self, value: np.ndarray) -> str | None:
        """Why what came of a clip cannot be used, or None."""
        ...


class SetWork:
    """The vectors of a set that PyTorch computes.

    Parameters
    ----------
    name : str, of the set
    encoder_window : str, one of ``ENCODER_WINDOWS``
    """

    def __init__(self, name: str, *, encoder_window: str = TO_CLIP):
        self.name = name
        self._encoder_window = encoder_window
        self._always = np.array([column.nan_when == NEVER for column in columns(name)])

    @property
    def cuts_windows(self) -> bool:
        return source_of(self.name).cuts_windows

    def load(self, how: Load) -> Extractor:
        return source_of(self.name).load(parse_set(self.name), replace(how, encoder_window=self._encoder_window))

    def flaw(self, value: np.ndarray) -> str | None:
        """A value that is always defined must be finite: no vector is better than a wrong one."""
        bad = np.isinf(value)
        bad |= np.isnan(value) & self._always if len(value) == len(self._always) else np.isnan(value)  # the latter of all layers
        if not bad.any():
            return None
        return f"{self.name}: {int(bad.sum())} of {len(value)} values are not finite, which they always should be"


@dataclass(frozen=True, slots=True)
class Computed(Generic[Key]):
    """What came of a prepared clip: a vector, or a reason why there is none; of some also the text that it was made of."""

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
    encoder_window : str, one of ``ENCODER_WINDOWS``

    Raises
    ------
    ParameterError
        There is no such set, or what it needs is not on this machine.
    """

    def __init__(self, set_name: str, *, device: Device, encoder_window: str = TO_CLIP):
        if parse_set(set_name).of_text or parse_set(set_name).reads_text:
            raise ParameterError(f"{set_name!r} is of a text of the table, not of a clip")
        check_installed([set_name])
        self.set_name = set_name
        self._choose = chooser(set_name)
        self._batches: Batches[int] | None = None
        if parse_set(set_name).on_device:
            work = SetWork(parse_set(set_name).stored, encoder_window=encoder_window)
            self._batches = Batches(work, device=device, batch=1, notify=ignore)

    def __call__(self, clip: Clip) -> np.ndarray:
        """The columns of a clip.

        Raises
        ------
        AudioError
            The clip cannot be used.
        """
        feature_set = parse_set(self.set_name)
        if feature_set.base not in SOURCES:
            return extract(clip, (self.set_name,))[self.set_name]
        prepared = source_of(self.set_name).prepare(clip, feature_set)
        if self._batches is None:
            return np.asarray(prepared)
        [computed] = self._batches.add(0, prepared) or self._batches.flush()
        if computed.vector is None:
            raise AudioError(clip.path, computed.error or "no reason was given")
        return self._choose(computed.vector)


class Batches(Generic[Key]):
    """Collects what workers prepare for one model, and computes it when there is enough.

    Parameters
    ----------
    work : BatchWork
    device : Device
    batch : int >= 1, pieces at once: windows of 10 s for an encoder, clips for the others; None takes what the device should bear
    notify : called with BatchHalved
    encoded : EncodedWindows or None, shared with the batches of other models
    """

    def __init__(
        self, work: BatchWork, *, device: Device, batch: int | None, notify: Notify, encoded: EncodedWindows | None = None
    ):
        self.work = work
        self._device, self._batch, self._notify, self._encoded = device, batch, notify, encoded
        self._waiting: list[tuple[Key, Any]] = []
        self._seconds = 0.0
        self._extractor: Extractor | None = None

    def load(self) -> Extractor:
        """Have the model ready: it takes seconds, and no clip is to be charged with them."""
        if self._extractor is None:
            use_all_cores()
            self._extractor = self.work.load(Load(self._device, self._batch, self._halved, encoded=self._encoded))
        return self._extractor

    def add(self, key: Key, prepared: Any) -> list[Computed[Key]]:
        """Take a prepared clip; what is computed meanwhile comes back."""
        self._waiting.append((key, prepared))
        self._seconds += self.load().seconds(prepared)
        return self.flush() if self._is_full() else []

    def flush(self) -> list[Computed[Key]]:
        """Compute what waits."""
        waiting, self._waiting, self._seconds = self._waiting, [], 0.0
        if not waiting:
            return []
        keys, items = zip(*waiting, strict=True)
        try:
            values = self._compute(items)
        except JobError:  # memory
            raise
        except EarmarkError:  # one of the clips: each is tried on its own
            return [self._alone(key, item) for key, item in waiting]
        return [self._checked(key, value) for key, value in zip(keys, values, strict=True)]

    def close(self) -> None:
        """Let go of the model and of the memory that it takes."""
        if self._extractor is not None:
            self._extractor = None
            free_memory()

    def _is_full(self) -> bool:
        if self._batch is not None and not self.work.cuts_windows:
            return len(self._waiting) >= self._batch
        enough = _GPU_BATCH_S if self._device.kind == "cuda" else _CPU_BATCH_S
        return self._seconds >= (enough if self._batch is None else self._batch * _WINDOW_S)

    def _compute(self, items: Sequence[Any]) -> Sequence[Any]:
        extractor = self.load()
        if self.work.cuts_windows:
            return extractor(items)
        return in_batches(extractor, items, batch=self._batch or len(items), halved=self._halved)

    def _halved(self, batch: int) -> None:
        self._batch = batch
        self._notify(BatchHalved(self.work.name, batch))

    def _alone(self, key: Key, item: Any) -> Computed[Key]:
        try:
            [value] = self._compute([item])
        except JobError:
            raise
        except EarmarkError as error:
            return Computed(key, None, error.reason if isinstance(error, AudioError) else str(error))
        return self._checked(key, value)

    def _checked(self, key: Key, value: Any) -> Computed[Key]:
        vector, text = value if isinstance(value, VectorWithText) else (value, None)
        if flaw := self.work.flaw(vector):
            return Computed(key, None, flaw)
        return Computed(key, vector, None, text)
