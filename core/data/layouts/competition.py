"""A competition's folder: ``train.csv``, ``test.csv``, ``sample_submission.csv``, and the clips in one of the usual folders."""

from pathlib import Path

from core.data.layouts.source import Source, clip_folders
from core.data.layouts.tables import read_called

NAME = "competition folder"


def read(root: Path) -> Source | None:
    """As ``Reader.read``. Without a test table the sample submission names the test clips."""
    train, test, sample = (read_called(root, name) for name in ("train", "test", "sample_submission"))
    test = test or sample
    if train is None or test is None:
        return None
    return Source(NAME, train, *clip_folders(root, train, test), test, sample)
