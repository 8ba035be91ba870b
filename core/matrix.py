"""Rows and vectors in, one matrix out. X is float32 with NaN where a feature is not defined; columns are named ``set.name``."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.dataset import Dataset, Row
from core.errors import DataError, ParameterError
from core.extract import FEATURE_SETS, Extraction, column_names, definition_hash
from core.workspace import write_whole

# The classic file names of these matrices.
EXPORT_NAMES = {
    "ultra": "ultraadvanced_features_{split}.npz",
    "mfcc": "{split}_features_fixed.npz",
    "metadata": "meta_{split}_feats.npz",
}
COMBINED_NAME = "combined_{split}_v4.npz"
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
    """

    X: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]
    filenames: tuple[str, ...]
    groups: tuple[str, ...] | None = None


def build_matrix(rows: Sequence[Row], extraction: Extraction, sets: Sequence[str], *, group_column: str | None = None) -> Matrix:
    """Join vectors and labels; rows whose clip has no vector are left out.

    Parameters
    ----------
    rows : sequence of Row
    extraction : Extraction
    sets : sequence of str, in the order of the columns
    group_column : str, optional

    Returns
    -------
    matrix : Matrix

    Raises
    ------
    ParameterError
        The table has no such group column.
    DataError
        A row has no group.
    """
    kept = [row for row in rows if row.path in extraction.vectors]
    names = column_names(sets)
    X = np.empty((len(kept), len(names)), np.float32)
    for row, vector in zip(kept, X, strict=True):
        vector[:] = np.concatenate([extraction.vectors[row.path][name] for name in sets])
    groups = group_labels(kept, group_column) if group_column else None
    return Matrix(X, np.array([row.label for row in kept]), names, tuple(row.name for row in kept), groups)


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


def fingerprint(dataset: Dataset, extraction: Extraction, *, max_seconds: float | None = None) -> str:
    """Short hash of names, labels, groups and audio: equal for equal data only.

    With ``max_seconds`` also of the definitions of all feature sets, so that matrices under one fingerprint belong together.
    """
    digest = hashlib.blake2b(digest_size=6)
    if max_seconds is not None:
        for name in FEATURE_SETS:
            digest.update(definition_hash(name, max_seconds))
    for split, rows in (("train", dataset.train), ("test", dataset.test)):
        for row in rows:
            record = (split, row.name, repr(row.label), sorted(row.columns.items()), extraction.contents.get(row.path))
            digest.update(repr(record).encode())
    return digest.hexdigest()


def export_matrices(dataset: Dataset, extraction: Extraction, sets: Sequence[str], folder: Path) -> list[Path]:
    """Write the classic .npz files: ``X`` float32, ``filenames``, ``feature_names``.

    Returns
    -------
    written : list of Path; the combined file only where all three sets are there
    """
    wanted: list[tuple[str, tuple[str, ...]]] = [(EXPORT_NAMES[name], (name,)) for name in sets]
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
            path = folder / template.format(split=split)
            write_whole(path, lambda file, arrays=arrays: np.savez_compressed(file, **arrays))  # type: ignore[misc]
            written.append(path)
    return written


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
        there = ", ".join(rows[0].columns) or "none besides file name and label"
        raise ParameterError(f"groups={column!r} is not a column of the training table; there are: {there}")
    groups = tuple(row.columns[column].strip() for row in rows)
    empty = [row.name for row, group in zip(rows, groups, strict=True) if not group]
    if empty:
        raise DataError(f"{len(empty)} of {len(rows)} rows have no {column!r} (first: {empty[0]}); fill the column or drop them")
    return groups
