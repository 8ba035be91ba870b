"""Exported matrices in, one matrix a table out, and that matrix as bytes to take away (npz, Parquet)."""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.data.dataset import Dataset
from core.data.treatment import AS_RECORDED, Treatment
from core.errors import DataError
from core.extraction.config import FEATURE_SETS, ExtractSettings
from core.extraction.definitions import definition_hash
from core.extraction.extract import Extraction
from core.extraction.matrix import COMBINED_SETS, Matrix, build_matrix
from core.features import Column, parse_set, possible_columns, set_of
from core.workspace import write_whole

# The classic file names of these matrices; ``export_name`` has those of the further sets.
EXPORT_NAMES = {
    "ultra": "ultraadvanced_features_{split}.npz",
    "mfcc": "{split}_features_fixed.npz",
    "metadata": "meta_{split}_feats.npz",
}
COMBINED_NAME = "combined_{split}_v4.npz"
_NAME_CHARACTERS = 60
_TIME_UNITS = re.compile(r"Hz|BPM|\bs\b")


_AGAIN = "extract again, what is cached is not computed again"
_DAMAGES = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def read_exported(files: Sequence[str | Path], sets: Sequence[str], split: str, labels: Mapping[str, float]) -> Matrix | None:
    """Join the matrices of feature sets that an extraction exported.

    Parameters
    ----------
    files : what the extraction wrote
    sets : sequence of str, in the order of the columns
    split : "train" or "test"
    labels : by the name of a clip; NaN where there is none

    Returns
    -------
    matrix : Matrix, or None where no matrix of this table was written: it has no rows

    Raises
    ------
    DataError
        A file is gone, damaged, of another version, or does not belong to the others.
    """
    by_name = {Path(file).name: Path(file) for file in files}
    paths = [by_name[name] for name in (export_name(set_name).replace("{split}", split) for set_name in sets) if name in by_name]
    if not paths:
        return None
    parts = [_read(path) for path in paths]
    filenames = parts[0].filenames
    for path, part in zip(paths, parts, strict=True):
        if part.filenames != filenames:
            raise DataError(
                f"{path}: its clips are not those of {paths[0].name}; extract again, what is cached is not computed again"
            )
    y = np.array([labels.get(name, np.nan) for name in filenames], np.float64)
    names = tuple(name for part in parts for name in part.names)
    known = definitions(sets)
    if unknown := [name for name in names if name not in known]:
        raise DataError(f"{paths[0].parent}: columns of another version of Earmark (first: {unknown[0]}); {_AGAIN}")
    return Matrix(np.concatenate([part.X for part in parts], axis=1), y, names, filenames)


def definitions(sets: Sequence[str], treatment: Treatment = AS_RECORDED) -> dict[str, Column]:
    """What each column of a matrix of these sets is, by its name in the matrix.

    An encoder that is not on this machine any more cannot say how many units it has: it counts with more than any has. Of clips
    that are slowed down, the definition of each frequency, time and rate says so.
    """
    return {
        f"{parse_set(set_name).prefix}.{column.name}": _treated(column, treatment)
        for set_name in sets
        for column in possible_columns(set_name)
    }


def _treated(column: Column, treatment: Treatment) -> Column:
    if not treatment.speed or not _TIME_UNITS.search(column.unit):
        return column
    return replace(column, definition=f"{column.definition}; {treatment.speed}")


def as_npz(matrix: Matrix) -> bytes:
    """A compressed .npz: ``X`` float32, ``filenames``, ``feature_names``, and ``label`` where there are labels."""
    arrays = {
        "X": matrix.X,
        "filenames": np.array(matrix.filenames, dtype=str),
        "feature_names": np.array(matrix.names, dtype=str),
    }
    if _labelled(matrix):
        arrays["label"] = matrix.y
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def as_parquet(matrix: Matrix, treatment: Treatment = AS_RECORDED) -> bytes:
    """A Parquet table: ``filename``, ``label`` where there are labels, then the columns; a missing value is null.

    Each column carries its unit and its definition as metadata of its field. ``treatment`` is what was done to the clips.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = definitions(tuple(dict.fromkeys(set_of(name) for name in matrix.names)), treatment)
    names = [name.encode(errors="backslashreplace").decode() for name in matrix.filenames]
    fields, arrays = [pa.field("filename", pa.string())], [pa.array(names, pa.string())]
    if _labelled(matrix):
        fields.append(pa.field("label", pa.float64()))
        arrays.append(pa.array(matrix.y, pa.float64(), from_pandas=True))
    for name, values in zip(matrix.names, matrix.X.T, strict=True):
        about = {"unit": known[name].unit, "definition": known[name].definition} if name in known else None
        fields.append(pa.field(name, pa.float32(), metadata=about))
        arrays.append(pa.array(np.ascontiguousarray(values), pa.float32(), from_pandas=True))
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), file, compression="zstd")
    return file.getvalue()


def _read(path: Path) -> Matrix:
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            X, filenames, names = file["X"], file["filenames"], file["feature_names"]
    except FileNotFoundError:
        raise DataError(f"{path}: this exported matrix is gone; {_AGAIN}") from None
    except _DAMAGES:
        raise DataError(f"{path}: this exported matrix is damaged, no whole .npz file; {_AGAIN}") from None
    if X.shape != (len(filenames), len(names)) or X.dtype != np.float32:
        raise DataError(f"{path}: X is {X.dtype} {X.shape} for {len(filenames)} clips and {len(names)} columns; {_AGAIN}")
    return Matrix(X, np.full(len(X), np.nan), tuple(names.tolist()), tuple(filenames.tolist()))


def _labelled(matrix: Matrix) -> bool:
    return bool(np.isfinite(matrix.y).any())


def fingerprint(dataset: Dataset, extraction: Extraction, *, settings: ExtractSettings | None = None) -> str:
    """Short hash of names, labels, groups and audio: equal for equal data only.

    With ``settings`` also of the definitions of the handcrafted sets and of those that were extracted, so that matrices under one
    fingerprint belong together.
    """
    digest = hashlib.blake2b(digest_size=6)
    if settings is not None:
        for name in FEATURE_SETS:
            digest.update(definition_hash(name, settings.max_seconds, treatment=settings.treatment))
        device, window, treatment = settings.choose_device(), settings.encoder_window, settings.treatment
        for name in settings.on_device:
            made = definition_hash(name, settings.max_seconds, device=device, encoder_window=window, treatment=treatment)
            digest.update(made)
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
    if of.column and not of.reads_text and not of.of_group:
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
