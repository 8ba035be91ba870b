"""Waveforms in, what the encoder of Whisper reads of them out: log-mel spectrograms. Waveforms are mono float32 at 16 kHz.

Whisper was trained on windows of 30 s, padded with silence. Its convolutions and layers take any length; only the positions that
are added to the frames are as many as 30 s has. A shorter window takes the first of them, and costs as much less. Half a second of
silence at least stays behind a clip, which tells the encoder that the speech is over.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from core.encoders.source import SAMPLE_RATE_HZ
from core.runtime.weights import PREPROCESSOR, Checkpoint

WINDOW_S = 30.0
FRAME_SAMPLES = 320  # of a frame of the encoder: two steps of a spectrogram
SILENCE_S = 0.5  # behind a clip, at least
STEP_S = 0.5  # lengths are rounded up to whole steps, so that clips of nearly one length share a batch


def read_samples(samples: int, *, silence_s: float = SILENCE_S) -> int:
    """Samples that are read of a window with so many: silence behind it included, 30 s at most.

    Examples
    --------
    >>> [read_samples(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ for seconds in (3.0, 3.2, 29.8, 30.0)]
    [3.5, 4.0, 30.0, 30.0]
    """
    step = STEP_S * SAMPLE_RATE_HZ
    return round(min(WINDOW_S * SAMPLE_RATE_HZ, math.ceil((samples + silence_s * SAMPLE_RATE_HZ) / step) * step))


def definition(*, to_clip: bool, silence_s: float = SILENCE_S) -> dict[str, Any]:
    """What numbers depend on of the windows that are read."""
    return {"window_s": WINDOW_S} | ({"cut": {"silence_s": silence_s, "step_s": STEP_S}} if to_clip else {})


def load_features(checkpoint: Checkpoint) -> Any:
    """The ``WhisperFeatureExtractor`` of a checkpoint, which makes its spectrograms."""
    from transformers import WhisperFeatureExtractor

    if not (checkpoint.folder / PREPROCESSOR).is_file():
        return WhisperFeatureExtractor(feature_size=checkpoint.config["num_mel_bins"])
    return WhisperFeatureExtractor.from_pretrained(checkpoint.folder, local_files_only=True)


def spectrograms(features: Any, sounds: Sequence[np.ndarray], *, samples: int) -> Any:
    """Spectrograms of windows that are padded to a length.

    Parameters
    ----------
    features : as ``load_features`` gives it
    sounds : sequence of np.ndarray [shape=(n,)], n <= samples
    samples : int, a multiple of 320

    Returns
    -------
    spectrograms : torch.Tensor [shape=(len(sounds), mels, samples / 160)]
    """
    return features(sounds, sampling_rate=SAMPLE_RATE_HZ, max_length=samples, return_tensors="pt")["input_features"]


@contextmanager
def shortened(encoder: Any, samples: int) -> Iterator[None]:
    """While an encoder of Whisper reads windows of so many samples: it has the first of its positions alone."""
    import torch

    frames, positions, most = samples // FRAME_SAMPLES, encoder.embed_positions, encoder.config.max_source_positions
    if frames == most:
        yield
        return
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(positions.weight[:frames])
    encoder.config.max_source_positions = frames
    try:
        yield
    finally:
        encoder.embed_positions, encoder.config.max_source_positions = positions, most
