"""Whatever program wrote a table, its cells are the same texts."""

import json

import pandas as pd
import pytest

from core.data.layouts.tables import read_table
from core.errors import DataError
from tests.data.layouts.made import write_sheet

HEADER, ROWS = ["filename", "label", "said"], [["007", 2.5, "Grüße"], ["a.wav", 3, ""]]
CELLS = [{"filename": "007", "label": "2.5", "said": "Grüße"}, {"filename": "a.wav", "label": "3", "said": ""}]


def lines(separator):
    return "".join(separator.join(map(str, row)) + "\n" for row in (HEADER, *ROWS))


def text(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


WRITTEN = {
    "commas": lambda folder: text(folder / "t.csv", lines(",")),
    "semicolons": lambda folder: text(folder / "t.csv", lines(";")),
    "decimal commas": lambda folder: text(folder / "t.csv", lines(";").replace("2.5", "2,5")),
    "tabs": lambda folder: text(folder / "t.tsv", lines("\t")),
    "bars": lambda folder: text(folder / "t.csv", lines("|")),
    "sep": lambda folder: text(folder / "t.csv", "sep=;\n" + lines(";")),
    "comments": lambda folder: text(folder / "t.csv", "# by hand, in May\n# and June\n\n" + lines(",")),
    "UTF-8 with a mark": lambda folder: text(folder / "t.csv", lines(","), "utf-8-sig"),
    "UTF-16": lambda folder: text(folder / "t.csv", lines("\t"), "utf-16"),
    "UTF-16 without a mark": lambda folder: text(folder / "t.csv", lines("\t"), "utf-16-be"),
    "Windows-1252": lambda folder: text(folder / "t.csv", lines(","), "cp1252"),
    "Excel": lambda folder: write_sheet(folder / "t.xlsx", HEADER, ROWS),
    "JSON lines": lambda folder: text(
        folder / "t.jsonl", "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in ROWS)
    ),
    "a list of objects": lambda folder: text(folder / "t.json", json.dumps([dict(zip(HEADER, row, strict=True)) for row in ROWS])),
}


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_a_table_has_the_same_cells_whatever_wrote_it(tmp_path, write):
    table = read_table(write(tmp_path))
    assert table.columns == tuple(HEADER)
    assert [line.cells for line in table.lines] == CELLS


def test_parquet_loses_no_zeros_and_its_index_is_no_column(tmp_path):
    frame = pd.DataFrame({"filename": ["007", "a"], "label": [2.5, float("nan")], "count": [3, 4]}, index=[5, 9])
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert [line.cells for line in table.lines] == [
        {"filename": "007", "label": "2.5", "count": "3"},
        {"filename": "a", "label": "", "count": "4"},
    ]


def test_thousands_are_not_taken_for_decimals(tmp_path):
    table = read_table(text(tmp_path / "t.csv", "filename;label\na;1,234\nb;2,500\n"))
    assert table.cells("label") == ["1,234", "2,500"]
    table = read_table(text(tmp_path / "t.csv", "filename;label\na;1,234\nb;0,500\n"))
    assert table.cells("label") == ["1.234", "0.500"]


def test_letters_of_other_scripts_are_not_taken_for_western_ones(tmp_path):
    with pytest.raises(DataError, match="byte 15 is not UTF-8; save the table as UTF-8"):
        read_table(text(tmp_path / "t.csv", "filename,label\nжизнь,1\n", "cp1251"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.xlsx", b"no zip", "not an Excel file that can be read"),
        ("t.parquet", b"PAR1", "not a Parquet file that can be read"),
        ("t.jsonl", b'{"a": 1}\n{"a"', "line 2: not JSON"),
        ("t.jsonl", b'{"a": 1}\n[1]\n', r"line 2: expected a JSON object, found \[1\]"),
        ("t.json", b"[1]", "row 1: expected a JSON object, found 1"),
        ("t.doc", b"x", "expected a table"),
    ],
)
def test_a_file_that_is_no_table_is_told_in_words(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_table(tmp_path / name)


def test_parquet_that_holds_the_audio_itself_is_refused(tmp_path):
    pd.DataFrame({"audio": [{"bytes": b"RIFF", "path": "a.wav"}], "label": [1]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="the column 'audio' holds bytes"):
        read_table(tmp_path / "t.parquet")
