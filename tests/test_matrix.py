import dataclasses

import numpy as np
import pytest

from core.dataset import Dataset, Layout, Row
from core.errors import DataError, ParameterError
from core.extract import Extraction, column_names
from core.matrix import build_matrix, check_columns, export_matrices, fingerprint

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
    matrix = build_matrix(rows, extraction, ("mfcc", "ultra"), group_column="speaker")
    assert matrix.filenames == ("clip0", "clip2", "clip3")
    assert matrix.y.tolist() == [0, 2, 3]
    assert matrix.groups == ("s0", "s0", "s1")
    assert matrix.X.shape == (3, 280)
    assert matrix.X.dtype == np.float32
    assert np.array_equal(matrix.X[1, :120], extraction.vectors[rows[2].path]["mfcc"])
    assert matrix.names == column_names(("mfcc", "ultra"))


def test_groups_that_are_not_there_are_refused(rows, extraction):
    with pytest.raises(ParameterError, match="groups='voice' is not a column of the training table; there are: speaker"):
        build_matrix(rows, extraction, ("mfcc",), group_column="voice")
    empty = (dataclasses.replace(rows[0], columns={"speaker": " "}), *rows[1:])
    with pytest.raises(DataError, match=r"1 of 3 rows have no 'speaker' \(first: clip0\)"):
        build_matrix(empty, extraction, ("mfcc",), group_column="speaker")


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


def test_the_fingerprint_is_of_the_data(dataset, extraction):
    print_ = fingerprint(dataset, extraction)
    assert print_ == fingerprint(dataset, extraction)
    relabelled = dataclasses.replace(dataset, train=(dataclasses.replace(dataset.train[0], label=9.0), *dataset.train[1:]))
    assert print_ != fingerprint(relabelled, extraction)
    other_audio = dataclasses.replace(extraction, contents=extraction.contents | {dataset.train[0].path: "other"})
    assert print_ != fingerprint(dataset, other_audio)
    short, long = (fingerprint(dataset, extraction, max_seconds=seconds) for seconds in (1.0, 45.0))
    assert len({print_, short, long}) == 3
