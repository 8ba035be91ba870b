"""What pages share and keep: the only file with Streamlit's caches. Everything here is read, never changed, by those who get it."""

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st

from app.clip_urls import address, routed
from app.uploads import Upload, keep
from core.data.audio import Clip, header_seconds, read_clip
from core.data.dataset import Dataset, Layout, Problem, Row, named_as_copies, read_batch, read_dataset
from core.data.duplicates import COPY_NAME, NEAR_AUDIO, Twins, near_pairs
from core.data.report import kind_of
from core.errors import DataError, EarmarkError, JobError, RunError
from core.events import BegunAnew, EpochScored, JobQueued, JobStarted, Recorded, RoundsScored, StepDone, read_events
from core.extraction.config import ExtractSettings
from core.extraction.export import as_npz, as_parquet, definitions, read_exported
from core.extraction.extract import Extraction, extract_clips, find_cached
from core.extraction.matrix import Matrix
from core.features import Trace, set_of, trace as follow
from core.insight.explain import EXPLANATION, Explanation, load_explanation
from core.jobs import RESULT, Job, by_request, read_job, result as read_result
from core.multimodal.config import FinetuneSettings
from core.multimodal.texts import features_for, read_texts
from core.runs import ABOUT, ENSEMBLE, OOF, Run, list_runs, unreadable_runs
from core.runs.leaderboard import comparable, load_oof
from core.scoring import associations
from core.scoring.associations import Usual, usual
from core.scoring.compare import Verdict, paired_verdict
from core.settings import build
from core.tasks import forecast
from core.workspace import Workspace

Split = Literal["train", "test"]
Kind = Literal["npz", "parquet"]
_TIMED_RUNS = 8  # whose fits tell how long others will take
_TIMED_JOBS = 5
_SAMPLE = 100  # clips whose length stands for that of all
_PREVIEWED = 5
_LOOKED_AT = 40  # clips among which those are found that a text can be told of
_CURVES = RoundsScored | StepDone | EpochScored  # what is told of folds and fits that are not done again
_OOF_FIGURES = ("label", "oof_prediction", "low", "high")
_RESULTS = {  # what pages read of a job's result
    "check": {"seconds", "problems", "table", "why_not", "stamp"},
    "probe": {"speed"},
    "extract": {"ready", "computed", "unreadable", "set_aside", "files", "stamp"},
    "train": {"run_id", "stamp"},
    "finetune": {"run_id", "stamp"},
    "blend": {"run_id"},
    "predict": {"run_id", "predictions"},
    "explain": {"run_id"},
    "layers": {"scores", "band", "set"},
}


def dataset(path: str, layout: Layout) -> Dataset:
    """A data set; read again when a table or a folder of clips has changed.

    Raises
    ------
    DataError
        As ``read_dataset``.
    """
    root = Path(path)
    watched = [root, root.parent, root / "csvs", *root.glob("csvs/*.csv"), *root.glob("*.csv"), *root.glob("audios/*")]
    if layout.audio is not None:
        watched.append(root / layout.audio)
    return _dataset(path, layout, tuple(_changed_ns(one) for one in watched))


@st.cache_resource(max_entries=4, show_spinner="Reading the tables ...", hash_funcs={Layout: repr})
def _dataset(path: str, layout: Layout, changed_ns: tuple[int, ...]) -> Dataset:
    return read_dataset(path, layout)


def clip(path: Path) -> Clip:
    """The start of a clip, decoded.

    Raises
    ------
    AudioError
        As ``read_clip``.
    """
    return _clip(str(path), _changed_ns(path))


@st.cache_resource(max_entries=16, show_spinner=False)
def _clip(path: str, changed_ns: int) -> Clip:
    return read_clip(path)


def jobs(folder: Path) -> list[Job]:
    """Jobs of a workspace, the one that was asked for last first; what was asked for never changes, so each is read once."""
    known = _jobs(str(folder))
    names = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    for name in set(known) - names:
        known.pop(name, None)
    for name in names - set(known):
        try:
            known[name] = read_job(folder / name)
        except JobError:  # not a job, or not one yet
            continue
    return by_request(known.values())


@st.cache_resource(max_entries=4, show_spinner=False)
def _jobs(folder: str) -> dict[str, Job]:
    return {}


def result(job: Job) -> dict[str, Any]:
    """What came of a job that is done.

    Raises
    ------
    JobError
        The result is missing, damaged, or was written by another version of Earmark.
    """
    found = read_result(job)
    if not isinstance(found, dict) or not _RESULTS[job.kind] <= set(found):
        raise JobError(f"job {job.id}: its result is of another version of Earmark; run the job again")
    return found


def scored(job: Job) -> dict[str, Any]:
    """What came of a scoring that is done; it may be long, so it is read once.

    Raises
    ------
    JobError
        As ``result``.
    """
    return _scored(job.id, str(job.folder), _changed_ns(job.folder / RESULT), job)


@st.cache_resource(max_entries=8, show_spinner="Reading the predictions ...")
def _scored(job_id: str, folder: str, changed_ns: int, _job: Job) -> dict[str, Any]:
    return result(_job)


def batch(path: str, layout: Layout, clips: tuple[str, ...] | None = None) -> tuple[list[Row], list[Problem]]:
    """Clips to be scored that a table or a folder names; read again when it has changed.

    Raises
    ------
    DataError
        As ``read_batch``.
    """
    root = Path(path)
    watched = [root, *root.glob("csvs/*.csv"), *root.glob("*.csv"), *root.glob("audios/*")]
    return _batch(path, layout, clips, tuple(_changed_ns(one) for one in watched))


@st.cache_resource(max_entries=4, show_spinner="Looking for the clips ...", hash_funcs={Layout: repr})
def _batch(
    path: str, layout: Layout, clips: tuple[str, ...] | None, changed_ns: tuple[int, ...]
) -> tuple[list[Row], list[Problem]]:
    return read_batch(path, layout, clips=clips)


Key = tuple[str, str]  # a clip by its table, "train" or "test", and its name there


@dataclass(frozen=True, slots=True)
class Looked:
    """What was heard of a data set, beside what its tables say.

    Attributes
    ----------
    dataset : Dataset
    seen : dict, the result of the job
    rows : dict of Key to Row, clips that can be used
    table : pd.DataFrame, one row for each of them in the same order
    problems : pd.DataFrame with ``file``, ``table``, ``kind``, ``level``, ``reason``
    twins : tuple of Twins, clips with the same sound, and names that look like copies
    """

    dataset: Dataset
    seen: dict[str, Any]
    rows: dict[Key, Row]
    table: pd.DataFrame
    problems: pd.DataFrame
    twins: tuple[Twins, ...]


def looked(job: Job, dataset: Dataset) -> Looked:
    """What a look at the clips of a data set found.

    Raises
    ------
    JobError
        As ``result``.
    """
    return _looked(job.id, _changed_ns(job.folder / RESULT), id(dataset), job, dataset)


@st.cache_resource(max_entries=4, show_spinner="Reading what was heard ...")
def _looked(job_id: str, changed_ns: int, dataset_id: int, _job: Job, _dataset: Dataset) -> Looked:
    seen = result(_job)
    rows = {("train", row.name): row for row in _dataset.train} | {("test", row.name): row for row in _dataset.test}
    names = ["split", "file", "seconds", "sample_rate_hz", "channels", "peak_dbfs", "rms_dbfs"]
    table = pd.DataFrame(seen["table"], columns=names)
    table = table.astype(dict.fromkeys(names[2:], float) | {"split": str, "file": str})
    keys = list(zip(table["split"], table["file"], strict=True))
    there = [key in rows for key in keys]
    table = table.loc[there].reset_index(drop=True)
    keys = [key for key in keys if key in rows]
    reasons: dict[Key, list[str]] = {}
    for one in seen["problems"]:
        for split in [one["split"]] if one["split"] else ["train", "test"]:
            reasons.setdefault((split, one["file"]), []).append(one["reason"])
    table.insert(2, "label", [rows[key].label for key in keys])
    table["problem"] = ["; ".join(reasons.get(key, [])) for key in keys]
    if routed():
        table.insert(0, "play", [address(rows[key].path) for key in keys])
    problems = pd.DataFrame(
        [(one["file"], one["split"], kind_of(one["reason"]), one["level"], one["reason"]) for one in seen["problems"]],
        columns=["file", "table", "kind", "level", "reason"],
    )
    split_of = {id(row): split for (split, _), row in rows.items()}
    copies = [
        Twins(COPY_NAME, split_of.get(id(of), "train"), of.name, split_of.get(id(copy), "train"), copy.name)
        for of, copy in named_as_copies([*_dataset.train, *_dataset.test])
    ]
    twins = tuple([Twins(**one) for one in seen.get("twins", [])] + copies)
    return Looked(_dataset, seen, {key: rows[key] for key in keys}, table, problems, twins)


def trace(path: Path) -> Trace:
    """Pauses and pitch along a clip.

    Raises
    ------
    AudioError, JobError
        As ``clip`` and ``core.features.trace``.
    """
    return _trace(str(path), _changed_ns(path))


def can_trace() -> bool:
    """Whether pauses and pitch come at once: what follows them is loaded, which takes seconds the first time."""
    return "core.features.pitch" in sys.modules


@st.cache_resource(max_entries=64, show_spinner=False)
def _trace(path: str, changed_ns: int) -> Trace:
    return follow(clip(Path(path)))


@dataclass(frozen=True, slots=True)
class Features:
    """What an extraction exported, and what it was made of.

    Attributes
    ----------
    key : str, differs wherever files or labels do
    sets : tuple of str
    train, test : Matrix, or None where the table has no rows
    """

    key: str
    sets: tuple[str, ...]
    train: Matrix | None
    test: Matrix | None

    @property
    def whole(self) -> Matrix:
        """The larger part to look at: train, else test."""
        matrix = self.train or self.test
        assert matrix is not None
        return matrix


def features(files: list[str], sets: list[str], dataset: Dataset, stamp: str) -> Features:
    """The matrices of an extraction, with the labels of a data set.

    Raises
    ------
    DataError
        As ``read_exported``.
    """
    return _features(tuple((file, _changed_ns(Path(file))) for file in files), tuple(sets), stamp, dataset)


@st.cache_resource(max_entries=2, show_spinner="Reading the matrices ...")
def _features(files: tuple[tuple[str, int], ...], sets: tuple[str, ...], stamp: str, _dataset: Dataset) -> Features:
    names = [file for file, _ in files]
    labels = {row.name: row.label for row in _dataset.train}
    train, test = (read_exported(names, sets, split, some) for split, some in (("train", labels), ("test", {})))
    if train is None and test is None:
        raise DataError("the last extraction exported no matrix; extract again")
    return Features(repr((files, sets, stamp)), sets, train, test)


def label_table(features: Features) -> pd.DataFrame:
    """Columns by how closely they go with the label, the closest first; what is undefined stands last.

    Returns
    -------
    table : pd.DataFrame with ``column``, ``spearman``, ``pearson``, ``clips``, ``unit``, ``definition``
    """
    return _label_table(features.key, features)


@st.cache_resource(max_entries=2, show_spinner="Comparing the columns with the label ...")
def _label_table(key: str, _features: Features) -> pd.DataFrame:
    matrix, known = _features.whole, definitions(_features.sets)
    found = associations.with_label(matrix.X, matrix.y)
    frame = pd.DataFrame(
        {
            "column": matrix.names,
            "spearman": found.spearman,
            "pearson": found.pearson,
            "clips": found.rows,
            "unit": [known[name].unit for name in matrix.names],
            "definition": [known[name].definition for name in matrix.names],
        }
    )
    order = np.argsort(-frame["spearman"].abs().fillna(-1).to_numpy(), kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def column_correlations(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of each pair of columns over the clips of both tables, and the clips that have both [shape=(d, d)]."""
    return _column_correlations(features.key, features)


@st.cache_resource(max_entries=2, show_spinner="Comparing the columns with each other ...")
def _column_correlations(key: str, _features: Features) -> tuple[np.ndarray, np.ndarray]:
    return associations.correlations(np.concatenate([one.X for one in (_features.train, _features.test) if one is not None]))


def typical(features: Features) -> Usual:
    """Median and percentiles of each column over the clips to train on, or to test where there are no others."""
    return _typical(features.key, features)


@st.cache_resource(max_entries=2, show_spinner="Comparing the clips ...")
def _typical(key: str, _features: Features) -> Usual:
    return usual(_features.whole.X)


@dataclass(frozen=True, slots=True)
class Map:
    """Clips of both tables on the two directions along which they differ most.

    Attributes
    ----------
    points : pd.DataFrame with ``table``, ``clip``, ``label``, ``x``, ``y``
    shares : share of the variance along x, and along y
    columns : int, that vary
    """

    points: pd.DataFrame
    shares: tuple[float, float]
    columns: int


def clip_map(features: Features, of: str | None = None) -> Map:
    """A map of the clips by their columns, or by those of one feature set."""
    return _clip_map(features.key, of, features)


@st.cache_resource(max_entries=6, show_spinner="Drawing the map ...")
def _clip_map(key: str, of: str | None, _features: Features) -> Map:
    tables = _tables_of(_features)
    take = [place for place, name in enumerate(_features.whole.names) if of is None or set_of(name) == of]
    axes = associations.principal_axes(np.concatenate([one.X for _, one in tables])[:, take])
    points = pd.concat([pd.DataFrame({"table": split, "clip": one.filenames, "label": one.y}) for split, one in tables])
    points["x"], points["y"] = axes.points.T.round(4)
    return Map(points.reset_index(drop=True), (float(axes.shares[0]), float(axes.shares[1])), axes.columns)


def near_twins(features: Features) -> list[Twins]:
    """Clips of both tables whose features are all but another's."""
    return _near_twins(features.key, features)


@st.cache_resource(max_entries=2, show_spinner="Looking for clips that are nearly the same ...")
def _near_twins(key: str, _features: Features) -> list[Twins]:
    tables = _tables_of(_features)
    keys = [(split, name) for split, one in tables for name in one.filenames]
    pairs = near_pairs(np.concatenate([one.X for _, one in tables]))
    return [Twins(NEAR_AUDIO, *keys[one], *keys[other]) for one, other in pairs]


def _tables_of(features: Features) -> list[tuple[str, Matrix]]:
    return [(split, one) for split, one in (("train", features.train), ("test", features.test)) if one is not None]


def packed(features: Features, split: Split, kind: Kind) -> bytes:
    """A matrix as a file to take away."""
    return _packed(features.key, split, kind, features)


@st.cache_resource(max_entries=4, show_spinner=False)
def _packed(key: str, split: str, kind: str, _features: Features) -> bytes:
    matrix = _features.train if split == "train" else _features.test
    assert matrix is not None
    return as_npz(matrix) if kind == "npz" else as_parquet(matrix)


def runs(jobs: Path) -> list[Run]:
    """Finished runs, oldest first."""
    return _runs(str(jobs), _records(jobs))[0]


def unreadable(jobs: Path) -> list[tuple[str, str]]:
    """Folder and reason of each finished run whose record is damaged."""
    return _runs(str(jobs), _records(jobs))[1]


def _records(jobs: Path) -> tuple[tuple[str, int], ...]:
    files = [path for record in jobs.glob("*/run.json") for path in (record, record.parent / ABOUT)]
    return tuple(sorted((str(path), _changed_ns(path)) for path in files))


@st.cache_resource(max_entries=4, show_spinner=False)
def _runs(jobs: str, changed: tuple[tuple[str, int], ...]) -> tuple[list[Run], list[tuple[str, str]]]:
    return list_runs(Path(jobs)), unreadable_runs(Path(jobs))


def oof(run: Run) -> pd.DataFrame:
    """Out-of-fold predictions of a run: filename, label, fold, oof_prediction, low, high and a column for each member.

    Raises
    ------
    RunError
        They are missing or damaged.
    """
    path = run.folder / "oof.csv"
    try:
        return _oof(str(path), _changed_ns(path))
    except FileNotFoundError:
        raise RunError(f"{path}: the out-of-fold predictions of the run are missing; train again") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not the out-of-fold predictions of a run ({error}); train again") from None


@st.cache_resource(max_entries=8, show_spinner=False)
def _oof(path: str, changed_ns: int) -> pd.DataFrame:
    names = list(pd.read_csv(path, nrows=0).columns)
    if missing := [name for name in ("filename", "fold", *_OOF_FIGURES) if name not in names]:
        raise ValueError(f"without the column {', '.join(missing)}")
    text = {name: str for name in ("filename", "group") if name in names}
    return pd.read_csv(
        path,
        dtype={**text, **dict.fromkeys(_OOF_FIGURES, float)},
        keep_default_na=False,  # a clip or a speaker may be called NA
        na_values={name: ["", "nan"] if name not in text else [""] for name in names if name != "filename"},
    )


def explanation(run: Run) -> Explanation | None:
    """What moves the predictions of a run, or None where it was not explained yet.

    Raises
    ------
    RunError
        It is damaged, or of other models than the run has now.
    """
    path = run.folder / EXPLANATION
    return _explanation(run.id, str(path), _changed_ns(path), run)


@st.cache_resource(max_entries=4, show_spinner="Reading the explanation ...")
def _explanation(run_id: str, path: str, changed_ns: int, _run: Run) -> Explanation | None:
    return load_explanation(_run)


def without_features(dataset: Dataset, settings: ExtractSettings, cache: Path) -> int:
    """How many clips of a data set have no features of these settings in a cache yet.

    Raises
    ------
    DataError
        The cache is damaged.
    """
    changed = tuple(_changed_ns(path) for path in (cache, cache.with_name(f"{cache.name}-wal")))
    return _without_features(str(cache), changed, id(dataset), repr(settings), dataset, settings)


@st.cache_resource(max_entries=16, show_spinner="Looking into the cache ...")
def _without_features(
    cache: str, changed_ns: tuple[int, ...], dataset_id: int, named: str, _dataset: Dataset, _settings: ExtractSettings
) -> int:
    paths = list(dict.fromkeys(row.path for row in (*_dataset.train, *_dataset.test)))
    return len(paths) - len(find_cached(paths, _settings, cache_path=Path(cache)))


def known_fits(jobs: Path) -> dict[tuple[str, str], float]:
    """How long fits took in this workspace, by model and preset."""
    found = [run for run in runs(jobs) if run.kind == ENSEMBLE][-_TIMED_RUNS:]
    return _known_fits(str(jobs), tuple(run.id for run in found), found)


@st.cache_resource(max_entries=4, show_spinner=False)
def _known_fits(jobs: str, ids: tuple[str, ...], _runs: list[Run]) -> dict[tuple[str, str], float]:
    return forecast.known_fits((run, read_events(run.folder / "events.jsonl")[0]) for run in _runs)


def known_paces(fine_tunings: Sequence[Job], clips: int) -> dict[tuple[str, ...], forecast.Pace]:
    """How fast encoders were trained by these jobs on as many clips; the newest stands first, as in ``jobs``."""
    some = list(reversed(fine_tunings[:_TIMED_JOBS]))
    return _known_paces(tuple((str(job.events), _changed_ns(job.events)) for job in some), clips, some)


@st.cache_resource(max_entries=4, show_spinner=False)
def _known_paces(changed: tuple[tuple[str, int], ...], clips: int, _jobs: list[Job]) -> dict[tuple[str, ...], forecast.Pace]:
    told = []
    for job in _jobs:
        try:
            settings, extract = build(FinetuneSettings, job.request["finetune"]), build(ExtractSettings, job.request["extract"])
            told.append((settings, extract.max_seconds, read_events(job.events)[0]))
        except (EarmarkError, KeyError, TypeError):  # of another version
            continue
    return forecast.known_paces(told, clips)


def mean_seconds(dataset: Dataset, max_seconds: float) -> float:
    """How long the clips of a data set are in the mean, as the headers of some of them say; what is not analysed does not count."""
    return _mean_seconds(id(dataset), max_seconds, dataset)


@st.cache_resource(max_entries=8, show_spinner=False)
def _mean_seconds(dataset_id: int, max_seconds: float, _dataset: Dataset) -> float:
    paths = [row.path for row in (*_dataset.train, *_dataset.test)]
    found = []
    for path in paths[:: max(1, len(paths) // _SAMPLE)]:
        seconds = header_seconds(path)
        if seconds is not None:
            found.append(min(max_seconds, seconds))
    return float(np.mean(found)) if found else 0.0


def texts(dataset: Dataset, settings: FinetuneSettings, extract: ExtractSettings, workspace: Workspace) -> list[tuple[str, str]]:
    """Name and text of a few training clips, as a fine-tuning reads them; of what is not extracted yet there is no text.

    Raises
    ------
    DataError
        The cache is damaged.
    """
    changed = tuple(_changed_ns(path) for path in (workspace.cache, workspace.cache.with_name(f"{workspace.cache.name}-wal")))
    asked = settings.text, features_for(settings, extract)
    return _texts(str(workspace.root), changed, id(dataset), repr(asked), dataset, settings, asked[1])


@st.cache_resource(max_entries=16, show_spinner="Reading texts ...")
def _texts(
    root: str,
    changed_ns: tuple[int, ...],
    dataset_id: int,
    named: str,
    _dataset: Dataset,
    _settings: FinetuneSettings,
    _extract: ExtractSettings,
) -> list[tuple[str, str]]:
    workspace = Workspace(Path(root))
    rows = list(_dataset.train[:: max(1, len(_dataset.train) // _LOOKED_AT)])
    extraction = Extraction({}, {}, {}, 0)
    if _settings.column is None:
        there = find_cached([row.path for row in rows], _extract, cache_path=workspace.cache)
        rows = [row for row in rows if row.path in there]
    rows = rows[:: max(1, len(rows) // _PREVIEWED)][:_PREVIEWED]
    if rows and _settings.column is None:  # all of it is in the cache
        extraction = extract_clips([row.path for row in rows], _extract, cache_path=workspace.cache)
    return list(zip([row.name for row in rows], read_texts(rows, _settings, _extract, extraction, workspace), strict=True))


def judged(run: Run, other: Run) -> tuple[Verdict | None, str | None]:
    """What another run does instead of this one, or why nobody can tell."""
    files = tuple(_changed_ns(one.folder / OOF) for one in (run, other))
    return _judged(run.id, other.id, files, run, other)


@st.cache_resource(max_entries=64, show_spinner="Comparing clip by clip ...")
def _judged(run_id: str, other_id: str, changed_ns: tuple[int, ...], _run: Run, _other: Run) -> tuple[Verdict | None, str | None]:
    if why_not := comparable(_run, _other):
        return None, why_not
    one, another = load_oof(_run), load_oof(_other)
    minutes = (_other.record["seconds"] - _run.record["seconds"]) / 60
    groups = one.groups if any(one.groups) else None
    return paired_verdict(one.labels, one.predictions, another.predictions, groups=groups, minutes=minutes), None


def training_labels(run: Run) -> np.ndarray:
    """Labels that a run was trained on [shape=(n,)]."""
    return oof(run)["label"].to_numpy()


def kept(upload: Upload, folder: Path) -> Path:
    """Where an upload stands below a folder; each is written once."""
    known = _kept()
    path = known.get(upload.file_id)
    if path is None or not path.is_file():
        path = known[upload.file_id] = keep(upload, folder)
    return path


@st.cache_resource(show_spinner=False)
def _kept() -> dict[str, Path]:
    return {}


@dataclass
class _Tail:
    """How far an event file was read."""

    offset: int = 0
    recorded: list[Recorded] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def events(path: Path) -> list[Recorded]:
    """Events of a job's last attempt, after the curves that earlier ones told of; each line is read once, whoever watches."""
    tail = _tail(str(path))
    with tail.lock:
        fresh, tail.offset = read_events(path, tail.offset)
        for one in fresh:
            if isinstance(one.event, JobQueued | JobStarted):  # fits that were finished before are not done again
                tail.recorded = [earlier for earlier in tail.recorded if isinstance(earlier.event, _CURVES)]
            if isinstance(one.event, BegunAnew):
                tail.recorded = [earlier for earlier in tail.recorded if not isinstance(earlier.event, _CURVES)]
            tail.recorded.append(one)
        return list(tail.recorded)


@st.cache_resource(max_entries=32, show_spinner=False)
def _tail(path: str) -> _Tail:
    return _Tail()


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
