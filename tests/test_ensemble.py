import numpy as np
import pytest

from core import ensemble as module
from core.ensemble import Ensemble, EnsembleSettings, train_ensemble
from core.errors import DataError, ParameterError, RunError
from core.events import FitFinished, FoldScored, TrainingStarted
from core.matrix import Matrix
from core.models import CATALOGUE

QUICK = EnsembleSettings(models=("lightgbm", "extra_trees"), folds=3, workers=0)


def make_matrix(rng, n=60, *, groups=None, noise=0.1):
    X = rng.normal(size=(n, 8)).astype(np.float32)
    X[rng.random(X.shape) < 0.05] = np.nan
    y = np.nan_to_num(X[:, 0]) * 2 + noise * rng.normal(size=n)
    names = tuple(f"set.column{index}" for index in range(8))
    return Matrix(X, y, names, tuple(f"clip{row}" for row in range(n)), groups)


def test_each_row_is_scored_by_models_that_have_not_seen_it(tmp_path, rng):
    """A row is predicted out of fold by its own fold's models, not by the mean over folds that new clips get."""
    matrix = make_matrix(rng)
    result = train_ensemble(matrix, QUICK, folder=tmp_path)
    for number, fold in enumerate(result.plan):
        assert not set(fold.train_rows) & set(fold.test_rows)
        one = Ensemble.load(tmp_path, models=QUICK.models, folds=QUICK.folds, names=matrix.names)
        for name in QUICK.models:
            preprocessor, model = one.members[name][number]
            assert np.array_equal(model.predict(preprocessor.transform(matrix.X[fold.test_rows])), result.oof[name][fold.test_rows])
    assert np.allclose(result.oof_ensemble, np.mean([result.oof[name] for name in QUICK.models], axis=0))


def test_nothing_is_fitted_on_the_rows_that_are_scored(tmp_path, rng, monkeypatch):
    """Absurd values in the scored rows of fold 0 do not change one model of fold 0."""
    matrix = make_matrix(rng)
    settings = EnsembleSettings(models=tuple(CATALOGUE), folds=3, workers=0)
    plan = train_ensemble(matrix, settings, folder=tmp_path / "a").plan
    X, y = matrix.X.copy(), matrix.y.copy()
    X[plan[0].test_rows] = 1e6
    y[plan[0].test_rows] = -1e6
    poisoned = Matrix(X, y, matrix.names, matrix.filenames)
    train_ensemble(poisoned, settings, folder=tmp_path / "b")
    probe = rng.normal(size=(20, 8))
    for name in settings.models:
        predictions = []
        for folder in ("a", "b"):
            members = Ensemble.load(tmp_path / folder, models=settings.models, folds=3, names=matrix.names).members
            preprocessor, model = members[name][0]
            predictions.append(model.predict(preprocessor.transform(probe)))
        assert np.array_equal(*predictions), name


def test_labels_that_mean_nothing_cannot_be_predicted(tmp_path, rng):
    matrix = make_matrix(rng, 90, noise=0)
    shuffled = Matrix(matrix.X, rng.permutation(matrix.y), matrix.names, matrix.filenames)
    scores = train_ensemble(shuffled, QUICK, folder=tmp_path).scores()
    assert scores["oof_rmse"] > 0.95 * scores["constant_rmse"]


def test_a_group_stays_in_one_fold(tmp_path, rng):
    groups = tuple(f"speaker{index % 7}" for index in range(60))
    result = train_ensemble(make_matrix(rng, groups=groups), QUICK, folder=tmp_path)
    for fold in result.plan:
        assert not {groups[row] for row in fold.train_rows} & {groups[row] for row in fold.test_rows}


def test_scores_are_those_of_the_predictions(tmp_path, rng):
    matrix = make_matrix(rng)
    result = train_ensemble(matrix, QUICK, folder=tmp_path)
    scores = result.scores()
    assert scores["oof_rmse"] == pytest.approx(np.sqrt(np.mean((matrix.y - result.oof_ensemble) ** 2)))
    fold = result.plan[1]
    assert scores["fold_rmse"][1] == pytest.approx(np.sqrt(np.mean((matrix.y - result.oof_ensemble)[fold.test_rows] ** 2)))
    assert scores["oof_rmse"] < scores["constant_rmse"]
    assert result.oof_constant[fold.test_rows[0]] == pytest.approx(matrix.y[fold.train_rows].mean())
    assert set(scores["models"]) == {"lightgbm", "extra_trees"}


def test_processes_and_this_process_give_the_same_numbers(tmp_path, rng):
    matrix = make_matrix(rng)
    alone = train_ensemble(matrix, EnsembleSettings(folds=2, workers=0), folder=tmp_path / "a")
    many = train_ensemble(matrix, EnsembleSettings(folds=2, workers=2), folder=tmp_path / "b")
    for name in CATALOGUE:
        assert np.array_equal(alone.oof[name], many.oof[name]), name


def test_progress_is_reported_fit_by_fit(tmp_path, rng):
    events = []
    result = train_ensemble(make_matrix(rng), QUICK, folder=tmp_path, notify=events.append)
    assert events[0] == TrainingStarted(fits=6)
    assert sum(isinstance(event, FitFinished) for event in events) == 6
    folds = {event.fold: event.rmse for event in events if isinstance(event, FoldScored)}
    assert [folds[number] for number in range(3)] == pytest.approx(result.scores()["fold_rmse"])


def test_new_clips_get_the_mean_of_all_folds_and_models(tmp_path, rng):
    matrix = make_matrix(rng)
    train_ensemble(matrix, QUICK, folder=tmp_path)
    models = Ensemble.load(tmp_path, models=QUICK.models, folds=QUICK.folds, names=matrix.names)
    new = rng.normal(size=(5, 8)).astype(np.float32)
    by_hand = np.mean(
        [np.mean([model.predict(pre.transform(new)) for pre, model in folds], axis=0) for folds in models.members.values()], axis=0
    )
    assert np.allclose(models.predict(new, matrix.names), by_hand, rtol=1e-12)
    with pytest.raises(DataError, match="expected 8 columns, received 3"):
        models.predict(new[:, :3], matrix.names[:3])


def test_a_missing_or_damaged_model_is_named(tmp_path, rng):
    matrix = make_matrix(rng)
    settings = EnsembleSettings(folds=2, workers=0)
    train_ensemble(matrix, settings, folder=tmp_path)
    for name, model in CATALOGUE.items():
        path = tmp_path / "fold1" / f"{name}{model.suffix}"
        whole = path.read_bytes()
        for damaged in (whole[:100], b"", b"nonsense" * 50):
            path.write_bytes(damaged)
            with pytest.raises(RunError, match=f"{name}.*not a readable model"):
                Ensemble.load(tmp_path, models=settings.models, folds=2, names=matrix.names)
        path.unlink()
        with pytest.raises(RunError, match="the model is missing"):
            Ensemble.load(tmp_path, models=settings.models, folds=2, names=matrix.names)
        path.write_bytes(whole)


def test_a_fold_that_cannot_learn_is_refused_before_any_fit(tmp_path, rng):
    matrix = make_matrix(rng, 10)
    labels = np.r_[np.ones(5), 2 * np.ones(5)]
    two = Matrix(matrix.X, labels, matrix.names, matrix.filenames, ("a",) * 5 + ("b",) * 5)
    with pytest.raises(DataError, match="fold 1 would train on 5 rows of one label"):
        train_ensemble(two, EnsembleSettings(folds=2, groups="speaker", workers=0), folder=tmp_path)


def test_five_clips_are_enough(tmp_path, rng):
    result = train_ensemble(make_matrix(rng, 5), EnsembleSettings(workers=0), folder=tmp_path)
    assert np.isfinite(result.oof_ensemble).all()


def test_a_failed_fit_names_model_and_fold(tmp_path, rng, monkeypatch):
    def refuse(task):
        raise ValueError("no memory")

    monkeypatch.setattr(module, "_fit", refuse)
    with pytest.raises(DataError, match=r"(lightgbm|extra_trees) could not be fitted on fold 1: ValueError: no memory"):
        train_ensemble(make_matrix(rng), QUICK, folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"models": ("svm",)}, r"\['svm'\] not among xgboost"),
        ({"models": ()}, "nothing not among"),
        ({"models": ("xgboost", "xgboost")}, "twice"),
        ({"preset": "slow"}, "preset='slow'"),
        ({"groups": " "}, "names no column"),
        ({"folds": 1}, "folds=1 must be 2 or more"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_settings_are_checked_at_the_door(options, match):
    with pytest.raises(ParameterError, match=match):
        EnsembleSettings(**options)


def test_finished_fits_are_not_done_again_and_the_scores_are_the_same(tmp_path, rng, monkeypatch):
    matrix = make_matrix(rng)
    undisturbed = train_ensemble(matrix, QUICK, folder=tmp_path / "a")
    fitted = []

    def stop_after_four(task):
        if len(fitted) == 4:
            raise KeyboardInterrupt
        fitted.append((task.model, task.number))
        return fit(task)

    fit = module._fit
    monkeypatch.setattr(module, "_fit", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        train_ensemble(matrix, QUICK, folder=tmp_path / "b", checkpoints=tmp_path / "kept")
    again = []
    monkeypatch.setattr(module, "_fit", lambda task: again.append((task.model, task.number)) or fit(task))
    events = []
    resumed = train_ensemble(matrix, QUICK, folder=tmp_path / "b", checkpoints=tmp_path / "kept", notify=events.append)
    assert len(again) == 2
    assert not set(again) & set(fitted)
    assert resumed.scores() == undisturbed.scores()
    assert [type(event) for event in events].count(FitFinished) == 6


@pytest.mark.parametrize("change", ["label", "seed", "model file", "checkpoint"])
def test_a_fit_of_something_else_or_with_a_damaged_file_is_done_again(tmp_path, rng, monkeypatch, change):
    matrix, settings = make_matrix(rng), EnsembleSettings(models=("lightgbm",), folds=3, workers=0)
    train_ensemble(matrix, settings, folder=tmp_path / "b", checkpoints=tmp_path / "kept")
    if change == "label":
        matrix.y[0] += 1
    elif change == "seed":
        settings = EnsembleSettings(models=("lightgbm",), folds=3, workers=0, seed=1)
    elif change == "model file":
        (tmp_path / "b/fold1/lightgbm.txt").write_text("tree")
    else:
        (tmp_path / "kept/fold1-lightgbm.npz").write_bytes(b"PK")
    fit, again = module._fit, []
    monkeypatch.setattr(module, "_fit", lambda task: again.append(task.number) or fit(task))
    train_ensemble(matrix, settings, folder=tmp_path / "b", checkpoints=tmp_path / "kept")
    assert again == ([1] if change in ("model file", "checkpoint") else [0, 1, 2])


def test_the_error_so_far_ends_as_the_error_of_the_run(tmp_path, rng):
    events = []
    result = train_ensemble(make_matrix(rng), QUICK, folder=tmp_path, notify=events.append)
    last = [event for event in events if isinstance(event, FitFinished)][-1]
    assert last.oof_rmse == pytest.approx(result.scores()["oof_rmse"], rel=1e-12)
    assert last.constant_rmse == pytest.approx(result.scores()["constant_rmse"], rel=1e-12)
