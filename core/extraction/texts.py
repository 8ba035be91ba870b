"""Rows of a table in, the texts that sets read beside the audio out, by clip."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.data.dataset import further_columns
from core.data.rows import Row
from core.errors import ParameterError
from core.extraction.machine import with_text
from core.features import parse_set

Texts = Mapping[Path, Sequence[str]]  # of each clip what is made of it with a text, as ``with_text`` names it


def texts_of(rows: Sequence[Row], sets: Sequence[str], *, allow_missing_table: bool = False) -> dict[Path, tuple[str, ...]]:
    """What is made of each clip with the texts of its rows: ``extract_clips`` takes it.

    Parameters
    ----------
    rows : sequence of Row; two of one clip may have two texts
    sets : sequence of str; those that read no text are passed over
    allow_missing_table : bool, a row without any further column has no text

    Raises
    ------
    ParameterError
        A set names no column of the text, or the table lacks it.
    """
    texts: dict[Path, dict[str, None]] = {}
    for name in sets:
        if parse_set(name).reads_text:
            for row in rows:
                if (made := made_with_text(row, name, allow_missing_table=allow_missing_table)) is not None:
                    texts.setdefault(row.path, {})[made] = None
    return {path: tuple(made) for path, made in texts.items()}


def made_with_text(row: Row, set_name: str, *, allow_missing_table: bool = False) -> str | None:
    """What a set that reads a text makes of a row; None where the row has no text.

    Raises
    ------
    ParameterError
        As ``texts_of``.
    """
    feature_set = parse_set(set_name)
    if not feature_set.column:
        raise ParameterError(f"features={set_name!r} does not say which column has the text; write {set_name}:column=NAME")
    text = cell(row, feature_set.column, set_name, allow_missing_table=allow_missing_table)
    return with_text(feature_set.stored, text) if text and text.strip() else None


def cell(row: Row, column: str, set_name: str, *, allow_missing_table: bool) -> str | None:
    """The cell of a row that a set reads; None where the row has no table, if that is allowed.

    Raises
    ------
    ParameterError
        The table lacks the column.
    """
    if column in row.columns:
        return row.columns[column]
    if allow_missing_table and not row.columns:
        return None
    raise ParameterError(
        f"features={set_name!r}: the table with {row.name} has no further column {column!r}; there are: "
        f"{further_columns(row.columns)} (the file name and the label are no features)"
    )


def content_with(content: bytes, text: str) -> bytes:
    """Hash of the bytes of a file and of a text [16 bytes]; of the file alone where there is no text."""
    return hashlib.blake2b(content + text.encode(errors="surrogatepass"), digest_size=16).digest() if text else content
