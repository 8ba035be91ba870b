"""``earmark curve``: what it prints of a curve that is kept, what it measures, and what it refuses."""

import json
from pathlib import Path

import pytest

from core.insight import curve
from core.insight.curve import CURVE, VERSION, RunCurve
from core.insight.explanation import models_stamp
from core.scoring.learning_curve import Estimate, LearningCurve
from core.workspace import to_json, write_json
from tests.conftest import write_dataset, write_run

RUN = "20261123-100000-abcd"
TODAY, TWICE = Estimate(0.56, 0.56, 0.56), Estimate(0.53, 0.51, 0.55)
LAW = LearningCurve(
    sizes=(20.0, 80.0),
    clips=(100.0, 400.0),
    errors=(Estimate(0.7, 0.65, 0.75), TODAY),
    draws=((0.69, 0.71), (0.56,)),
    luck=0.01,
    today=0.56,
    a=0.4,
    b=0.3,
    c=0.5,
    ceiling=0.41,
    at=(20.0, 160.0),
    law=(Estimate(0.7, 0.65, 0.75), TWICE),
    twice=TWICE,
    twice_elsewhere=Estimate(0.53, 0.47, 0.59),
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch):
    """A run of few clips, which are enough here."""
    monkeypatch.setattr(curve, "FEWEST_CLIPS", 6)
    return write_run(tmp_path / "workspace" / "jobs" / RUN)


def keep(run, **changes):
    kept = {"version": VERSION, "models": models_stamp(run), "curve": LAW, "repeats": 3, "unit": "speaker", "left_out": ()}
    write_json(run.folder / CURVE, to_json(RunCurve(**kept | {"badge": "nested", "seconds": 1.0} | changes)))


def test_a_kept_curve_is_printed_at_once_with_the_answer_first(earmark, run):
    keep(run, left_out=("augmentation",))
    code, out, err = earmark("curve", RUN)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "Twice the clips would bring RMSE from 0.56 to about 0.53 (0.51 to 0.55)."
    assert lines[2] == f"  run {RUN}: 400 clips, 80 groups (speaker); 3 draws of each size [nested]"
    assert lines[4].split() == ["20", "100", "0.7000", "0.6500", "to", "0.7500"]
    assert lines[5].split() == ["80", "400", "0.5600", "today"]
    assert lines[6].split()[:6] == ["160", "800", "0.5300", "0.5100", "to", "0.5500"]
    assert "RMSE = 0.4 + 0.3 x n^-0.5 for n groups" in out
    assert "RMSE 0.4100: the raters' disagreement allows no better" in out
    assert "left out    augmentation: today's RMSE is then 0.5600 instead of 0.5000" in out


def test_a_kept_curve_is_one_object_for_programs(earmark, run):
    keep(run)
    code, out, _ = earmark("curve", RUN, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["run_id"], found["helps"], found["repeats"]) == (RUN, True, 3)
    assert found["sentence"] == LAW.sentence()
    assert found["curve"]["twice"] == {"rmse": 0.53, "low": 0.51, "high": 0.55}


def test_what_has_no_curve_is_refused_in_a_sentence(earmark, run, monkeypatch):
    assert earmark("curve", RUN, "--repeats", "1")[::2] == (
        1,
        "earmark: repeats=1 must be from 2, which show how much a draw matters, to 20\n",
    )
    monkeypatch.setattr(curve, "FEWEST_CLIPS", 50)
    code, _, err = earmark("curve", RUN)
    assert code == 1
    assert "the curve needs 20 groups or more and 50 clips" in err
    assert f"run {RUN} has 6 clips" in err


def test_a_run_is_trained_and_its_curve_measured_once(earmark, tmp_path):
    data = write_dataset(tmp_path / "loudness", 60, test=0, seconds=0.1)
    words = ("--member", "ridge:metadata", "--features", "metadata", "--folds", "3", "--workers", "0")
    assert earmark("train", data, *words)[0] == 0
    code, out, err = earmark("curve", "latest", "--repeats", "2")
    assert code == 0
    assert "24 fits, about" in err
    assert "60 clips, without groups; 2 draws of each size" in out
    assert earmark("curve", "latest")[1:] == (out, "")
