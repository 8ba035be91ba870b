"""No row of a table vanishes: each is read, or an error names its line."""

import pytest

from core.data.dataset import read_dataset
from core.data.layouts.delimited import read_delimited
from core.errors import DataError
from tests.conftest import tone, write_clip, write_table


def read(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_delimited(path)


def plain_set(tmp_path, rows, header="filename,label,text"):
    """A table as it is written, beside the clips a to j."""
    for name in "abcdefghij":
        write_clip(tmp_path / f"{name}.wav", tone(300, seconds=0.1))
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n", newline="")
    return tmp_path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_each_line_is_a_row_whatever_ends_it(tmp_path, end, last):
    lines = ["filename,label", "a,1", "", "b,2", ",", "c,3"]
    table = read(tmp_path, end.join(lines) + end * last)
    assert [(line.number, line.cells["filename"]) for line in table.lines] == [(2, "a"), (4, "b"), (6, "c")]


def test_byte_order_marks_and_zero_bytes_lose_no_row(tmp_path):
    table = read(tmp_path, b"\xef\xbb\xbffilename,label\na\0,1\n\xef\xbb\xbfb,2\n")
    assert table.columns == ("filename", "label")
    assert table.cells("filename") == ["a\0", "b"]


def test_separators_of_lines_that_only_unicode_knows_stay_in_their_cell(tmp_path):
    table = read(tmp_path, "filename,text\na,one\u2028two\x0bthree\nb,four\n")
    assert table.cells("text") == ["one\u2028two\x0bthree", "four"]


def test_a_text_in_quotation_marks_may_go_over_lines(tmp_path):
    rows = ['a,1,"first, line', "second, third, line", '"', 'b,2,"said ""yes"""', "c,3,plain"]
    dataset = read_dataset(plain_set(tmp_path, rows))
    assert [row.columns["text"] for row in dataset.train] == ["first, line\nsecond, third, line\n", 'said "yes"', "plain"]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (["a,1,x", 'b,2,"open', "c,3,x", "d,4,x"], 3),  # nothing closes it
        (["a,1,x", "b,2,x", 'c,3,"'], 4),  # in the last line
        (["a,1,x", 'b,2,"open', "c,3,x", 'd,4,"x"', "e,5,x"], 3),  # the next mark opens another cell
        (["a,1,x", 'b,2,"open', "c,3,x", 'd,4,closed"', "e,5,x"], 3),  # it closes, and the rows inside name clips
        (["a,1,x", 'b,2,"open', "gone,3,x", 'also gone,4,"'], 3),  # or have labels
        (['"a,1,x', 'b",2,x', "c,3,x"], 2),  # a name over two lines
        (["a,1,x", 'b,"2', '3",x', "c,3,x"], 3),  # a label over two lines
    ],
)
def test_a_quotation_mark_that_takes_rows_into_its_cell_is_named_with_its_line(tmp_path, rows, line):
    with pytest.raises(DataError, match=rf"t\.csv, line {line}: a quotation mark opens here"):
        read_dataset(plain_set(tmp_path, rows))


def test_a_quotation_mark_that_is_left_open_in_a_test_table_is_named_too(make_dataset):
    root = make_dataset(6, test=4)
    (root / "csvs/test.csv").write_text('filename,speaker\ntesta0x,"s\ntestb0x,s\ntestc0x,s"\ntestd0x,s\n')
    with pytest.raises(DataError, match=r"test\.csv, line 2: a quotation mark opens here"):
        read_dataset(root)


def test_names_made_like_the_others_are_rows_also_where_their_clips_are_gone(make_dataset):
    root = make_dataset(6, test=4)
    for path in (root / "audios/test").iterdir():
        path.unlink()
    table = root / "csvs/test.csv"
    table.write_text('filename,said\ntesta0x,"well, yes\nand, no"\ntestb0x,s\n')
    assert read_dataset(root).submission.names == ("testa0x", "testb0x")
    table.write_text('filename,said\ntesta0x,"s\ntestb0x,s\ntestc0x,s"\ntestd0x,s\n')
    with pytest.raises(DataError, match=r"test\.csv, line 2: a quotation mark opens here"):
        read_dataset(root)


def test_a_quotation_mark_in_the_header_is_named(tmp_path):
    with pytest.raises(DataError, match="quotation mark opens in the header"):
        read_dataset(plain_set(tmp_path, ["a,1,x", 'b,2,x"'], header='filename,label,"text'))


def test_rows_used_and_set_aside_add_up_to_the_lines_of_the_file(tmp_path):
    rows = ["a,1,x", "b,,x", "gone,3,x", ",4,x", "c,5,x,6", "d,7", 'e,8,5" x', "f\0,9,x", "g,high,x"]
    dataset = read_dataset(plain_set(tmp_path, rows))
    aside = [problem for problem in dataset.set_aside if problem.split == "train"]
    assert (len(dataset.train), len(aside)) == (3, 6)
    assert [row.name for row in dataset.train] == ["a", "d", "e"]


def test_a_submission_has_the_column_names_of_the_tables(tmp_path):
    for name in ("007", "b"):
        write_clip(tmp_path / f"audios/train/{name}.wav", tone(300))
        write_clip(tmp_path / f"audios/test/{name}.wav", tone(300))
    write_table(tmp_path / "csvs/train.csv", ["filename", "label"], [["b", 1]])
    write_table(tmp_path / "csvs/test.csv", ["filename"], [["b.wav"], ["007"], ["gone"], ["b.wav"]])
    form = read_dataset(tmp_path).submission
    assert form.columns == ("filename", "label")
    assert form.names == ("b.wav", "007", "gone", "b.wav")
