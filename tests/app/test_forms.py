"""The forms of the settings: labels, help and ranges are those of the settings, and what a form does not show is kept."""

import pytest

from core import jobs
from core.ensemble import EnsembleSettings
from core.events import JobCancelled
from core.extraction.config import ExtractSettings
from core.jobs.runner import perform
from core.settings import build
from core.tasks.kinds import work
from tests.app.conftest import render, text

EXTRACT = ExtractSettings(features=("mfcc", "metadata"), max_seconds=10.0, workers=0, rehash=True, batch=3)
ENSEMBLE = EnsembleSettings(
    members=("ridge",), folds=3, group_by="speaker", stratified=True, seed=7, level=0.8, preset="classic", repeats=2, trials=5
).replace(scaling="standard", blend="mean", round_labels=True, augment=1, tta=2, self_test=True, minutes=2.5, workers=1)


@pytest.fixture
def train(place):
    """The Train page after a job with other settings than the usual ones."""
    job, _ = jobs.claim("train", {**place.request, "extract": EXTRACT, "ensemble": ENSEMBLE}, place.root / "jobs")
    place.end(job, JobCancelled())
    return render("train")


def test_a_form_keeps_what_it_does_not_show(train, no_workers):
    train.number_input(key="train_folds").set_value(4).run()
    train.button(key="train").click().run()
    [job] = no_workers
    assert build(EnsembleSettings, job.request["ensemble"]) == ENSEMBLE.replace(folds=4)
    assert build(ExtractSettings, job.request["extract"]) == EXTRACT
    for flag in ("--trials 5", "--minutes 2.5", "--workers", "--batch 3", "--rehash"):
        assert flag in text(train)


def test_trials_and_minutes_can_be_chosen_and_left_out(train):
    train.number_input(key="train_trials").set_value(12)
    train.number_input(key="train_minutes").set_value(30.0).run()
    assert "--trials 12 --minutes 30 " in text(train)
    train.session_state["train_minutes"] = None  # as an emptied box
    train.run()
    assert train.number_input(key="train_minutes").value is None
    assert "--minutes" not in text(train)


def test_a_form_takes_label_help_and_range_from_the_settings(train):
    described = EnsembleSettings.describe()
    for name in ("folds", "repeats", "seed", "trials"):
        box = train.number_input(key=f"train_{name}")
        assert (box.label, box.help, box.min) == (described[name].label, described[name].help, described[name].limits["ge"])
    assert train.number_input(key="train_seed").max == 2**31 - 1
    for name in ("preset", "scaling", "blend"):
        assert train.segmented_control(key=f"train_{name}").options == [name.capitalize() for name in described[name].choices.names]


def test_plain_transcript_means_in_the_form_what_it_means_in_the_command_line(train):
    train.multiselect(key="extract_more").set_value(["transcript"]).run()
    assert "transcript:describe" in text(train)


def test_a_column_of_few_words_is_offered_and_extracted_as_a_feature_for_each_word(place, no_workers):
    at = render("features")
    box = at.multiselect(key="extract_more")
    assert "table:speaker" in box.options
    at.session_state["extract_features"] = ["metadata"]
    box.set_value(["table:speaker"]).run()
    at.button(key="extract").click().run()
    [job] = [job for job in no_workers if job.kind == "extract"]
    perform(job, work)
    at.run()
    assert not at.exception
    assert not at.error
    assert "earlier version" not in text(at)
    assert "table.speaker=speaker0" in at.selectbox(key="column").options
