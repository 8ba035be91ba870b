"""From a data set in any layout to a submission that its grader accepts."""

import csv
import json

import pytest

from core.runs import read_run
from tests.conftest import write_table
from tests.data.layouts.made import MADE, grade

FAST = ["--features", "metadata", "--models", "ridge", "--folds", "2", "--workers", "0", "--json"]


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


def test_several_labels_train_a_run_each_on_the_same_folds_and_one_submission(earmark, make_dataset, tmp_path):
    """The second label is twice the first, so that its errors are too."""
    root = make_dataset(12, test=3)
    table = root / "csvs/train.csv"
    (name, _, *further), *rows = [line.split(",") for line in table.read_text().splitlines()]
    rows = [[clip, value, str(2 * float(value)), *more] for clip, value, *more in rows]
    write_table(table, [name, "fluency", "accuracy", *further], rows)
    code, out, _ = earmark("train", root, "--label-column", "fluency,accuracy", "--workspace", tmp_path / "ws", *FAST)
    assert code == 0
    first, second, both = map(json.loads, out.splitlines())
    assert second["oof_rmse"] == pytest.approx(2 * first["oof_rmse"], rel=1e-6)
    records = [read_run(tmp_path / "ws/jobs" / both["runs"][label]).record for label in ("fluency", "accuracy")]
    assert records[0].fold_plan == records[1].fold_plan
    assert records[0].scores.leak is None or "accuracy" not in records[0].scores.leak.groups
    with open(both["submission"], newline="") as file:
        header, *filled = csv.reader(file)
    assert header == ["filename", "fluency", "accuracy"]
    assert [float(two) for *_, two in filled] == pytest.approx([2 * float(one) for _, one, _ in filled], rel=1e-6)
    code, out, _ = earmark("check", root, "--label-column", "fluency,accuracy")
    assert "fluency (label), accuracy (another label)" in out
