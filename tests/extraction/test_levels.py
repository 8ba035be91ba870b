"""Columns of a few words: one feature a level, as the training rows have them."""

from pathlib import Path

import numpy as np
import pytest

from core.data.rows import Row
from core.ensemble.preprocess import make_preprocessor
from core.errors import DataError, ParameterError
from core.extraction.extract import Extraction, column_names
from core.extraction.levels import bind_levels, unseen_words, warn_of_unseen
from core.extraction.matrix import build_matrix
from core.features import columns, parse_set, width


def rows_with(*cells, column="sex"):
    return [Row(f"clip{n}", Path(f"/clip{n}.wav"), float(n), {column: cell}) for n, cell in enumerate(cells)]


def matrix_of(rows, sets):
    return build_matrix(rows, Extraction({row.path: {} for row in rows}, {}, {}, 0), sets)


def test_a_column_of_words_has_a_feature_for_each_level_of_the_training_rows():
    train = rows_with("m", " f", "", "m")
    bound = bind_levels(("table:sex",), train)
    assert bound == ('table:sex=["f","m"]',)
    matrix = matrix_of(train, bound)
    assert matrix.names == ("table.sex=f", "table.sex=m")
    assert np.array_equal(matrix.X, np.array([[0, 1], [1, 0], [np.nan, np.nan], [0, 1]], np.float32), equal_nan=True)
    assert [(one.family, one.name) for one in columns(bound[0])] == [("table", "sex=f"), ("table", "sex=m")]
    assert "column 'sex' of the table is 'f'" in columns(bound[0])[0].definition


def test_another_table_gives_the_features_of_the_training_levels_and_says_what_it_does_not_know():
    bound = bind_levels(("table:sex",), rows_with("m", "f"))
    other = rows_with("x", "m", "y")
    matrix = matrix_of(other, bound)
    assert matrix.names == ("table.sex=f", "table.sex=m")
    assert matrix.X.tolist() == [[0, 0], [0, 1], [0, 0]]
    assert unseen_words(other[1], bound) == ()
    assert unseen_words(other[0], bound) == ("sex 'x' is in no training row: it counts as none of f, m",)
    [warning] = warn_of_unseen(other, bound)
    assert warning == "clip0: sex 'x' is in no training row: it counts as none of f, m (so do 1 more)"


def test_levels_of_a_settings_file_give_way_to_those_of_the_training_rows_and_a_set_stands_once():
    assert bind_levels(('table:sex=["a"]', "table:sex", "mfcc"), rows_with("f", "m")) == ('table:sex=["f","m"]', "mfcc")


def test_numbers_stay_numbers():
    assert bind_levels(("table:age", "mfcc"), rows_with("3", "", "4.5", column="age")) == ("table:age", "mfcc")
    assert bind_levels(("table:age",), rows_with("3", "old", column="age")) == ("table:age",)  # its cell is then refused by name


@pytest.mark.parametrize(("number", "fits"), [(20, True), (21, False)])
def test_at_most_twenty_levels_are_features(number, fits):
    rows = rows_with(*(f"word{n:02d}" for n in range(number)))
    if fits:
        assert width(bind_levels(("table:sex",), rows)[0]) == 20
        return
    with pytest.raises(DataError, match=r"its 21 different words .first: word00, word01, word02. are more than the 20"):
        bind_levels(("table:sex",), rows)


@pytest.mark.parametrize("column", ["a=b", "a,b", 'odd "x"', "=", "a=[1]"])
def test_odd_names_of_columns_and_levels_are_kept(column):
    levels = ('"', "a,b", "ü=", "[x]")
    [bound] = bind_levels((f"table:{column}",), rows_with(*levels, column=column))
    assert (parse_set(bound).column, set(parse_set(bound).levels)) == (column, set(levels))
    assert matrix_of(rows_with("[x]", column=column), (bound,)).X.sum() == 1


def test_levels_that_are_no_texts_are_refused():
    with pytest.raises(ParameterError, match="levels are a list of texts"):
        parse_set('table:sex=["f", "m"]')  # one set has one spelling


def test_a_level_that_no_training_row_of_a_fold_has_is_dropped_there():
    rows = rows_with("f", "m", "f", "m", "x")
    X = matrix_of(rows, bind_levels(("table:sex",), rows)).X
    preprocessor = make_preprocessor().fit(X[:4])  # the fold scores the only row of x
    names = np.array(column_names(bind_levels(("table:sex",), rows)))
    kept = names[preprocessor.named_steps["drop"].kept_]
    assert "table.sex=x" not in kept
    assert "table.sex=f" in kept
