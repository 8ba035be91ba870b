"""Settings of an extraction. Owns ``FEATURE_SETS``, what is extracted where nothing else is asked for."""

from dataclasses import dataclass

from core import features
from core.data.audio import MAX_SECONDS, check_max_seconds
from core.errors import ParameterError
from core.runtime.device import DEVICES, Device, choose

FEATURE_SETS = tuple(features.SET_VERSIONS)


@dataclass(frozen=True, slots=True)
class ExtractSettings:
    """What is extracted from each clip.

    Attributes
    ----------
    features : tuple of str, names of feature sets as ``core.features.parse_set`` knows them: ultra, mfcc, metadata, over windows
        as in ultra@5s, torch200, voice256, encoders such as wavlm or encoder:FOLDER, table:NAME for a column of the table
    max_seconds : float >= 1, only the start of a longer clip is analysed
    workers : int >= 0, processes; None takes one for each core, 0 works in this process
    rehash : bool, read every file instead of trusting its size and times to tell whether it is known
    device : str, where PyTorch computes: auto takes a GPU where there is one, cuda, cpu
    batch : int >= 1, pieces that PyTorch computes at once (windows of an encoder, clips otherwise); None takes what should fit
    """

    features: tuple[str, ...] = FEATURE_SETS
    max_seconds: float = MAX_SECONDS
    workers: int | None = None
    rehash: bool = False
    device: str = "auto"
    batch: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(features.canonical(name) for name in self.features))
        if not self.features:
            raise ParameterError(f"features='': name at least one of {', '.join(FEATURE_SETS)}")
        for name in self.features:
            features.parse_set(name)
        if len(set(self.features)) < len(self.features):
            raise ParameterError(f"features={','.join(self.features)!r} names a set twice")
        check_max_seconds(self.max_seconds)
        if self.workers is not None and self.workers < 0:
            raise ParameterError(f"workers={self.workers} must be 0 or more")
        if self.device not in DEVICES:
            raise ParameterError(f"device={self.device!r} not among {', '.join(DEVICES)}")
        if self.batch is not None and self.batch < 1:
            raise ParameterError(f"batch={self.batch} must be 1 or more")

    @property
    def of_audio(self) -> tuple[str, ...]:
        """The sets that are computed from the clips; what is of the table joins them in the matrix."""
        return tuple(name for name in self.features if features.parse_set(name).of_audio)

    @property
    def stored(self) -> tuple[str, ...]:
        """What is stored for them: of an encoder one vector with all its layers."""
        return tuple(dict.fromkeys(features.parse_set(name).stored for name in self.of_audio))

    @property
    def on_device(self) -> tuple[str, ...]:
        """What of that PyTorch computes."""
        return tuple(name for name in self.stored if features.parse_set(name).on_device)

    def choose_device(self) -> Device:
        """Where PyTorch computes them; no other process is asked where there is nothing to compute.

        Raises
        ------
        ParameterError
            There is no such device here.
        """
        return choose(self.device if self.on_device else "cpu")
