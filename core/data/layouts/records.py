"""Files whose cells have types in, tables of texts out: JSON lines, Excel, Parquet. Whole numbers are written without a point."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.data.layouts.delimited import read_text
from core.data.layouts.table import Line, Table, check_columns
from core.errors import DataError


def read_json_lines(path: Path) -> Table:
    """Read a file with one JSON object a line, or with one list of objects. The columns are the names of all objects together.

    Raises
    ------
    DataError
        It cannot be read, or a line holds something else.
    """
    text, notes = read_text(path)
    if text.lstrip().startswith("["):
        rows = list(enumerate(_parse(path, 1, text, list), start=1))
    else:
        rows = [(number, _parse(path, number, line, dict)) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    for number, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{path.name}, row {number}: expected a JSON object, found {json.dumps(row)[:40]}")
    columns = tuple(dict.fromkeys(name.strip() for _, row in rows for name in row))
    return _table(path, columns, ((number, {name.strip(): value for name, value in row.items()}) for number, row in rows), notes)


def read_sheet(path: Path) -> Table:
    """Read the first sheet of an Excel file that has cells; its first row with cells is the header.

    Raises
    ------
    DataError
        It cannot be read, or two columns have one name.
    """
    import python_calamine as calamine

    try:
        with calamine.CalamineWorkbook.from_path(path) as book:
            filled = [name for name in book.sheet_names if book.get_sheet_by_name(name).to_python()]
            cells = book.get_sheet_by_name(filled[0]).to_python(skip_empty_area=False) if filled else []
    except (calamine.CalamineError, OSError) as error:
        raise DataError(f"{path.name}: not an Excel file that can be read ({error}); save it again as .xlsx") from None
    rows = [(number, row) for number, row in enumerate(cells, start=1) if any(text_of(cell) for cell in row)]
    header = [text_of(cell).strip() for cell in rows[0][1]] if rows else []
    notes = (f"read as its sheet {filled[0]!r}, the first of {len(filled)}",) if len(filled) > 1 else ()
    named = ((number, {name: cell for name, cell in zip(header, row, strict=False) if name}) for number, row in rows[1:])
    check_columns(path, header)
    return _table(path, tuple(filter(None, header)), named, notes)


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; the unnamed index that pandas writes along is no column.

    Raises
    ------
    DataError
        It cannot be read, or holds the audio itself.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        read = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path.name}: not a Parquet file that can be read ({error})") from None
    for field in read.schema:
        if "binary" in str(field.type):
            raise DataError(
                f"{path.name}: the column {field.name!r} holds bytes, such as the audio itself; write the clips to "
                "files, and their names to a column"
            )
    columns = tuple(name for name in read.column_names if not name.startswith("__index_level_"))
    check_columns(path, columns)
    return _table(path, columns, enumerate(read.select(columns).to_pylist(), start=1), ())


def text_of(value: Any) -> str:
    """A value as the cell of a CSV would have it; nothing and NaN are empty.

    Examples
    --------
    >>> text_of(7.0), text_of(0.5), text_of(None), text_of(float("nan")), text_of(["a", 1])
    ('7', '0.5', '', '', '["a", 1]')
    """
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _table(path: Path, columns: Sequence[str], rows: Iterable[tuple[int, Mapping[str, Any]]], notes: Sequence[str]) -> Table:
    lines = tuple(Line(number, {name: text_of(row.get(name)) for name in columns}) for number, row in rows)
    return Table(path, tuple(columns), tuple(line for line in lines if any(line.cells.values())), tuple(notes))


def _parse(path: Path, number: int, text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name}, line {number}: not JSON ({error})") from None
    if not isinstance(value, kind):
        raise DataError(f"{path.name}, line {number}: expected a JSON object, found {text.strip()[:40]}")
    return value
