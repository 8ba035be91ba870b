"""Files of the workspace: written whole, and read without surprise whatever has become of them."""

import os

import pytest

from core.errors import FileError
from core.workspace import parse_json, read_json, write_json

DAMAGED = {
    "it is empty": b" \n",
    "not JSON: Expecting": b'{"a": [1',
    "not JSON: it is not text": b"\xff\xfe{}",
    "more than 32 objects or lists inside each other": b"[" * 60_000,
    r"more than 32 objects or lists": b"[" * 33 + b"]" * 33,
    "scores.fold_rmse.1: expected a finite number, found one of 400 digits": b'{"scores": {"fold_rmse": [1, ' + b"9" * 400 + b"]}}",
    "a: expected a finite number, found one of 5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a: expected a finite number, found 1e999": b'{"a": 1e999}',
    "a: expected a finite number, found NaN": b'{"a": NaN}',
    "expected a finite number, found -Infinity": b"-Infinity",
}


def test_what_is_written_is_read_back(tmp_path):
    value = {"a": [1, 0.1, -(2**53), None, True, "ü\n"], "b": {"c": {}}, "d": []}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize(("reason", "content"), DAMAGED.items())
def test_a_damaged_file_is_refused_with_its_path_and_the_field(tmp_path, reason, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FileError, match=reason) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_objects_may_stand_in_each_other_as_deep_as_records_need():
    value = parse_json(b'{"a":' * 30 + b"1" + b"}" * 30)
    for _ in range(30):
        value = value["a"]
    assert value == 1


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="expected a file, found a folder"):
        read_json(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for a writer
    with pytest.raises(FileError, match="expected a file, found something else"):
        read_json(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte on paper
    with pytest.raises(FileError, match="1,099,511,627,776 bytes are more than the 268,435,456 that are read"):
        read_json(tmp_path / "a.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused_in_the_words_of_the_system(tmp_path):
    write_json(tmp_path / "a.json", {})
    (tmp_path / "a.json").chmod(0)
    with pytest.raises(FileError, match="Permission denied"):
        read_json(tmp_path / "a.json")
