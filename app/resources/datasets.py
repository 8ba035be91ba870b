"""Data sets and their clips as pages see them: tables, checked clips, decoded audio, texts, uploads. Times in seconds."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from app.resources.caching import cached, version
from app.resources.queue import result
from app.uploads import Upload, keep
from core.data.audio import Clip, mean_seconds as mean_seconds_of, read_clip
from core.data.dataset import Dataset, named_as_copies, read_batch, read_dataset
from core.data.duplicates import COPY_NAME, Twins
from core.data.layouts.layout import Layout
from core.data.layouts.recognise import recognise, tables_and_folders
from core.data.playback import playable as playable_of
from core.data.report import kind_of
from core.data.rows import Problem, Row
from core.data.treatment import AS_RECORDED, Treatment
from core.errors import JobError
from core.extraction.config import ExtractSettings
from core.extraction.extract import find_cached
from core.extraction.texts import texts_of
from core.features import Trace, trace as follow
from core.jobs import RESULT, Job
from core.multimodal.config import FinetuneSettings
from core.multimodal.texts import features_for, preview_texts
from core.runtime.weights import is_here, list_models
from core.scoring.agreement import Agreement, agreement as agreement_of
from core.tasks.ladder import audio_models, plan_steps, unused as unused_sets
from core.workspace import Workspace

Key = tuple[str, str]  # a clip by its table, "train" or "test", and its name there


def _tables(path: str, layout: Layout) -> tuple[tuple[int, int], ...]:
    """Versions of the tables of a data set and of its folders of clips."""
    named = Path(path)
    root = named if named.is_dir() else named.parent
    more = [root / one for one in (layout.audio, layout.train, layout.test) if one is not None]
    return version(named, root, *tables_and_folders(root), *more)


@cached(lambda path, layout: (path, layout, _tables(path, layout)), most=4, spinner="Reading the tables ...")
def dataset(path: str, layout: Layout) -> Dataset:
    """A data set; read again when a table or a folder of clips has changed.

    Raises
    ------
    DataError
        As ``read_dataset``.
    """
    return read_dataset(path, layout)


@cached(lambda path, layout: (path, layout, _tables(path, layout)), most=4)
def columns(path: str, layout: Layout) -> tuple[str, ...]:
    """The columns of the training table of a data set, also where it cannot be told what they are for.

    Raises
    ------
    DataError
        As ``recognise``.
    """
    return recognise(Path(path), layout).train.columns


@cached(lambda path, layout, clips=None: (path, layout, clips, _tables(path, layout)), most=4, spinner="Looking for the clips ...")
def batch(path: str, layout: Layout, clips: tuple[str, ...] | None = None) -> tuple[list[Row], list[Problem]]:
    """Clips to be scored that a table or a folder names; read again when it has changed.

    Raises
    ------
    DataError
        As ``read_batch``.
    """
    return read_batch(path, layout, clips=clips)


@cached(lambda path, treatment=AS_RECORDED: (path, version(path), treatment), most=16)
def clip(path: Path, treatment: Treatment = AS_RECORDED) -> Clip:
    """The start of a clip, decoded as it is analysed.

    Raises
    ------
    AudioError
        As ``read_clip``.
    """
    return read_clip(path, treatment=treatment)


@cached(lambda path, treatment=AS_RECORDED: (path, version(path), treatment), most=16)
def playable(path: Path, treatment: Treatment = AS_RECORDED) -> tuple[Path | bytes, str]:
    """What the browser is given to play a clip, and its MIME type.

    Raises
    ------
    AudioError
        As ``core.data.playback.playable``.
    """
    return playable_of(path, treatment)


@cached(lambda path, treatment=AS_RECORDED: (path, version(path), treatment), most=64)
def trace(path: Path, treatment: Treatment = AS_RECORDED) -> Trace:
    """Pauses and pitch along a clip, as it is analysed.

    Raises
    ------
    AudioError, JobError
        As ``clip`` and ``core.features.trace``.
    """
    return follow(clip(path, treatment))


def can_trace() -> bool:
    """Whether pauses and pitch come at once: the code that follows them takes seconds to load the first time."""
    return "core.features.pitch" in sys.modules


@dataclass(frozen=True, slots=True)
class CheckedDataset:
    """What the check of a data set found in its clips, beside its tables.

    Attributes
    ----------
    dataset : Dataset
    seen : dict, the result of the job
    rows : dict of Key to Row, clips that can be used
    table : pd.DataFrame, a row for each of them in the same order
    problems : pd.DataFrame with ``file``, ``table``, ``kind``, ``level``, ``reason``
    twins : tuple of Twins, clips with the same sound, and names that look like copies
    """

    dataset: Dataset
    seen: dict[str, Any]
    rows: dict[Key, Row]
    table: pd.DataFrame
    problems: pd.DataFrame
    twins: tuple[Twins, ...]


@cached(
    lambda job, dataset: (job.id, version(job.folder / RESULT), dataset.stamp()),
    most=4,
    spinner="Reading the check of the clips ...",
)
def checked_dataset(job: Job, dataset: Dataset) -> CheckedDataset:
    """The clips of a data set as a finished check found them.

    Raises
    ------
    JobError
        As ``result``.
    """
    seen = result(job)
    try:
        return _looked(seen, dataset)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise JobError(f"{job.folder / RESULT}: the result is damaged ({error}); run the job again") from None


def _looked(seen: dict[str, Any], dataset: Dataset) -> CheckedDataset:
    rows = {("train", row.name): row for row in dataset.train} | {("test", row.name): row for row in dataset.test}
    table = _clip_table(seen, rows)
    keys = list(zip(table["split"], table["file"], strict=True))
    problems = pd.DataFrame(
        [(each["file"], each["split"], kind_of(each["reason"]), each["level"], each["reason"]) for each in seen["problems"]],
        columns=["file", "table", "kind", "level", "reason"],
    )
    split_of = {id(row): split for (split, _), row in rows.items()}  # rows of this data set, which lives as long as the look-up
    copies = [
        Twins(COPY_NAME, split_of.get(id(first), "train"), first.name, split_of.get(id(copy), "train"), copy.name)
        for first, copy in named_as_copies([*dataset.train, *dataset.test])
    ]
    twins = tuple([Twins(**pair) for pair in seen.get("twins", [])] + copies)
    return CheckedDataset(dataset, seen, {key: rows[key] for key in keys}, table, problems, twins)


def _clip_table(seen: dict[str, Any], rows: dict[Key, Row]) -> pd.DataFrame:
    """Clips that were checked and still are in the data set: length, rate and levels, label, problems in one text."""
    names = ["split", "file", "seconds", "sample_rate_hz", "channels", "peak_dbfs", "rms_dbfs"]
    table = pd.DataFrame(seen["table"], columns=names)
    table = table.astype(dict.fromkeys(names[2:], float) | {"split": str, "file": str})
    table = table.loc[[key in rows for key in zip(table["split"], table["file"], strict=True)]].reset_index(drop=True)
    keys = list(zip(table["split"], table["file"], strict=True))
    reasons: dict[Key, list[str]] = {}
    for problem in seen["problems"]:
        for split in [problem["split"]] if problem["split"] else ["train", "test"]:
            reasons.setdefault((split, problem["file"]), []).append(problem["reason"])
    table.insert(2, "label", [rows[key].label for key in keys])
    table["problem"] = ["; ".join(reasons.get(key, [])) for key in keys]
    return table


@cached(lambda dataset: (dataset.stamp(),), most=4)
def agreement(dataset: Dataset) -> Agreement:
    """How far the raters of the training table agree.

    Parameters
    ----------
    dataset : Dataset with several ratings a clip
    """
    ratings = dataset.ratings
    assert ratings is not None
    return agreement_of(ratings)


def _cache_version(cache: Path) -> tuple[tuple[int, int], ...]:
    return version(cache, cache.with_name(f"{cache.name}-wal"))


def _plan_key(dataset: Dataset, settings: ExtractSettings, group_by: str | None, models: tuple[str, ...]) -> tuple[Any, ...]:
    return dataset.stamp(), settings.treatment, settings.max_seconds, group_by, models, tuple(list_models())


@cached(_plan_key, most=4)
def planned_steps(dataset: Dataset, settings: ExtractSettings, group_by: str | None, models: tuple[str, ...]) -> list[str]:
    """What a search for the best experiment tries with the models on this machine, a title a step.

    Parameters
    ----------
    dataset : Dataset
    settings : ExtractSettings, how clips are read
    group_by : str or None, column of the groups
    models : tuple of str, that are named; those to be fetched are left out

    Raises
    ------
    EarmarkError
        A model on this machine is damaged.
    """
    here = [model for model in models if is_here(model)]
    return [step.title for step in plan_steps(dataset, audio_models(here), settings, group_by=group_by)]


@cached(lambda dataset, sets: (dataset.stamp(), sets, tuple(list_models())), most=8)
def unused(dataset: Dataset, sets: tuple[str, ...]) -> str | None:
    """Sets at hand that a training leaves out, in a line; None without any."""
    return unused_sets(dataset, sets)


@cached(
    lambda dataset, settings, cache: (dataset.stamp(), settings, cache, _cache_version(cache)),
    most=16,
    spinner="Checking the cache ...",
)
def without_features(dataset: Dataset, settings: ExtractSettings, cache: Path) -> int:
    """How many clips of a data set have no features of these settings in a cache yet.

    Raises
    ------
    DataError
        The cache is damaged.
    """
    rows = (*dataset.train, *dataset.test)
    paths = list(dict.fromkeys(row.path for row in rows))
    return len(paths) - len(find_cached(paths, settings, cache_path=cache, texts=texts_of(rows, settings.features)))


@cached(lambda dataset, max_seconds, treatment=AS_RECORDED: (dataset.stamp(), max_seconds, treatment), most=8)
def mean_seconds(dataset: Dataset, max_seconds: float, treatment: Treatment = AS_RECORDED) -> float:
    """Mean length of the clips of a data set, as far as they are analysed."""
    paths = [row.path for row in (*dataset.train, *dataset.test)]
    return mean_seconds_of(paths, max_seconds=max_seconds, treatment=treatment)


@cached(
    lambda dataset, settings, extract, workspace: (
        dataset.stamp(), settings.text, features_for(settings, extract), workspace.root, _cache_version(workspace.cache)
    ),
    most=16,
    spinner="Reading texts ...",
)  # fmt: skip
def texts(dataset: Dataset, settings: FinetuneSettings, extract: ExtractSettings, workspace: Workspace) -> list[tuple[str, str]]:
    """Name and text of a few training clips, as a fine-tuning reads them; a clip that is not extracted yet has none.

    Raises
    ------
    DataError
        The cache is damaged.
    """
    return preview_texts(dataset.train, settings, features_for(settings, extract), workspace)


def kept(upload: Upload, folder: Path) -> Path:
    """The path of an upload below a folder; each is written once."""
    known = _known_uploads()
    path = known.get(upload.file_id)
    if path is None or not path.is_file():
        path = known[upload.file_id] = keep(upload, folder)
    return path


@cached(lambda: (), most=1)
def _known_uploads() -> dict[str, Path]:
    return {}
