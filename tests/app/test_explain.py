"""The page that explains: its states, what its charts draw, and what its sentences count."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from filelock import FileLock

from app.charts import explain as explain_charts
from app.views import explain as explain_view
from core import jobs
from core.data.layouts.layout import Layout
from core.events import ExplainStarted, JobCancelled, JobDone, JobFailed, JobStarted, PartExplained
from core.insight import explain
from core.insight.explain import EXPLANATION, Explanation
from core.runs import Run, read_run
from core.workspace import to_json
from tests.app.conftest import Place, render, text
from tests.conftest import write_run

RUN = "20261123-100000-abcd"
COLUMNS = ("mfcc.mfcc1_mean", "mfcc.mfcc2_mean", "mfcc.<b>own_*column</b>", "mfcc.mfcc3_mean")
MEANS = (0.6, 0.3, 0.1, 0.0)  # of the sizes of the contributions: together 1


def made_up(filenames: list[str], **changes: object) -> Explanation:
    """Four columns whose contributions go up and down with the rows; the second value of the first row is undefined."""
    n = len(filenames)
    signs = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
    contributions = (signs * np.array(MEANS)).astype(np.float32)
    values = np.arange(4 * n, dtype=np.float32).reshape(n, 4)
    values[0, 1] = np.nan
    base = np.full(n, 3.0)
    prediction = base + contributions.sum(axis=1)
    parts = {
        "filenames": tuple(filenames),
        "columns": COLUMNS,
        "equal": {COLUMNS[0]: ("mfcc.twin_a", "mfcc.twin_b")},
        "families": ("spectral", "spectral", "own", "spectral"),
        "labels": np.arange(n, dtype=float),
        "oof_prediction": np.clip(prediction, 2.5, 3.5),
        "prediction": prediction,
        "base": base,
        "contributions": contributions,
        "values": values,
        "members": {"svr": contributions[:, ::-1].copy(), "ridge:mfcc:seed=7": contributions},
        "permutation": np.array([0.2, 0.01, 0.1, np.nan]),
        "permutation_std": np.array([0.02, 0.01, 0.01, np.nan]),
        "seconds": 2.0,
    }
    return Explanation(**{**parts, **changes})


@pytest.fixture
def trained(place: Place) -> Run:
    """A run on the chosen data set, as if it had been trained."""
    names = sorted(path.stem for path in place.dataset.glob("audios/train/*"))
    dataset = {"name": "loudness", "fingerprint": "0123456789ab", "train_clips": len(names), "path": str(place.dataset)}
    run = write_run(place.root / "jobs" / RUN, dataset=dataset)
    record = run.record.as_json()
    record = record | {"settings": record["settings"] | {"layout": to_json(Layout())}}
    (run.folder / "run.json").write_text(json.dumps(record))
    return read_run(run.folder)


@pytest.fixture
def explained(place: Place, trained: Run) -> Explanation:
    """That run, explained."""
    found = made_up(sorted(path.stem for path in place.dataset.glob("audios/train/*")))
    explain.save_explanation(trained, found)
    return found


def job_of(place: Place) -> jobs.Job:
    return jobs.claim("explain", {"run": RUN, "clips": []}, place.root / "jobs")[0]


def view(name: str, **query: str):
    return render("explain", run=RUN, explain_view=name, **query)


def test_without_a_run_there_is_one_way_on(place):
    at = render("explain")
    assert "There is no trained ensemble yet" in text(at)
    assert [button.label for button in at.button] == ["Train one"]


def test_a_run_without_explanation_says_what_it_takes_and_starts_one_job(trained, no_workers):
    at = render("explain", run=RUN)
    assert "features move the predictions of 12 clips" in text(at)
    assert f"earmark explain {RUN}" in text(at)
    at.button(key="explain").click().run()
    [job] = no_workers
    assert (job.kind, job.request) == ("explain", {"run": RUN, "clips": []})
    assert "Explaining: getting ready" in text(at)
    assert not [button for button in at.button if button.key == "explain"]


def test_a_job_at_work_shows_its_parts_and_can_be_cancelled(place, trained):
    job = job_of(place)
    with FileLock(job.lock):
        place.tell(job, JobStarted(os.getpid(), "elsewhere"), ExplainStarted(parts=4), PartExplained("svr, fold 1", 4, 1.0))
        at = render("explain", run=RUN)
        assert "Explaining: 1 of 4 parts" in text(at)
        at.button(key=f"cancel_{job.id}").click().run()
        assert job.cancel.exists()


@pytest.mark.parametrize(
    ("end", "says", "button"),
    [(JobFailed("the disk is full_"), "the disk is full_", "Try again"), (JobCancelled(), "cancelled", "Resume")],
)
def test_a_job_that_did_not_end_well_says_why_and_can_go_on(place, trained, no_workers, end, says, button):
    job = job_of(place)
    place.tell(job, end)
    at = render("explain", run=RUN)
    assert says in text(at)
    assert button in text(at)
    at.button(key=f"resume_{job.id}").click().run()
    assert [started.id for started in no_workers] == [job.id]


def test_an_explanation_whose_job_is_done_but_that_is_gone_can_be_made_anew(place, trained):
    place.tell(job_of(place), JobDone())
    assert "Explain this run" in text(render("explain", run=RUN))


def test_a_damaged_explanation_says_so_and_can_be_made_anew(place, trained, explained, no_workers):
    (trained.folder / EXPLANATION).write_bytes(b"PK rubbish")
    at = render("explain", run=RUN)
    assert "explain the run again" in text(at)
    at.button(key="explain").click().run()
    assert [job.kind for job in no_workers] == ["explain"]


def test_an_explanation_of_other_models_is_not_shown(place, trained, explained):
    record = json.loads((trained.folder / "run.json").read_text())
    files = dict.fromkeys(record["model_files"], "other")
    (trained.folder / "run.json").write_text(json.dumps(record | {"model_files": files}))
    said = text(render("explain", run=RUN))
    assert "of other models" in said
    assert "Half of the total effect" not in said


@pytest.mark.parametrize("name", ["20200101-000000-0000", "..%2F..", "x" * 5000])
def test_an_address_with_a_run_that_is_not_there_shows_the_best_one(explained, name):
    at = render("explain", run=name)
    assert at.query_params["run"] == RUN
    assert "Half of the total effect" in text(at)


def test_all_features_in_words_and_four_charts(explained):
    at = render("explain", run=RUN)
    said = text(at)
    assert "Half of the total effect comes from 1 feature of 4" in said  # 0.6 of 1
    assert "out-of-fold" in said
    assert "12 clips · 2 members" in said
    assert "They do not show that the feature causes the label" in said
    assert len(at.get("plotly_chart")) == 1
    assert len(at.get("vega_lite_chart")) == 3
    stands_for = next(frame.value for frame in at.dataframe if "Same values" in frame.value)
    assert stands_for.values.tolist() == [[COLUMNS[0], "mfcc.twin_a, mfcc.twin_b"]]


def test_a_member_alone_is_shown_by_its_own_contributions(explained):
    at = render("explain", run=RUN)
    at.selectbox(key="explain_member").set_value("svr").run()
    figure = json.loads(at.get("plotly_chart")[0].proto.spec)
    assert figure["layout"]["yaxis"]["ticktext"][-1] == COLUMNS[3]  # at the top; the member has them the other way round
    assert len(figure["layout"]["yaxis"]["ticktext"]) == 3  # the one that moves nothing is left out
    assert "Half of the total effect comes from 1 feature of 4" in text(at)  # the sentence is of the blend


def test_a_column_is_named_in_the_address_and_says_what_it_is(explained):
    at = view("One feature", explain_column=COLUMNS[1])
    said = text(at)
    assert at.selectbox(key="explain_column").value == COLUMNS[1]
    assert "1 clip without a value" in said
    assert "Mean of MFCC 2" in said
    assert "stands for" not in said
    assert "stands for others with the same values: mfcc.twin_a, mfcc.twin_b" in text(view("One feature"))


def test_a_column_with_markdown_in_its_name_is_said_as_it_is(explained):
    assert not view("One feature", explain_column=COLUMNS[2]).exception
    [caption] = [one.value for one in view("Features").markdown if "Half of the total" in one.value]
    assert "*" not in caption.replace("\\*", "")


def test_a_clip_is_named_in_the_address_and_can_be_heard(explained):
    clip = explained.filenames[3]
    at = view("One clip", clip=clip)
    assert at.selectbox(key="clip").value == clip
    said = text(at)
    assert "Label 3" in said
    assert "Out-of-fold prediction 3.500" in said
    assert "Base 3.000" in said
    assert "The sum is 4.000" in said  # what was clipped is told
    assert len(at.get("audio")) == 1
    table = next(frame.value for frame in at.dataframe if "percentile" in frame.value)
    assert table["column"].tolist()[:3] == list(COLUMNS[:3])
    assert table["change"].tolist()[:3] == pytest.approx(MEANS[:3])
    assert table["percentile"].tolist()[0] == pytest.approx(100 * 3 / 11)


def test_a_clip_that_was_opened_stands_in_the_address(explained):
    clip = explained.filenames[3]
    at = view("One clip", clip=clip)
    assert at.query_params["clip"] == clip
    at.selectbox(key="clip").set_value(explained.filenames[5]).run()
    assert at.query_params["clip"] == explained.filenames[5]


def test_a_clip_that_is_not_among_the_explained_ones_shows_the_first(explained):
    assert view("One clip", clip="../../etc/passwd").selectbox(key="clip").value == explained.filenames[0]


def test_what_was_chosen_in_another_run_does_not_break_the_next_one(place, trained, explained):
    other = write_run(place.root / "jobs" / "20261123-110000-abcd")
    explain.save_explanation(other, made_up(["x", "y"], columns=("mfcc.mfcc7_mean", "mfcc.mfcc8_mean", "a", "b"), equal={}))
    at = view("One clip", clip=explained.filenames[3])
    at.selectbox(key="run_box").set_value(other.id).run()
    assert at.query_params["run"] == other.id
    assert at.selectbox(key="clip").value == "x"
    at = view("One feature", explain_column=COLUMNS[1])
    at.selectbox(key="run_box").set_value(other.id).run()
    assert at.selectbox(key="explain_column").value == "mfcc.mfcc7_mean"
    assert not at.exception


def test_a_data_set_that_is_gone_costs_only_the_sound(place, explained):
    for path in place.dataset.glob("audios/train/*"):
        path.unlink()
    st.cache_resource.clear()
    at = view("One clip")
    assert "Audio unavailable" in text(at)
    assert len(at.get("audio")) == 0
    assert "Base 3.000" in text(at)


def test_the_summary_counts_features_until_half_of_all_movement():
    equal = np.full((2, 4), 0.25, np.float32)
    assert "comes from 2 features of 4" in explain_view.summary(made_up(["a", "b"], contributions=equal))
    nothing = explain_view.summary(made_up(["a", "b"], contributions=np.zeros((2, 4), np.float32)))
    assert nothing == "No feature changes any prediction: the models predict the same value for every clip."


def test_the_swarm_has_a_point_a_clip_and_column_at_its_contribution():
    contributions = np.array([[0.5, -1.0], [-0.5, 2.0], [0.0, 0.0]], np.float32)
    values = np.array([[1, 9], [2, np.nan], [3, 8]], np.float32)
    figure = explain_charts.beeswarm(contributions, values, ["first", "second"], ["a", "b", "c"])
    [points] = figure.data
    assert points.x.tolist() == pytest.approx([0.5, -0.5, 0.0, -1.0, 2.0, 0.0])
    assert np.round(points.y).tolist() == [1, 1, 1, 0, 0, 0]  # the first row is at the top
    assert points.marker.color.tolist() == [0, 0.5, 1, 1, 0.5, 0]  # a value that is undefined is neither high nor low
    assert [one[0] for one in points.customdata] == ["a", "b", "c", "a", "b", "c"]
    assert list(figure.layout.yaxis.ticktext) == ["second", "first"]


def test_names_cannot_style_a_chart():
    """Plotly reads tags in what it writes."""
    figure = explain_charts.beeswarm(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), ["<b>x</b>"], ["<i>clip</i>"])
    assert list(figure.layout.yaxis.ticktext) == ["&lt;b&gt;x&lt;/b&gt;"]
    assert figure.data[0].customdata[0][0] == "<i>clip</i>"  # what a click tells is the name itself
    assert "<i>" not in str(figure.data[0].customdata[0][1:])
    frame = pd.DataFrame({"clip": ["a"], "value": [1.0], "change": [1.0], "other": [1.0]})
    figure = explain_charts.dependence(frame, "<b>x</b>", "<b>y</b>")
    assert "<b>x" not in str(figure.layout.xaxis.title.text)
    assert "<b>y" not in str(figure.data[0].marker.colorbar.title.text)


def test_points_of_one_row_of_a_swarm_stay_in_their_row():
    away = explain_charts.swarm(np.zeros(1000))
    assert len(set(away.tolist())) == 1000
    assert np.abs(away).max() < 0.5
    assert explain_charts.swarm(np.zeros(0)).tolist() == []


def test_a_waterfall_goes_from_the_base_to_the_prediction_in_the_order_of_its_steps():
    found = made_up(["a", "b"])
    steps = explain_view._steps(found, 1, np.arange(4), {})
    assert [one[0].split(" = ")[0] for one in steps] == ["base", *COLUMNS, "prediction"]
    assert steps[0][1] == 3.0
    assert steps[-1][2] == pytest.approx(found.prediction[1])
    for before, after in itertools.pairwise(steps):
        assert after[1] == pytest.approx(before[2]) or after[3] == "end"
    chart = explain_charts.waterfall(pd.DataFrame(steps, columns=["step", "from", "to", "kind", "note"])).to_dict()
    orders = {json.dumps(layer["encoding"]["y"]["sort"]) for layer in chart["layer"]}
    assert orders == {json.dumps([one[0] for one in steps])}


def test_what_shuffling_says_is_set_beside_the_mean_change():
    """The second column moves three times as much as the third, and ten times less is lost when it is shuffled."""
    sentence = explain_view.agreement(made_up(list("abcdef")))
    assert "3 features" in sentence
    assert COLUMNS[1] in sentence
    nothing = np.full(4, np.nan)
    assert explain_view.agreement(made_up(list("ab"), permutation=nothing, permutation_std=nothing)) == ""


def test_what_is_taken_away_sums_to_the_prediction(explained, tmp_path: Path):
    (tmp_path / "table.csv").write_bytes(explain_view.contribution_table(explained, "csv"))
    (tmp_path / "table.parquet").write_bytes(explain_view.contribution_table(explained, "parquet"))
    for table in (pd.read_csv(tmp_path / "table.csv"), pd.read_parquet(tmp_path / "table.parquet")):
        assert table["filename"].tolist() == list(explained.filenames)
        assert table.columns[-4:].tolist() == list(COLUMNS)
        total = table["base"] + table[list(COLUMNS)].sum(axis=1)
        assert total.to_numpy() == pytest.approx(explained.prediction, abs=1e-5)
