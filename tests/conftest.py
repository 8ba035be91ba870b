"""Signals whose answer can be said aloud, small data sets made of them, and the real ones."""

import csv
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell; what tests start is to hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
PIANO = ROOT / "examples" / "piano-touch"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def piano() -> Path:
    """The bundled data set."""
    return PIANO


def shared_set(name: str) -> Path:
    """A larger data set, where the tests were told of it."""
    folder = os.environ.get("EARMARK_TEST_DATA")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"EARMARK_TEST_DATA does not name a folder with {name}/")
    return Path(folder) / name


@pytest.fixture
def speech() -> Path:
    return shared_set("speech-fluency")


def tone(frequency_hz: float, *, seconds: float = 1.0, sr: int = 22050, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * sr)) / sr)


def write_clip(path: Path, samples: np.ndarray, *, sr: int = 22050, subtype: str | None = None, format: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        soundfile.write(file, samples, sr, subtype=subtype, format=format or path.suffix[1:].upper())
    return path


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_dataset(root: Path, n: int = 12, *, test: int = 3, seconds: float = 0.5) -> Path:
    """A data set whose label is the loudness of a noisy tone: learnable, small and quick."""
    rng = np.random.default_rng(1)
    for split, count in (("train", n), ("test", test)):
        rows = []
        if count == 0:
            continue
        for index in range(count):
            label = 1 + index % 6
            samples = 0.12 * label * tone(220 + 10 * index, seconds=seconds) + 0.001 * rng.normal(size=round(seconds * 22050))
            write_clip(root / "audios" / split / f"{split}{chr(97 + index % 26)}{index // 26}x.wav", samples)
            row = [f"{split}{chr(97 + index % 26)}{index // 26}x", label, f"speaker{index % 4}"]
            rows.append(row if split == "train" else [row[0], row[2]])
        header = ["filename", "label", "speaker"] if split == "train" else ["filename", "speaker"]
        write_table(root / "csvs" / f"{split}.csv", header, rows)
    return root


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """``write_dataset`` in the folder of the test."""

    def make(n: int = 12, *, name: str = "loudness", **options: Any) -> Path:
        return write_dataset(tmp_path / name, n, **options)

    return make
