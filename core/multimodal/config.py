"""Settings of a fine-tuning, and which layers of an encoder have adapters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import ParameterError
from core.features.sets import TRANSCRIPT, absolute_folder, canonical, parse_set
from core.runtime.device import DEVICES
from core.runtime.weights import WHISPER, Checkpoint
from core.scoring.folds import Fold, make_folds
from core.scoring.oof import check_plan

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


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """How an audio and a text encoder are trained together.

    Attributes
    ----------
    audio_model, text_model : str, id of the Hugging Face hub or folder
    text : str, what is read beside what is heard: column=NAME of the table, whisper=MODEL for what a recogniser hears (MODEL@en in
        a language that it is told), describe for the clip's acoustics in words, none
    audio : str, frozen (frames of the encoder are computed once), lora (adapters in it are trained), none
    layer : int >= 0 or None, layer of the audio encoder whose frames are read; None takes the last
    fusion : str, attention, gated or concat
    folds, groups, stratified, seed : as of an ensemble, so that both score the same rows in the same folds
    epochs : int >= 1, at most; the best one on an inner split is taken
    patience : int >= 1, epochs without a better one after which a fold ends
    batch : int >= 1, clips at once
    accumulation : int >= 1, batches whose gradients make one step
    learning_rate : float > 0, of the adapters
    head_learning_rate : float > 0, of what starts from nothing: pooling, fusion, head
    warmup : float in [0, 1), share of the steps
    weight_decay : float >= 0
    clip_norm : float > 0, longest gradient
    rank, alpha : int >= 1, of the adapters
    dropout : float in [0, 1), in adapters and fusion
    loss : str, huber or mse, of labels with mean 0 and variance 1
    concordance : float >= 0, weight of 1 - the concordance coefficient (Lin 1989) of a batch beside it
    level : float between 0 and 1, share of labels that an interval is to cover
    device : str, auto, cuda or cpu
    """

    audio_model: str = AUDIO_MODEL
    text_model: str = TEXT_MODEL
    text: str = DESCRIBE
    audio: str = "frozen"
    layer: int | None = None
    fusion: str = "attention"
    folds: int = 5
    groups: str | None = None
    stratified: bool = False
    seed: int = 42
    epochs: int = 15
    patience: int = 4
    batch: int = 4
    accumulation: int = 1
    learning_rate: float = 2e-5
    head_learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.1
    loss: str = "huber"
    concordance: float = 0.0
    level: float = 0.9
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("audio_model", "text_model"):
            object.__setattr__(self, name, absolute_folder(getattr(self, name)))
        if self.text.startswith(RECOGNISED):
            object.__setattr__(self, "text", canonical(f"{TRANSCRIPT}:{self.text}").removeprefix(f"{TRANSCRIPT}:"))
        for name, known in (("audio", AUDIO), ("fusion", FUSIONS), ("loss", LOSSES), ("device", DEVICES)):
            if getattr(self, name) not in known:
                raise ParameterError(f"{name}={getattr(self, name)!r} not among {', '.join(known)}")
        if self.text not in (DESCRIBE, NONE) and not any(
            self.text.startswith(way) and len(self.text) > len(way) for way in (COLUMN, RECOGNISED)
        ):
            raise ParameterError(f"text={self.text!r} must be column=NAME, whisper=MODEL, describe or none")
        if self.transcript is not None:
            parse_set(self.transcript)  # it may tell a language that there is not
        if self.audio == NONE and self.text == NONE:
            raise ParameterError("audio='none' and text='none' leave nothing to learn from; take one of them")
        if self.groups is not None and not self.groups.strip():
            raise ParameterError("groups='' names no column; leave the option out to train without groups")
        least = {"folds": 2, "epochs": 1, "patience": 1, "batch": 1, "accumulation": 1, "rank": 1, "alpha": 1, "seed": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ParameterError(f"{name}={getattr(self, name)} must be {smallest} or more")
        if self.layer is not None and self.layer < 0:
            raise ParameterError(f"layer={self.layer} must be 0 or more")
        if self.seed >= 2**31:
            raise ParameterError(f"seed={self.seed} must be below 2147483648")
        for name in ("learning_rate", "head_learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ParameterError(f"{name}={getattr(self, name)} must be above 0")
        for name in ("weight_decay", "concordance"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ParameterError(f"{name}={getattr(self, name)} must be 0 or more")
        for name in ("warmup", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ParameterError(f"{name}={getattr(self, name)} must be 0 or more and below 1")
        if not 0 < self.level < 1:
            raise ParameterError(f"level={self.level} must be above 0 and below 1")

    @property
    def hears(self) -> bool:
        """Whether audio is read."""
        return self.audio != NONE

    @property
    def reads(self) -> bool:
        """Whether text is read."""
        return self.text != NONE

    @property
    def column(self) -> str | None:
        """The column of the table with the text, or None."""
        return self.text.removeprefix(COLUMN) if self.text.startswith(COLUMN) else None

    @property
    def recogniser(self) -> str | None:
        """The model that hears the text, or None."""
        return None if self.transcript is None else parse_set(self.transcript).model

    @property
    def transcript(self) -> str | None:
        """The feature set with whose words the text is read, or None; a language of the recogniser stands in it."""
        return f"{TRANSCRIPT}:{self.text}" if self.text.startswith(RECOGNISED) else None

    def plans(self, labels: np.ndarray, groups: Sequence[str] | None) -> list[list[Fold]]:
        """The folds, as one plan: that of the first repeat of an ensemble with the same settings.

        Raises
        ------
        ParameterError
            There are fewer rows, or fewer groups, than folds.
        DataError
            The labels of a fold's training rows are all equal.
        """
        plan = make_folds(len(labels), folds=self.folds, seed=self.seed, groups=groups, labels=labels, stratified=self.stratified)
        check_plan(plan, labels)
        return [plan]


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
