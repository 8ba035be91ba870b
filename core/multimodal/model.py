"""Frames and tokens in, one number a clip out: encoders with adapters, attention pooling, fusion, head. Imports torch.

Whatever is padded has a mask, and what is masked counts nothing: a clip's prediction does not depend on its neighbours. A clip
without text is read as one learned vector, which stands before the tokens of every text.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.encoders import pretrained, whisper
from core.multimodal.config import FinetuneSettings, lora_targets
from core.runtime.weights import WHISPER, Checkpoint, loading

WIDTH = 256  # into which both sides are projected
HEADS = 4
HIDDEN = 128


@dataclass(frozen=True, slots=True)
class Labels:
    """How labels become numbers of mean 0 and variance 1, and back; from the rows that were fitted on."""

    mean: float
    std: float
    low: float
    high: float


class AttentionPooling(nn.Module):
    """A sequence as one vector: the mean of its steps, each with a learned share."""

    def __init__(self, width: int):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width // 2), nn.Tanh(), nn.Linear(width // 2, 1))

    def forward(self, steps: Tensor, mask: Tensor) -> Tensor:
        """Pool steps [shape=(b, t, width)] where the mask [shape=(b, t)] is true, which it is once in each row at least."""
        score = self.score(steps).squeeze(-1).float().masked_fill(~mask, float("-inf"))  # (b, t)
        return (score.softmax(dim=1).to(steps.dtype).unsqueeze(-1) * steps).sum(dim=1)


class Projection(nn.Module):
    """Steps of an encoder, brought to the common width, behind one learned step that is always there."""

    def __init__(self, width: int):
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, WIDTH))
        self.first = nn.Parameter(torch.randn(WIDTH) * WIDTH**-0.5)

    def forward(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first.to(steps.dtype).expand(len(steps), 1, WIDTH)
        return torch.cat([first, self.project(steps)], dim=1), functional.pad(mask, (1, 0), value=True)


class Concat(nn.Module):
    """Both sides pooled, one beside the other."""

    width = 2 * WIDTH

    def __init__(self, dropout: float):
        super().__init__()
        self.pool = nn.ModuleList([AttentionPooling(WIDTH), AttentionPooling(WIDTH)])

    def forward(self, sides: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        return torch.cat([pool(*side) for pool, side in zip(self.pool, sides, strict=True)], dim=1)


class Gated(nn.Module):
    """Both sides pooled; how much of each is taken, both of them decide, number by number (Arevalo et al. 2017)."""

    width = WIDTH

    def __init__(self, dropout: float):
        super().__init__()
        self.pool = nn.ModuleList([AttentionPooling(WIDTH), AttentionPooling(WIDTH)])
        self.side = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)])
        self.gate = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, sides: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        pooled = [pool(*side) for pool, side in zip(self.pool, sides, strict=True)]
        one, other = (torch.tanh(side(of)) for side, of in zip(self.side, pooled, strict=True))
        share = torch.sigmoid(self.gate(torch.cat(pooled, dim=1)))
        return share * one + (1 - share) * other


class CrossAttention(nn.Module):
    """Frames attend to tokens and tokens to frames (Tsai et al. 2019), then both sides are pooled, one beside the other."""

    width = 2 * WIDTH

    def __init__(self, dropout: float):
        super().__init__()
        self.attend = nn.ModuleList([nn.MultiheadAttention(WIDTH, HEADS, dropout=dropout, batch_first=True) for _ in range(2)])
        self.norm = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.pool = nn.ModuleList([AttentionPooling(WIDTH), AttentionPooling(WIDTH)])

    def forward(self, sides: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        pooled = []
        for at in range(2):
            steps, mask = sides[at]
            others, other_mask = sides[1 - at]
            found, _ = self.attend[at](steps, others, others, key_padding_mask=~other_mask, need_weights=False)
            pooled.append(self.pool[at](self.norm[at](steps + found), mask))
        return torch.cat(pooled, dim=1)


class OneSide(nn.Module):
    """The only side there is, pooled."""

    width = WIDTH

    def __init__(self, dropout: float):
        super().__init__()
        self.pool = AttentionPooling(WIDTH)

    def forward(self, sides: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        return self.pool(*sides[0])


FUSIONS: dict[str, type[Concat | Gated | CrossAttention]] = {"attention": CrossAttention, "gated": Gated, "concat": Concat}


class AudioEncoder(nn.Module):
    """An encoder that reads waveforms window by window, as ``core.encoders.pretrained`` does, with its gradient.

    Parameters
    ----------
    checkpoint : Checkpoint
    layer : int or None, whose frames are given; None takes the last
    encoder : nn.Module, as ``load_encoder`` gives it, with adapters or without
    """

    def __init__(self, checkpoint: Checkpoint, layer: int | None, encoder: nn.Module):
        super().__init__()
        self.checkpoint = checkpoint
        self.layer = -1 if layer is None else layer
        self.encoder = encoder
        self._features = whisper.load_features(checkpoint) if checkpoint.architecture == WHISPER else None

    def train(self, mode: bool = True) -> "AudioEncoder":
        """As usual, but what was learned of the spread of a batch stays as it is: it is frozen too."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Frames [shape=(b, t, width)] with their mask [shape=(b, t)] of waveforms, each [shape=(n,)] at 16 kHz."""
        windows = [window for index, y in enumerate(waveforms) for window in pretrained.cut_windows(self.checkpoint, index, len(y))]
        alike: dict[int, list[pretrained.Window]] = {}
        for window in windows:  # of one length, so that nothing is padded
            alike.setdefault(0 if self._features else window.length, []).append(window)
        parts: dict[tuple[int, int], Tensor] = {}
        for same in alike.values():
            sounds = [waveforms[window.clip][window.start : window.start + window.length] for window in same]
            states = self.encoder(self._read(sounds), output_hidden_states=True).hidden_states[self.layer]
            for window, state in zip(same, states, strict=True):
                parts[window.clip, window.start] = state[pretrained.own_frames(self.checkpoint, window, len(state))]
        whole = [torch.cat([parts[key] for key in sorted(parts) if key[0] == index]) for index in range(len(waveforms))]
        return pad(whole)

    def _read(self, sounds: Sequence[Tensor]) -> Tensor:
        if self._features is None:
            return torch.stack(list(sounds))
        heard = [sound.cpu().numpy() for sound in sounds]
        read: Tensor = self._features(heard, sampling_rate=pretrained.SAMPLE_RATE_HZ, return_tensors="pt")["input_features"]
        return read.to(sounds[0].device)


class AudioTextRegressor(nn.Module):
    """What is heard and what is read of clips, as one number each.

    Parameters
    ----------
    settings : FinetuneSettings
    labels : Labels
    audio_width, text_width : int, of the steps of each encoder; 0 where there is none
    audio_encoder : AudioEncoder where waveforms are read; None where frames are, or nothing is heard
    text_encoder : nn.Module or None
    """

    def __init__(
        self,
        settings: FinetuneSettings,
        labels: Labels,
        *,
        audio_width: int = 0,
        text_width: int = 0,
        audio_encoder: nn.Module | None = None,
        text_encoder: nn.Module | None = None,
    ):
        super().__init__()
        self.settings, self.labels = settings, labels
        self.audio_encoder, self.text_encoder = audio_encoder, text_encoder
        self.audio = Projection(audio_width) if audio_width else None
        self.text = Projection(text_width) if text_width else None
        both = audio_width and text_width
        fusion = FUSIONS[settings.fusion] if both else OneSide
        self.fusion, width = fusion(settings.dropout), fusion.width
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, HIDDEN), nn.GELU(), nn.Dropout(settings.dropout), nn.Linear(HIDDEN, 1)
        )

    def forward(
        self,
        *,
        frames: Tensor | None = None,
        frame_mask: Tensor | None = None,
        waveforms: Sequence[Tensor] | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        has_text: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Predictions, and their loss where there are labels.

        Parameters
        ----------
        frames, frame_mask : [shape=(b, t, audio_width)] and [shape=(b, t)], of an encoder that is not trained
        waveforms : of one that is, each [shape=(n,)]
        input_ids, attention_mask : [shape=(b, l)]
        has_text : [shape=(b,)], bool, false for a clip whose tokens are those of an empty text
        labels : [shape=(b,)], float64, in their unit

        Returns
        -------
        outputs : dict with ``logits`` [shape=(b,)], in the unit of the label, and ``loss``
        """
        sides = []
        if self.audio is not None:
            if self.audio_encoder is not None:
                frames, frame_mask = self.audio_encoder(waveforms)
            assert frames is not None
            sides.append(self.audio(frames.float() if frames.dtype == torch.float16 else frames, frame_mask))
        if self.text is not None:
            assert self.text_encoder is not None
            assert attention_mask is not None
            assert has_text is not None
            tokens = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            sides.append(self.text(tokens, attention_mask.bool() & has_text.unsqueeze(1)))
        fused = self.fusion(sides)
        with torch.autocast(fused.device.type, enabled=False):  # half precision would round predictions
            standard = self.head(fused.float()).squeeze(-1)
        outputs = {"logits": standard.double() * self.labels.std + self.labels.mean}
        if labels is not None:
            outputs["loss"] = self._loss(standard, ((labels - self.labels.mean) / self.labels.std).float())
        return outputs

    def _loss(self, predicted: Tensor, labels: Tensor) -> Tensor:
        loss = functional.huber_loss(predicted, labels) if self.settings.loss == "huber" else functional.mse_loss(predicted, labels)
        if self.settings.concordance and len(labels) > 1:
            loss = loss + self.settings.concordance * (1 - concordance(predicted, labels))
        return loss


def concordance(one: Tensor, other: Tensor) -> Tensor:
    """Concordance correlation coefficient (Lin 1989): 1 for equal values, lower for another mean or spread too."""
    apart = one.mean() - other.mean()
    covariance = ((one - one.mean()) * (other - other.mean())).mean()
    return 2 * covariance / (one.var(correction=0) + other.var(correction=0) + apart.square() + 1e-8)


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences [shape=(t, width)] as one tensor [shape=(b, t, width)], and where it holds them [shape=(b, t)]."""
    lengths = torch.tensor([len(one) for one in sequences], device=sequences[0].device)
    padded = nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
    return padded, torch.arange(padded.shape[1], device=lengths.device) < lengths.unsqueeze(1)


def load_text_encoder(checkpoint: Checkpoint) -> Any:
    """A text encoder, frozen.

    Raises
    ------
    ParameterError
        Its weights cannot be loaded.
    """
    from transformers import AutoModel

    with loading(checkpoint):
        model = AutoModel.from_pretrained(checkpoint.folder, local_files_only=True, dtype=torch.float32)
    return model.requires_grad_(False)


def add_adapters(encoder: Any, checkpoint: Checkpoint, settings: FinetuneSettings) -> Any:
    """The encoder with adapters beside its linear layers: they alone are trained.

    Raises
    ------
    ParameterError
        It is not known which layers of this architecture take them.
    """
    from peft import LoraConfig, get_peft_model

    if checkpoint.architecture != WHISPER and hasattr(encoder.config, "apply_spec_augment"):
        encoder.config.apply_spec_augment = False  # a mask of random frames, which is for training without labels
        encoder.config.layerdrop = 0.0  # a layer that is left out gives its adapter no gradient
        encoder.feature_extractor._freeze_parameters()  # else it asks for gradients of the sound, which nobody needs
    targets = list(lora_targets(checkpoint))
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft, for what it asks transformers
        return get_peft_model(encoder, config)


def standardise(labels: np.ndarray) -> Labels:
    """How the labels of the rows that are fitted on [shape=(n,)] are brought to mean 0 and variance 1."""
    return Labels(float(labels.mean()), float(labels.std()) or 1.0, float(labels.min()), float(labels.max()))
