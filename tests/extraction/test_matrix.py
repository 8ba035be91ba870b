import dataclasses

import numpy as np
import pytest

from core.data.dataset import Dataset
from core.data.layouts.layout import Layout
from core.data.rows import Row
from core.ensemble.fitted import check_columns
from core.errors import DataError, ParameterError
from core.extraction.config import ExtractSettings
from core.extraction.export import export_matrices, fingerprint
from core.extraction.extract import Extraction, column_names
from core.extraction.matrix import Matrix, build_matrix, columns_of_run, load_matrix, save_matrix

SIZES = {"ultra": 160, "mfcc": 120, "metadata": 9}


@pytest.fixture
def rows(tmp_path):
    return tuple(Row(f"clip{index}", tmp_path / f"{index}.wav", float(index), {"speaker": f"s{index % 2}"}) for index in range(4))


@pytest.fixture
def extraction(rows, rng):
    """Vectors of all rows but the second."""
    vectors = {
        row.path: {name: rng.normal(size=size).astype(np.float32) for name, size in SIZES.items()}
        for row in rows
        if row.name != "clip1"
    }
    return Extraction(vectors, {row.path: row.name for row in rows}, {rows[1].path: "too short"}, computed=4)


@pytest.fixture
def dataset(rows, tmp_path):
    return Dataset(tmp_path, tmp_path, Layout(), rows, (), None, ())


def test_a_row_without_a_vector_is_left_out_not_filled(rows, extraction):
    matrix = build_matrix(rows, extraction, ("mfcc", "ultra"))
    assert matrix.filenames == ("clip0", "clip2", "clip3")
    assert matrix.y.tolist() == [0, 2, 3]
    assert matrix.X.shape == (3, 280)
    assert matrix.X.dtype == np.float32
    assert np.array_equal(matrix.X[1, :120], extraction.vectors[rows[2].path]["mfcc"])
    assert matrix.names == column_names(("mfcc", "ultra"))


def test_a_run_reads_the_columns_it_knows_where_an_encoder_has_gained_some():
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    names = ("wavlm@L7.mean0", "wavlm@L7.std0", "wavlm@L7.delta0", "metadata.duration_s")
    matrix = Matrix(values, np.zeros(2), names, ("a", "b"), copies=values[None] + 10)
    known = columns_of_run(matrix, (names[0], names[1], names[3]))
    assert known.names == (names[0], names[1], names[3])
    assert known.X.tolist() == [[0, 1, 3], [4, 5, 7]]
    assert known.copies[0].tolist() == [[10, 11, 13], [14, 15, 17]]
    assert columns_of_run(matrix, names[:3]) is matrix  # a column of another set is no such gain
    assert columns_of_run(matrix, (*names, "metadata.channels")) is matrix


def with_ages(rows, *ages):
    return tuple(dataclasses.replace(row, columns=row.columns | {"age": age}) for row, age in zip(rows, ages, strict=True))


def test_a_column_of_the_table_stands_where_its_set_is_named(rows, extraction):
    matrix = build_matrix(with_ages(rows, "31.5", "loud", " ", "-2e3"), extraction, ("metadata", "table:age", "mfcc"))
    assert matrix.names == column_names(("metadata", "table:age", "mfcc"))
    assert matrix.names[9] == "table.age"
    assert matrix.X.dtype == np.float32
    assert np.array_equal(matrix.X[:, 9], [31.5, np.nan, -2000], equal_nan=True)  # the second row has no vector, so nobody asks
    assert np.array_equal(matrix.X[0, 10:], extraction.vectors[rows[0].path]["mfcc"])


@pytest.mark.parametrize("text", ["loud", "nan", "inf", "1e31", "1,5", "1_000"])
def test_a_cell_that_is_no_finite_number_is_named(rows, extraction, text):
    with pytest.raises(DataError, match=f"column 'age': '{text}' of clip2 is not a finite number"):
        build_matrix(with_ages(rows, "1", "2", text, "worse"), extraction, ("table:age",))


def test_a_column_that_the_table_does_not_have_is_refused_with_those_it_has(rows, extraction):
    for column in ("age", "label", "filename"):
        with pytest.raises(ParameterError, match=f"the table with clip0 has no further column '{column}'; there are: speaker"):
            build_matrix(rows, extraction, ("mfcc", f"table:{column}"))


def test_loose_clips_have_no_table_only_where_that_is_allowed(rows, extraction):
    loose = [dataclasses.replace(row, columns={}) for row in rows]
    with pytest.raises(ParameterError, match="there are: none besides file name and label"):
        build_matrix(loose, extraction, ("metadata", "table:age"))
    matrix = build_matrix(loose, extraction, ("metadata", "table:age"), allow_missing_table=True)
    assert np.isnan(matrix.X[:, 9]).all()
    assert np.isfinite(matrix.X[:, :9]).all()
    with pytest.raises(ParameterError, match="has no further column 'age'"):  # a table that lacks it is a mistake all the same
        build_matrix(rows, extraction, ("table:age",), allow_missing_table=True)


def test_copies_are_matrices_of_the_same_rows_and_columns(rows, extraction, rng):
    plain = build_matrix(with_ages(rows, "1", "2", "3", "4"), extraction, ("mfcc", "table:age"))
    assert plain.copies is None
    copies = {path: tuple({"mfcc": rng.normal(size=120).astype(np.float32)} for _ in range(3)) for path in extraction.vectors}
    varied = dataclasses.replace(extraction, copies=copies)
    matrix = build_matrix(with_ages(rows, "1", "2", "3", "4"), varied, ("mfcc", "table:age"), copies=2)
    assert np.array_equal(matrix.X, plain.X)
    assert matrix.copies.shape == (2, 3, 121)
    assert matrix.copies.dtype == np.float32
    assert np.array_equal(matrix.copies[1, 2, :120], copies[rows[3].path][1]["mfcc"])
    assert matrix.copies[:, :, 120].tolist() == [[1, 3, 4]] * 2
    with pytest.raises(ParameterError, match="copies=4: of clip0 3 were extracted"):
        build_matrix(rows, varied, ("mfcc",), copies=4)


def test_a_matrix_without_rows_keeps_its_columns(extraction):
    assert build_matrix((), extraction, ("mfcc", "table:age"), copies=2).copies.shape == (2, 0, 121)


def test_other_columns_than_those_of_the_run_are_refused():
    expected = column_names(("ultra", "mfcc", "metadata"))
    check_columns(expected, expected)
    with pytest.raises(DataError, match=r"expected 289 columns, received 160; first missing: mfcc\.mfcc0_mean"):
        check_columns(column_names(("ultra",)), expected)
    with pytest.raises(DataError, match="expected 9 columns, received 129; first that were not expected: mfcc"):
        check_columns(column_names(("mfcc", "metadata")), column_names(("metadata",)))
    with pytest.raises(DataError, match="the same names in another order"):
        check_columns(expected[::-1], expected)


def test_exports_have_their_classic_names_and_content(dataset, extraction, tmp_path):
    written = export_matrices(dataset, extraction, ("ultra", "mfcc", "metadata"), tmp_path / "features")
    assert [path.name for path in written] == [
        "ultraadvanced_features_train.npz",
        "train_features_fixed.npz",
        "meta_train_feats.npz",
        "combined_train_v4.npz",
    ]
    widths = []
    for path in written:
        with np.load(path) as arrays:  # without pickle
            assert arrays["X"].dtype == np.float32
            assert arrays["filenames"].tolist() == ["clip0", "clip2", "clip3"]
            assert arrays["X"].shape == (3, len(arrays["feature_names"]))
            widths.append(arrays["X"].shape[1])
    assert widths == [160, 120, 9, 289]
    only = export_matrices(dataset, extraction, ("metadata",), tmp_path / "few")
    assert [path.name for path in only] == ["meta_train_feats.npz"]


def test_further_sets_are_exported_under_plain_names(dataset, extraction, tmp_path, rng):
    odd = dict.fromkeys(("age", "a/b", "a b", "x" * 300), "1")
    rows = tuple(dataclasses.replace(row, columns=odd) for row in dataset.train)
    for vectors in extraction.vectors.values():
        vectors["ultra@2.5s"] = rng.normal(size=320).astype(np.float32)
    sets = ("ultra@2.5s", *(f"table:{name}" for name in odd))
    written = export_matrices(dataclasses.replace(dataset, train=rows), extraction, sets, tmp_path / "features")
    assert [path.name for path in written[:2]] == ["ultra_2_5s_train.npz", "table_age_train.npz"]
    assert len({path.name.lower() for path in written}) == len(sets)
    assert all(set(path.stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") and len(path.name) < 100 for path in written)


def test_the_fingerprint_is_of_the_data(dataset, extraction):
    print_ = fingerprint(dataset, extraction)
    assert print_ == fingerprint(dataset, extraction)
    relabelled = dataclasses.replace(dataset, train=(dataclasses.replace(dataset.train[0], label=9.0), *dataset.train[1:]))
    assert print_ != fingerprint(relabelled, extraction)
    other_audio = dataclasses.replace(extraction, contents=extraction.contents | {dataset.train[0].path: "other"})
    assert print_ != fingerprint(dataset, other_audio)
    short, long = (fingerprint(dataset, extraction, settings=ExtractSettings(max_seconds=seconds)) for seconds in (1.0, 45.0))
    assert len({print_, short, long}) == 3


def test_a_matrix_is_kept_whole_and_damage_is_told(tmp_path):
    matrix = Matrix(np.array([[1, np.nan]], np.float32), np.array([2.0]), ("a.x", "a.y"), ("one.wav",), ("anna",))
    save_matrix(matrix, tmp_path / "matrix.npz")
    again = load_matrix(tmp_path / "matrix.npz")
    assert np.array_equal(again.X, matrix.X, equal_nan=True)
    assert (again.y.tolist(), again.names, again.filenames, again.groups) == ([2.0], matrix.names, matrix.filenames, matrix.groups)
    whole = (tmp_path / "matrix.npz").read_bytes()
    for damage in (b"", whole[:50], whole[:-40]):
        (tmp_path / "matrix.npz").write_bytes(damage)
        with pytest.raises((ValueError, OSError)):
            load_matrix(tmp_path / "matrix.npz")
