"""What was exported is read back as it was, packed for other programs, and named with a reason where it is gone."""

import dataclasses
import io

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.data.dataset import read_dataset
from core.data.treatment import Treatment
from core.errors import DataError
from core.extraction.config import ExtractSettings
from core.extraction.export import as_npz, as_parquet, definitions, export_matrices, read_exported
from core.extraction.extract import column_names, extract_clips
from core.extraction.matrix import Matrix, build_matrix
from core.features import columns

SETS = ("mfcc", "metadata")


@pytest.fixture
def exported(make_dataset, tmp_path):
    dataset = read_dataset(make_dataset(6))
    paths = [row.path for row in (*dataset.train, *dataset.test)]
    extraction = extract_clips(paths, ExtractSettings(features=SETS, workers=0), cache_path=tmp_path / "cache.sqlite")
    return dataset, extraction, export_matrices(dataset, extraction, SETS, tmp_path / "features")


def test_an_exported_matrix_is_read_back_as_it_was_built(exported):
    dataset, extraction, files = exported
    for split, rows in (("train", dataset.train), ("test", dataset.test)):
        built = build_matrix(rows, extraction, SETS)
        read = read_exported(files, SETS, split, {row.name: row.label for row in dataset.train})
        assert np.array_equal(read.X, built.X, equal_nan=True)
        assert np.array_equal(read.y, built.y, equal_nan=True)
        assert (read.names, read.filenames) == (built.names, built.filenames)


def test_windows_and_columns_of_the_table_are_read_back_too(make_dataset, tmp_path):
    dataset = read_dataset(make_dataset(4, test=0, seconds=2))
    rows = tuple(dataclasses.replace(row, columns={"a b": str(place)}) for place, row in enumerate(dataset.train))
    dataset = dataclasses.replace(dataset, train=rows)
    sets = ("table:a b", "mfcc@1.5s", "metadata")
    extraction = extract_clips(
        [row.path for row in rows], ExtractSettings(features=sets, workers=0), cache_path=tmp_path / "cache.sqlite"
    )
    files = export_matrices(dataset, extraction, sets, tmp_path / "features")
    read = read_exported(files, sets, "train", {})
    assert read.names == column_names(sets) == tuple(definitions(sets))
    assert np.array_equal(read.X, build_matrix(rows, extraction, sets).X, equal_nan=True)
    schema = pq.read_schema(io.BytesIO(as_parquet(read)))
    assert schema.field("table.a b").metadata[b"definition"] == b"column 'a b' of the table"
    assert (
        schema.field("mfcc_1_5s.mfcc0_mean_std")
        .metadata[b"definition"]
        .startswith(b"standard deviation over windows of 1.5 s of: ")
    )


def test_a_table_without_rows_has_no_matrix(exported):
    _, _, files = exported
    assert read_exported([file for file in files if "test" not in file.name], SETS, "test", {}) is None


def test_a_file_that_is_gone_or_damaged_is_told_with_what_to_do(exported):
    _, _, files = exported
    path = next(file for file in files if file.name == "train_features_fixed.npz")
    whole = path.read_bytes()
    for damage in (b"", b"rubbish", whole[: len(whole) // 2], whole[:200] + b"\0" * 200 + whole[400:]):
        path.write_bytes(damage)
        with pytest.raises(
            DataError, match=r"train_features_fixed\.npz: this exported matrix is damaged, no whole .npz file; extract again"
        ):
            read_exported(files, SETS, "train", {})
    with path.open("wb") as file:
        np.savez(file, X=np.zeros((6, 1), np.float32), filenames=np.array(list("abcdef")), feature_names=np.array(["mfcc.x"]))
    with pytest.raises(DataError, match=r"columns of another version of Earmark \(first: mfcc\.x\)"):
        read_exported([path], ("mfcc",), "train", {})
    with path.open("wb") as file:
        np.savez(file, X=np.zeros((2, 2), np.float32), filenames=np.array(["a"]), feature_names=np.array(["b", "c"]))
    with pytest.raises(DataError, match="for 1 clips and 2 columns"):
        read_exported(files, SETS, "train", {})
    path.unlink()
    with pytest.raises(DataError, match="this exported matrix is gone; extract again"):
        read_exported(files, SETS, "train", {})


def test_matrices_of_other_clips_are_not_joined(exported, tmp_path):
    dataset, extraction, files = exported
    fewer = {path: vectors for path, vectors in extraction.vectors.items() if path != dataset.train[0].path}
    extraction.vectors.clear()
    extraction.vectors.update(fewer)
    export_matrices(dataset, extraction, ("metadata",), files[0].parent)
    with pytest.raises(DataError, match="its clips are not those of"):
        read_exported(files, SETS, "train", {})


def small(*, labelled: bool) -> Matrix:
    names = column_names(SETS)
    X = np.arange(2 * len(names), dtype=np.float32).reshape(2, -1)
    X[1, 3] = np.nan
    return Matrix(X, np.array([1.5, np.nan] if labelled else [np.nan, np.nan]), names, ("a", "b \u00e9.wav"))


@pytest.mark.parametrize("labelled", [True, False])
def test_npz_and_parquet_hold_the_matrix(labelled):
    matrix = small(labelled=labelled)
    with np.load(io.BytesIO(as_npz(matrix))) as file:
        assert np.array_equal(file["X"], matrix.X, equal_nan=True)
        assert file["filenames"].tolist() == list(matrix.filenames)
        assert file["feature_names"].tolist() == list(matrix.names)
        assert ("label" in file) == labelled
    frame = pd.read_parquet(io.BytesIO(as_parquet(matrix)))
    assert list(frame) == ["filename", *(["label"] if labelled else []), *matrix.names]
    assert frame["filename"].tolist() == list(matrix.filenames)
    assert np.array_equal(frame[list(matrix.names)].to_numpy(), matrix.X, equal_nan=True)
    if labelled:
        assert frame["label"].tolist()[0] == 1.5
        assert np.isnan(frame["label"].tolist()[1])


def test_parquet_says_what_each_column_is():
    schema = pq.read_schema(io.BytesIO(as_parquet(small(labelled=True))))
    first = columns("metadata")[0]
    assert schema.field(f"metadata.{first.name}").metadata == {
        b"unit": first.unit.encode(),
        b"definition": first.definition.encode(),
    }
    assert list(definitions(SETS)) == list(column_names(SETS))


def test_a_name_that_is_no_text_is_written_with_escapes():
    matrix = small(labelled=False)
    odd = Matrix(matrix.X, matrix.y, matrix.names, ("a\udcff", "b"))
    assert pd.read_parquet(io.BytesIO(as_parquet(odd)))["filename"].tolist() == ["a\\udcff", "b"]


def test_frequencies_and_times_of_slowed_clips_say_so_and_nothing_else_does():
    plain, slowed = definitions(("ultra",)), definitions(("ultra",), Treatment("left", 10))
    said = {name for name in plain if slowed[name].definition != plain[name].definition}
    assert {"ultra.duration_s", "ultra.centroid_mean_hz", "ultra.tempo_bpm"} <= said
    assert all(slowed[name].definition == f"{plain[name].definition}; slowed down 10 times" for name in said)
    assert {plain[name].unit for name in said} == {"s", "Hz", "1/s", "FS/s", "st/s", "BPM"}
    assert definitions(("ultra",), Treatment("left")) == plain


def test_a_table_of_slowed_clips_carries_it_in_its_definitions():
    matrix = Matrix(np.ones((1, 1), np.float32), np.ones(1), ("ultra.centroid_mean_hz",), ("a",))
    schema = pq.read_schema(io.BytesIO(as_parquet(matrix, Treatment(slow_down=10))))
    assert schema.field("ultra.centroid_mean_hz").metadata[b"definition"].endswith(b"; slowed down 10 times")
