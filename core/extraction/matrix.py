"""Rows and vectors in, one matrix out. X is float32 with NaN where a feature is not defined; columns are named ``set.name``."""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.dataset import MAX_LABEL, Dataset, Row, further_columns
from core.encoders.words import text_columns
from core.errors import DataError, ParameterError
from core.extraction.config import FEATURE_SETS, ExtractSettings
from core.extraction.definitions import definition_hash
from core.extraction.extract import Extraction, column_names
from core.features import names, parse_set
from core.workspace import write_whole

# The classic file names of these matrices; ``export_name`` has those of the further sets.
EXPORT_NAMES = {
    "ultra": "ultraadvanced_features_{split}.npz",
    "mfcc": "{split}_features_fixed.npz",
    "metadata": "meta_{split}_feats.npz",
}
COMBINED_NAME = "combined_{split}_v4.npz"
COMBINED_SETS = ("mfcc", "ultra", "metadata")
_NAME_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Matrix:
    """Features of the usable rows of a table.

    Attributes
    ----------
    X : np.ndarray [shape=(n, d)], float32
    y : np.ndarray [shape=(n,)], float64; NaN for rows without a label
    names : tuple of str [d], ``set.name``
    filenames : tuple of str [n], as the table spells them
    groups : tuple of str [n], or None
    copies : np.ndarray [shape=(k, n, d)], float32, the same rows for each varied copy of their clips; or None
    """

    X: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]
    filenames: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    copies: np.ndarray | None = None


def build_matrix(
    rows: Sequence[Row],
    extraction: Extraction,
    sets: Sequence[str],
    *,
    group_column: str | None = None,
    allow_missing_table: bool = False,
    copies: int = 0,
) -> Matrix:
    """Join vectors, columns of the table and labels; rows whose clip has no vector are left out.

    Parameters
    ----------
    rows : sequence of Row
    extraction : Extraction
    sets : sequence of str, in the order of the columns
    group_column : str, optional
    allow_missing_table : bool, a row without any further column, as that of a loose clip, has NaN for what is of the table
    copies : int >= 0, of each clip; what is of the table is the same in all of them

    Returns
    -------
    matrix : Matrix

    Raises
    ------
    ParameterError
        The table has no such group column, or not the column of a set; or fewer copies were extracted.
    DataError
        A row has no group, or a cell of a set's column that is no number.
    """
    kept = [row for row in rows if row.path in extraction.vectors]
    of_table = {
        name: table_values(kept, name, allow_missing_table=allow_missing_table)[:, None]
        for name in sets
        if not parse_set(name).of_audio
    }
    of_table |= {
        name: text_values(kept, extraction, name, allow_missing_table=allow_missing_table)
        for name in sets
        if parse_set(name).of_text
    }
    if few := [row for row in kept if len(extraction.copies.get(row.path, ())) < copies]:
        there = len(extraction.copies.get(few[0].path, ()))
        raise ParameterError(f"copies={copies}: of {few[0].name} {there} were extracted; ask extract_clips for {copies} of it")

    def joined(vectors: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
        parts = [of_table[name] if name in of_table else _stack([of[name] for of in vectors], name) for name in sets]
        return np.concatenate(parts, axis=1)

    X = joined([extraction.vectors[row.path] for row in kept])
    varied = [joined([extraction.copies[row.path][number] for row in kept]) for number in range(copies)]
    groups = group_labels(kept, group_column) if group_column else None
    return Matrix(
        X,
        np.array([row.label for row in kept]),
        column_names(sets),
        tuple(row.name for row in kept),
        groups,
        np.stack(varied) if varied else None,
    )


def build_matrices(
    dataset: Dataset, extraction: Extraction, sets: Sequence[str], *, copies: int = 0, test_copies: int = 0
) -> tuple[Matrix, Matrix]:
    """The matrix of the training table and that of the test table, as ``build_matrix``."""
    train = build_matrix(dataset.train, extraction, sets, copies=copies)
    return train, build_matrix(dataset.test, extraction, sets, copies=test_copies)


def check_table(dataset: Dataset, sets: Sequence[str]) -> None:
    """Refuse sets whose columns a table does not have, or whose cells are no numbers; nothing is extracted for it.

    Raises
    ------
    ParameterError
        A table has no such column.
    DataError
        A cell of a numeric column is neither empty nor a finite number.
    """
    for name in sets:
        feature_set = parse_set(name)
        for rows in (dataset.train, dataset.test) if feature_set.column else ():
            if not feature_set.of_text:
                table_values(rows, name)
            elif rows and feature_set.column not in rows[0].columns:
                raise ParameterError(
                    f"features={name!r}: there is no column {feature_set.column!r}; there are: {', '.join(rows[0].columns)}"
                )


def save_matrix(matrix: Matrix, path: Path) -> None:
    """Write a matrix without its copies as one compressed file, whole or not at all."""
    arrays = {
        "X": matrix.X,
        "y": matrix.y,
        "names": np.array(matrix.names, str),
        "filenames": np.array(matrix.filenames, str),
        "groups": np.array(matrix.groups or (), str),
    }
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def load_matrix(path: Path) -> Matrix:
    """Read what ``save_matrix`` wrote.

    Raises
    ------
    OSError, ValueError, KeyError
        The file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            X, y, names, filenames, groups = (arrays[name] for name in ("X", "y", "names", "filenames", "groups"))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(str(error)) from None
    if X.ndim != 2 or X.shape != (len(y), len(names)) or len(filenames) != len(y) or len(groups) not in (0, len(y)):
        raise ValueError(f"shapes do not fit together: X {X.shape}, {len(y)} labels, {len(names)} names, {len(filenames)} files")
    return Matrix(X, y, tuple(names.tolist()), tuple(filenames.tolist()), tuple(groups.tolist()) or None)


def table_values(rows: Sequence[Row], set_name: str, *, allow_missing_table: bool = False) -> np.ndarray:
    """A numeric column of the table.

    Parameters
    ----------
    rows : sequence of Row
    set_name : str, such as ``table:age``
    allow_missing_table : bool, a row without any further column has NaN

    Returns
    -------
    values : np.ndarray [shape=(n,)], float32; NaN for an empty cell

    Raises
    ------
    ParameterError
        A row comes from a table without this column.
    DataError
        A cell is neither empty nor a finite number.
    """
    column = parse_set(set_name).column
    values = np.full(len(rows), np.nan, np.float32)
    for place, row in enumerate(rows):
        if column not in row.columns:
            if allow_missing_table and not row.columns:
                continue
            further = further_columns(row.columns)
            raise ParameterError(
                f"features={set_name!r}: the table with {row.name} has no further column {column!r}; there are: {further} "
                "(the file name and the label are no features)"
            )
        if text := row.columns[column].strip():
            values[place] = _number(text, column, row)
    return values


def text_values(rows: Sequence[Row], extraction: Extraction, set_name: str, *, allow_missing_table: bool = False) -> np.ndarray:
    """What a text of the table says, beside the length of the clip.

    Parameters
    ----------
    rows : sequence of Row, of whose clips the length was extracted
    extraction : Extraction
    set_name : str, such as ``transcript:column=text``
    allow_missing_table : bool, a row without any further column has NaN

    Returns
    -------
    values : np.ndarray [shape=(n, 8)], float32

    Raises
    ------
    ParameterError
        A row comes from a table without this column.
    """
    column = parse_set(set_name).column
    place = names("metadata").index("duration_s")
    values = np.full((len(rows), len(names(set_name))), np.nan, np.float32)
    for at, row in enumerate(rows):
        if column not in row.columns:
            if allow_missing_table and not row.columns:
                continue
            further = further_columns(row.columns)
            raise ParameterError(
                f"features={set_name!r}: the table with {row.name} has no further column {column!r}; there are: {further}"
            )
        seconds = float(extraction.vectors[row.path][set_name][place])
        values[at] = text_columns(row.columns[column], seconds=seconds)
    return values


def check_columns(received: Sequence[str], expected: Sequence[str]) -> None:
    """Refuse a matrix whose columns are not those that a model was trained on.

    Raises
    ------
    DataError
        Names or their order differ.
    """
    if tuple(received) == tuple(expected):
        return
    have = set(received)
    missing = [name for name in expected if name not in have]
    if missing:
        what = f"first missing: {', '.join(missing[:3])}"
    else:
        wanted = set(expected)
        extra = [name for name in received if name not in wanted]
        what = f"first that were not expected: {', '.join(extra[:3])}" if extra else "the same names in another order"
    raise DataError(f"expected {len(expected)} columns, received {len(received)}; {what}")


def fingerprint(dataset: Dataset, extraction: Extraction, *, settings: ExtractSettings | None = None) -> str:
    """Short hash of names, labels, groups and audio: equal for equal data only.

    With ``settings`` also of the definitions of the handcrafted sets and of those that were extracted, so that matrices under one
    fingerprint belong together.
    """
    digest = hashlib.blake2b(digest_size=6)
    if settings is not None:
        for name in FEATURE_SETS:
            digest.update(definition_hash(name, settings.max_seconds))
        for name in settings.on_device:
            digest.update(definition_hash(name, settings.max_seconds, device=settings.choose_device()))
    for split, rows in (("train", dataset.train), ("test", dataset.test)):
        for row in rows:
            record = (split, row.name, repr(row.label), sorted(row.columns.items()), extraction.contents.get(row.path))
            digest.update(repr(record).encode())
    return digest.hexdigest()


def export_matrices(dataset: Dataset, extraction: Extraction, sets: Sequence[str], folder: Path) -> list[Path]:
    """Write a .npz file for each set: ``X`` float32, ``filenames``, ``feature_names``.

    Returns
    -------
    written : list of Path; the combined file only where the three classic sets are there
    """
    wanted: list[tuple[str, tuple[str, ...]]] = [(export_name(name), (name,)) for name in sets]
    if set(COMBINED_SETS) <= set(sets):
        wanted.append((COMBINED_NAME, COMBINED_SETS))
    written = []
    for split, rows in (("train", dataset.train), ("test", dataset.test)):
        if not rows:
            continue
        for template, members in wanted:
            matrix = build_matrix(rows, extraction, members)
            arrays = {
                "X": matrix.X,
                "filenames": np.array(matrix.filenames, dtype=str),
                "feature_names": np.array(matrix.names, dtype=str),
            }
            path = folder / template.replace("{split}", split)
            write_whole(path, lambda file, arrays=arrays: np.savez_compressed(file, **arrays))  # type: ignore[misc]
            written.append(path)
    return written


def export_name(set_name: str) -> str:
    """File name of the matrix of a set, with ``{split}`` for the table.

    Examples
    --------
    >>> [export_name(name) for name in ("mfcc", "ultra@2.5s", "table:age", "wavlm@L7-8", "encoder:/models/tiny")][1:]
    ['ultra_2_5s_{split}.npz', 'table_age_{split}.npz', 'wavlm_L7-8_{split}.npz', 'encoder_tiny-09ce0b0f_{split}.npz']
    """
    if set_name in EXPORT_NAMES:
        return EXPORT_NAMES[set_name]
    of = parse_set(set_name)
    if of.column:
        return f"{of.base}_{_file_part(of.column)}_{{split}}.npz"
    if ":" in set_name:
        last = re.split(r"[/\\]", set_name)[-1]  # of a folder or of an id; the whole name tells those apart that share it
        return f"{of.base}_{_file_part(last, of=set_name)}_{{split}}.npz"
    return of.prefix.replace("@", "_") + "_{split}.npz"


def _file_part(text: str, *, of: str | None = None) -> str:
    """A part of a file name for any text; what is not the whole text as it is has a hash of it behind."""
    short = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:_NAME_CHARACTERS]
    whole = of or text
    return short if short == whole else f"{short}-{hashlib.blake2b(whole.encode(), digest_size=4).hexdigest()}"


def group_labels(rows: Sequence[Row], column: str) -> tuple[str, ...]:
    """The values of a column, without blanks around them.

    Raises
    ------
    ParameterError
        The table has no such column.
    DataError
        A row has no value.
    """
    if rows and column not in rows[0].columns:
        further = further_columns(rows[0].columns)
        raise ParameterError(f"groups={column!r} is not a column of the training table; there are: {further}")
    groups = tuple(row.columns[column].strip() for row in rows)
    empty = [row.name for row, group in zip(rows, groups, strict=True) if not group]
    if empty:
        raise DataError(f"{len(empty)} of {len(rows)} rows have no {column!r} (first: {empty[0]}); fill the column or drop them")
    return groups


def _stack(vectors: Sequence[np.ndarray], set_name: str) -> np.ndarray:
    """Vectors of a set as rows [shape=(n, d)], also where there are none."""
    return np.array(vectors, np.float32).reshape(len(vectors), len(column_names((set_name,))))


def _number(text: str, column: str, row: Row) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not abs(value) <= MAX_LABEL or "_" in text:
        raise DataError(
            f"column {column!r}: {row.columns[column]!r} of {row.name} is not a finite number; "
            "write decimals with a point, and leave the cell empty where there is none"
        )
    return value
