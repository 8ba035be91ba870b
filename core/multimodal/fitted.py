"""Networks that were fitted, on the disk and back, and what they say of new clips. Predictions are in the unit of the label.

    models/finetune.json            settings, encoders, scale of the labels and errors of each fold
           fold<k>/heads.safetensors            pooling, projections, fusion, head
                   audio_adapter/, text_adapter/  as peft writes them: adapter_config.json, adapter_model.safetensors

Encoders themselves are not copied: they are found by the name under which they were trained, and must have the same weights.
Imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save as as_safetensors
from torch import nn

from core.data.rows import Row
from core.encoders.pretrained import load_encoder
from core.errors import FileError, ParameterError, RunError
from core.events import Notify, ignore
from core.extraction.config import ExtractSettings
from core.extraction.extract import Extraction
from core.extraction.machine import Production
from core.multimodal.config import FinetuneSettings, lora_targets
from core.multimodal.data import Collator, Example, load_tokenizer, make_examples
from core.multimodal.frames import FrameStore, encode_clips
from core.multimodal.model import AudioEncoder, AudioTextRegressor, Labels, add_adapters, load_text_encoder
from core.multimodal.texts import read_texts
from core.multimodal.train import FoldFit, predict
from core.runtime.device import Device, choose
from core.runtime.weights import WHISPER, Checkpoint, encoder_shape, fetch, loading, text_shape
from core.scoring import intervals
from core.workspace import Workspace, make_folder, read_json, write_json, write_whole

LAYOUT = "finetune.json"
HEADS = "heads.safetensors"
_ADAPTER, _ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Encoders:
    """What a network hears and reads with; None where it does not."""

    audio: Checkpoint | None
    text: Checkpoint | None
    tokenizer: Any = None

    @property
    def pad_token(self) -> int:
        """Number of the token that fills up."""
        return int(getattr(self.tokenizer, "pad_token_id", None) or 0)

    @property
    def revisions(self) -> list[str]:
        """Hashes of the weights."""
        return [one.revision for one in (self.audio, self.text) if one is not None]


def find_encoders(settings: FinetuneSettings) -> Encoders:
    """The encoders that settings name, fetched where they are not here yet, and looked at before any clip is read.

    Raises
    ------
    ParameterError
        One is nowhere, is no encoder of its kind, has no such layer, or no known place for adapters.
    """
    audio = text = tokenizer = None
    if settings.uses_audio:
        audio = fetch(settings.audio_model)
        layers, _ = encoder_shape(audio)
        if settings.layer is not None and settings.layer >= layers:
            raise ParameterError(f"layer={settings.layer}: {audio.model} has layers 0 to {layers - 1}")
        if settings.audio_encoder == "lora":
            lora_targets(audio)
    if settings.uses_text:
        text = fetch(settings.text_model)
        text_shape(text)
        lora_targets(text)
        tokenizer = load_tokenizer(text)
    return Encoders(audio, text, tokenizer)


def build_network(settings: FinetuneSettings, labels: Labels, encoders: Encoders) -> AudioTextRegressor:
    """A network as it is before training; what starts from nothing is drawn from torch's generator."""
    audio_encoder, text_encoder = None, None
    if encoders.audio is not None and settings.audio_encoder == "lora":
        adapted = add_adapters(load_encoder(encoders.audio, "cpu", "fp32"), encoders.audio, settings)
        audio_encoder = AudioEncoder(encoders.audio, settings.layer, adapted)
    if encoders.text is not None:
        text_encoder = add_adapters(load_text_encoder(encoders.text), encoders.text, settings)
    return AudioTextRegressor(
        settings,
        labels,
        audio_width=encoder_shape(encoders.audio)[1] if encoders.audio else 0,
        text_width=text_shape(encoders.text)[1] if encoders.text else 0,
        audio_encoder=audio_encoder,
        text_encoder=text_encoder,
    )


def count_parameters(settings: FinetuneSettings, encoders: Encoders) -> tuple[int, int]:
    """Numbers that are trained, and all, those of an encoder whose frames are computed before among them."""
    network = build_network(settings, Labels(0.0, 1.0, 0.0, 1.0), encoders)
    trained = sum(one.numel() for one in network.parameters() if one.requires_grad)
    total = sum(one.numel() for one in network.parameters())
    if encoders.audio is not None and settings.audio_encoder == "frozen":
        total += _size(encoders.audio)
    return trained, total


def save_network(network: AudioTextRegressor, folder: Path) -> None:
    """Write what was trained: adapters as peft does, the rest as one file."""
    from peft import get_peft_model_state_dict

    for name, adapted in _adapted(network).items():
        home = make_folder(folder / name)
        state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        _write(home / _ADAPTER, {key: value.contiguous() for key, value in state.items()})
        adapted.peft_config["default"].save_pretrained(home)
    heads = {
        name: one.detach().contiguous() for name, one in network.named_parameters() if one.requires_grad and "lora_" not in name
    }
    _write(folder / HEADS, heads)


def load_network(network: AudioTextRegressor, folder: Path, labels: Labels) -> None:
    """Put what ``save_network`` wrote into a network that was built with the same settings.

    Raises
    ------
    RunError
        A file is missing or damaged.
    """
    from peft import set_peft_model_state_dict

    try:
        for name, adapted in _adapted(network).items():
            set_peft_model_state_dict(adapted, load_file(folder / name / _ADAPTER))
        known = dict(network.named_parameters())
        with torch.no_grad():
            for name, value in load_file(folder / HEADS).items():
                known[name].copy_(value)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{folder}: not a readable network ({reason}); train again") from None
    network.labels = labels


def write_layout(
    folder: Path, settings: FinetuneSettings, encoders: Encoders, fits: Sequence[FoldFit], errors: Sequence[np.ndarray]
) -> None:
    """Write what ``FineTuned.load`` reads; ``errors`` are the absolute ones of each fold's own rows."""
    write_json(
        folder / LAYOUT,
        {
            "settings": settings,
            "audio": encoders.audio and {"model": encoders.audio.model, "revision": encoders.audio.revision},
            "text": encoders.text and {"model": encoders.text.model, "revision": encoders.text.revision},
            "folds": [fit.labels for fit in fits],
            "residuals": [error for of in errors for error in of.tolist()],
            "model_of": [number for number, of in enumerate(errors) for _ in of],
            "rows": sum(map(len, errors)),
        },
    )


@dataclass(frozen=True, slots=True)
class FineTuned:
    """The networks of a run.

    Attributes
    ----------
    folder : Path
    settings : FinetuneSettings
    folds : tuple of Labels, of each fold's network
    revisions : dict of ``audio`` and ``text`` to the hash of the weights that were trained with
    residuals, model_of : np.ndarray [shape=(k,)], absolute out-of-fold errors, and the fold that made each
    """

    folder: Path
    settings: FinetuneSettings
    folds: tuple[Labels, ...]
    revisions: dict[str, str]
    residuals: np.ndarray
    model_of: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> "FineTuned":
        """Read what the training wrote; networks themselves are read when they are needed.

        Raises
        ------
        RunError
            It is missing or damaged.
        """
        path = folder / LAYOUT
        try:
            record = read_json(path)
            return cls(
                folder,
                FinetuneSettings(**record["settings"]),
                tuple(Labels(**one) for one in record["folds"]),
                {side: record[side]["revision"] for side in ("audio", "text") if record[side]},
                np.array(record["residuals"], float),
                np.array(record["model_of"], int),
            )
        except (FileError, OSError, ValueError, KeyError, TypeError, ParameterError) as error:
            raise RunError(f"{path}: not a readable description of a fine-tuned run ({error}); train again") from None

    def find_encoders(self) -> Encoders:
        """The encoders that it was trained with.

        Raises
        ------
        ParameterError
            One is nowhere.
        RunError
            What stands under its name has other weights.
        """
        found = find_encoders(self.settings)
        for side, revision in self.revisions.items():
            checkpoint: Checkpoint = getattr(found, side)
            if checkpoint.revision != revision:
                raise RunError(
                    f"{checkpoint.model}: the weights in {checkpoint.folder} are not those that this run was trained with; "
                    "bring those, or train again"
                )
        return found

    def score(
        self, examples: Sequence[Example], encoders: Encoders, *, device: Device, batch: int = 8
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predictions of clips, the mean over all folds, with the ends of their intervals.

        Parameters
        ----------
        examples : sequence of Example, at least one
        encoders : as ``find_encoders`` gives them
        device : Device
        batch : int >= 1, clips at once

        Returns
        -------
        value, low, high : np.ndarray [shape=(n,)]
        """
        collator = Collator(waveforms=self.settings.audio_encoder == "lora", pad_token=encoders.pad_token)
        network = build_network(self.settings, self.folds[0], encoders)
        by_fold = []
        for number, labels in enumerate(self.folds):
            load_network(network, self.folder / f"fold{number}", labels)
            by_fold.append(np.clip(predict(network, examples, collator, device=device, batch=batch), labels.low, labels.high))
        least, most = min(of.low for of in self.folds), max(of.high for of in self.folds)
        found = np.array(by_fold)
        low, high = intervals.cv_plus(found, self.residuals, self.model_of, level=self.settings.level)
        return found.mean(axis=0), np.clip(low, least, most), np.clip(high, least, most)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a fine-tuned run says of clips.

    Attributes
    ----------
    rows : list of Row that could be heard
    value, low, high : np.ndarray [shape=(n,)]
    texts : list of str, what was read of each
    failures : dict of Path to the reason why a clip could not be heard
    """

    rows: list[Row]
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    texts: list[str]
    failures: dict[Path, str]


def score_rows(
    folder: Path,
    rows: Sequence[Row],
    extraction: Extraction,
    extract: ExtractSettings,
    workspace: Workspace,
    *,
    notify: Notify = ignore,
) -> Scored:
    """Score clips with the networks of a run.

    Parameters
    ----------
    folder : of the run's models
    rows : sequence of Row, whose clips were extracted
    extraction : Extraction
    extract : ExtractSettings of the run
    workspace : Workspace
    notify : told of what is heard

    Raises
    ------
    RunError
        The networks are missing or damaged, or an encoder has other weights.
    ParameterError
        An encoder is not on this machine and cannot be fetched.
    """
    fitted = FineTuned.load(folder)
    settings, encoders = fitted.settings, fitted.find_encoders()
    device = choose(settings.device if settings.device != "cuda" else "auto")
    heard = FrameStore({}, {}, 0)
    if encoders.audio is not None:
        heard = encode_clips(
            [row.path for row in rows],
            encoders.audio,
            workspace,
            Production(device, extract.max_seconds, treatment=extract.treatment),
            layer=settings.layer,
            encode=settings.audio_encoder == "frozen",
            notify=notify,
        )
    whole = [row for row in rows if row.path not in heard.failures]
    texts = read_texts(whole, settings, extract, extraction, workspace)
    files = [heard.files.get(row.path) for row in whole]
    examples = make_examples(texts, [row.label for row in whole], files, encoders.text, encoders.tokenizer)
    none = np.zeros(0)
    value, low, high = fitted.score(examples, encoders, device=device) if whole else (none, none, none)
    return Scored(whole, value, low, high, texts, heard.failures)


def _adapted(network: AudioTextRegressor) -> dict[str, Any]:
    """The encoders with adapters, by the name of the folder for them."""
    found: dict[str, Any] = {}
    if isinstance(network.audio_encoder, AudioEncoder):
        found["audio_adapter"] = network.audio_encoder.encoder
    if network.text_encoder is not None:
        found["text_adapter"] = network.text_encoder
    return found


def _write(path: Path, state: dict[str, torch.Tensor]) -> None:
    write_whole(path, lambda file: file.write(as_safetensors(state, metadata={"format": "pt"})))


def _size(checkpoint: Checkpoint) -> int:
    """Parameters of an audio encoder; its weights are not read for that."""
    from transformers import AutoConfig, AutoModel

    with loading(checkpoint), torch.device("meta"):
        model: nn.Module = AutoModel.from_config(AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True))
    encoder: Any = model
    if checkpoint.architecture == WHISPER:
        encoder = encoder.get_encoder()
    return sum(one.numel() for one in encoder.parameters())
