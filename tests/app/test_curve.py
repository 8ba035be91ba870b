"""The tab that says whether more clips would help: its states, and what its chart draws."""

import os
from dataclasses import replace

import pytest
from filelock import FileLock

from app.charts.curve import MEASURED, TODAY, curve_law, curve_points
from core import jobs
from core.events import FitFinished, JobFailed, JobStarted, TrainingStarted
from core.insight import curve
from core.insight.curve import CURVE, VERSION, RunCurve
from core.insight.explanation import models_stamp
from core.runs import Run, list_runs
from core.scoring.learning_curve import Estimate, LearningCurve
from core.workspace import to_json, write_json
from tests.app.conftest import Place, render, text

LAW = LearningCurve(
    sizes=(2.0, 4.0),
    clips=(6.0, 12.0),
    errors=(Estimate(0.7, 0.65, 0.75), Estimate(0.56, 0.56, 0.56)),
    draws=((0.69, 0.71), (0.56,)),
    luck=0.01,
    today=0.56,
    a=0.4,
    b=0.3,
    c=0.5,
    ceiling=0.41,
    at=(2.0, 4.0, 8.0),
    law=(Estimate(0.7, 0.65, 0.75), Estimate(0.56, 0.56, 0.56), Estimate(0.53, 0.51, 0.55)),
    twice=Estimate(0.53, 0.51, 0.55),
    twice_elsewhere=Estimate(0.53, 0.47, 0.59),
)


@pytest.fixture
def run(finished: Place, monkeypatch) -> Run:
    """A run of few clips, which are enough here."""
    monkeypatch.setattr(curve, "FEWEST_CLIPS", 10)
    [run] = list_runs(finished.root / "jobs")
    return run


def keep(run: Run, found: LearningCurve, **changes: object) -> None:
    kept = RunCurve(VERSION, models_stamp(run), found, 3, "speaker", (), "nested", 12.0)
    write_json(run.folder / CURVE, to_json(replace(kept, **changes)))


def look(run: Run):
    return render("train", run=run.id, result_view="More clips?")


def test_a_run_without_curve_says_how_long_it_takes_and_starts_one_job(run, no_workers):
    at = look(run)
    said = text(at)
    assert "says what twice the clips would bring" in said
    assert "fits · about" in said
    assert f"earmark curve {run.id}" in said
    at.button(key="measure_curve").click().run()
    [job] = no_workers
    assert (job.kind, job.request) == ("curve", {"run": run.id, "repeats": 3})


def test_the_scores_come_first(run):
    at = render("train", run=run.id)
    assert "Out-of-fold RMSE" in [metric.label for metric in at.metric]
    assert not [button for button in at.button if button.key == "measure_curve"]


def test_too_few_clips_are_told_before_anything_starts(run, monkeypatch):
    monkeypatch.setattr(curve, "FEWEST_CLIPS", 50)
    at = look(run)
    assert "the curve needs 20 groups or more and 50 clips" in text(at)
    assert not [button for button in at.button if button.key == "measure_curve"]


def test_a_measurement_counts_its_fits_and_says_why_it_failed(finished, run):
    job, _ = jobs.claim("curve", {"run": run.id, "repeats": 3}, finished.root / "jobs")
    with FileLock(job.lock):
        started = JobStarted(os.getpid(), "elsewhere")
        finished.tell(job, started, TrainingStarted(24), FitFinished("svr", 0, 0.5, None, 0.1, 0.5, 1.0))
        assert "Measuring the curve: 1 of 24 fits" in text(look(run))
    finished.end(job, JobFailed("no room on the disk"))
    at = look(run)
    assert "no room on the disk" in text(at)
    assert at.button(key=f"resume_{job.id}").label == "Try again"


def test_a_curve_is_shown_with_its_sentence(run):
    keep(run, LAW)
    at = look(run)
    assert [one.value.replace("\\", "") for one in at.success] == [LAW.sentence()]
    said = text(at)
    assert "12 clips · 4 groups · 3 draws of each size" in said
    assert "allows no better than 0.41" in said
    assert "RMSE = 0.4 + 0.3 n^-0.5" in said
    assert "an RMSE of 0.4700 to 0.5900" in said


def test_what_a_curve_leaves_out_is_named(run):
    keep(run, LAW, left_out=("augmentation", "pseudo-labels"), badge=None, unit="clip")
    said = text(look(run))
    assert "Fitted without augmentation, pseudo-labels: today's RMSE is then 0.5600 instead of" in said
    assert "12 clips · 3 draws of each size" in said


def test_a_damaged_curve_says_so_and_can_be_measured_again(run, no_workers):
    (run.folder / CURVE).write_text("{")
    at = look(run)
    assert "measure the curve again" in text(at)
    at.button(key="measure_curve").click().run()
    assert [job.kind for job in no_workers] == ["curve"]


def test_other_kinds_of_runs_say_that_they_have_no_curve(finished, run):
    finished.amend_run(kind="blend")
    assert "Not available for this run: a blend fits nothing itself" in text(look(run))


def test_the_chart_has_todays_error_as_a_point_of_its_own_and_the_law_to_twice_the_clips():
    points, law = curve_points(LAW), curve_law(LAW)
    assert points["point"].tolist() == [MEASURED, TODAY]
    assert points["rmse"].tolist() == [0.7, 0.56]
    assert law["size"].tolist() == [2, 4, 8]
    assert law["clips"].tolist() == [6, 12, 24]
    assert law.iloc[-1][["rmse", "low", "high"]].tolist() == [0.53, 0.51, 0.55]
