"""Planted leaks: what is fitted where it must not be, told by another row, or held by a column is caught, or shown as such."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_selection import SelectKBest, f_regression

from core.data.dataset import read_dataset
from core.ensemble import EnsembleSettings, fits, preprocess, train as train_module, train_ensemble
from core.ensemble.checks import HONEST_ABOVE, self_test
from core.ensemble.fitted import Ensemble
from core.ensemble.models import make_model
from core.ensemble.preprocess import make_preprocessor
from core.extraction.config import ExtractSettings
from core.extraction.matrix import Matrix
from core.scoring.folds import Fold
from core.tasks.train import train_dataset
from core.workspace import Workspace
from tests.conftest import tone, write_clip, write_table

QUICK = EnsembleSettings(members=("svr::C=30", "ridge::alpha=1"), folds=4, workers=0)


@pytest.fixture
def train(tmp_path):
    """Train on clips and a table: the run, and what was said meanwhile."""

    def train(clips, columns, *, ensemble=QUICK, features=("mfcc",), root="data"):
        names = [f"clip{number}x{chr(97 + number % 26)}" for number in range(len(clips))]
        for name, samples in zip(names, clips, strict=True):
            write_clip(tmp_path / root / "audios/train" / f"{name}.wav", samples)
        write_table(tmp_path / root / "csvs/train.csv", ["filename", *columns], list(zip(names, *columns.values(), strict=True)))
        said = []
        run = train_dataset(
            read_dataset(tmp_path / root),
            ExtractSettings(features=features, workers=0),
            ensemble,
            Workspace.resolve(tmp_path / "workspace"),
            notify=said.append,
        )
        return run, said

    return train


def voices(rng, speakers, clips):
    """Clips of speakers [speakers * clips], each a chord of its own in faint noise, and who speaks."""
    of = np.repeat(np.arange(speakers), clips)
    chords = rng.uniform(150, 4000, size=(speakers, 3))
    return [
        sum(tone(pitch, seconds=0.3, amplitude=0.2) for pitch in chords[one]) + 0.003 * rng.normal(size=round(0.3 * 22050))
        for one in of
    ], of


def below_constant(run_or_scores):
    scores = run_or_scores if isinstance(run_or_scores, dict) else run_or_scores.scores.model_dump()
    return scores["oof_rmse"] / scores["constant_rmse"]


def in_memory(rng, n=72, d=12, *, groups=None, y=None):
    X = rng.normal(size=(n, d)).astype(np.float32)
    names = tuple(f"set.column{number}" for number in range(d))
    return Matrix(X, X[:, 0] + 0.3 * rng.normal(size=n) if y is None else y, names, tuple(map(str, range(n))), groups)


def honest(folder):
    """The training of ``self_test``, as a run does it."""
    return lambda matrix, settings, name: train_ensemble(matrix, settings, folder=folder / name)


# Columns that hold the label


@pytest.mark.parametrize("planted", ["mean label of the speaker", "label in other units, rounded", None])
def test_a_column_made_of_all_labels_is_named_and_no_score_of_the_run_is_called_honest(train, rng, planted):
    clips, speaker = voices(rng, 9, 4)
    label = np.round(rng.normal(size=9)[speaker] + rng.normal(size=36), 3)
    means = np.bincount(speaker, label) / 4
    columns = {
        "mean label of the speaker": means[speaker],
        "label in other units, rounded": np.round(10 * label + 3, 1),
        None: np.round(rng.normal(size=36), 3),
    }
    table = {"label": label, "speaker": [f"s{one}" for one in speaker], "value": columns[planted]}
    run, said = train(clips, table, ensemble=QUICK.replace(group_by="speaker"), features=("metadata", "table:value"))
    badges = run.scores.badges
    if planted is None:
        assert run.record.label_leaks == []
        assert badges["oof_rmse"] == "nested"
        return
    [found] = run.record.label_leaks
    assert found.column == "table:value"
    assert set(badges.values()) == {"in-sample"}
    assert [event.text for event in said if type(event).__name__ == "Warned"] == [f"table:value: {found.reason}"]


# Clips that stand twice


def test_copies_of_a_clip_stay_in_one_fold_though_nobody_asked(train, rng):
    """Eighteen recordings, each under two names; the label is of the recording, and nothing in the audio tells it."""
    clips, recording = voices(rng, 18, 1)
    label = np.round(rng.normal(size=18), 2)
    twice = np.r_[recording, recording]
    run, _ = train([clips[one] for one in twice], {"label": label[twice]})
    fold_of = list(run.record.fold_plan.values())
    assert fold_of[:18] == fold_of[18:]
    assert (run.record.groups.source, run.record.groups.count) == (None, 18)
    assert below_constant(run) > 0.95

    faintly = [clips[one] + (0.0003 * rng.normal(size=len(clips[one])) if copy else 0) for copy, one in enumerate(twice)]
    apart, _ = train(faintly, {"label": label[twice]}, root="other bytes")
    assert below_constant(apart) < 0.8  # what the copies would have given
    assert [one.kind for one in apart.record.proposed_groups] == ["near-identical"]
    assert apart.scores.leak.groups == "near-identical"
    assert not apart.scores.leak.chosen
    assert apart.scores.leak_gap > 0.1


def test_the_self_test_sees_copies_on_both_sides_only_where_they_are_known_to_be_copies(tmp_path, rng):
    """A label that is shuffled row by row is another one on each copy: then recognising the copy is of no use.

    So a self-test without groups tells nothing of copies (identical bytes are looked for instead); one with groups does, should
    the training lose them.
    """
    half = in_memory(rng, 36)
    twice = Matrix(np.vstack([half.X] * 2), np.r_[half.y, half.y], half.names, tuple(map(str, range(72))))
    settings = QUICK.replace(members=("svr::C=100,gamma=2",))
    assert self_test(twice, settings, honest(tmp_path / "a")).passed
    known = replace(twice, groups=tuple(map(str, [*range(36)] * 2)))
    assert self_test(known, settings, honest(tmp_path / "b")).passed
    lost = self_test(known, settings, lambda matrix, *rest: honest(tmp_path / "c")(replace(matrix, groups=None), *rest))
    assert lost.ratio < 0.8
    assert not lost.passed


# Speakers


def test_what_only_tells_the_speaker_looks_splendid_until_speakers_are_kept_whole(train, rng):
    clips, speaker = voices(rng, 14, 3)
    table = {"label": np.round(rng.normal(size=14), 2)[speaker], "speaker": [f"s{one}" for one in speaker]}
    random, _ = train(clips, table)
    grouped, _ = train(clips, table, ensemble=QUICK.replace(group_by="speaker"))
    assert below_constant(random) < 0.7
    assert below_constant(grouped) > 0.95
    label_sd = np.std(table["label"])
    for run, chosen, named in ((random, False, "speaker, which was not chosen"), (grouped, True, "speaker")):
        leak = run.scores.leak
        assert (leak.chosen, leak.groups) == (chosen, named)
        assert run.scores.leak_gap == leak.gap == leak.grouped_rmse - leak.random_rmse > 0.4 * label_sd


# What learns from the rows that it is scored on


def poisoned(matrix, rows):
    """The matrix with absurd values in some rows, their labels and their copies."""
    X, y, copies = (None if of is None else of.copy() for of in (matrix.X, matrix.y, matrix.copies))
    X[rows], y[rows] = 1e6, -1e6
    if copies is not None:
        copies[:, rows] = -1e6
    return replace(matrix, X=X, y=y, copies=copies)


def says_the_same(matrix, settings, folder, *, unlabelled=None):
    """Whether the models and weights of fold 0 stay what they are when the rows that they are scored on hold nonsense."""
    probe = np.random.default_rng(1).normal(size=(20, matrix.X.shape[1]))
    rows = settings.plans(matrix.y, matrix.groups)[0][0].test_rows
    said = []
    for name, of in (("whole", matrix), ("poisoned", poisoned(matrix, rows))):
        train_ensemble(of, settings, folder=folder / name, unlabelled=unlabelled)
        model = Ensemble.load(folder / name).folds[0]
        said.append((model.predict_members(probe), model.weights, np.array([model.low, model.high])))
    return all(np.array_equal(one, other) for one, other in zip(*said, strict=True))


SMALL = ("lightgbm::rounds=30", "extra_trees::n_estimators=20", "svr")


@pytest.mark.parametrize("grouped", [False, True])
def test_pseudo_labels_and_altered_copies_bring_nothing_of_the_scored_rows_into_a_model(tmp_path, rng, grouped):
    groups = tuple(f"speaker{number % 12}" for number in range(72)) if grouped else None
    matrix = in_memory(rng, groups=groups)
    matrix = replace(matrix, copies=matrix.X + 0.1 * rng.normal(size=(2, *matrix.X.shape)).astype(np.float32))
    settings = QUICK.replace(members=SMALL, folds=3, augment=2, tta=1, pseudo_labels=True)
    assert says_the_same(matrix, settings, tmp_path, unlabelled=rng.normal(size=(15, 12)).astype(np.float32))


fit = fits.fit


class Fitted:
    """A preprocessor that no rows change any more."""

    def __init__(self, preprocessor):
        self.preprocessor = preprocessor

    def fit(self, X):
        return self.preprocessor


def scales_by_all_rows(task):
    """A fit whose imputation, dropping and scaling have seen all rows."""
    X = np.load(task.data.folder / "matrix.npy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "make_preprocessor", lambda scaling: Fitted(make_preprocessor(scaling).fit(X)))
        return fit(task)


def trains_on_all(task):
    """A fit whose training rows are all rows."""
    everything = np.arange(len(task.data.labels))
    return fit(replace(task, fold=Fold(everything, task.fold.test_rows)))


def selects_by_all_labels(task):
    """A fit of the columns that go with the labels of all rows best."""
    X = np.load(task.data.folder / "matrix.npy")
    best = SelectKBest(f_regression, k=4).fit(X, task.data.labels).get_support(indices=True)
    return fit(replace(task, data=replace(task.data, sets={"all": tuple(best.tolist())})))


def stops_by_the_scored_rows(task):
    """A fit whose early stopping looks at the scored rows."""
    X, y, scored = np.load(task.data.folder / "matrix.npy"), task.data.labels, task.fold.test_rows

    def make(*of, **options):
        model = make_model(*of, **options)
        find = model._find_rounds
        model._find_rounds = lambda known, labels, X_stop, y_stop, on_round: find(known, labels, X[scored], y[scored], on_round)
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fits, "make_model", make)
        return fit(task)


def bends_what_it_says(task):
    """A fit whose predictions are calibrated by the errors that they make."""
    result = fit(task)
    truth = task.data.labels[task.fold.test_rows]
    return replace(result, predictions=np.polyval(np.polyfit(result.predictions, truth, 3), result.predictions))


@pytest.mark.parametrize(
    ("cheat", "members"),
    [
        (scales_by_all_rows, QUICK.members),
        (trains_on_all, QUICK.members),
        (stops_by_the_scored_rows, ("xgboost",)),
    ],
)
def test_nonsense_in_the_scored_rows_shows_who_looks_at_them(tmp_path, rng, monkeypatch, cheat, members):
    matrix, settings = in_memory(rng), QUICK.replace(members=members, folds=3, blend="mean")
    assert says_the_same(matrix, settings, tmp_path / "honest")
    monkeypatch.setattr(train_module, "fit", cheat)
    assert not says_the_same(matrix, settings, tmp_path / "cheat")


@pytest.mark.parametrize("grouped", [False, True])
def test_nothing_is_learned_from_labels_that_say_nothing(tmp_path, rng, grouped):
    groups = tuple(f"speaker{number // 4}" for number in range(72)) if grouped else None
    voice = rng.normal(size=(18, 12)).repeat(4, axis=0)
    matrix = in_memory(rng, groups=groups)
    matrix = replace(matrix, X=(matrix.X + 3 * voice).astype(np.float32), y=matrix.y + voice[:, 0] if grouped else matrix.y)
    found = self_test(matrix, QUICK.replace(members=(*QUICK.members, "lightgbm"), folds=3), honest(tmp_path))
    assert len(found.ratios) == 3
    assert found.ratio >= HONEST_ABOVE
    assert found.passed


@pytest.mark.parametrize("cheat", [trains_on_all, selects_by_all_labels, bends_what_it_says])
def test_the_self_test_sees_who_looks_at_the_labels_that_are_scored(tmp_path, rng, monkeypatch, cheat):
    matrix = in_memory(rng, 60, 300)
    settings = QUICK.replace(members=("svr", "ridge::alpha=10"), blend="mean")
    assert self_test(matrix, settings, honest(tmp_path / "honest")).passed
    monkeypatch.setattr(train_module, "fit", cheat)
    found = self_test(matrix, settings, honest(tmp_path / "cheat"))
    assert found.ratio < HONEST_ABOVE
    assert not found.passed


def test_a_scaler_that_has_seen_all_rows_knows_no_label_and_gives_none_away(tmp_path, rng, monkeypatch):
    """So the self-test cannot see it: nonsense in the scored rows does."""
    monkeypatch.setattr(train_module, "fit", scales_by_all_rows)
    assert self_test(in_memory(rng), QUICK.replace(blend="mean"), honest(tmp_path)).passed


# What the figures are called

NESTED = {
    "fold_rmse",
    "fold_rmse_mean",
    "fold_rmse_std",
    "oof_rmse",
    "oof_rmse_by_repeat",
    "oof_mae",
    "oof_pearson",
    "oof_r2",
    "oof_spearman",
    "oof_kendall",
    "oof_ccc",
    "group_level",
    "constant_rmse",
    "models",
    "self_test",
    "verdicts",
}
# Weights and parts of other figures: no scores of their own.
WITHOUT_BADGE = {"blend", "blend_rules", "interval", "confidence", "leak", "badges"}


def has_number(value):
    if isinstance(value, dict | list):
        return any(map(has_number, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float)


def test_every_figure_has_a_badge_and_only_what_no_scored_fold_could_bend_is_nested(train, rng):
    clips, speaker = voices(rng, 6, 4)
    table = {"label": rng.permutation(24), "speaker": [f"s{one}" for one in speaker]}
    settings = QUICK.replace(folds=3, repeats=2, group_by="speaker", self_test=True, augment=1, tta=1)
    run, _ = train(clips, table, ensemble=settings, features=("metadata",))
    scores = json.loads((run.folder / "run.json").read_text())["scores"]
    badges = scores["badges"]
    assert {name for name, value in scores.items() if has_number(value)} - WITHOUT_BADGE == set(badges)
    assert {name for name, badge in badges.items() if badge == "nested"} == NESTED
    assert badges["interval_coverage"] == "out-of-fold"
    assert badges["leak_gap"] == "in-sample"

    shutil.rmtree(run.folder)
    plain, _ = train(clips, {"label": table["label"]}, ensemble=QUICK.replace(folds=3), features=("metadata",))
    figures = {name for name, value in plain.record.as_json()["scores"].items() if has_number(value)}
    assert set(plain.scores.badges) == figures - WITHOUT_BADGE  # no badge for what is not there
