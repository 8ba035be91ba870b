"""Rows and vectors in, one matrix out. X is float32 with NaN where a feature is not defined; columns are named ``set.name``."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.data.dataset import Dataset
from core.data.ratings import ratings_of
from core.data.rows import MAX_LABEL, Row
from core.encoders.words import text_columns
from core.errors import DataError, ParameterError
from core.extraction.extract import Extraction, column_names
from core.extraction.group_means import group_means, groups_of
from core.extraction.levels import is_words, level_values, levels_of
from core.extraction.texts import cell, made_with_text
from core.features import names, parse_set, set_of
from core.scoring.agreement import Ratings
from core.workspace import write_whole

COMBINED_SETS = ("mfcc", "ultra", "metadata")


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
    copies : np.ndarray [shape=(k, n, d)], float32, the same rows for each augmented copy of their clips; or None
    ratings : Ratings whose means the labels are, or None; they are not saved
    """

    X: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]
    filenames: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    copies: np.ndarray | None = None
    ratings: Ratings | None = None


def build_matrix(
    rows: Sequence[Row],
    extraction: Extraction,
    sets: Sequence[str],
    *,
    allow_missing_table: bool = False,
    copies: int = 0,
) -> Matrix:
    """Join vectors, columns of the table and labels; rows whose clip has no vector are left out.

    Parameters
    ----------
    rows : sequence of Row
    extraction : Extraction
    sets : sequence of str, in the order of the columns
    allow_missing_table : bool, a row without any further column, as that of a loose clip, has NaN for what is of the table
    copies : int >= 0, of each clip; what is of the table is the same in all of them

    Returns
    -------
    matrix : Matrix

    Raises
    ------
    ParameterError
        The table has not the column of a set, or fewer copies were extracted.
    DataError
        A cell of a set's column is no number.
    """
    kept = [row for row in rows if row.path in extraction.vectors]
    of_table = _values_of_table(kept, extraction, sets, allow_missing_table=allow_missing_table)
    if few := [row for row in kept if len(extraction.copies.get(row.path, ())) < copies]:
        extracted = len(extraction.copies.get(few[0].path, ()))
        raise ParameterError(f"copies={copies}: of {few[0].name} {extracted} were extracted; ask extract_clips for {copies} of it")

    keys = {name: _keys(kept, name, allow_missing_table=allow_missing_table) for name in sets if name not in of_table}

    def joined(vectors: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
        parts = [of_table[name] if name in of_table else _stack(vectors, keys[name], name) for name in sets]
        return np.concatenate(parts, axis=1)

    X = joined([extraction.vectors[row.path] for row in kept])
    varied = [joined([extraction.copies[row.path][number] for row in kept]) for number in range(copies)]
    return Matrix(
        X,
        np.array([row.label for row in kept]),
        column_names(sets),
        tuple(row.name for row in kept),
        copies=np.stack(varied) if varied else None,
        ratings=ratings_of(kept),
    )


def build_matrices(
    dataset: Dataset, extraction: Extraction, sets: Sequence[str], *, copies: int = 0, test_copies: int = 0
) -> tuple[Matrix, Matrix]:
    """The matrix of the training table and that of the test table, as ``build_matrix``."""
    train = build_matrix(dataset.train, extraction, sets, copies=copies)
    return train, build_matrix(dataset.test, extraction, sets, copies=test_copies)


def columns_of_run(matrix: Matrix, names: Sequence[str]) -> Matrix:
    """The columns that a run was trained on, where the sets of its encoders have gained others since.

    Parameters
    ----------
    matrix : Matrix, as this version builds it for the sets of the run
    names : sequence of str, what the run was trained on

    Returns
    -------
    matrix : Matrix; as it is where it lacks a column, or has others that are of no encoder
    """
    place = {name: at for at, name in enumerate(matrix.names)}
    gained = set(place) - set(names)
    if not set(names) <= set(place) or not all(_has_layers(set_of(name)) for name in gained):
        return matrix
    chosen = [place[name] for name in names]
    copies = None if matrix.copies is None else matrix.copies[:, :, chosen]
    return replace(matrix, X=matrix.X[:, chosen], names=tuple(names), copies=copies)


def _has_layers(set_name: str) -> bool:
    return parse_set(parse_set(set_name).of_group or set_name).has_layers


def check_table(dataset: Dataset, sets: Sequence[str]) -> None:
    """Refuse sets whose columns a table does not have, or whose cells are neither numbers nor a few words; nothing is extracted.

    Raises
    ------
    ParameterError
        A table has no such column.
    DataError
        A cell of a numeric column is neither empty nor a finite number, or a column has too many different words.
    """
    for name in sets:
        feature_set = parse_set(name)
        for rows in (dataset.train, dataset.test) if feature_set.column else ():
            if feature_set.of_group:
                groups_of(rows, name)
            elif is_words(name, dataset.train):
                level_values(
                    [cell(row, feature_set.column, name, allow_missing_table=False) for row in rows], levels_of(name, dataset.train)
                )
            elif not feature_set.of_text and not feature_set.reads_text:
                table_values(rows, name)
            elif rows and feature_set.column not in rows[0].columns:
                raise ParameterError(
                    f"features={name!r}: there is no column {feature_set.column!r}; there are: {', '.join(rows[0].columns)}"
                )


def _values_of_table(
    rows: Sequence[Row], extraction: Extraction, sets: Sequence[str], *, allow_missing_table: bool
) -> dict[str, np.ndarray]:
    """Of each set that is read from the table its values [shape=(n, d)]; the others are computed from the clips."""
    values = {}
    for name in sets:
        feature_set = parse_set(name)
        if feature_set.of_text:
            values[name] = text_values(rows, extraction, name, allow_missing_table=allow_missing_table)
        elif feature_set.levels:
            cells = [cell(row, feature_set.column, name, allow_missing_table=allow_missing_table) for row in rows]
            values[name] = level_values(cells, feature_set.levels)
        elif feature_set.of_group:
            vectors = _stack(
                [extraction.vectors[row.path] for row in rows], [feature_set.of_group] * len(rows), feature_set.of_group
            )
            values[name] = group_means(vectors, groups_of(rows, name, allow_missing_table=allow_missing_table))
        elif not feature_set.of_audio:
            values[name] = table_values(rows, name, allow_missing_table=allow_missing_table)[:, None]
    return values


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
    for index, row in enumerate(rows):
        text = cell(row, column, set_name, allow_missing_table=allow_missing_table)
        if text is not None and text.strip():
            values[index] = _number(text.strip(), column, row)
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
    duration = names("metadata").index("duration_s")
    values = np.full((len(rows), len(names(set_name))), np.nan, np.float32)
    for index, row in enumerate(rows):
        text = cell(row, column, set_name, allow_missing_table=allow_missing_table)
        if text is not None:
            values[index] = text_columns(text, seconds=float(extraction.vectors[row.path][set_name][duration]))
    return values


def _keys(rows: Sequence[Row], set_name: str, *, allow_missing_table: bool) -> list[str | None]:
    """Under which name each row has its vector of a set; None where there is no text for it to read."""
    if not parse_set(set_name).reads_text:
        return [set_name] * len(rows)
    return [made_with_text(row, set_name, allow_missing_table=allow_missing_table) for row in rows]


def _stack(vectors: Sequence[Mapping[str, np.ndarray]], keys: Sequence[str | None], set_name: str) -> np.ndarray:
    """Vectors of a set as rows [shape=(n, d)], also where there are none."""
    rows = np.full((len(vectors), len(column_names((set_name,)))), np.nan, np.float32)
    for index, (by_name, key) in enumerate(zip(vectors, keys, strict=True)):
        if key is not None and key not in by_name:
            raise ParameterError(f"features={set_name!r}: the texts of the rows were not extracted; give texts_of(rows, sets) too")
        if key is not None:
            rows[index] = by_name[key]
    return rows


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
