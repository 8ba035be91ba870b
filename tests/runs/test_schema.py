"""The types of run.json: what Earmark writes fits, and what is wrong is named by its field."""

import json

import pytest
from pydantic import ValidationError

from core.errors import RunError
from core.runs import read_run, write_record
from core.runs.schema import RunRecord, expected
from tests.conftest import write_run


@pytest.fixture
def record(tmp_path):
    return write_run(tmp_path / "one").record.as_json()


def replaced(record, path, value):
    """A copy of a record with another value at a dotted name; without the field where the value is ``KeyError``."""
    copy = json.loads(json.dumps(record))
    *parents, last = path.split(".")
    at = copy
    for name in parents:
        at = at[int(name) if isinstance(at, list) else name]
    last = int(last) if isinstance(at, list) else last
    if value is KeyError:
        del at[last]
    else:
        at[last] = value
    return copy


WRONG = [
    ("run_id", 3, "a text at run_id"),
    ("run_id", KeyError, "a value at run_id"),
    ("kind", "forest", "ensemble, finetune or blend at kind"),
    ("created", "yesterday", "an ISO time at created"),
    ("dataset", [], "an object at dataset"),
    ("dataset.fingerprint", None, "a text at dataset.fingerprint"),
    ("dataset.train_clips", "6", "a whole number at dataset.train_clips"),
    ("dataset.train_clips", 6.5, "a whole number at dataset.train_clips"),
    ("settings.extract.features", [], "a name or more at settings.extract.features"),
    ("settings.extract.features.0", 1, "a text at settings.extract.features.0"),
    ("settings.ensemble.stratified", "no", "true or false at settings.ensemble.stratified"),
    ("settings.ensemble.group_by", 5, "a text at settings.ensemble.group_by"),
    ("settings.ensemble.folds", KeyError, "a value at settings.ensemble.folds"),
    ("scores.oof_rmse", "0.5", "a number at scores.oof_rmse"),
    ("scores.oof_rmse", float("inf"), "a finite number at scores.oof_rmse"),
    ("scores.oof_rmse", True, "a number at scores.oof_rmse"),
    ("scores.fold_rmse.2", None, "a number at scores.fold_rmse.2"),
    ("scores.fold_rmse", [0.5], "6 numbers at scores.fold_rmse"),
    ("scores.models.svr.fold_rmse", [], "6 numbers at scores.models.svr.fold_rmse"),
    ("scores.models.svr", 0.7, "an object at scores.models.svr"),
    ("scores.badges", ["nested"], "an object at scores.badges"),
    ("columns", "mfcc.a", "a list at columns"),
    ("model_files", {"one": ""}, "a hash at model_files for each file of the models"),
    ("seconds", None, "a number at seconds"),
]


@pytest.mark.parametrize(("path", "value", "problem"), WRONG)
def test_a_field_that_is_wrong_is_named_with_what_it_should_be(record, path, value, problem):
    with pytest.raises(ValidationError) as caught:
        RunRecord.model_validate(replaced(record, path, value))
    assert expected(caught.value) == problem


@pytest.mark.parametrize("value", [None, 5, "text", [], [{}]])
def test_what_is_no_object_is_no_record(value):
    with pytest.raises(ValidationError) as caught:
        RunRecord.model_validate(value)
    assert expected(caught.value) == "an object"


def test_fields_of_another_version_are_kept_and_missing_ones_have_defaults(record):
    of_another = replaced(record, "scores.weather", {"rain": 1})
    for name in ("versions", "submission"):
        del of_another[name]
    del of_another["settings"]["ensemble"]["repeats"]
    read = RunRecord.model_validate(of_another | {"model_files": record["model_files"]} | short(of_another))
    assert (read.versions, read.submission, read.settings.ensemble.repeats, read.settings.ensemble.tta) == ({}, None, 1, 0)
    assert read.as_json()["scores"]["weather"] == {"rain": 1}


def short(record):
    """Scores and files of one repeat instead of two."""
    models = {name: {**one, "fold_rmse": one["fold_rmse"][:3]} for name, one in record["scores"]["models"].items()}
    scores = record["scores"] | {"fold_rmse": [0.1, 0.2, 0.3], "models": models}
    return {"scores": scores, "model_files": {str(number): "" for number in range(2 * 3 * 2 + 1)}}


def test_a_record_that_nobody_could_read_again_is_not_written(record, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    with pytest.raises(RunError, match=r"run\.json: not written, expected a number at scores\.oof_mae"):
        write_record(folder, replaced(record, "scores.oof_mae", float("nan")))
    assert list(folder.iterdir()) == []
    write_record(folder, record)
    assert read_run(folder).record == RunRecord.model_validate(record)


def test_a_blend_needs_no_models_and_a_fine_tuning_its_settings(record):
    assert RunRecord.model_validate(record | {"kind": "blend", "model_files": {"blend.json": ""}}).model_files
    with pytest.raises(ValidationError) as caught:
        RunRecord.model_validate(record | {"kind": "finetune"})
    assert expected(caught.value) == "settings at settings.finetune"
