"""Clips with their text in, batches of tensors out; every padded place has a mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.multimodal.frames import read_frames
from core.runtime.weights import Checkpoint, loading

MOST_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Example:
    """A clip as the network reads it.

    Attributes
    ----------
    heard : Path of its frames or its waveform, or None where nothing is heard
    tokens : tuple of int, of its text, with those that stand around every text; empty where nothing is read
    has_text : bool, the text is not empty
    label : float, NaN where it is not known
    """

    heard: Path | None
    tokens: tuple[int, ...]
    has_text: bool
    label: float


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The tokenizer of a text encoder.

    Raises
    ------
    ParameterError
        It cannot be read.
    """
    from transformers import AutoTokenizer

    with loading(checkpoint):
        return AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)


def tokenize(texts: Sequence[str], tokenizer: Any, checkpoint: Checkpoint) -> list[tuple[int, ...]]:
    """Token numbers of texts; the end of a text that is longer than the encoder reads is left out."""
    most = checkpoint.config.get("max_position_embeddings", MOST_TOKENS)
    offset = 2 if checkpoint.architecture == "roberta" else 0  # its positions begin at 2
    longest, nothing = min(MOST_TOKENS, int(most) - offset), (int(tokenizer.pad_token_id or 0),)
    return [tuple(tokenizer(text, truncation=True, max_length=longest)["input_ids"]) or nothing for text in texts]


def make_examples(
    texts: Sequence[str], labels: Sequence[float], heard: Sequence[Path | None], checkpoint: Checkpoint | None, tokenizer: Any
) -> list[Example]:
    """Clips as a network reads them.

    Parameters
    ----------
    texts : of each clip
    labels : of each clip, NaN where it is not known
    heard : file of each clip, or None
    checkpoint : Checkpoint of the text encoder; None where nothing is read
    tokenizer : its tokenizer
    """
    tokens: Sequence[tuple[int, ...]] = [()] * len(texts) if checkpoint is None else tokenize(texts, tokenizer, checkpoint)
    return [
        Example(path, of, bool(text.strip()), float(label))
        for path, of, text, label in zip(heard, tokens, texts, labels, strict=True)
    ]


class Collator:
    """Examples as one batch of tensors, under the names of the network's arguments.

    Parameters
    ----------
    waveforms : bool, what is heard are waveforms, which are not padded; else frames
    pad_token : int, number of the token that fills up
    """

    def __init__(self, *, waveforms: bool, pad_token: int = 0):
        self.waveforms = waveforms
        self.pad_token = pad_token

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Tensors of a batch; ``labels`` only where all are known."""
        import torch

        batch: dict[str, Any] = {}
        if all(example.heard is not None for example in examples):
            heard = [np.array(read_frames(example.heard)) for example in examples if example.heard is not None]
            if self.waveforms:
                batch["waveforms"] = [torch.from_numpy(y) for y in heard]
            else:
                batch["frames"], batch["frame_mask"] = _padded(heard, heard[0].dtype)
        if all(example.tokens for example in examples):
            tokens = [np.array(example.tokens, np.int64) for example in examples]
            batch["input_ids"], mask = _padded(tokens, np.dtype(np.int64), fill=self.pad_token)
            batch["attention_mask"] = mask.long()
            batch["has_text"] = torch.tensor([example.has_text for example in examples])
        labels = np.array([example.label for example in examples], np.float64)
        if np.isfinite(labels).all():
            batch["labels"] = torch.from_numpy(labels)
        return batch


def _padded(arrays: Sequence[np.ndarray], dtype: np.dtype[Any], fill: float = 0) -> tuple[Any, Any]:
    """Arrays [shape=(t, ...)] as one tensor [shape=(b, longest, ...)], and where it holds them [shape=(b, longest)]."""
    import torch

    longest = max(map(len, arrays))
    padded = np.full((len(arrays), longest, *arrays[0].shape[1:]), fill, dtype)
    mask = np.zeros((len(arrays), longest), bool)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
        mask[row, : len(array)] = True
    return torch.from_numpy(padded), torch.from_numpy(mask)
