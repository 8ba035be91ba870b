"""A folder of clips and a table of labels in, a checked data set out. Labels are plain numbers in the unit of the user's scale.

The layout that is read without any option:

    csvs/train.csv     filename,label and any further columns
    csvs/test.csv      filename and any further columns (optional)
    audios/train/      clips; names in the tables stand with or without extension
    audios/test/

A plain folder with one CSV and its clips is read as a training table. What is wrong with a row is a ``Problem``: an error sets the
clip aside, a warning keeps it.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.data.audio import SUFFIXES
from core.data.layouts.clips import ClipIndex, audio_folder, stem as stem_of, walk
from core.data.layouts.layout import Layout
from core.data.layouts.tables import Line, find_tables, read_table
from core.data.ratings import one_row_a_clip, ratings_of
from core.data.rows import ERROR, WARNING, Problem, Row
from core.errors import DataError
from core.scoring.agreement import Ratings

MIN_CLIPS = 5
MAX_FILES = 200_000  # of a folder without a table; somebody may name the root of a disk
MAX_LABEL = 1e30  # some model libraries keep labels in single precision

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
    test_names : tuple of str, every row of test.csv in its order and spelling; None without test.csv
    problems : tuple of Problem
    """

    source: Path
    root: Path
    layout: Layout
    train: tuple[Row, ...]
    test: tuple[Row, ...]
    test_names: tuple[str, ...] | None
    problems: tuple[Problem, ...]

    @property
    def name(self) -> str:
        """Name of the folder, fit for a file name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.root.name) or "dataset"

    def stamp(self) -> str:
        """Hash of the tables' content and the clips' sizes and times: it changes when a clip is written to or a label mended."""
        digest = hashlib.blake2b(repr((self.test_names, self.problems)).encode(errors="surrogateescape"), digest_size=16)
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
    def ratings(self) -> Ratings | None:
        """The ratings whose means the labels of the training table are; None where no clip has several."""
        return ratings_of(self.train)

    @property
    def set_aside(self) -> tuple[Problem, ...]:
        """The errors among the problems."""
        return tuple(problem for problem in self.problems if problem.level == ERROR)


def read_dataset(root: str | Path, layout: Layout | None = None) -> Dataset:
    """Read the tables of a folder and find their clips; no audio is decoded.

    Parameters
    ----------
    root : folder of the data set, or a CSV file in a plain folder
    layout : Layout, optional

    Returns
    -------
    dataset : Dataset

    Raises
    ------
    DataError
        There is no such folder, no table, or a table lacks a column that is needed.
    """
    layout = layout or Layout()
    source = root = Path(root).absolute()
    if root.is_file() and root.suffix.lower() == ".csv":
        train_csv, test_csv, root = root, None, root.parent
    elif not root.is_dir():
        what = "a file, but no CSV" if root.is_file() else "no such folder"
        raise DataError(f"{root}: {what}; name the folder that holds csvs/train.csv, or a CSV and its clips")
    else:
        train_csv, test_csv = find_tables(root)
    plain = train_csv.parent == root
    problems: list[Problem] = []
    audio = audio_folder(root, layout, plain, "train")
    index = ClipIndex(audio)
    train = _read_train(train_csv, layout, index, problems)
    test: list[Row] = []
    test_names: tuple[str, ...] | None = None
    if test_csv is not None:
        test_audio = audio_folder(root, layout, plain, "test")
        test_index = index if test_audio == audio else ClipIndex(test_audio)
        test, test_names = _read_test(test_csv, layout, test_index, problems)
        if test_index is not index:
            problems += _unnamed(test_index, root)
    problems += _unnamed(index, root)
    problems += _copies([*train, *test])
    return Dataset(source, root, layout, tuple(train), tuple(test), test_names, tuple(problems))


def read_batch(
    source: str | Path, layout: Layout | None = None, *, clips: Sequence[str | Path] | None = None
) -> tuple[list[Row], list[Problem]]:
    """Clips to be scored, with the labels that their table has; no audio is decoded.

    Parameters
    ----------
    source : folder of a data set, folder of clips without a table, or a CSV, whose column of labels may be missing
    layout : Layout, optional
    clips : the clips that the CSV speaks of, in place of those in its folder; one that it does not name has no label

    Returns
    -------
    rows : list of Row, NaN where there is no label
    problems : list of Problem

    Raises
    ------
    DataError
        There is no such file or folder, the table lacks the column of file names, or a folder holds no clips.
    """
    layout, source = layout or Layout(), Path(source).absolute()
    if source.is_dir():
        if (source / "csvs" / "train.csv").is_file():
            dataset = read_dataset(source, layout)
            return [*dataset.train, *dataset.test], list(dataset.set_aside)
        if not any(path.suffix.lower() == ".csv" for path in source.iterdir()):
            found = []
            for number, path in enumerate(walk(source)):
                if number == MAX_FILES:
                    raise DataError(
                        f"{source}: more than {MAX_FILES:,} files in it; name the folder of the clips, or a CSV beside them"
                    )
                found += [path] if path.suffix.lower() in SUFFIXES else []
            if not found:
                raise DataError(f"{source}: no clips in it ({', '.join(SUFFIXES)}), and no table that names any")
            return [Row(path.relative_to(source).as_posix(), path, float("nan")) for path in found], []
        table, _ = find_tables(source)
    elif source.is_file() and source.suffix.lower() == ".csv":
        table = source
    else:
        what = "a file, but no CSV" if source.is_file() else "no such folder or file"
        raise DataError(f"{source}: {what}; name a folder of clips, of a data set, or a CSV beside its clips")
    folder = table.parent if clips is not None else audio_folder(table.parent, layout, True, "train")
    brought = None if clips is None else [Path(clip).absolute() for clip in clips]
    index = ClipIndex(folder, brought)
    problems: list[Problem] = []
    lines = read_table(table, (layout.filename_column,))
    if not lines or layout.label_column in lines[0].cells:
        rows = _read_train(table, layout, index, problems)
    else:
        rows, _ = _read_test(table, layout, index, problems)
        further = ", ".join(name for name in lines[0].cells if name != layout.filename_column) or "none"
        what = f"no column {layout.label_column!r} with labels to compare with (further columns: {further})"
        problems.append(Problem(table.name, WARNING, what))
    rows += [Row(path.name, path, float("nan")) for path in brought or () if path not in index.named]
    return rows, [replace(problem, split="") for problem in problems]


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


def why_not_trainable(labels: np.ndarray) -> str | None:
    """Why no model can be trained on these labels, or None."""
    if len(labels) < MIN_CLIPS:
        return f"{len(labels)} labelled clip{'' if len(labels) == 1 else 's'} can be used, at least {MIN_CLIPS} are needed"
    if np.ptp(labels) < 1 / MAX_LABEL:
        return f"all {len(labels)} labels are {labels[0]:g}: there is nothing to learn"
    return None


def _read_train(table_path: Path, layout: Layout, index: ClipIndex, problems: list[Problem]) -> list[Row]:
    by_clip: dict[Path, list[Row]] = defaultdict(list)
    refused: list[tuple[Path, Problem]] = []
    for line in read_table(table_path, (layout.filename_column, *(layout.rating_columns or (layout.label_column,)))):
        name = line.cells.pop(layout.filename_column)
        clip = index.find(name)
        if isinstance(clip, str):
            problems.append(Problem(name or f"{table_path.name}, line {line.number}", ERROR, clip, "train"))
            continue
        ratings, reasons = _take_ratings(line, layout)
        refused += [(clip, Problem(name, ERROR, reason, "train")) for reason in reasons]
        if ratings:
            label = float(np.mean([value for _, value in ratings]))
            by_clip[clip].append(Row(name, clip, label, line.cells, ratings if layout.rating_columns else ()))
    return one_row_a_clip(by_clip, refused, layout, table_path.name, problems)


def _take_ratings(line: Line, layout: Layout) -> tuple[tuple[tuple[str, float], ...], list[str]]:
    """Take the labels out of a row: those that can be learned, by column, and why others cannot."""
    columns = layout.rating_columns or (layout.label_column,)
    cells = {column: line.cells.pop(column) for column in columns}
    if line.problem:
        return (), [line.problem]
    numbers = {column: _number(cell) for column, cell in cells.items() if cell.strip()}
    reasons = [
        f"label {cells[column]!r} is not a number that can be learned" for column, number in numbers.items() if number is None
    ]
    if not numbers:
        reasons.append("label missing")
    return tuple((column, number) for column, number in numbers.items() if number is not None), reasons


def _read_test(path: Path, layout: Layout, index: ClipIndex, problems: list[Problem]) -> tuple[list[Row], tuple[str, ...]]:
    rows, names = [], []
    for line in read_table(path, (layout.filename_column,)):
        cells = line.cells
        name = cells.pop(layout.filename_column)
        names.append(name)
        clip = index.find(name)
        if isinstance(clip, str):
            problems.append(Problem(name or f"{path.name}, line {line.number}", ERROR, clip, "test"))
        elif line.problem:
            problems.append(Problem(name, ERROR, line.problem, "test"))
        else:
            rows.append(Row(name, clip, float("nan"), cells))
    return rows, tuple(names)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= MAX_LABEL and "_" not in text else None


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
