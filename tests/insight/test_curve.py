"""The curve of a run: what is fitted on which rows, what is kept, what is refused, and whether it foretells a larger data set."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from core import jobs
from core.data.dataset import read_dataset
from core.data.layouts.layout import Layout
from core.ensemble import EnsembleSettings
from core.errors import DataError, ParameterError, RunError
from core.events import FitFinished, TrainingStarted
from core.extraction.config import ExtractSettings
from core.insight import curve
from core.insight.curve import CURVE, SHARES, _columns_by_set, draw_groups, load_curve, measure_curve
from core.jobs.runner import perform
from core.runs import Run, read_run
from core.runs.leaderboard import load_oof
from core.scoring.folds import Fold, make_folds
from core.scoring.learning_curve import SizeErrors, learning_curve
from core.tasks.forecast import forecast_curve
from core.tasks.kinds import work
from core.tasks.train import train_dataset
from core.workspace import Workspace
from tests.conftest import write_dataset, write_table

GROUPS, CLIPS = 30, 60


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two members of one set each, whose mean is the blend; two clips a speaker."""
    folder = tmp_path_factory.mktemp("curve")
    data = write_dataset(folder / "loudness", CLIPS, test=0, seconds=0.2)
    table = data / "csvs" / "train.csv"
    header, *rows = csv.reader(table.read_text().splitlines())
    write_table(table, header, [[name, label, f"speaker{index // 2}"] for index, (name, label, _) in enumerate(rows)])
    ensemble = EnsembleSettings(members=("ridge:mfcc", "svr:mfcc"), folds=3, group_by="speaker", blend="mean", workers=0)
    extract = ExtractSettings(features=("mfcc",), workers=0)
    return train_dataset(read_dataset(data), extract, ensemble, Workspace(folder / "workspace"))


@pytest.fixture
def run(trained: Run) -> Run:
    """As it is after training, without a curve."""
    (trained.folder / CURVE).unlink(missing_ok=True)
    return read_run(trained.folder)


def test_a_part_of_the_groups_is_whole_and_of_the_training_rows_alone(rng):
    units = np.repeat(np.arange(20), 1 + np.arange(20) % 5).astype(str)
    labels = rng.normal(size=len(units))
    for fold in make_folds(len(units), folds=4, groups=units.tolist()):
        part = draw_groups(fold, units, labels, share=0.4, rng=rng)
        assert set(part.train_rows) < set(fold.train_rows)
        assert np.array_equal(part.test_rows, fold.test_rows)
        drawn = set(units[part.train_rows])
        assert len(drawn) == round(0.4 * len(set(units[fold.train_rows])))  # groups are counted, not rows
        assert all(set(np.flatnonzero(units == unit)) <= set(part.train_rows) for unit in drawn)


def test_labels_that_are_nearly_all_equal_are_refused(rng):
    labels = np.zeros(40)
    with pytest.raises(DataError, match="a part of 20% of the groups holds clips of one label only"):
        draw_groups(Fold(np.arange(30), np.arange(30, 40)), np.arange(40).astype(str), labels, share=0.2, rng=rng)


def test_the_curve_ends_in_the_error_of_the_run_and_is_kept_with_it(run):
    told = []
    found = measure_curve(run, workers=0, notify=told.append)
    assert found.curve.today == pytest.approx(run.scores.oof_rmse)
    assert found.curve.sizes == pytest.approx([GROUPS * share for share in (*SHARES, 1)])
    assert found.curve.clips == pytest.approx([CLIPS * share for share in (*SHARES, 1)])
    assert [len(draws) for draws in found.curve.draws] == [3, 3, 3, 3, 1]
    assert (found.unit, found.badge, found.left_out) == ("speaker", "nested", ())
    fits = 3 * len(SHARES) * 3 * 2  # draws, shares, folds, members
    assert told[0] == TrainingStarted(fits)
    assert sum(isinstance(event, FitFinished) for event in told) == fits
    assert found.curve.errors[0].rmse > found.curve.today > found.curve.twice.rmse - 1e-9  # loudness is told better by more clips
    assert load_curve(run) == found
    assert not list(run.folder.glob(".curve*"))


def test_all_groups_fitted_anew_have_the_error_of_the_run(run, monkeypatch):
    """Without search, copies and choices there is nothing that a second fit could do differently."""
    monkeypatch.setattr(curve, "left_out", lambda run: ("augmentation",))
    found = measure_curve(run, repeats=2, workers=0)
    assert found.curve.today == pytest.approx(run.scores.oof_rmse, rel=1e-9)
    assert found.left_out == ("augmentation",)
    assert found.curve.draws[-1] == pytest.approx([run.scores.oof_rmse])


def test_draws_that_were_finished_are_not_fitted_again(run, tmp_path, monkeypatch):
    keep = tmp_path / "parts"
    monkeypatch.setattr("shutil.rmtree", lambda *path, **options: None)
    first = measure_curve(run, repeats=2, workers=0, checkpoints=keep)
    told = []
    (keep / "draw1.npz").write_bytes(b"damaged")
    for models in keep.glob("draw1/*"):
        models.rename(tmp_path / models.name)
    again = measure_curve(run, repeats=2, workers=0, checkpoints=keep, notify=told.append)
    assert told[0] == TrainingStarted(len(SHARES) * 3 * 2)  # of one draw of two
    assert again.curve == first.curve


def test_a_job_measures_the_curve_of_a_run(run):
    workspace = Workspace(run.folder.parents[1])
    job, _ = jobs.claim("curve", {"run": run.id, "repeats": 2}, workspace.jobs)
    assert perform(job, work) == {"run_id": run.id, "sentence": load_curve(run).curve.sentence()}
    assert load_curve(run).repeats == 2


def test_a_kept_curve_that_does_not_fit_the_run_is_refused(run):
    assert load_curve(run) is None
    measure_curve(run, repeats=2, workers=0)
    path = run.folder / CURVE
    whole = json.loads(path.read_text())
    for damage, message in (
        ({"version": 0}, "of another version or of other models; measure the curve again: earmark curve"),
        ({"models": "00"}, "of another version or of other models"),
        ({"curve": {}}, "expected a value at curve"),
    ):
        path.write_text(json.dumps(whole | damage))
        with pytest.raises(RunError, match=message):
            load_curve(run)
    path.write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        load_curve(run)


def test_sets_have_the_columns_that_the_run_was_trained_on():
    names = ("encoder:/gone@L2.mean0", "encoder:/gone@L2.std0", "table.age", "table.sex=f", "ultra_5s.rms_mean", "ultra.rms")
    found = _columns_by_set(names, ("encoder:/gone@L2", "table:age", 'table:sex=["f"]', "ultra@5s", "ultra"))
    assert found["encoder:/gone@L2"] == names[:2]  # no weights are asked for, and no column that the set has gained
    assert [found[name] for name in ("table:age", "table:sex", "ultra@5s", "ultra")] == [(name,) for name in names[2:]]


def test_what_has_no_curve_is_refused_with_the_reason(run, monkeypatch):
    for repeats in (0, 1, 21):
        with pytest.raises(ParameterError, match=f"repeats={repeats} must be from 2, .* to 20"):
            measure_curve(run, repeats=repeats)
    monkeypatch.setattr(curve, "FEWEST_GROUPS", 31)
    with pytest.raises(DataError, match=r"needs 31 groups or more and 50 clips.* has 30 groups \(speaker\) and 60 clips"):
        measure_curve(run)


@pytest.mark.parametrize(("kind", "reason"), [("blend", "a blend fits nothing itself"), ("finetune", "as long as the fine-tuning")])
def test_runs_that_are_no_ensembles_say_why_they_have_no_curve(run, kind, reason):
    with pytest.raises(RunError, match=f"has no curve: .*{reason}"):
        measure_curve(replace(run, record=run.record.model_copy(update={"kind": kind})))


def test_the_time_ahead_grows_with_the_draws(run):
    few, many = (forecast_curve(run, {}, 2, repeats=repeats) for repeats in (2, 10))
    assert (few.fits, many.fits) == (2 * 4 * 3 * 2, 10 * 4 * 3 * 2)
    assert many.seconds == pytest.approx(5 * few.seconds)


def linear_error(X, y, plan, *, share=1.0, rng=None):
    """Squared errors of ordinary least squares out of fold [shape=(n,)]."""
    squares, units = np.empty(len(y)), np.arange(len(y)).astype(str)
    for fold in plan:
        part = fold if rng is None else draw_groups(fold, units, y, share=share, rng=rng)
        weights = np.linalg.lstsq(X[part.train_rows], y[part.train_rows], rcond=None)[0]
        squares[fold.test_rows] = (X[fold.test_rows] @ weights - y[fold.test_rows]) ** 2
    return squares


def test_a_curve_of_half_of_the_rows_holds_the_error_at_all_of_them_about_as_often_as_it_says():
    """Least squares on twelve features: its error falls with the rows as theory has it, and nobody told the law."""
    rng, held, times = np.random.default_rng(3), 0, 40
    for _ in range(times):
        X = rng.normal(size=(240, 12))
        y = X @ rng.normal(size=12) + rng.normal(size=240)
        half = make_folds(120, seed=1)
        sizes = [SizeErrors(120 * share, 120 * share, np.array([linear_error(X[:120], y[:120], half, share=share, rng=rng)
                 for _ in range(3)])) for share in SHARES]  # fmt: skip
        sizes.append(SizeErrors(120, 120, linear_error(X[:120], y[:120], half)[None]))
        found = learning_curve(sizes, np.ones(120), draws=200)
        measured = float(np.sqrt(linear_error(X, y, make_folds(240, seed=1))[:120].mean()))
        held += found.twice.low <= measured <= found.twice.high
    assert held >= 34  # 95 % asked for: 34 to 40 of 40 in all but three of a thousand series


@pytest.mark.slow
def test_half_of_the_speakers_foretell_the_error_at_all_of_them(speech, tmp_path):
    workspace, ensemble = Workspace(tmp_path / "workspace"), EnsembleSettings(members=("svr", "ridge"), group_by="speaker")
    whole = train_dataset(read_dataset(speech), ExtractSettings(), ensemble, workspace)
    header, *rows = csv.reader((speech / "csvs" / "train.csv").read_text().splitlines())
    speakers = np.unique([row[2] for row in rows])
    chosen = set(np.random.default_rng(0).permutation(speakers)[: len(speakers) // 2])
    table = write_table(tmp_path / "half" / "train.csv", header, [row for row in rows if row[2] in chosen])
    half = read_dataset(table, Layout(audio=str(speech / "audios" / "train")))
    run = train_dataset(half, ExtractSettings(), ensemble, workspace)
    found = measure_curve(run).curve
    assert found.sizes[-1] == len(speakers) // 2
    oof = load_oof(whole)
    ours = np.isin(oof.groups, list(chosen))
    on_same_clips = float(np.sqrt(((oof.predictions[0] - oof.labels)[ours] ** 2).mean()))
    assert found.twice.low <= on_same_clips <= found.twice.high
    assert found.twice_elsewhere.low <= whole.scores.oof_rmse <= found.twice_elsewhere.high
