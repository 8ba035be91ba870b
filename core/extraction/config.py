"""Settings of an extraction. Owns ``FEATURE_SETS``, what is extracted where nothing else is asked for."""

from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar

from pydantic import Field, Strict, field_validator

from core import features
from core.data.audio import MAX_SECONDS
from core.data.treatment import MIX, Treatment, parse_channel
from core.encoders.source import ENCODER_WINDOWS, TO_CLIP
from core.errors import ParameterError
from core.features.sets import OF_TEXTS, TRANSCRIPT
from core.runtime.device import DEVICES, Device, choose
from core.section import Choices, Flag, Section

FEATURE_SETS = tuple(features.SET_VERSIONS)
TEXT_COLUMNS = ("transcript", "transcription", "text", "words")


class ExtractSettings(Section):
    """What is extracted from each clip."""

    section: ClassVar[str] = "extract"

    features: Annotated[
        tuple[str, ...],
        Strict(False),
        Flag(metavar="SETS"),
        Field(
            title="Feature sets",
            description="Feature sets: ultra, mfcc, metadata, over windows as in ultra@5s, torch200, voice256, encoders such as "
            "wavlm or encoder:MODEL, transcript, reading:MODEL, recognition:MODEL, pronunciation:MODEL, table:NAME for a column of "
            "numbers or of a few words, group:NAME:SET for the mean of a set over the clips with the same word in a column.",
        ),
    ] = FEATURE_SETS
    max_seconds: Annotated[
        float,
        Flag(metavar="S"),
        Field(ge=1, title="Seconds analysed", description="Only the start of a longer clip is analysed."),
    ] = MAX_SECONDS
    channel: Annotated[
        str,
        Field(
            title="Channel",
            description="Channel analysed: mix, left, right, loudest or a number from 1. The mix is the mean of all channels, the "
            "loudest has the highest RMS over what is analysed. A clip that lacks the channel is set aside.",
        ),
    ] = MIX
    slow_down: Annotated[
        float,
        Flag(metavar="F"),
        Field(
            ge=1,
            title="Slow down",
            description="Divide each clip's sample rate by this before anything else, as for calls of bats. At 10 a call of 45 kHz "
            "is analysed as 4.5 kHz and 0.1 s as 1 s; the seconds analysed count the slowed sound.",
        ),
    ] = 1.0
    workers: Annotated[
        int | None,
        Field(ge=0, title="Workers", description="Worker processes (default: one for each core; 0: this one)."),
    ] = None
    rehash: Annotated[
        bool, Field(title="Read every file", description="Read every file anew instead of knowing it by its size and times.")
    ] = False
    device: Annotated[
        str,
        Choices(DEVICES, ("auto", "cuda", "cpu")),
        Field(title="Device", description="Where PyTorch computes; auto takes a GPU where there is one."),
    ] = "auto"
    batch: Annotated[
        int | None,
        Field(
            ge=1,
            title="Batch",
            description="Pieces that PyTorch computes at once, windows of an encoder or clips (default: auto, what should fit).",
        ),
    ] = None

    encoder_window: Annotated[
        str,
        Choices(ENCODER_WINDOWS, ("Cut to the clip", "30 s")),
        Field(
            title="Window of Whisper",
            description="What Whisper's encoder reads of a clip below 30 s: clip (cut to it and half a second of silence) or 30 "
            "(padded to 30 s, as it was trained). Cut windows take less time.",
        ),
    ] = TO_CLIP

    @field_validator("features")
    @classmethod
    def _names_sets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(features.canonical(name) for name in names)
        if not names:
            raise ParameterError(f"features='': name at least one of {', '.join(FEATURE_SETS)}")
        for name in names:
            features.parse_set(name)
        if len(set(names)) < len(names):
            raise ParameterError(f"features={','.join(names)!r} names a set twice")
        return names

    @field_validator("channel")
    @classmethod
    def _names_channel(cls, name: str) -> str:
        return parse_channel(name)

    @property
    def treatment(self) -> Treatment:
        """What is done to a recording before anything is measured."""
        return Treatment(self.channel, self.slow_down)

    @property
    def of_audio(self) -> tuple[str, ...]:
        """The sets that are computed from the clips, of groups those whose means they are; what is of the table joins later."""
        sets = [features.parse_set(features.parse_set(name).of_group or name) for name in self.features]
        return tuple(dict.fromkeys(of.name for of in sets if of.of_audio))

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


def resolve_features(names: Sequence[str], columns: Collection[str]) -> tuple[str, ...]:
    """Feature sets, those among them that read a text as of the column that the data set has for it.

    Plain ``transcript`` is of a column that is called so, else of a description; ``reading:MODEL`` and the other sets of a clip and
    its text need such a column.

    Parameters
    ----------
    names : sequence of str
    columns : of the training table

    Examples
    --------
    >>> resolve_features(["ultra", "transcript"], ["speaker", "Words"])
    ('ultra', 'transcript:column=Words')
    >>> resolve_features(["transcript"], ["speaker"])
    ('transcript:describe',)
    >>> resolve_features(["reading:openai/whisper-base"], ["speaker", "text"])
    ('reading:openai/whisper-base:column=text',)

    Raises
    ------
    ParameterError
        A set of a clip and its text names no column, and none is called as a transcript is.
    """
    column = text_column(columns)

    def resolved(name: str) -> str:
        if name == TRANSCRIPT:
            return f"{TRANSCRIPT}:describe" if column is None else f"{TRANSCRIPT}:column={column}"
        if name.partition(":")[0] not in OF_TEXTS or ":" not in name or features.parse_set(features.canonical(name)).column:
            return name
        if column is None:
            raise ParameterError(
                f"features={name!r}: no column is called {', '.join(TEXT_COLUMNS)}; name the one with the text, as in "
                f"{name}:column=NAME"
            )
        return f"{name}:column={column}"

    return tuple(map(resolved, names))


def text_column(columns: Collection[str]) -> str | None:
    """The first column that is called as a transcript is, or None."""
    return next((name for name in columns if name.casefold() in TEXT_COLUMNS), None)
