"""Settings of a fine-tuning, and which layers of an encoder have adapters."""

from collections.abc import Collection
from typing import Annotated, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from core.errors import ParameterError
from core.extraction.config import text_column
from core.features.sets import TRANSCRIPT, absolute_folder, canonical, parse_set
from core.runtime.device import DEVICES
from core.runtime.weights import WHISPER, Checkpoint
from core.scoring.folds import FoldSettings
from core.section import Choices, Flag

AUDIO_MODEL, TEXT_MODEL = "facebook/wav2vec2-base", "distilbert/distilbert-base-uncased"
AUDIO = ("frozen", "lora", "none")
FUSIONS = ("attention", "gated", "concat")
LOSSES = ("huber", "mse")
DESCRIBE, NONE, COLUMN, RECOGNISED = "describe", "none", "column=", "whisper="

# Linear layers with an adapter, by architecture. WavLM hands the weights of its attention, out_proj among them, to one fused
# function, past any adapter: its feed-forward layers have them.
LORA_TARGETS: dict[str, tuple[str, ...]] = {
    "bert": ("query", "value"),  # MiniLM is one of them
    "deberta": ("in_proj",),
    "deberta-v2": ("query_proj", "value_proj"),  # DeBERTa v3 calls itself so
    "distilbert": ("q_lin", "k_lin", "v_lin"),
    "hubert": ("q_proj", "k_proj", "v_proj"),
    "roberta": ("query", "value"),
    "wav2vec2": ("q_proj", "k_proj", "v_proj"),
    "wavlm": ("intermediate_dense", "output_dense"),
    WHISPER: ("q_proj", "k_proj", "v_proj"),
}


class FinetuneSettings(FoldSettings):
    """How an audio and a text encoder are trained together, on the folds of an ensemble with the same settings."""

    section: ClassVar[str] = "finetune"

    audio_model: Annotated[
        str,
        Flag(metavar="ID|DIR"),
        Field(title="Audio encoder", description="Encoder of the Hugging Face hub, or a folder as transformers saves it."),
    ] = AUDIO_MODEL
    text_model: Annotated[
        str,
        Flag(metavar="ID|DIR"),
        Field(title="Text encoder", description="Text encoder of the Hugging Face hub, or a folder as transformers saves it."),
    ] = TEXT_MODEL
    text: Annotated[
        str,
        Flag(metavar="SOURCE"),
        Field(
            title="Text",
            description="Text input: column=NAME of the table, describe (the clip's acoustics in words), whisper=MODEL (what a "
            "recogniser transcribes), or none; a bare name is a column, and transcript a column of that name, else describe. "
            "A column that says the label, or was written by who gave it, leaks it.",
        ),
    ] = DESCRIBE
    audio_encoder: Annotated[
        str,
        Choices(AUDIO, ("Frozen", "Adapters", "Not heard")),
        Field(
            title="Sound",
            description="What is done with the audio encoder: its frames are computed once, adapters in it are trained, or there "
            "is no audio input. Frozen: what the encoder says is computed once, the rest learns from it. Adapters: small "
            "additions inside the encoder are trained too; slower, and more memory. Not heard: only the text counts.",
        ),
    ] = "frozen"
    layer: Annotated[
        int | None,
        Field(
            ge=0,
            title="Layer",
            description="Layer of the audio encoder whose frames are used (default: the last). Explain can score the layers of an "
            "encoder one by one.",
        ),
    ] = None
    fusion: Annotated[
        str,
        Choices(FUSIONS),
        Field(
            title="Fusion",
            description="How audio and text come together. Attention: each looks at the other. Gated: weighed. Concat: side by "
            "side.",
        ),
    ] = "attention"
    epochs: Annotated[
        int,
        Field(ge=1, title="Epochs", description="Epochs at most; the best one on the validation rows is taken."),
    ] = 15
    patience: Annotated[int, Field(ge=1, title="Patience", description="Epochs without a better one after which a fold ends.")] = 4
    batch_clips: Annotated[
        int,
        Field(ge=1, title="Batch", description="Clips at once; where memory does not hold them, fewer are taken."),
    ] = 4
    accumulation: Annotated[int, Field(ge=1, title="Accumulation", description="Batches whose gradients make one step.")] = 1
    learning_rate: Annotated[
        float, Flag(metavar="R"), Field(gt=0, title="Learning rate", description="Learning rate of the adapters.")
    ] = 2e-5
    head_learning_rate: Annotated[
        float,
        Flag(metavar="R"),
        Field(gt=0, title="Rate of the head", description="Learning rate of pooling, fusion and head, which start from nothing."),
    ] = 1e-3
    warmup: Annotated[
        float,
        Flag(metavar="P"),
        Field(ge=0, lt=1, title="Warm-up", description="Share of the steps in which the learning rates rise."),
    ] = 0.1
    weight_decay: Annotated[
        float, Flag(metavar="W"), Field(ge=0, title="Weight decay", description="Weight decay of all that is trained.")
    ] = 0.01
    clip_norm: Annotated[
        float, Field(gt=0, title="Clip gradient at", description="Longest gradient; a longer one is shortened to it.")
    ] = 1.0
    rank: Annotated[int, Flag(metavar="R"), Field(ge=1, title="Rank", description="Rank of the adapters.")] = 8
    alpha: Annotated[
        int,
        Flag(metavar="A"),
        Field(ge=1, title="Alpha", description="Scale of the adapters: what they add is times alpha / rank."),
    ] = 16
    dropout: Annotated[
        float, Flag(metavar="P"), Field(ge=0, lt=1, title="Dropout", description="Dropout in adapters and fusion.")
    ] = 0.1
    loss: Annotated[
        str,
        Choices(LOSSES, ("Huber", "Squared error")),
        Field(title="Loss", description="Loss on standardised labels; huber forgives labels that stand out."),
    ] = "huber"
    concordance: Annotated[
        float,
        Flag(metavar="W"),
        Field(
            ge=0,
            title="Concordance",
            description="Weight of a concordance loss beside it (Lin 1989), 0 leaves it out. More also rewards predictions that "
            "spread as widely as the labels do.",
        ),
    ] = 0.0
    device: Annotated[
        str,
        Choices(DEVICES, ("auto", "cuda", "cpu")),
        Field(title="Device", description="Where PyTorch computes; auto takes a GPU where there is one."),
    ] = "auto"

    @field_validator("audio_model", "text_model")
    @classmethod
    def _is_found_from_everywhere(cls, model: str) -> str:
        return absolute_folder(model)

    @field_validator("text")
    @classmethod
    def _is_a_source(cls, text: str) -> str:
        if text.startswith(RECOGNISED):
            text = canonical(f"{TRANSCRIPT}:{text}").removeprefix(f"{TRANSCRIPT}:")
        named = any(text.startswith(way) and len(text) > len(way) for way in (COLUMN, RECOGNISED))
        if text not in (DESCRIBE, NONE) and not named:
            raise ParameterError(f"text={text!r} must be column=NAME, whisper=MODEL, describe or none")
        if text.startswith(RECOGNISED):
            parse_set(f"{TRANSCRIPT}:{text}")  # it may name a language that does not exist
        return text

    @model_validator(mode="after")
    def _has_an_input(self) -> Self:
        if self.audio_encoder == NONE and self.text == NONE:
            raise ParameterError("audio_encoder='none' and text='none' leave nothing to learn from; take one of them")
        return self

    @property
    def uses_audio(self) -> bool:
        """Whether there is audio input."""
        return self.audio_encoder != NONE

    @property
    def uses_text(self) -> bool:
        """Whether there is text input."""
        return self.text != NONE

    @property
    def column(self) -> str | None:
        """The column of the table with the text, or None."""
        return self.text.removeprefix(COLUMN) if self.text.startswith(COLUMN) else None

    @property
    def recogniser(self) -> str | None:
        """The model that transcribes the text, or None."""
        return None if self.transcript is None else parse_set(self.transcript).model

    @property
    def transcript(self) -> str | None:
        """The feature set whose words are the text, or None; a language of the recogniser is part of it."""
        return f"{TRANSCRIPT}:{self.text}" if self.text.startswith(RECOGNISED) else None


def resolve_text(text: str, columns: Collection[str]) -> str:
    """The text source that a short name means: a bare name is a column, ``transcript`` a column of that kind, else describe.

    Parameters
    ----------
    text : str
    columns : of the training table

    Examples
    --------
    >>> resolve_text("said", ["said"]), resolve_text("transcript", ["said", "Words"]), resolve_text("transcript", ["said"])
    ('column=said', 'column=Words', 'describe')
    """
    if text in (DESCRIBE, NONE) or text.startswith((COLUMN, RECOGNISED)):
        return text
    if text != TRANSCRIPT or TRANSCRIPT in columns:
        return COLUMN + text
    column = text_column(columns)
    return DESCRIBE if column is None else COLUMN + column


def lora_targets(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Names of the linear layers of an encoder that have adapters.

    Raises
    ------
    ParameterError
        It is not known which they are.
    """
    try:
        return LORA_TARGETS[checkpoint.architecture]
    except KeyError:
        raise ParameterError(
            f"{checkpoint.model}: model_type={checkpoint.architecture!r} has no known place for adapters; "
            f"they are known of {', '.join(sorted(LORA_TARGETS))}"
        ) from None
