"""What several sections share: stretches of real recordings, and sides that are timed in turn. Times are in seconds."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
TURNS = 3


def sounds(source: Path, seconds: int) -> Iterator[np.ndarray]:
    """Endless stretches of the recordings, one behind the other; after a round all start somewhere else."""
    clips = [soundfile.read(path)[0] for path in sorted((source / "audios").glob("*/*"))[:200]]
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(clips))
        y = np.concatenate([clips[index] for index in order])
        n = seconds * RATE_HZ
        for start in range(0, len(y) - n + 1, n):
            yield y[start : start + n]


def in_turn(sides: dict[str, tuple[Callable[[], object], int]]) -> dict[str, float]:
    """Median seconds a clip of each side; they take turns, and the first turn does not count."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(TURNS + 1):
        for name, (function, clips) in sides.items():
            began = time.perf_counter()
            function()
            if turn:
                took[name].append((time.perf_counter() - began) / clips)
    return {name: float(np.median(seconds)) for name, seconds in took.items()}
