"""A job's request as the ``earmark`` line that does the same, to be copied into a shell or a script."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.data.dataset import Layout
from core.ensemble import EnsembleSettings
from core.extraction.config import ExtractSettings
from core.multimodal.config import FinetuneSettings
from core.settings import changed

# Setting to flag, where a flag of its own exists; sections share --workers and --device.
FLAGS = {
    "filename_column": "--filename-column",
    "label_column": "--label-column",
    "audio": "--audio",
    "features": "--features",
    "max_seconds": "--max-seconds",
    "rehash": "--rehash",
    "members": "--member",
    "preset": "--preset",
    "folds": "--folds",
    "repeats": "--repeats",
    "stratified": "--stratified",
    "groups": "--groups",
    "scaling": "--scaling",
    "blend": "--blend",
    "round_labels": "--round-labels",
    "augment": "--augment",
    "tta": "--tta",
    "pseudo_labels": "--pseudo-labels",
    "self_test": "--self-test",
    "level": "--level",
    "trials": "--trials",
    "minutes": "--minutes",
    "seed": "--seed",
    "workers": "--workers",
    "device": "--device",
    "batch": "--batch",
    "audio_model": "--audio-model",
    "text_model": "--text-model",
    "text": "--text",
    "layer": "--layer",
    "fusion": "--fusion",
    "epochs": "--epochs",
    "patience": "--patience",
    "accumulation": "--accumulation",
    "learning_rate": "--learning-rate",
    "head_learning_rate": "--head-learning-rate",
    "warmup": "--warmup",
    "weight_decay": "--weight-decay",
    "clip_norm": "--clip-norm",
    "rank": "--rank",
    "alpha": "--alpha",
    "dropout": "--dropout",
    "loss": "--loss",
    "concordance": "--concordance",
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


def finetune_command(
    dataset: str | Path, layout: Layout, extract: ExtractSettings, finetune: FinetuneSettings, workspace: Path
) -> str:
    """``earmark finetune DATASET ...``; ``--audio`` says there how the sound is read, the folder of the clips is ``--audio-dir``.

    Examples
    --------
    >>> settings = FinetuneSettings(text="column=said", audio="lora", rank=4)
    >>> finetune_command("clips", Layout(audio="wav"), ExtractSettings(max_seconds=10), settings, Path("w"))
    'earmark finetune clips --audio-dir wav --max-seconds 10 --text column=said --audio lora --rank 4 --workspace w'
    """
    folder = [] if layout.audio is None else ["--audio-dir", layout.audio]
    return _line(["finetune", str(dataset), *folder], [replace(layout, audio=None), extract, finetune], workspace)


def predict_command(
    run: str,
    clips: Sequence[str | Path],
    workspace: Path,
    *,
    tta: int | None = None,
    table: str | Path | None = None,
    layout: Layout | None = None,
) -> str:
    """``earmark predict RUN CLIP...``, or with ``--table PATH``."""
    more = [] if table is None else ["--table", str(table)]
    more += [] if tta is None else ["--tta", str(tta)]
    return _line(["predict", run, *map(str, clips), *more], [] if layout is None else [layout], workspace)


def explain_command(run: str, clips: Sequence[str], workspace: Path) -> str:
    """``earmark explain RUN CLIP...``."""
    return _line(["explain", run, *clips], [], workspace)


def layers_command(dataset: str | Path, layout: Layout, encoder: str, groups: str | None, workspace: Path) -> str:
    """``earmark layers DATASET --encoder SET ...``."""
    more = [] if groups is None else ["--groups", groups]
    return _line(["layers", str(dataset), "--encoder", encoder, *more], [layout], workspace)


def _line(words: list[str], settings: list[Any], workspace: Path | None = None) -> str:
    flags: dict[str, list[str]] = {}
    for section in settings:
        for name, value in changed(section).items():
            flag = FLAGS[name]
            if name == "members":
                flags[flag] = [word for member in value for word in (flag, member)]
            elif value is True:
                flags[flag] = [flag]
            else:
                flags[flag] = [flag, ",".join(value) if isinstance(value, tuple) else str(value)]
    if workspace is not None:
        flags["--workspace"] = ["--workspace", str(workspace)]
    return shlex.join(["earmark", *words, *(word for flag in flags.values() for word in flag)])
