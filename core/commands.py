"""A job's request as the ``earmark`` line that does the same, to be copied into a shell or a script."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.dataset import Layout
from core.ensemble import EnsembleSettings
from core.extract import ExtractSettings
from core.settings import changed

# Setting to flag, where a flag of its own exists; the two sections share --workers.
FLAGS = {
    "filename_column": "--filename-column",
    "label_column": "--label-column",
    "audio": "--audio",
    "features": "--features",
    "max_seconds": "--max-seconds",
    "rehash": "--rehash",
    "models": "--models",
    "preset": "--preset",
    "folds": "--folds",
    "groups": "--groups",
    "seed": "--seed",
    "workers": "--workers",
}


def check_command(dataset: str | Path, layout: Layout) -> str:
    """``earmark check DATASET ...``."""
    return _line(["check", str(dataset)], [layout])


def extract_command(dataset: str | Path, layout: Layout, extract: ExtractSettings, workspace: Path) -> str:
    """``earmark extract DATASET ...``."""
    return _line(["extract", str(dataset)], [layout, extract], workspace)


def train_command(
    dataset: str | Path, layout: Layout, extract: ExtractSettings, ensemble: EnsembleSettings, workspace: Path
) -> str:
    """``earmark train DATASET ...``."""
    return _line(["train", str(dataset)], [layout, extract, ensemble], workspace)


def predict_command(run: str, clips: Sequence[str | Path], workspace: Path) -> str:
    """``earmark predict RUN CLIP...``."""
    return _line(["predict", run, *map(str, clips)], [], workspace)


def _line(words: list[str], settings: list[Any], workspace: Path | None = None) -> str:
    flags: dict[str, str] = {}
    for section in settings:
        for name, value in changed(section).items():
            flags[FLAGS[name]] = ",".join(value) if isinstance(value, tuple) else "" if value is True else str(value)
    if workspace is not None:
        flags["--workspace"] = str(workspace)
    return shlex.join(["earmark", *words, *(word for flag in flags.items() for word in flag if word)])
