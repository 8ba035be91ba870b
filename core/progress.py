"""Events of a job in, how far it is out: what is counted now, how much of it is done, and where it is computed.

The bar of the command line and the line of the page are drawn from the same ``Progress``, so they count alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from core.events import (
    BatchHalved,
    CheckStarted,
    ClipChecked,
    ClipExtracted,
    ClipSetAside,
    CompilingStarted,
    DeviceChosen,
    EpochScored,
    Event,
    ExplainStarted,
    ExtractionStarted,
    FinetuneStarted,
    FitFinished,
    FoldScored,
    JobStarted,
    LayerScored,
    LayersStarted,
    PartExplained,
    StageStarted,
    StepDone,
    TrainingStarted,
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes
    ----------
    task : "check", "extract", "train", "explain", "layers" or "fine-tune"; empty while nothing is counted
    unit : "clip", "fit", "part" or "epoch"; empty while nothing is counted
    done : float in [0, total]; epochs are counted in parts, and a fold that is scored counts as all epochs that it may have
    total : int >= 0
    count : int, of the counts of this job which one this is; 0 before the first
    stage : str or None, what is done beside the work itself, such as a self-test or waiting for a device
    device : str or None, where PyTorch computes
    memory : str or None, what its memory allows, where that is less than was asked for
    compiling : bool, whether the extractor was compiled for this machine
    """

    task: str = ""
    unit: str = ""
    done: float = 0
    total: int = 0
    count: int = 0
    stage: str | None = None
    device: str | None = None
    memory: str | None = None
    compiling: bool = False


class ProgressCounter:
    """Counts the events of a job, in the order in which they happened.

    Examples
    --------
    >>> counter = ProgressCounter()
    >>> for event in (ExtractionStarted(clips=9, cached=3, to_do=6), ClipExtracted("a.wav", 0.5)):
    ...     counter.add(event)
    >>> counter.progress.task, counter.progress.done, counter.progress.total
    ('extract', 1, 6)
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._task = self._unit = ""
        self._done, self._total, self._count = 0, 0, 0
        self._stage: str | None = None
        self._device: str | None = None
        self._memory: str | None = None
        self._compiling = False
        self._epochs, self._epochs_by_fold = 0, dict[int, float]()  # of a fold at most; behind each

    @property
    def progress(self) -> Progress:
        done = sum(self._epochs_by_fold.values()) if self._unit == "epoch" else self._done
        return Progress(
            self._task, self._unit, done, self._total, self._count, self._stage, self._device, self._memory, self._compiling
        )

    def add(self, event: Event) -> None:
        """Count an event; those that tell nothing of progress are ignored."""
        match event:
            case ClipChecked() | ClipExtracted() | ClipSetAside() | FitFinished() | PartExplained() | LayerScored() if self._unit:
                self._done += 1
            case StepDone(fold=fold, epoch=epoch) | EpochScored(fold=fold, epoch=epoch):
                self._epochs_by_fold[fold] = min(epoch, self._epochs)
            case FoldScored(fold=fold):
                self._epochs_by_fold[fold] = self._epochs
            case CheckStarted(clips=clips) if clips:
                self._begin("check", "clip", clips)
            case ExtractionStarted(to_do=to_do):
                self._stage = None
                if to_do:
                    self._begin("extract", "clip", to_do)
            case TrainingStarted(fits=fits):
                self._begin("train", "fit", fits)
            case ExplainStarted(parts=parts):
                self._begin("explain", "part", parts)
            case LayersStarted(parts=parts):
                self._begin("layers", "part", parts)
            case FinetuneStarted(folds=folds, epochs=epochs):
                self._stage, self._epochs, self._epochs_by_fold = None, epochs, {}
                self._begin("fine-tune", "epoch", folds * epochs)
            case JobStarted():
                self._reset()
            case _:
                self._add_circumstance(event)

    def _add_circumstance(self, event: Event) -> None:
        """Note what is done beside the work, and where it is computed."""
        match event:
            case StageStarted(what=what):
                self._task = self._unit = ""
                self._done, self._total, self._stage = 0, 0, what
            case DeviceChosen(device=device, name=name):
                self._device, self._memory = f"{device} ({name})", None
            case BatchHalved(set_name="fine-tuning", batch=batch):
                self._memory = f"memory allows batches of {batch}"
            case BatchHalved(set_name=set_name, batch=batch):
                self._memory = f"memory allows {set_name} {batch} at once"
            case CompilingStarted():
                self._compiling = True

    def _begin(self, task: str, unit: str, total: int) -> None:
        self._task, self._unit, self._done, self._total = task, unit, 0, total
        self._count += 1


def measure_progress(events: Iterable[Event]) -> Progress:
    """How far a job is after these events of its last attempt."""
    counter = ProgressCounter()
    for event in events:
        counter.add(event)
    return counter.progress
