from dataclasses import replace

import numpy as np
import pytest

from core.ensemble import EnsembleSettings, train as module, train_ensemble
from core.ensemble.fitted import LAYOUT, Ensemble
from core.ensemble.models import CATALOGUE
from core.ensemble.train import WorkFiles
from core.errors import DataError, ParameterError, RunError
from core.events import FitFinished, FoldScored, TrainingStarted, Warned, read_events
from core.extraction.matrix import Matrix
from core.scoring.agreement import Ratings
from core.scoring.intervals import cv_plus
from core.workspace import read_json, write_json

QUICK = EnsembleSettings(members=("lightgbm", "extra_trees"), folds=3, blend="mean", workers=0)


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
    trained = Ensemble.load(tmp_path)
    for fold, models in zip(result.oof.plans[0], trained.folds, strict=True):
        assert not set(fold.train_rows) & set(fold.test_rows)
        for name, predictions in zip(QUICK.members, models.predict_members(matrix.X[fold.test_rows]).T, strict=True):
            assert np.array_equal(predictions, result.members[name][0, fold.test_rows])
    assert np.allclose(result.oof.predictions, np.mean([result.members[name] for name in QUICK.members], axis=0))


def test_nothing_is_fitted_on_the_rows_that_are_scored(tmp_path, rng, monkeypatch):
    """Absurd values in the scored rows of fold 0 change neither a model, nor a choice of sets, nor a weight of fold 0."""
    monkeypatch.setattr("core.scoring.spread.FEWEST_ROWS", 30)
    matrix = make_matrix(rng)
    sets = {"a": matrix.names[:3], "b": matrix.names[3:]}
    settings = EnsembleSettings(folds=3, workers=0)
    first = train_ensemble(matrix, settings, folder=tmp_path / "a", sets=sets)
    X, y = matrix.X.copy(), matrix.y.copy()
    rows = first.oof.plans[0][0].test_rows
    X[rows] = 1e6
    y[rows] = -1e6
    second = train_ensemble(replace(matrix, X=X, y=y), settings, folder=tmp_path / "b", sets=sets)
    probe = rng.normal(size=(20, 8))
    one, other = (Ensemble.load(tmp_path / folder).folds[0] for folder in "ab")
    assert np.array_equal(one.predict_members(probe), other.predict_members(probe))
    assert np.array_equal(one.weights, other.weights)
    assert (one.low, one.high) == (other.low, other.high)
    assert np.array_equal(one.spread.sides(probe[:, 0]), other.spread.sides(probe[:, 0]))
    assert all(first.sets[name][0] == second.sets[name][0] for name in settings.members)


def test_labels_that_mean_nothing_cannot_be_predicted(tmp_path, rng):
    matrix = make_matrix(rng, 90, noise=0)
    shuffled = Matrix(matrix.X, rng.permutation(matrix.y), matrix.names, matrix.filenames)
    scores = train_ensemble(shuffled, QUICK, folder=tmp_path).scores()
    assert scores["oof_rmse"] > 0.95 * scores["constant_rmse"]


def test_a_group_stays_in_one_fold(tmp_path, rng):
    groups = tuple(f"speaker{index % 7}" for index in range(60))
    result = train_ensemble(make_matrix(rng, groups=groups), QUICK, folder=tmp_path)
    for fold in result.oof.plans[0]:
        assert not {groups[row] for row in fold.train_rows} & {groups[row] for row in fold.test_rows}


def test_scores_are_those_of_the_predictions(tmp_path, rng):
    matrix = make_matrix(rng)
    result = train_ensemble(matrix, QUICK, folder=tmp_path)
    scores = result.scores()
    assert scores["oof_rmse"] == pytest.approx(np.sqrt(np.mean((matrix.y - result.oof.predictions) ** 2)))
    fold = result.oof.plans[0][1]
    assert scores["fold_rmse"][1] == pytest.approx(np.sqrt(np.mean((matrix.y - result.oof.predictions[0])[fold.test_rows] ** 2)))
    assert scores["oof_rmse"] < scores["constant_rmse"]
    assert result.oof.baseline[0, fold.test_rows[0]] == pytest.approx(matrix.y[fold.train_rows].mean())
    assert set(scores["models"]) == {"lightgbm", "extra_trees"}


def test_processes_and_this_process_give_the_same_numbers(tmp_path, rng):
    matrix = make_matrix(rng)
    alone = train_ensemble(matrix, EnsembleSettings(folds=2, workers=0), folder=tmp_path / "a")
    many = train_ensemble(matrix, EnsembleSettings(folds=2, workers=2), folder=tmp_path / "b")
    for name in CATALOGUE:
        assert np.array_equal(alone.members[name], many.members[name]), name


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
    models = Ensemble.load(tmp_path)
    new = rng.normal(size=(5, 8)).astype(np.float32)
    by_hand = np.mean([fold.predict_members(new) for fold in models.folds], axis=(0, 2))
    assert np.allclose(models.predict(new, matrix.names), by_hand, rtol=1e-12)
    with pytest.raises(DataError, match="expected 8 columns, received 3"):
        models.predict(new[:, :3], matrix.names[:3])


def test_repeats_draw_other_folds_and_their_scores_are_averaged(tmp_path, rng):
    settings = QUICK.replace(members=("lightgbm",), repeats=3)
    result = train_ensemble(make_matrix(rng), settings, folder=tmp_path)
    scores = result.scores()
    assert len({tuple(plan[0].test_rows) for plan in result.oof.plans}) == 3
    assert len(scores["oof_rmse_by_repeat"]) == 3
    assert scores["oof_rmse"] == pytest.approx(np.mean(scores["oof_rmse_by_repeat"]))
    assert len(scores["fold_rmse"]) == 9
    assert len(Ensemble.load(tmp_path).folds) == 9
    alone = train_ensemble(make_matrix(np.random.default_rng(0)), settings.replace(repeats=1), folder=tmp_path / "once")
    assert np.array_equal(alone.oof.predictions[0], result.oof.predictions[0])  # the first repeat is what one repeat is


def test_a_member_leaves_out_a_set_only_where_that_is_clearly_better(tmp_path, rng):
    """Distance in 200 columns of noise says nothing, so a radial kernel does better on the two columns that matter."""
    X = rng.normal(size=(150, 202)).astype(np.float32)
    y = X[:, 0] + X[:, 1] + 0.1 * rng.normal(size=150)
    names = tuple(f"signal.{number}" for number in range(2)) + tuple(f"noise.{number}" for number in range(200))
    matrix = Matrix(X, y, names, tuple(map(str, range(150))))
    sets = {"signal": names[:2], "noise": names[2:]}
    settings = EnsembleSettings(members=("svr", "svr:noise"), folds=3, workers=0)
    result = train_ensemble(matrix, settings, folder=tmp_path, sets=sets)
    assert result.sets["svr"] == [("signal",)] * 3
    assert result.sets["svr:noise"] == [("noise",)] * 3
    assert result.weights()["svr"] > 0.9
    halves = {"left": names[0::2], "right": names[1::2]}  # each has one of the two: together they are better than alone
    together = train_ensemble(matrix, settings.replace(members=("ridge",)), folder=tmp_path / "b", sets=halves)
    assert together.sets["ridge"] == [("left", "right")] * 3


def test_predictions_stay_in_the_range_of_the_labels_and_on_their_grid_where_asked(tmp_path, rng):
    matrix = make_matrix(rng, noise=1.0)
    matrix = replace(matrix, y=np.round(2 * matrix.y) / 2)
    settings = EnsembleSettings(members=("ridge::alpha=0.001",), folds=3, round_labels=True, workers=0)
    result = train_ensemble(matrix, settings, folder=tmp_path)
    for fold in result.oof.plans[0]:
        scored, known = result.oof.predictions[0, fold.test_rows], matrix.y[fold.train_rows]
        assert scored.min() >= known.min()
        assert scored.max() <= known.max()
    assert np.array_equal(result.oof.predictions * 2, np.round(result.oof.predictions * 2))
    far = np.full((1, 8), 1e6, np.float32)
    assert Ensemble.load(tmp_path).predict(far, matrix.names)[0] in (matrix.y.min(), matrix.y.max())


def test_one_bad_member_does_not_spoil_the_ensemble(tmp_path, rng):
    """A linear model that meets a value far outside of its training rows says something absurd; the others carry the blend."""
    matrix = make_matrix(rng, 120)
    good = train_ensemble(matrix, EnsembleSettings(members=("extra_trees", "lightgbm"), folds=4, workers=0), folder=tmp_path / "a")
    settings = EnsembleSettings(members=("extra_trees", "lightgbm", "svr::C=0.0001"), folds=4, workers=0)
    with_bad = train_ensemble(matrix, settings, folder=tmp_path / "b")
    of = [float(result.oof.rmse_by_repeat(result.oof.predictions)[0]) for result in (good, with_bad)]
    assert of[1] < 1.05 * of[0]
    assert with_bad.weights()["svr::C=0.0001"] < 0.1


def test_an_interval_holds_the_share_of_labels_that_was_asked_for(tmp_path, rng):
    matrix = make_matrix(rng, 200, noise=1.0)
    for level in (0.5, 0.9):
        result = train_ensemble(matrix, EnsembleSettings(members=("ridge",), level=level, workers=0), folder=tmp_path / str(level))
        assert result.scores()["interval_coverage"] == pytest.approx(level, abs=0.03)
        new = make_matrix(rng, 300, noise=1.0)
        found = Ensemble.load(tmp_path / str(level)).score(new.X, new.names)
        assert np.mean((found.low <= new.y) & (new.y <= found.high)) > level - 0.06
        assert (found.low <= found.value).all()
        assert (found.value <= found.high).all()


def test_intervals_of_new_clips_hold_as_many_labels_where_noise_is_small_as_where_it_is_large(tmp_path, rng):
    X = rng.uniform(size=(1400, 2))
    y = 3 * X[:, 0] + (0.1 + X[:, 0]) * rng.normal(size=1400)
    names = ("set.a", "set.b")
    matrix = Matrix(X[:400], y[:400], names, tuple(map(str, range(400))))
    settings = EnsembleSettings(members=("ridge", "ridge::alpha=1"), folds=4, workers=0)
    result = train_ensemble(matrix, settings, folder=tmp_path)
    assert result.oof.scores()["interval"]["fitted_widths"]
    found = Ensemble.load(tmp_path).score(X[400:], names)
    inside = (found.low <= y[400:]) & (y[400:] <= found.high)
    quiet = X[400:, 0] < 0.5
    assert inside[quiet].mean() == pytest.approx(0.9, abs=0.05)  # 500 new clips, and a width that 400 clips tell
    assert inside[~quiet].mean() == pytest.approx(0.9, abs=0.05)


def test_models_that_were_stored_without_a_spread_have_intervals_of_one_width_as_before(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("core.scoring.spread.FEWEST_ROWS", 30)
    matrix = make_matrix(rng)
    settings = EnsembleSettings(members=("ridge", "ridge::alpha=1"), folds=3, workers=0)
    result = train_ensemble(matrix, settings, folder=tmp_path)
    layout = read_json(tmp_path / LAYOUT)
    for fold in layout["folds"]:
        del fold["spread"]
    rows = [fold.test_rows for fold in result.oof.plans[0]]
    errors = np.abs(matrix.y - result.oof.predictions[0])
    layout["residuals"] = np.concatenate([errors[some] for some in rows]).tolist()
    write_json(tmp_path / LAYOUT, layout)
    earlier = Ensemble.load(tmp_path)
    found = earlier.score(matrix.X, matrix.names)
    by_fold = np.array([np.clip(fold.predict_members(matrix.X) @ fold.weights, fold.low, fold.high) for fold in earlier.folds])
    low, high = cv_plus(by_fold, np.array(layout["residuals"]), np.array(layout["model_of"]), level=0.9)
    least, most = min(fold.low for fold in earlier.folds), max(fold.high for fold in earlier.folds)
    assert np.array_equal(found.low, np.clip(low, least, most))
    assert np.array_equal(found.high, np.clip(high, least, most))
    layout["folds"][0]["spread"] = {"knots": [1.0], "below": [0.0], "above": [1.0]}
    write_json(tmp_path / LAYOUT, layout)
    with pytest.raises(RunError, match="as many knots as positive widths"):
        Ensemble.load(tmp_path)


def test_a_member_by_itself_has_no_inner_split_and_its_intervals_one_width(tmp_path, rng):
    settings = EnsembleSettings(members=("ridge",), folds=3, workers=0)
    result = train_ensemble(make_matrix(rng), settings, folder=tmp_path)
    assert result.spreads == ()
    assert not result.oof.scores()["interval"]["fitted_widths"]


def test_copies_are_fitted_on_with_their_clip_only_and_averaged_where_they_are_scored(tmp_path, rng):
    """A copy of a scored row that held its label would betray it, were it fitted on."""
    matrix = make_matrix(rng, 90, noise=0)
    telling = np.zeros((2, 90, 1), np.float32)
    telling[:, :, 0] = matrix.y  # the copies tell the label; the clips themselves have nothing there
    X = np.hstack([matrix.X, np.zeros((90, 1), np.float32)])
    shuffled = rng.permutation(matrix.y)
    copies = np.concatenate([np.repeat(X[None, :, :8], 2, axis=0), telling], axis=2)
    whole = Matrix(X, shuffled, (*matrix.names, "set.tells"), matrix.filenames, copies=copies)
    settings = EnsembleSettings(members=("lightgbm", "ridge"), folds=3, augment=2, workers=0)
    scores = train_ensemble(whole, settings, folder=tmp_path / "a").scores()
    assert scores["oof_rmse"] > 0.9 * scores["constant_rmse"]
    averaged = train_ensemble(whole, settings.replace(augment=0, tta=2), folder=tmp_path / "b")
    plain = train_ensemble(whole, settings.replace(augment=0), folder=tmp_path / "c")
    assert np.allclose(averaged.plain, plain.oof.predictions, rtol=1e-12)  # sums of more rows run in another order
    trained = Ensemble.load(tmp_path / "b")
    one, two, three = (trained.score(some, whole.names).members["ridge"] for some in (X, *copies))
    assert np.allclose(trained.score(X, whole.names, copies=copies).members["ridge"], (one + two + three) / 3)
    with pytest.raises(ParameterError, match="need 3 copies of each clip"):
        train_ensemble(whole, settings.replace(tta=3), folder=tmp_path / "d")


def test_pseudo_labels_come_from_a_teacher_of_the_same_fold(tmp_path, rng):
    """Unlabelled rows equal to the scored ones: a teacher who had seen their labels would pass them on."""
    matrix = make_matrix(rng, 90, noise=0)
    shuffled = replace(matrix, y=rng.permutation(matrix.y))
    settings = EnsembleSettings(members=("lightgbm", "extra_trees"), folds=3, pseudo_labels=True, workers=0)
    scores = train_ensemble(shuffled, settings, folder=tmp_path, unlabelled=matrix.X).scores()
    assert scores["oof_rmse"] > 0.95 * scores["constant_rmse"]
    with pytest.raises(ParameterError, match="needs clips without labels"):
        train_ensemble(matrix, settings, folder=tmp_path / "b")


def test_rounds_of_boosted_models_are_told_while_they_are_looked_for(tmp_path, rng):
    log = tmp_path / "events.jsonl"
    log.touch()
    settings = QUICK.replace(members=("xgboost", "lightgbm", "catboost", "ridge"), folds=2, workers=2)
    train_ensemble(make_matrix(rng), settings, folder=tmp_path / "models", files=WorkFiles(events=log))
    told = [one.event for one in read_events(log)[0]]
    assert {(one.model, one.fold) for one in told} == {(name, fold) for name in settings.members[:3] for fold in range(2)}
    for name in settings.members[:3]:
        rounds = [one.rounds for one in told if (one.model, one.fold) == (name, 0)]
        assert rounds == sorted(set(rounds))
        assert rounds[0] == 1
        assert len(rounds) < 60


@pytest.mark.slow
def test_a_missing_or_damaged_model_is_named(tmp_path, rng):
    matrix = make_matrix(rng)
    settings = EnsembleSettings(folds=2, workers=0)
    train_ensemble(matrix, settings, folder=tmp_path)
    for name, model in CATALOGUE.items():
        path = tmp_path / "repeat0/fold1" / f"{name}{model.suffix}"
        whole = path.read_bytes()
        for damaged in (whole[:100], b"", b"nonsense" * 50):
            path.write_bytes(damaged)
            with pytest.raises(RunError, match=f"{name}.*not a readable model"):
                Ensemble.load(tmp_path)
        path.unlink()
        with pytest.raises(RunError, match="the model is missing"):
            Ensemble.load(tmp_path)
        path.write_bytes(whole)


def test_a_fold_that_cannot_learn_is_refused_before_any_fit(tmp_path, rng):
    matrix = make_matrix(rng, 10)
    labels = np.r_[np.ones(5), 2 * np.ones(5)]
    two = Matrix(matrix.X, labels, matrix.names, matrix.filenames, ("a",) * 5 + ("b",) * 5)
    with pytest.raises(DataError, match="fold 1 would train on 5 rows of one label"):
        train_ensemble(two, EnsembleSettings(folds=2, group_by="speaker", workers=0), folder=tmp_path)


def test_five_clips_are_enough(tmp_path, rng):
    result = train_ensemble(make_matrix(rng, 5), EnsembleSettings(workers=0), folder=tmp_path)
    assert np.isfinite(result.oof.predictions).all()


def test_a_failed_fit_names_model_and_fold(tmp_path, rng, monkeypatch):
    def refuse(task):
        raise ValueError("no memory")

    monkeypatch.setattr(module, "fit", refuse)
    with pytest.raises(DataError, match=r"(lightgbm|extra_trees) could not be fitted on fold 1: ValueError: no memory"):
        train_ensemble(make_matrix(rng), QUICK, folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"members": ("svm",)}, "model 'svm' not among xgboost"),
        ({"members": ()}, "name at least one"),
        ({"members": ("xgboost", "xgboost")}, "twice"),
        ({"preset": "slow"}, "preset='slow'"),
        ({"groups": " "}, "names no column"),
        ({"folds": 1}, "folds=1 must be 2 or more"),
        ({"repeats": 0}, "repeats=0 must be 1 or more"),
        ({"scaling": "minmax"}, "scaling='minmax' not among standard, robust"),
        ({"blend": "median"}, "blend='median' not among auto, mean, weights"),
        ({"augment": -1}, "augment=-1 must be 0 or more"),
        ({"level": 1.0}, r"level=1\.0 must be above 0 and below 1"),
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
        fitted.append((task.member.name, task.number))
        return fit(task)

    fit = module.fit
    monkeypatch.setattr(module, "fit", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        train_ensemble(matrix, QUICK, folder=tmp_path / "b", files=WorkFiles(checkpoints=tmp_path / "kept"))
    again = []
    monkeypatch.setattr(module, "fit", lambda task: again.append((task.member.name, task.number)) or fit(task))
    events = []
    resumed = train_ensemble(
        matrix, QUICK, folder=tmp_path / "b", files=WorkFiles(checkpoints=tmp_path / "kept"), notify=events.append
    )
    assert len(again) == 2
    assert not set(again) & set(fitted)
    assert resumed.scores() == undisturbed.scores()
    assert [type(event) for event in events].count(FitFinished) == 6


@pytest.mark.parametrize("change", ["label", "seed", "model file", "checkpoint"])
def test_a_fit_of_something_else_or_with_a_damaged_file_is_done_again(tmp_path, rng, monkeypatch, change):
    matrix, settings = make_matrix(rng), EnsembleSettings(members=("lightgbm",), folds=3, workers=0)
    train_ensemble(matrix, settings, folder=tmp_path / "b", files=WorkFiles(checkpoints=tmp_path / "kept"))
    if change == "label":
        matrix.y[0] += 1
    elif change == "seed":
        settings = EnsembleSettings(members=("lightgbm",), folds=3, workers=0, seed=1)
    elif change == "model file":
        (tmp_path / "b/repeat0/fold1/lightgbm.txt").write_text("tree")
    else:
        (tmp_path / "kept/repeat0/fold1/lightgbm.npz").write_bytes(b"PK")
    fit, again = module.fit, []
    monkeypatch.setattr(module, "fit", lambda task: again.append(task.number) or fit(task))
    train_ensemble(matrix, settings, folder=tmp_path / "b", files=WorkFiles(checkpoints=tmp_path / "kept"))
    assert again == ([1] if change in ("model file", "checkpoint") else [0, 1, 2])


def test_the_error_so_far_ends_as_the_error_of_the_run(tmp_path, rng):
    events = []
    result = train_ensemble(make_matrix(rng), QUICK, folder=tmp_path, notify=events.append)
    last = [event for event in events if isinstance(event, FitFinished)][-1]
    assert last.oof_rmse == pytest.approx(result.scores()["oof_rmse"], rel=1e-12)
    assert last.constant_rmse == pytest.approx(result.scores()["constant_rmse"], rel=1e-12)


def test_when_the_time_is_over_the_cheap_members_are_complete_and_the_others_left_out(tmp_path, rng, monkeypatch):
    """Each look at the clock is a minute later: after six fits the four minutes are over."""
    events, times = [], iter(60.0 * minute for minute in range(100))
    settings = QUICK.replace(members=("extra_trees", "ridge", "lightgbm"), folds=2, blend="auto", minutes=4.0)
    monkeypatch.setattr(module, "monotonic", lambda: next(times))
    result = train_ensemble(make_matrix(rng), settings, folder=tmp_path, notify=events.append)
    assert list(result.members) == ["ridge", "lightgbm"]  # the cheapest four fits, and one more
    assert np.isfinite(result.oof.predictions).all()
    assert sum(result.weights().values()) == pytest.approx(1)
    assert [event.text for event in events if isinstance(event, Warned)] == [
        "left out, not complete within 4.0 minutes: extra_trees"
    ]
    assert [len(fold.members) for fold in Ensemble.load(tmp_path).folds] == [2, 2]
    assert not list(tmp_path.rglob("extra_trees*"))
    late = iter([0.0, 1e6])
    monkeypatch.setattr(module, "monotonic", lambda: next(late))
    with pytest.raises(DataError, match=r"not one member was complete within 4\.0 minutes"):
        train_ensemble(make_matrix(rng), settings, folder=tmp_path / "b")


def rated(matrix, rng, *, raters=8, each=2):
    """The labels as means of ratings by a few of many raters, whose habits are as large as the labels' spread."""
    habits = rng.normal(0, 2, raters)
    who = np.array([rng.choice(raters, each, replace=False) for _ in matrix.y])
    values = matrix.y[:, None] + habits[who]
    clips = np.repeat(np.arange(len(matrix.y)), each)
    ratings = Ratings(clips, values.ravel(), who.ravel(), tuple(f"r{number}" for number in range(raters)))
    return replace(matrix, y=values.mean(axis=1), ratings=ratings)


RIDGE = EnsembleSettings(members=("ridge",), folds=3, blend="mean", workers=0)


def test_without_the_habits_of_raters_models_learn_what_they_would_from_the_true_marks(tmp_path, rng):
    matrix = make_matrix(rng, 240)
    noisy = rated(matrix, rng)
    runs = {"true": (matrix, RIDGE), "raw": (noisy, RIDGE), "freed": (noisy, RIDGE.replace(rater_bias=True))}
    results = {name: train_ensemble(*run, folder=tmp_path / name) for name, run in runs.items()}
    pearson = {name: np.corrcoef(result.oof.predictions[0], matrix.y)[0, 1] for name, result in results.items()}
    assert pearson["freed"] == pytest.approx(pearson["true"], abs=1e-3)
    assert pearson["raw"] < pearson["true"] - 0.005
    assert np.array_equal(results["freed"].oof.labels, noisy.y)  # what is scored stays the mean rating


def test_offsets_of_raters_do_not_see_the_rows_that_are_scored(tmp_path, rng):
    matrix, settings = rated(make_matrix(rng), rng), RIDGE.replace(rater_bias=True)
    first = train_ensemble(matrix, settings, folder=tmp_path / "a")
    assert matrix.ratings is not None
    rows = first.oof.plans[0][0].test_rows
    values = matrix.ratings.values.copy()
    values[np.isin(matrix.ratings.clips, rows)] *= rng.normal(size=int(np.isin(matrix.ratings.clips, rows).sum())) * 1e3
    train_ensemble(replace(matrix, ratings=replace(matrix.ratings, values=values)), settings, folder=tmp_path / "b")
    probe = rng.normal(size=(20, 8))
    one, other = (Ensemble.load(tmp_path / folder).folds for folder in "ab")
    assert np.array_equal(one[0].predict_members(probe), other[0].predict_members(probe))
    assert not np.array_equal(one[1].predict_members(probe), other[1].predict_members(probe))


def test_the_habits_of_raters_without_names_cannot_be_taken_out(tmp_path, rng):
    matrix = rated(make_matrix(rng), rng)
    for ratings in (None, Ratings(matrix.ratings.clips, matrix.ratings.values)):
        with pytest.raises(ParameterError, match="a column that says who rated"):
            train_ensemble(replace(matrix, ratings=ratings), RIDGE.replace(rater_bias=True), folder=tmp_path)
