"""Earmark's own layout: ``csvs/train.csv``, ``csvs/test.csv``, and the clips in ``audios/train`` and ``audios/test``."""

from pathlib import Path

from core.data.layouts.source import Source
from core.data.layouts.tables import read_called

NAME = "csvs/ and audios/"


def read(root: Path) -> Source | None:
    """As ``Reader.read``."""
    train = read_called(root / "csvs", "train")
    if train is None:
        return None
    test, sample = (read_called(root / "csvs", name) for name in ("test", "sample_submission"))
    return Source(NAME, train, root / "audios" / "train", root / "audios" / "test", test or sample, sample)
