"""Clips, each with the text that it should say, in; a vector for each out. Waveforms are mono float32 at 16 kHz.

What models of a clip and a text share: the pair, and for Whisper the windows. It reads 30 s: a longer clip has no values (NaN).
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from core.encoders import whisper
from core.encoders.shared_pass import EncodedWindows
from core.encoders.source import SAMPLE_RATE_HZ
from core.encoders.transcripts import SpokenModel
from core.runtime.weights import Checkpoint

_MOST_SAMPLES = round(whisper.WINDOW_S * SAMPLE_RATE_HZ)


class Spoken(NamedTuple):
    """A waveform [shape=(n,)] and the text that it should say."""

    y: np.ndarray
    text: str


class SpokenReader(SpokenModel):
    """A loaded Whisper that compares clips with texts; a kind says how, in ``_vectors``.

    Parameters
    ----------
    to_clip : bool, windows are cut to the clip instead of padded to 30 s
    encoded : EncodedWindows or None, in which frames may be that an encoder has read
    others : as ``SpokenModel``

    Attributes
    ----------
    width : int, values of a vector
    silence_s : float, silence behind a clip in a window that is cut to it, at least
    """

    width: int
    silence_s = whisper.SILENCE_S

    def __init__(self, checkpoint: Checkpoint, *, to_clip: bool, encoded: EncodedWindows | None = None, **others: Any):
        super().__init__(checkpoint, **others)
        self._checkpoint, self._to_clip, self._encoded = checkpoint, to_clip, encoded

    def seconds(self, item: Spoken) -> float:  # type: ignore[override]
        """Length of an item."""
        return len(item.y) / SAMPLE_RATE_HZ

    def __call__(self, items: Sequence[Spoken]) -> list[np.ndarray]:
        """Vectors of clips.

        Parameters
        ----------
        items : sequence of Spoken, each with a text that is not blank

        Returns
        -------
        vectors : list of np.ndarray [shape=(width,)], float32; NaN for a clip of over 30 s and for a text that is too long
        """
        vectors = [np.full(self.width, np.nan, np.float32) for _ in items]
        alike: dict[int, list[int]] = defaultdict(list)
        for index, item in enumerate(items):
            if len(item.y) <= _MOST_SAMPLES:
                samples = whisper.read_samples(len(item.y), silence_s=self.silence_s) if self._to_clip else _MOST_SAMPLES
                alike[samples].append(index)
        for samples, places in alike.items():
            read = self.in_batches(partial(self._vectors, samples=samples), [items[place] for place in places])
            for place, vector in zip(places, read, strict=True):
                if vector is not None:
                    vectors[place] = vector
        return vectors

    @abstractmethod
    def _vectors(self, items: Sequence[Spoken], *, samples: int) -> list[np.ndarray | None]:
        """Of clips that are read at one length; None of a text that is too long."""

    def _encode(self, items: Sequence[Spoken], *, samples: int) -> tuple[Any, list[str]]:
        """What the encoder says of clips, as the model takes it, and the language of each; none of a model of one language."""
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        with torch.inference_mode():
            encoded = BaseModelOutput(last_hidden_state=torch.stack(self._frames([item.y for item in items], samples=samples)))
            return encoded, self._languages_of(len(items), encoder_outputs=encoded)

    def _frames(self, sounds: Sequence[np.ndarray], *, samples: int) -> list[Any]:
        """Of each clip its frames, torch.Tensor [shape=(t, width)]: those that an encoder has read, else read here."""
        encoder = self._model.model.encoder
        frames = [None if self._encoded is None else self._encoded.get(self._checkpoint, y, samples=samples) for y in sounds]
        if new := [at for at, known in enumerate(frames) if known is None]:
            mels = whisper.spectrograms(self._features, [sounds[at] for at in new], samples=samples).to(self.device, self._dtype)
            with whisper.shortened(encoder, samples):
                for at, read in zip(new, encoder(mels).last_hidden_state, strict=True):
                    frames[at] = read
        return frames
