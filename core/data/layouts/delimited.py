"""A text file with a header and separators in, its table out. Every line of the file becomes a row, or an error names it.

A cell in quotation marks may go over several lines. A mark that was left open by mistake looks the same at first: it takes the rows
below it into its cell, up to the next mark. Such a row is therefore refused where its quotation marks do not close properly, and
its inner lines are kept as rows of their own, for the check of ``roles.refuse_hidden_rows`` once it is known what the columns hold.
"""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from core.data.layouts.table import Line, Table, check_columns, is_missing
from core.errors import DataError

SEPARATORS = (",", ";", "\t", "|")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_WESTERN = re.compile(r"[À-ÖØ-öø-ÿŒœŠšŽžŸ‘’“”–—…€°«»¿¡§]{1,2}")  # noqa: RUF001  typographic marks
_WHOLE = re.compile(r"[+-]?\d+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")


def read_delimited(path: Path) -> Table:
    """Read a table whose cells are separated by commas, semicolons, tabs or bars, whichever cuts its header into most columns.

    Comments (``#``) may stand before the header, and a line such as ``sep=;``, which then says the separator. Numbers may have
    decimal commas where the separator is not the comma.

    Raises
    ------
    DataError
        It cannot be read, is not text, two columns have one name, or a quotation mark opens that does not close.
    """
    text, notes = read_text(path)
    lines = [line.removeprefix("\ufeff") for line in text.split("\n")]
    above, separator = _preamble(lines)
    lines[:above] = [""] * above
    if separator is None:
        header_text = next((line for line in lines if line.strip()), "")
        separator = max(SEPARATORS, key=lambda each: len(next(csv.reader([header_text], delimiter=each), [])))
    records = _records(path, lines, separator)
    _, header, inner = next(records, (0, [], []))
    if inner:
        raise DataError(f"{path.name}: a quotation mark opens in the header and takes the lines below into it; remove it")
    header = [name.strip() for name in header]
    check_columns(path, header)
    rows = tuple(_line(number, cells, inner, header) for number, cells, inner in records)
    table = Table(path, tuple(filter(None, header)), rows, notes)
    return table if separator == "," else _with_decimal_points(table)


def read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    """A file as text whose lines end in a line feed, and a note where its encoding had to be found out.

    UTF-8 and UTF-16 tell themselves. Anything else is Windows-1252 where each letter that is not ASCII is a Western one and stands
    alone or in a pair: in other encodings, such as those of Cyrillic, whole words would be such letters.

    Raises
    ------
    DataError
        It cannot be read, or its encoding cannot be told.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None) or _utf_16_without_mark(content) or "utf-8"
    notes: tuple[str, ...] = ()
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        text = content.decode("cp1252", errors="replace")
        if encoding != "utf-8" or not all(_WESTERN.fullmatch(run) for run in re.findall(r"[^\x00-\x7f]+", text)):
            what = encoding.upper().removesuffix("-SIG")
            raise DataError(
                f"{path.name}: byte {error.start} is not {what}; save the table as UTF-8 (in Excel: CSV UTF-8)"
            ) from None
        notes = ("read as Windows-1252, because it is not UTF-8",)
    return re.sub(r"\r\n?", "\n", text), notes


def _utf_16_without_mark(content: bytes) -> str | None:
    """In a text that is mostly ASCII, every second byte of UTF-16 is zero."""
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = content[first::2]
        if len(content) % 2 == 0 and half and half.count(0) > 0.8 * len(half):
            return encoding
    return None


def _preamble(lines: Sequence[str]) -> tuple[int, str | None]:
    """How many lines stand above the header, and the separator that one of them says."""
    separator = None
    for number, line in enumerate(lines):
        if match := re.fullmatch(r'"?sep=(.)"?', line.strip(" "), re.IGNORECASE):
            separator = match[1]
        elif line.strip() and not line.startswith("#"):
            return number, separator
    return 0, separator


def _records(path: Path, lines: Sequence[str], separator: str) -> Iterator[tuple[int, list[str], list[list[str]]]]:
    """The rows that are not empty: the number of their first line, their cells, and the cells of each further line by itself."""
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator)
    last = 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path.name}, line {last + 1}: not a row of a table ({error})") from None
        if cells is None:
            return
        first, last = last + 1, reader.line_num
        inner = []
        if last > first or any("\n" in cell for cell in cells):
            whole = [f"{line}\n" for line in lines[first - 1 : last]]
            try:
                list(csv.reader(whole, delimiter=separator, strict=True))
            except csv.Error:
                raise DataError(
                    f"{path.name}, line {first}: a quotation mark opens here that does not close its cell; "
                    "the lines below would be lost. Remove it, or write it twice"
                ) from None
            inner = [[cell.replace('"', "") for cell in next(csv.reader([line], delimiter=separator))] for line in whole[1:]]
        if any(cells):
            yield first, cells, inner


def _line(number: int, cells: list[str], inner: list[list[str]], header: list[str]) -> Line:
    problem = None
    if any(cells[len(header) :]):
        problem = f"the row has {len(cells)} cells, the header {len(header)}: write decimals with a point, quote cells with commas"
    alike = tuple(_by_name(line, header) for line in inner if len(line) == len(header))
    return Line(number, _by_name(cells, header), problem, alike)


def _by_name(cells: list[str], header: list[str]) -> dict[str, str]:
    filled = cells + [""] * (len(header) - len(cells))
    return {name: cell for name, cell in zip(header, filled, strict=False) if name}


def _with_decimal_points(table: Table) -> Table:
    """Decimal commas as points, in columns of numbers. Where all look like ``1,234``, they may as well be thousands, and stay."""
    changed = set()
    for column in table.columns:
        cells = [cell.strip() for cell in table.cells(column) if not is_missing(cell)]
        commas = [cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell)]
        numbers = len(commas) + sum(_WHOLE.fullmatch(cell) is not None for cell in cells)
        if numbers > len(cells) / 2 and not all(_THOUSANDS.fullmatch(cell) for cell in commas):
            changed.add(column)

    def mend(name: str, cell: str) -> str:
        return cell.replace(",", ".") if name in changed and _DECIMAL_COMMA.fullmatch(cell.strip()) else cell

    lines = (replace(line, cells={name: mend(name, cell) for name, cell in line.cells.items()}) for line in table.lines)
    return replace(table, lines=tuple(lines))
