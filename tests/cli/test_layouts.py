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
    assert "wav.scp: column 'score' is the label, the only one of numbers that the test table lacks" in out


def test_tables_that_are_named_stand_in_the_advice(earmark, tmp_path):
    made_set = MADE["sheets"](tmp_path / "set")
    code, out, _ = earmark("check", made_set.root, "--train", "ours.xlsx", "--test", "new.xlsx")
    assert code == 0
    assert f"earmark train {made_set.root} --train ours.xlsx --test new.xlsx" in out


def test_a_blend_has_the_columns_of_the_submissions_that_it_averages(earmark, tmp_path):
    made_set = MADE["competition"](tmp_path / "set")
    for model in ("ridge", "svr"):
        code, _, err = earmark("train", made_set.root, *FAST, "--models", model)
        assert code == 0, err
    runs = [json.loads(path.read_text())["run_id"] for path in tmp_path.glob("workspace/jobs/*/run.json")]
    code, out, err = earmark("blend", *runs, "--json")
    assert code == 0, err
    grade(json.loads(out.splitlines()[-1])["submission"], made_set.columns, made_set.names)
