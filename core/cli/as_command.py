"""A job's request as the ``earmark`` line that does the same, to be copied into a shell or a script."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.cli.arguments import text_of
from core.data.layouts.layout import Layout
from core.ensemble.auto import AutoSettings
from core.ensemble.config import EnsembleSettings
from core.extraction.config import ExtractSettings
from core.multimodal.config import FinetuneSettings
from core.section import Section


def check_command(dataset: str | Path, layout: Layout, extract: ExtractSettings | None = None, *, command: str = "check") -> str:
    """``earmark check DATASET ...``, or another command on a data set; ``extract`` where it is not analysed as usual."""
    return _line([command, str(dataset)], [layout] if extract is None else [layout, extract])


def extract_command(dataset: str | Path, layout: Layout, extract: ExtractSettings, workspace: Path) -> str:
    """``earmark extract DATASET ...``."""
    return _line(["extract", str(dataset)], [layout, extract], workspace)


def train_command(
    dataset: str | Path,
    layout: Layout,
    extract: ExtractSettings,
    ensemble: EnsembleSettings,
    workspace: Path,
    *,
    labels: Sequence[str] = (),
) -> str:
    """``earmark train DATASET ...``; on several labels where they are given.

    Examples
    --------
    >>> layout = Layout(label_column="a", other_labels=("b", "c"))
    >>> train_command("clips", layout, ExtractSettings(), EnsembleSettings(), Path("w"), labels=("a", "b"))
    'earmark train clips --label-column a,b --other-labels c --workspace w'
    """
    if labels:
        others = tuple(name for name in layout.other_labels if name not in labels)
        layout = layout.replace(label_column=",".join(labels), other_labels=others)
    return _line(["train", str(dataset)], [layout, extract, ensemble], workspace)


def auto_command(dataset: str | Path, layout: Layout, extract: ExtractSettings, auto: AutoSettings, workspace: Path) -> str:
    """``earmark auto DATASET ...``."""
    of_clips = extract.replace(features=ExtractSettings().features, rehash=False, workers=None)
    return _line(["auto", str(dataset)], [layout, of_clips, auto], workspace)


def finetune_command(
    dataset: str | Path, layout: Layout, extract: ExtractSettings, finetune: FinetuneSettings, workspace: Path
) -> str:
    """``earmark finetune DATASET ...``.

    Examples
    --------
    >>> settings = FinetuneSettings(text="column=said", audio_encoder="lora", rank=4)
    >>> finetune_command("clips", Layout(audio="wav"), ExtractSettings(max_seconds=10), settings, Path("w"))
    'earmark finetune clips --audio wav --max-seconds 10 --text column=said --audio-encoder lora --rank 4 --workspace w'
    """
    return _line(["finetune", str(dataset)], [layout, extract, finetune], workspace)


def predict_command(
    run: str,
    clips: Sequence[str | Path],
    workspace: Path,
    *,
    tta: int | None = None,
    table: str | Path | None = None,
    layout: Layout | None = None,
    columns: Mapping[str, str] | None = None,
) -> str:
    """``earmark predict RUN CLIP...``, or with ``--table PATH``."""
    more = [] if table is None else ["--table", str(table)]
    more += [word for name, value in (columns or {}).items() if value for word in ("--column", f"{name}={value}")]
    more += [] if tta is None else ["--tta", str(tta)]
    return _line(["predict", run, *map(str, clips), *more], [] if layout is None else [layout], workspace)


def explain_command(run: str, clips: Sequence[str], workspace: Path) -> str:
    """``earmark explain RUN CLIP...``."""
    return _line(["explain", run, *clips], [], workspace)


def curve_command(run: str, workspace: Path) -> str:
    """``earmark curve RUN``."""
    return _line(["curve", run], [], workspace)


def layers_command(dataset: str | Path, layout: Layout, encoder: str, groups: str | None, workspace: Path) -> str:
    """``earmark layers DATASET --encoder SET ...``."""
    more = [] if groups is None else ["--group-by", groups]
    return _line(["layers", str(dataset), "--encoder", encoder, *more], [layout], workspace)


def _line(words: list[str], sections: Sequence[Section], workspace: Path | None = None) -> str:
    flags: dict[str, list[str]] = {}
    for section in sections:
        for name, value in section.changed().items():
            flag = section.describe()[name].flag
            first = flag.names[0]
            if flag.repeated:
                flags[first] = [word for item in value for word in (first, item)]
            elif value is True:
                flags[first] = [first]
            else:
                flags[first] = [first, ",".join(value) if isinstance(value, tuple) else text_of(value)]
    if workspace is not None:
        flags["--workspace"] = ["--workspace", str(workspace)]
    return shlex.join(["earmark", *words, *(word for flag in flags.values() for word in flag)])
