"""Frames of windows that an encoder has read, for models that read the same windows: one pass for all of them.

An encoder of Whisper is a feature set of its own, and the first half of a recogniser that reads a text along. Waveforms are mono
float32.
"""

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np

from core.runtime.weights import Checkpoint

_KEPT_BYTES = 2**27  # more than the clips of a batch take


class EncodedWindows:
    """The frames of the windows that were read last, 128 MiB at most; a window that is gone is encoded again."""

    def __init__(self) -> None:
        self._frames: OrderedDict[bytes, Any] = OrderedDict()
        self._bytes = 0

    def put(self, checkpoint: Checkpoint, y: np.ndarray, frames: Any, *, samples: int) -> None:
        """Keep the frames of a window.

        Parameters
        ----------
        checkpoint : Checkpoint
        y : np.ndarray [shape=(n,)]
        frames : torch.Tensor [shape=(t, width)], of the last layer
        samples : int >= n, that were read, silence included
        """
        key = _key(checkpoint, y, samples)
        if (before := self._frames.pop(key, None)) is not None:
            self._bytes -= before.nbytes
        self._frames[key] = frames.clone()  # a part of a tensor would hold all of it
        self._bytes += frames.nbytes
        while self._bytes > _KEPT_BYTES:
            _, oldest = self._frames.popitem(last=False)
            self._bytes -= oldest.nbytes

    def get(self, checkpoint: Checkpoint, y: np.ndarray, *, samples: int) -> Any:
        """The frames of a window, torch.Tensor [shape=(t, width)], or None. Parameters as ``put``."""
        return self._frames.get(_key(checkpoint, y, samples))


def _key(checkpoint: Checkpoint, y: np.ndarray, samples: int) -> bytes:
    return hashlib.blake2b(y.tobytes() + f"{samples} {checkpoint.folder}".encode(), digest_size=16).digest()
