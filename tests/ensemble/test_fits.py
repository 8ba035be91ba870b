"""A search inside the fit of a member on a fold."""

from dataclasses import replace

import numpy as np
import pytest

from core.ensemble.fit_tasks import FitData, FitTask
from core.ensemble.fits import finished, fit
from core.ensemble.members import parse_member
from core.errors import DataError
from core.scoring.folds import Fold, inner_folds, make_folds


@pytest.fixture
def task(tmp_path, rng):
    """Ridge on labels that are a plain sum of columns: the less penalty, the better; the least of its own choices is 10."""
    X = rng.normal(size=(90, 5))
    np.save(tmp_path / "matrix.npy", X)
    y = X.sum(axis=1) + 0.01 * rng.normal(size=90)
    fold = make_folds(90, folds=3, seed=0)[0]
    return FitTask(
        data=FitData(tmp_path, y, None, {"all": tuple(range(5))}, "content"),
        member=parse_member("ridge"),
        stem="ridge",
        preset="fast",
        scaling="standard",
        seed=0,
        repeat=0,
        number=0,
        fold=fold,
        inner=tuple(Fold(*part) for part in inner_folds(fold.train_rows, y, seed=0)),
        augment=0,
        tta=0,
        pseudo_labels=False,
        folder=tmp_path / "models",
        checkpoint=tmp_path / "kept.npz",
        events=None,
        trials=12,
        studies=tmp_path / "tune.sqlite",
    )


def rmse(task, result):
    return np.sqrt(np.mean((result.predictions - task.data.labels[task.fold.test_rows]) ** 2))


def test_a_search_finds_a_better_penalty(task):
    tuned, plain = fit(task), fit(replace(task, trials=0))
    assert tuned.parameters["alpha"] < 1
    assert plain.parameters == {"alpha": 10.0}
    assert rmse(task, tuned) < 0.5 * rmse(task, plain)


def test_what_a_search_finds_is_kept_in_the_checkpoint(task):
    result = fit(task)
    kept = finished(task)
    assert (kept.parameters, kept.sets) == (result.parameters, result.sets)
    assert np.array_equal(kept.predictions, result.predictions)
    assert finished(replace(task, trials=13)) is None
    assert finished(replace(task, seconds=5.0)) is not None


def test_a_fit_for_another_metric_is_another_fit_and_searches_by_it(task):
    fit(task)
    by_rank = replace(task, metric="spearman")
    assert finished(by_rank) is None
    assert by_rank.study != task.study
    assert fit(by_rank).parameters["alpha"] < 10
    assert replace(task, metric="rmse").key == task.key


def test_the_scored_rows_have_no_say_in_a_search(task):
    labels = task.data.labels.copy()
    labels[task.fold.test_rows] = 1000.0
    X = np.load(task.data.folder / "matrix.npy")
    expected = fit(replace(task, studies=None))
    X[task.fold.test_rows] = -7.0
    np.save(task.data.folder / "matrix.npy", X)
    changed = fit(replace(task, data=replace(task.data, labels=labels), studies=None))
    assert changed.parameters == expected.parameters != {}
    assert np.array_equal(changed.inner, expected.inner)


def test_labels_that_nothing_tells_never_lower_the_penalty(task, rng):
    noise = replace(task, data=replace(task.data, labels=rng.normal(size=90)), studies=None)
    assert fit(noise).parameters.get("alpha", 100) >= 100


def test_a_parameter_that_the_member_names_is_not_searched(task):
    assert fit(replace(task, member=parse_member("ridge::alpha=50"))).parameters == {}


@pytest.mark.parametrize("after", [1, 4, 11])
def test_a_fit_that_was_killed_in_a_search_ends_with_the_same_numbers(task, after):
    expected = fit(replace(task, studies=None, checkpoint=None))
    fit(replace(task, trials=after, checkpoint=None))  # leaves the trials that were finished
    result = fit(task)
    assert result.parameters == expected.parameters
    assert np.array_equal(result.predictions, expected.predictions)


def test_a_file_of_trials_that_cannot_be_read_is_told(task):
    task.studies.write_bytes(b"damaged " * 500)
    with pytest.raises(DataError, match=r"tune\.sqlite: trials cannot be read or written"):
        fit(task)
