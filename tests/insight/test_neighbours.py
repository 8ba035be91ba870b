import numpy as np
import pytest

from core.errors import DataError
from core.extraction.matrix import Matrix
from core.insight.neighbours import TrainingReference


def matrix(X):
    X = np.asarray(X, np.float32)
    names = tuple(f"set.c{place}" for place in range(X.shape[1]))
    return Matrix(X, np.arange(len(X), dtype=float), names, tuple(f"clip{row}" for row in range(len(X))))


@pytest.fixture
def training(rng):
    return matrix(rng.normal(size=(60, 8)))


def locate(training, row):
    [found] = TrainingReference(training).locate(np.asarray([row], np.float32), training.names)
    return found


def test_a_training_row_is_its_own_nearest_at_distance_0_and_outside_of_nothing(training):
    for row, found in enumerate(TrainingReference(training).locate(training.X, training.names)):
        assert found.nearest[0].file == f"clip{row}"
        assert found.nearest[0].label == row
        assert found.nearest[0].distance == 0
        assert found.outside_count == 0
        assert found.novelty == 0
        assert not found.doubts()
        distances = [one.distance for one in found.nearest]
        assert distances == sorted(distances)
        assert len(distances) == 5


def test_the_column_that_is_shifted_is_the_far_one_by_as_many_spreads(training):
    row = training.X[7].copy()
    quartiles = np.percentile(training.X[:, 3].astype(float), [25, 75])
    row[3] = training.X[:, 3].max() + 4 * np.diff(quartiles)[0]
    found = locate(training, row)
    [far] = found.outside
    assert (far.column, found.outside_count, found.columns) == ("set.c3", 1, 8)
    assert far.spreads == pytest.approx(4, rel=1e-5)  # the row is single precision
    assert far.low == training.X[:, 3].min()
    assert far.high == training.X[:, 3].max()


def test_the_furthest_columns_stand_first_and_five_are_named(training):
    row = training.X.min(axis=0) - np.arange(1, 9)
    found = locate(training, row)
    assert found.outside_count == 8
    assert len(found.outside) == 5
    spreads = [one.spreads for one in found.outside]
    assert spreads == sorted(spreads, reverse=True)
    assert found.doubts()[0].startswith(f"8 of 8 features are outside the training range: {found.outside[0].column}, ")


def test_a_clip_unlike_all_others_is_further_than_all_of_them_are_from_their_nearest(training):
    found = locate(training, np.full(8, 50.0))
    assert found.novelty == 1
    assert "its nearest is further away than any of them is from its own" in found.doubts()[-1]


def test_what_is_missing_is_outside_of_nothing_and_near_like_the_median(training):
    row = np.median(training.X, axis=0)
    whole = locate(training, row)
    row[2] = np.nan
    found = locate(training, row)
    assert found.outside_count == 0
    assert [one.file for one in found.nearest] == [one.file for one in whole.nearest]
    assert [one.distance for one in found.nearest] == pytest.approx([one.distance for one in whole.nearest])


def test_columns_that_are_constant_or_empty_or_equal_to_another_have_no_say(training):
    X = np.column_stack([training.X, np.full(60, 3.0), np.full(60, np.nan), training.X[:, 0]])
    wider = matrix(X)
    row = np.concatenate([training.X[5], [900.0, 1.0, training.X[5, 0]]])
    found = locate(wider, row)
    assert found.columns == 8
    assert found.outside_count == 0
    assert found.nearest[0].distance == 0


def test_a_value_of_an_odd_clip_counts_no_more_than_the_limit():
    X = np.zeros((20, 1))
    X[:, 0] = np.arange(20)
    near, far = (locate(matrix(X), [value]).nearest[0].distance for value in (1000.0, 1e9))
    assert near == far


def test_the_distance_does_not_depend_on_the_units(training):
    scale = np.float32(2) ** np.arange(8)  # exact in any precision
    row = training.X[3] + np.float32(0.25)
    one = locate(training, row)
    other = locate(matrix(training.X * scale), row * scale)
    assert [(a.file, a.distance) for a in one.nearest] == [(b.file, pytest.approx(b.distance)) for b in other.nearest]


def test_the_usual_number_outside_is_that_of_training_clips_against_the_others():
    """Each of ten columns has its least in one row and its greatest in another; the other rows are inside."""
    X = np.tile(np.linspace(-1, 1, 40)[:, None], (1, 10)) * np.arange(1, 11)
    assert TrainingReference(matrix(X)).outside_usual == 0  # 2 of 40 rows are at an end: no more than 5 in 100
    few = TrainingReference(matrix(X[:20]))
    assert few.outside_usual == 10  # 2 of 20 are more
    assert locate(matrix(X), X[0] * 1.01).outside_count == 10


def test_two_clips_and_matrices_without_a_varying_column_are_looked_at_all_the_same():
    found = locate(matrix([[1.0], [2.0]]), [5.0])
    assert [one.file for one in found.nearest] == ["clip1", "clip0"]
    found = locate(matrix([[1.0], [1.0]]), [5.0])
    assert found.columns == found.outside_count == 0


def test_other_columns_than_those_of_the_training_are_refused(training):
    with pytest.raises(DataError, match="expected 8 columns"):
        TrainingReference(training).locate(training.X[:, :3], training.names[:3])
