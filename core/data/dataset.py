"""A folder of clips and a table of labels in, a checked data set out. Labels are plain numbers in the unit of the user's scale.

How the folder is laid out is found by ``layouts.recognise``; whatever the layout, its tables become the same rows. What is wrong
with a row is a ``Problem``: an error sets the clip aside, a warning keeps it.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.data.audio import SUFFIXES
from core.data.layouts import beside
from core.data.layouts.clips import ClipIndex, audio_folder, stem as stem_of, walk
from core.data.layouts.layout import Layout
from core.data.layouts.recognise import recognise, recognise_folder
from core.data.layouts.roles import (
    LABEL,
    OTHER_LABEL,
    Roles,
    filename_column,
    known_labels,
    row_names,
    test_roles,
    time_columns,
    train_roles,
)
from core.data.layouts.source import Source
from core.data.layouts.submission import Submission, SubmissionForm, make_submission
from core.data.layouts.table import Table
from core.data.layouts.tables import FORMATS, read_table
from core.data.places import window_places
from core.data.ratings import rater_of, ratings_of
from core.data.read_rows import Reading, test_rows, train_rows
from core.data.rows import ERROR, MAX_LABEL, WARNING, Column, Problem, Row
from core.errors import DataError
from core.scoring.agreement import Ratings
from core.workspace import Workspace

MIN_CLIPS = 5
_WIDE, _SKEWED = 100.0, 2.0  # labels, largest by smallest; skewness of an exponential distribution
MAX_FILES = 200_000  # of a folder without a table; somebody may name the root of a disk

_COPY = re.compile(r"^(?P<stem>.+?)(?:[ _-]?\(\d+\)|[ _-]copy(?:[ _-]?\d+)?|[_-]\d+)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dataset:
    """The usable rows of a folder and what was wrong with the others.

    Attributes
    ----------
    source : Path, absolute: what was read, a folder or a table
    root : Path, absolute: the folder
    layout : Layout
    train : tuple of Row, each clip once
    test : tuple of Row; a clip may stand twice
    submission : SubmissionForm, every row of the test table in its order and spelling; None without a test table
    problems : tuple of Problem
    recognised : str, the name of the layout
    columns : tuple of Column, of the training table and of the test table
    """

    source: Path
    root: Path
    layout: Layout
    train: tuple[Row, ...]
    test: tuple[Row, ...]
    submission: SubmissionForm | None
    problems: tuple[Problem, ...]
    recognised: str = ""
    columns: tuple[Column, ...] = ()

    @property
    def name(self) -> str:
        """Name of the folder, fit for a file name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.root.name) or "dataset"

    def stamp(self) -> str:
        """Hash of the tables' content and the clips' sizes and times: it changes when a clip is written to or a label mended."""
        digest = hashlib.blake2b(repr((self.submission, self.problems)).encode(errors="surrogateescape"), digest_size=16)
        for row in (*self.train, *self.test):
            try:
                facts = row.path.stat()
                size, time_ns = facts.st_size, facts.st_mtime_ns
            except OSError:
                size, time_ns = -1, 0
            told = (str(row.path), row.name, row.label, sorted(row.columns.items()), size, time_ns, *row.ratings)
            digest.update(repr(told).encode(errors="surrogateescape"))
        return digest.hexdigest()

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns of labels, that of ``layout`` first; none of it where the labels are means of ratings side by side."""
        named = [column.name for role in (LABEL, OTHER_LABEL) for column in self.columns if column.role == role]
        return tuple(dict.fromkeys(named))

    @property
    def ratings(self) -> Ratings | None:
        """The ratings whose means the labels of the training table are; None where no clip has several."""
        return ratings_of(self.train)

    @property
    def has_raters(self) -> bool:
        """Whether clips have several ratings, and the table says who gave them."""
        ratings = self.ratings
        return ratings is not None and ratings.raters is not None

    @property
    def set_aside(self) -> tuple[Problem, ...]:
        """The errors among the problems."""
        return tuple(problem for problem in self.problems if problem.level == ERROR)


def read_dataset(root: str | Path, layout: Layout | None = None, *, segments: Path | None = None) -> Dataset:
    """Read the tables of a folder and find their clips. No audio is decoded, but for recordings of which rows are segments.

    Parameters
    ----------
    root : folder of the data set in any layout that is recognised, or a table whose clips lie below its folder
    layout : Layout, optional
    segments : folder into which segments are cut; None takes that of the usual workspace

    Returns
    -------
    dataset : Dataset

    Raises
    ------
    DataError
        There is no such folder, no table, or a table lacks a column that is needed.
    """
    layout, path = layout or Layout(), Path(root).absolute()
    reading = Reading(layout, segments or Workspace.resolve().segments)
    source, root = recognise(path, layout), path if path.is_dir() else path.parent
    audio, test_audio = (
        audio_folder(root, layout, usual, split) for usual, split in ((source.train_audio, "train"), (source.test_audio, "test"))
    )
    index = ClipIndex(audio)
    test_index = index if test_audio == audio or source.test is None else ClipIndex(test_audio)
    problems: list[Problem] = []
    roles = train_roles(source, layout, index)
    train = train_rows(source.train, roles, reading, index, problems, ids=source.ids)
    columns = _columns(source.train, root, roles, source.ids, rater_of(train, source.train, layout))
    test: list[Row] = []
    form: SubmissionForm | None = None
    if source.test is not None:
        test_columns = test_roles(source.test, layout, roles.filename, test_index)
        submission = make_submission(source, source.test, test_columns, roles.label(layout))
        test = test_rows(source.test, test_columns, reading, test_index, problems, names=submission.row_names)
        columns += _columns(source.test, root, test_columns, submission.ids)
        problems += _asked_in_vain(submission, source)
        form = submission.form
    for unnamed in (test_index, index) if test_index is not index else (index,):
        problems += _unnamed(unnamed, root)
    problems += _copies([*train, *test])
    return Dataset(path, root, layout, tuple(train), tuple(test), form, tuple(problems), source.layout, tuple(columns))


def read_batch(
    source: str | Path,
    layout: Layout | None = None,
    *,
    clips: Sequence[str | Path] | None = None,
    segments: Path | None = None,
) -> tuple[list[Row], list[Problem]]:
    """Clips to be scored, with the labels that their table has. No audio is decoded, but for segments of recordings.

    Parameters
    ----------
    source : folder of a data set, folder of clips without a table, or a table, whose column of labels may be missing
    layout : Layout, optional
    clips : the clips that the table speaks of, in place of those in its folder; one that it does not name has no label
    segments : as in ``read_dataset``

    Returns
    -------
    rows : list of Row, NaN where there is no label
    problems : list of Problem

    Raises
    ------
    DataError
        There is no such file or folder, the table lacks the column of file names, or a folder holds no clips.
    """
    layout, path = layout or Layout(), Path(source).absolute()
    reading = Reading(layout, segments or Workspace.resolve().segments)
    if path.is_dir():
        found = recognise(path, layout) if layout.train is not None else recognise_folder(path)
        if found is None:
            return _in_windows(_clips_below(path), reading)
        if found.layout != beside.NAME:
            dataset = read_dataset(path, layout, segments=reading.segments)
            return [*dataset.train, *dataset.test], list(dataset.set_aside)
    elif path.is_file() and path.suffix.lower() in FORMATS:
        found = beside.source(path.parent, read_table(path))
    else:
        what = "a file, but no table" if path.is_file() else "no such folder or file"
        raise DataError(f"{path}: {what}; name a folder of clips, of a data set, or a table beside its clips")
    table = found.train
    folder = table.path.parent if clips is not None else audio_folder(table.path.parent, layout, found.train_audio, "train")
    brought = None if clips is None else [Path(clip).absolute() for clip in clips]
    index = ClipIndex(folder, brought)
    problems: list[Problem] = []
    filename, notes = filename_column(table, layout, "", index)
    roles = Roles(filename, known_labels(table, layout), notes, time_columns(table, layout, filename))
    if roles.labels:
        rows = train_rows(table, roles, reading, index, problems)
    else:
        rows = test_rows(table, roles, reading, index, problems, names=row_names(table, filename, roles.times)[1])
        further = ", ".join(name for name in table.columns if name != filename) or "none"
        what = f"no column {layout.label_column!r} with labels to compare with (further columns: {further})"
        problems.append(Problem(table.name, WARNING, what))
    rows += [Row(path.name, path, float("nan")) for path in brought or () if path not in index.named]
    rows, more = _in_windows(rows, reading)
    return rows, [replace(problem, split="") for problem in (*problems, *more)]


def _in_windows(rows: list[Row], reading: Reading) -> tuple[list[Row], list[Problem]]:
    """Rows without a label, each cut into windows where that is asked for; and windows that cannot be cut."""
    if reading.layout.windows is None:
        return rows, []
    whole = [row for row in rows if np.isnan(row.label) and row.recording is None]
    windows = window_places([row.path for row in whole], reading.layout.windows, reading.segments)
    found: list[Row] = [row for row in rows if row not in whole]
    problems = []
    for row in whole:
        for (start, end), place in windows[row.path]:
            name = f"{row.name} {start:g}-{end:g} s"
            if isinstance(place.clip, str):
                problems.append(Problem(name, ERROR, place.clip))
            else:
                found.append(replace(row, name=name, path=place.clip, recording=place.recording, span=place.span))
        if not windows[row.path]:
            found.append(row)  # whoever reads it says why it has no length
    return found, problems


def read_windows(clips: Sequence[str | Path], layout: Layout, *, segments: Path) -> tuple[list[Row], list[Problem]]:
    """Windows over single recordings, as ``layout.windows`` says; and those that cannot be cut."""
    rows = [Row(Path(clip).name, Path(clip).absolute(), float("nan")) for clip in clips]
    return _in_windows(rows, Reading(layout, segments))


def _clips_below(folder: Path) -> list[Row]:
    found = []
    for number, path in enumerate(walk(folder)):
        if number == MAX_FILES:
            raise DataError(f"{folder}: more than {MAX_FILES:,} files in it; name the folder of the clips, or a table beside them")
        found += [path] if path.suffix.lower() in SUFFIXES else []
    if not found:
        raise DataError(f"{folder}: no clips in it ({', '.join(SUFFIXES)}), and no table that names any")
    return [Row(path.relative_to(folder).as_posix(), path, float("nan")) for path in found]


def further_columns(names: Iterable[str]) -> str:
    """The columns of a table that hold neither file name nor label, listed for a message.

    Examples
    --------
    >>> further_columns(["speaker", "room"])
    'speaker, room'
    >>> further_columns([])
    'none besides file name and label'
    """
    return ", ".join(names) or "none besides file name and label"


def describe_labels(labels: np.ndarray) -> dict[str, object]:
    """Distribution of labels: count, mean, std (population), min, median, max, and a count for each value or for ten bins.

    Parameters
    ----------
    labels : np.ndarray [shape=(n,)]
    """
    if len(labels) == 0:
        return {"count": 0, "mean": None, "std": None, "min": None, "median": None, "max": None, "distribution": {}}
    values, counts = np.unique(labels, return_counts=True)
    if len(values) <= 32:
        distribution = {f"{value:g}": int(count) for value, count in zip(values, counts, strict=True)}
    else:
        bins, edges = np.histogram(labels, bins=10)
        distribution = {f"{low:g} to {high:g}": int(n) for low, high, n in zip(edges[:-1], edges[1:], bins, strict=True)}
    return {
        "count": len(labels),
        "mean": float(labels.mean()),
        "std": float(labels.std()),
        "min": float(labels.min()),
        "median": float(np.median(labels)),
        "max": float(labels.max()),
        "distribution": distribution,
    }


def transform_hint(labels: np.ndarray) -> tuple[str, str] | None:
    """Why a label transform is likely to help, and its name; None where nothing speaks for one.

    "log" where labels are above 0, span more than two decades and are less skewed on a log scale; "yeo-johnson" where they are as
    skewed as an exponential distribution.

    Examples
    --------
    >>> transform_hint(10 ** np.linspace(-1, 2.4, 60))
    ('labels span 3.4 decades', 'log')
    >>> transform_hint(np.linspace(0.01, 5, 60)) is None
    True
    """
    if len(labels) < MIN_CLIPS or np.ptp(labels) == 0:
        return None
    skewed = _skewness(labels)
    if labels.min() > 0 and labels.max() / labels.min() > _WIDE and abs(_skewness(np.log(labels))) < abs(skewed):
        return f"labels span {np.log10(labels.max() / labels.min()):.1f} decades", "log"
    return (f"labels have a skewness of {skewed:.1f}", "yeo-johnson") if abs(skewed) >= _SKEWED else None


def _skewness(values: np.ndarray) -> float:
    from scipy.stats import skew

    return float(skew(values)) if np.ptp(values) else 0.0


def why_not_trainable(labels: np.ndarray) -> str | None:
    """Why no model can be trained on these labels, or None."""
    if len(labels) < MIN_CLIPS:
        return f"{len(labels)} labelled clip{'' if len(labels) == 1 else 's'} can be used, at least {MIN_CLIPS} are needed"
    if np.ptp(labels) < 1 / MAX_LABEL:
        return f"all {len(labels)} labels are {labels[0]:g}: there is nothing to learn"
    return None


def _columns(table: Table, root: Path, roles: Roles, ids: str, rater: str | None = None) -> list[Column]:
    name = table.path.relative_to(root).as_posix() if table.path.is_relative_to(root) else str(table.path)
    return [Column(name, column, "rater" if column == rater else role) for column, role in roles.describe(table, ids)]


def _asked_in_vain(submission: Submission, source: Source) -> list[Problem]:
    """Where the sample submission and the test table differ."""
    if source.sample is None or source.test is None:
        return []
    what = f"{source.sample.name} asks for it, and {source.test.name} has no such row"
    problems = [Problem(name, ERROR, what, "test") for name in submission.unknown]
    return problems + [Problem(source.sample.name, WARNING, note) for note in submission.notes]


def _unnamed(index: ClipIndex, root: Path) -> list[Problem]:
    return [Problem(os.path.relpath(path, root), WARNING, "no table names this file") for path in index.unnamed()]


def named_as_copies(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Clips whose name looks like a copy of another's, such as ``a (1).wav`` of ``a.wav``: the other, then the copy."""
    by_stem = {stem_of(row.name): row for row in rows}
    found = []
    for stem, row in sorted(by_stem.items(), key=lambda one: one[0]):
        match = _COPY.match(stem)
        if match and match["stem"] in by_stem:
            found.append((by_stem[match["stem"]], row))
    return found


def _copies(rows: Iterable[Row]) -> list[Problem]:
    return [Problem(copy.name, WARNING, f"the name looks like a copy of {of.name}") for of, copy in named_as_copies(rows)]
