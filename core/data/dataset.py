"""A folder of clips and a table of labels in, a checked data set out. Labels are plain numbers in the unit of the user's scale.

The layout that is read without any option:

    csvs/train.csv     filename,label and any further columns
    csvs/test.csv      filename and any further columns (optional)
    audios/train/      clips; names in the tables stand with or without extension
    audios/test/

A plain folder with one CSV and its clips is read as a training table. What is wrong with a row is a ``Problem``: an error sets the
clip aside, a warning keeps it.
"""

import csv
import hashlib
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from core.data.audio import SUFFIXES
from core.errors import DataError, ParameterError
from core.section import Flag, Section

MIN_CLIPS = 5
MAX_FILES = 200_000  # of a folder without a table; somebody may name the root of a disk
MAX_LABEL = 1e30  # some model libraries keep labels in single precision

ERROR = "error"
WARNING = "warning"
_COPY = re.compile(r"^(?P<stem>.+?)(?:[ _-]?\(\d+\)|[ _-]copy(?:[ _-]?\d+)?|[_-]\d+)$", re.IGNORECASE)


class Layout(Section):
    """How a folder is read."""

    section: ClassVar[str] = "layout"

    filename_column: Annotated[
        str, Flag(metavar="NAME"), Field(title="Column of the names", description="Column with the names of the clips.")
    ] = "filename"
    label_column: Annotated[
        str, Flag(metavar="NAME"), Field(title="Column of the labels", description="Column with the labels.")
    ] = "label"
    audio: Annotated[
        str | None,
        Flag(metavar="DIR"),
        Field(
            title="Folder of the clips",
            description="Folder with the clips, absolute or in the data set, where it is neither audios/train and audios/test nor "
            "the folder itself.",
        ),
    ] = None

    @model_validator(mode="after")
    def _has_two_columns(self) -> Self:
        if self.filename_column == self.label_column:
            raise ParameterError(f"the column {self.label_column!r} cannot hold both names and labels; name two columns")
        return self


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a clip or a file.

    Attributes
    ----------
    file : str, as the table spells it
    level : str, "error" (set aside) or "warning" (kept)
    reason : str
    split : str, "train" or "test"; empty where it concerns no row of a table
    """

    file: str
    level: str
    reason: str
    split: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table whose clip can be looked for.

    Attributes
    ----------
    name : str, as the table spells it
    path : Path
    label : float, NaN in the test table
    columns : dict of str to str, the further columns
    """

    name: str
    path: Path
    label: float
    columns: dict[str, str] = field(default_factory=dict)


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
            told = (str(row.path), row.name, row.label, sorted(row.columns.items()), size, time_ns)
            digest.update(repr(told).encode(errors="surrogateescape"))
        return digest.hexdigest()

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
        train_csv, test_csv = _find_tables(root)
    plain = train_csv.parent == root
    problems: list[Problem] = []
    audio = _audio_folder(root, layout, plain, "train")
    index = _ClipIndex(audio)
    train = _read_train(train_csv, layout, index, problems)
    test: list[Row] = []
    test_names: tuple[str, ...] | None = None
    if test_csv is not None:
        test_audio = _audio_folder(root, layout, plain, "test")
        test_index = index if test_audio == audio else _ClipIndex(test_audio)
        test, test_names = _read_test(test_csv, layout, test_index, problems)
        if test_index is not index:
            problems += test_index.unnamed(root)
    problems += index.unnamed(root)
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
            for number, path in enumerate(_walk(source)):
                if number == MAX_FILES:
                    raise DataError(
                        f"{source}: more than {MAX_FILES:,} files in it; name the folder of the clips, or a CSV beside them"
                    )
                found += [path] if path.suffix.lower() in SUFFIXES else []
            if not found:
                raise DataError(f"{source}: no clips in it ({', '.join(SUFFIXES)}), and no table that names any")
            return [Row(path.relative_to(source).as_posix(), path, float("nan")) for path in found], []
        table, _ = _find_tables(source)
    elif source.is_file() and source.suffix.lower() == ".csv":
        table = source
    else:
        what = "a file, but no CSV" if source.is_file() else "no such folder or file"
        raise DataError(f"{source}: {what}; name a folder of clips, of a data set, or a CSV beside its clips")
    folder = table.parent if clips is not None else _audio_folder(table.parent, layout, True, "train")
    brought = None if clips is None else [Path(clip).absolute() for clip in clips]
    index = _ClipIndex(folder, brought)
    problems: list[Problem] = []
    lines = _read_table(table, (layout.filename_column,))
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


def _find_tables(root: Path) -> tuple[Path, Path | None]:
    train, test = root / "csvs" / "train.csv", root / "csvs" / "test.csv"
    if train.is_file():
        return train, test if test.is_file() else None
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv" and path.is_file())
    if len(tables) == 1:
        return tables[0], None
    if not tables:
        raise DataError(f"{root}: expected csvs/train.csv, or one CSV file beside the clips; found neither")
    found = ", ".join(path.name for path in tables[:5])
    raise DataError(f"{root}: expected csvs/train.csv, or one CSV file beside the clips; found {len(tables)}: {found}. Name one")


def _audio_folder(root: Path, layout: Layout, plain: bool, split: str) -> Path:
    """Where the clips of a table are. Without a folder there is nothing to train on; test clips are then missing one by one."""
    usual = root if plain else root / "audios" / split
    folder = usual if layout.audio is None else root / layout.audio
    if split == "train" and not folder.is_dir():
        raise DataError(
            f"{folder}: expected a folder with the {split} clips, found none; "
            "name another with --audio DIR, or beside the path in the app"
        )
    return folder


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    cells: dict[str, str]
    problem: str | None  # what keeps the whole line from being used


def _read_table(path: Path, needed: Sequence[str]) -> list[_Line]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next((cells for cells in reader if any(cells)), [])]
            missing = [name for name in needed if name not in header]
            if missing:
                hint = (
                    " (separated by semicolons or tabs? Save it with commas)"
                    if len(header) == 1 and re.search("[;\t]", header[0])
                    else ""
                )
                raise DataError(
                    f"{path.name}: expected a column {missing[0]!r}, found {', '.join(header) or 'no header'}{hint}; "
                    "name your columns with --filename-column and --label-column, or beside the path in the app"
                )
            twice = [name for name, count in Counter(filter(None, header)).items() if count > 1]
            if twice:
                raise DataError(f"{path.name}: two columns are named {twice[0]!r}; rename one")
            return [_line(reader.line_num, cells, header) for cells in reader if any(cells)]
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: byte {error.start} is not UTF-8; save the table as UTF-8 (in Excel: CSV UTF-8)") from None
    except csv.Error as error:
        raise DataError(f"{path.name}: not a CSV table ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _line(number: int, cells: list[str], header: list[str]) -> _Line:
    problem = None
    if any(cells[len(header) :]):
        problem = f"the row has {len(cells)} cells, the header {len(header)}: write decimals with a point, quote cells with commas"
    filled = cells + [""] * (len(header) - len(cells))
    return _Line(number, {name: cell for name, cell in zip(header, filled, strict=False) if name}, problem)


def _read_train(table_path: Path, layout: Layout, index: "_ClipIndex", problems: list[Problem]) -> list[Row]:
    table = _read_table(table_path, (layout.filename_column, layout.label_column))
    by_path: dict[Path, list[Row]] = defaultdict(list)
    refused: set[Path] = set()
    for line in table:
        cells = line.cells
        name = cells.pop(layout.filename_column)
        label_text = cells.pop(layout.label_column)
        clip = index.find(name)
        label = _number(label_text)
        if isinstance(clip, str):
            problems.append(Problem(name or f"{table_path.name}, line {line.number}", ERROR, clip, "train"))
        elif line.problem or label is None:
            what = f"label {label_text!r} is not a number that can be learned" if label_text.strip() else "label missing"
            problems.append(Problem(name, ERROR, line.problem or what, "train"))
            refused.add(clip)
        else:
            by_path[clip].append(Row(name, clip, label, cells))
    rows = []
    for path, same in by_path.items():
        if path in refused:  # another row gives this clip a label that is none
            continue
        labels = sorted({row.label for row in same})
        if len(labels) > 1:
            listed = ", ".join(f"{label:g}" for label in labels)
            problems.append(Problem(same[0].name, ERROR, f"named {len(same)} times with different labels ({listed})", "train"))
            continue
        if len(same) > 1:
            problems.append(Problem(same[0].name, WARNING, f"named {len(same)} times with the same label; used once", "train"))
        rows.append(same[0])
    return rows


def _read_test(path: Path, layout: Layout, index: "_ClipIndex", problems: list[Problem]) -> tuple[list[Row], tuple[str, ...]]:
    rows, names = [], []
    for line in _read_table(path, (layout.filename_column,)):
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


def named_as_copies(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Clips whose name looks like a copy of another's, such as ``a (1).wav`` of ``a.wav``: the other, then the copy."""
    by_stem = {_stem(row.name): row for row in rows}
    found = []
    for stem, row in sorted(by_stem.items(), key=lambda one: one[0]):
        match = _COPY.match(stem)
        if match and match["stem"] in by_stem:
            found.append((by_stem[match["stem"]], row))
    return found


def _copies(rows: Iterable[Row]) -> list[Problem]:
    return [Problem(copy.name, WARNING, f"the name looks like a copy of {of.name}") for of, copy in named_as_copies(rows)]


def _stem(name: str) -> str:
    plain = _plain(name)
    return PurePosixPath(plain).with_suffix("").as_posix() if _has_suffix(plain) else plain


def _has_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _plain(name: str) -> str:
    """One spelling for the several that Unicode and paths allow."""
    return unicodedata.normalize("NFC", PurePosixPath(name.strip()).as_posix())


class _ClipIndex:
    """The files of a folder by name, with and without extension. Links on the user's own disk are followed."""

    def __init__(self, folder: Path, clips: Sequence[Path] | None = None):
        self.folder = folder
        self.where = f"in {folder.name}" if clips is None else "among the clips"
        self.by_name: dict[str, Path] = {}
        self.by_stem: dict[str, list[Path]] = defaultdict(list)
        self.named: set[Path] = set()
        self.several: set[str] = set()  # names that clips from different places share
        for path in _walk(folder) if clips is None else clips:
            name = _plain(path.relative_to(folder).as_posix() if clips is None else path.name)
            if name in self.by_name:
                self.several.add(name)
            self.by_name[name] = path
            self.by_stem[name[: -len(path.suffix)] if path.suffix else name].append(path)

    def find(self, name: str) -> Path | str:
        """The clip that a table names, or half a sentence on why there is none."""
        found = self._find(name)
        if isinstance(found, Path):
            self.named.add(found)
        return found

    def _find(self, name: str) -> Path | str:
        if not name.strip():
            return "the row names no file"
        if "\0" in name:
            return "not a file name: it holds a zero byte"
        pure = PurePosixPath(name.strip())
        if pure.is_absolute() or PureWindowsPath(name.strip()).is_absolute() or ".." in re.split(r"[\\/]", name):
            return f"the name leaves the folder {self.folder.name}; name files inside it"
        plain = _plain(name)
        if plain in self.several:
            return f"the name fits several files called {PurePosixPath(plain).name}"
        if plain in self.by_name:
            return self.by_name[plain]
        paths = self.by_stem.get(plain, [])
        if len(paths) > 1:
            paths = [path for path in paths if path.suffix.lower() in SUFFIXES] or paths
        if len(paths) == 1:
            return paths[0]
        if paths:
            return f"the name fits several files: {', '.join(sorted(path.name for path in paths))}"
        other = self.by_stem.get(pure.with_suffix("").as_posix(), []) if _has_suffix(name) else []
        hint = f"; there is {other[0].name}" if other else ""
        return f"missing: no such file {self.where}{hint}"

    def unnamed(self, root: Path) -> list[Problem]:
        """A warning for each audio file that no row named so far."""
        found = sorted(path for path in self.by_name.values() if path.suffix.lower() in SUFFIXES and path not in self.named)
        return [Problem(os.path.relpath(path, root), WARNING, "no table names this file") for path in found]


def _walk(folder: Path) -> Iterable[Path]:
    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise DataError(f"{error.filename}: the folder cannot be read ({error.strerror})")

    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        above = {os.path.realpath(parent) for parent in (Path(here), *Path(here).parents)}
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(here, name)) not in above
        )
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(here, name)
