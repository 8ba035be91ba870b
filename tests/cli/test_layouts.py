"""From a data set in any layout to a submission that its grader accepts."""

import csv
import json

import pytest

from tests.data.layouts.made import MADE

FAST = ["--features", "metadata", "--models", "ridge", "--folds", "2", "--workers", "0", "--json"]


def grade(submission, columns, names):
    """What a grader looks at before it scores: the columns, each name once and in order, and numbers."""
    with open(submission, newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == columns
    assert [row[0] for row in rows] == list(names)
    assert all(len(row) == 2 and 0 <= float(row[1]) <= 10 for row in rows)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_data_set_in_any_layout_is_trained_to_a_submission_that_its_grader_accepts(earmark, tmp_path, make):
    made_set = make(tmp_path / "set")
    settings = [word for name, value in made_set.settings.items() for word in (f"--{name}", value)]
    code, out, err = earmark("train", made_set.root, *settings, *FAST)
    assert code == 0, err
    grade(json.loads(out.splitlines()[-1])["submission"], made_set.columns, made_set.names)


def test_check_says_the_layout_and_what_each_column_is_for(earmark, tmp_path):
    made_set = MADE["kaldi"](tmp_path / "set")
    code, out, _ = earmark("check", made_set.root)
    assert code == 0
    assert "  layout        Kaldi data folder\n" in out
    roles = "utterance (names the rows of the submission), wav (names the clips), dur (further column), score (label)"
    assert f"  data/train/wav.scp: {roles}, speaker (further column)\n" in out
    test_roles = "utterance (names the rows of the submission), wav (names the clips), speaker (further column)"
    assert f"  data/test/wav.scp: {test_roles}\n" in out
    assert "wav.scp: column 'score' is the label, the only one of numbers; --label-column names another" in out


def test_tables_that_are_named_stand_in_the_advice(earmark, tmp_path):
    made_set = MADE["sheets"](tmp_path / "set")
    code, out, _ = earmark("check", made_set.root, "--train", "ours.xlsx", "--test", "new.xlsx")
    assert code == 0
    assert f"earmark train {made_set.root} --train ours.xlsx --test new.xlsx" in out
