"""The search for the best experiment, on tones whose labels their pitch tells, and on decisions that are known beforehand."""

import numpy as np
import pytest

from core.cli.console import Progress
from core.data.dataset import read_dataset
from core.ensemble.auto import FRESH_SEED, AutoSettings
from core.errors import ParameterError
from core.events import LadderPlanned, LadderStepDone, Warned
from core.extraction.config import ExtractSettings
from core.runs import read_run
from core.scoring.oof import NESTED, OUT_OF_FOLD
from core.tasks import auto, ladder as ladder_module
from core.tasks.auto import find_best
from core.tasks.ladder import Step, fetch_models, missing_models, plan_steps, spread_layers
from core.tasks.table_columns import feature_columns
from core.workspace import Workspace

EXTRACT = ExtractSettings(workers=0)
SETTINGS = AutoSettings(folds=3, repeats=1, workers=0, patience=2)
STEPS = [
    Step("baseline", "length and size of the file", ("metadata",), ("ridge",)),
    Step("sound", "cepstra", ("mfcc",)),
    Step("same", "another member", members=("ridge", "svr")),
]


class Killed(BaseException):
    """Ends a search as a kill would."""


@pytest.fixture
def search(tmp_path, make_dataset, monkeypatch):
    """Runs a search of three steps in one folder; what it tells is in ``told``."""
    monkeypatch.setattr(auto, "plan_steps", lambda dataset, models, extract, group_by: STEPS)
    monkeypatch.setattr(auto, "audio_models", list)
    dataset = read_dataset(make_dataset(36, test=4))
    workspace = Workspace.resolve(tmp_path / "workspace")

    def run(name="job", settings=SETTINGS, until=None):
        told = []

        def notify(event):
            told.append(event)
            if isinstance(event, LadderStepDone) and event.name == until:
                raise Killed

        folder = workspace.jobs / name
        folder.mkdir(parents=True, exist_ok=True)
        return find_best(dataset, EXTRACT, settings, workspace, folder=folder, notify=notify), told

    return run


def test_what_helps_is_kept_and_the_run_is_of_folds_that_no_step_used(search):
    run, told = search()
    ladder = {step.name: step for step in run.record.ladder}
    assert list(ladder) == ["baseline", "sound", "same"]
    assert ladder["baseline"].kept
    assert ladder["sound"].kept  # the pitch of a tone is its label, and the size of its file says nothing
    assert ladder["sound"].difference < 0
    assert ladder["sound"].rmse < 0.6 * ladder["baseline"].rmse
    assert ladder["sound"].low <= ladder["sound"].rmse <= ladder["sound"].high
    assert run.record.settings.extract.features == ["metadata", "mfcc"]
    assert run.record.settings.ensemble.seed == SETTINGS.seed + FRESH_SEED
    assert run.scores.badges["oof_rmse"] == OUT_OF_FOLD  # the choice of steps has seen the labels, in other folds
    assert NESTED not in run.scores.badges.values()
    assert [event.name for event in told if isinstance(event, LadderPlanned)] == list(ladder)
    assert [event.name for event in told if isinstance(event, LadderStepDone)] == list(ladder)
    assert not (run.folder / "checkpoints").exists()


def test_a_killed_search_goes_on_and_ends_with_the_same_numbers(search):
    expected, _ = search("undisturbed")
    with pytest.raises(Killed):
        search("killed", until="sound")
    run, told = search("killed")
    assert [(step.name, step.rmse, step.kept) for step in run.record.ladder] == [
        (step.name, step.rmse, step.kept) for step in expected.record.ladder
    ]
    assert read_run(run.folder).scores.oof_rmse == expected.scores.oof_rmse
    assert next(event.name for event in told if isinstance(event, LadderStepDone)) == "baseline"


def test_predictions_that_are_gone_are_made_again(search, tmp_path):
    expected, _ = search("undisturbed")
    with pytest.raises(Killed):
        search("killed", until="sound")
    (tmp_path / "workspace/jobs/killed/checkpoints/steps/sound.npy").unlink()
    run, _ = search("killed")
    assert run.scores.oof_rmse == expected.scores.oof_rmse


def test_the_command_line_says_what_each_step_did(search, capsys):
    _, told = search(settings=SETTINGS.replace(minutes=0.001))
    with Progress() as progress:
        for event in told:
            progress(event)
    said = capsys.readouterr().err
    assert "length and size of the file: RMSE" in said
    assert "cepstra: passed over (it would take about" in said


def test_a_step_that_there_is_no_time_for_is_named(search):
    run, _ = search(settings=SETTINGS.replace(minutes=0.001))
    passed_over = [step for step in run.record.ladder if step.skipped]
    assert [step.name for step in passed_over] == ["sound", "same"]
    assert "minutes" in passed_over[0].reason
    assert run.record.settings.extract.features == ["metadata"]


def test_a_set_of_random_numbers_is_rejected_in_nine_of_ten_seeds(rng):
    """As of an encoder with random weights: a ridge on a column of the label with noise, with and without 200 random columns."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import cross_val_predict

    from core.scoring.compare import HELPS, paired_verdict

    kept = 0
    for _ in range(10):
        y = rng.normal(size=120)
        good = y[:, None] + rng.normal(size=(120, 1))
        noise = rng.normal(size=(120, 200))
        before, after = (
            cross_val_predict(RidgeCV(np.logspace(0, 4, 9)), X, y, cv=5) for X in (good, np.concatenate([good, noise], axis=1))
        )
        kept += paired_verdict(y, before, after, level=1 - 2 * auto.ALPHA / 5).verdict == HELPS
    assert kept <= 1


@pytest.mark.parametrize(("layers", "chosen"), [(7, (3, 4, 5, 6)), (13, (6, 8, 10, 12)), (3, (1, 2)), (2, (0, 1))])
def test_layers_are_spread_from_the_middle_to_the_last(layers, chosen):
    assert spread_layers(layers) == chosen


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A Whisper with its tokenizer, and a wav2vec2."""
    from tests.tiny_models import tiny_encoder, tiny_recogniser

    folder = tmp_path_factory.mktemp("models")
    return [str(tiny_encoder("wav2vec2", folder / "wav2vec2")), str(tiny_recogniser(folder / "whisper"))]


def names_of(steps):
    return [step.name for step in steps]


def test_the_plan_has_what_is_cheap_and_promising_first(make_dataset, models):
    dataset = read_dataset(make_dataset(12))
    assert names_of(plan_steps(dataset, models, EXTRACT)) == [
        "baseline", "encoder-whisper", "transcript-whisper", "layers", "encoder-wav2vec2", "members", "search", "augmentation"
    ]  # fmt: skip
    assert names_of(plan_steps(dataset, [], EXTRACT)) == ["baseline", "members", "search", "augmentation"]


def test_a_text_of_the_table_is_read_and_not_recognised(make_dataset, models):
    dataset = read_dataset(make_dataset(12))
    for row in (*dataset.train, *dataset.test):
        row.columns["text"] = "say it"
    steps = {step.name: step for step in plan_steps(dataset, models, EXTRACT)}
    assert steps["reading-whisper"].adds == (f"reading:{models[1]}:column=text",)
    assert "transcript-whisper" not in steps
    assert "table" not in steps


@pytest.mark.parametrize(("seconds", "sets"), [(1.0, None), (2.5, ("ultra@1s", "mfcc@1s")), (12.0, ("ultra@5s", "mfcc@5s"))])
def test_windows_are_tried_where_a_clip_has_several(make_dataset, seconds, sets):
    steps = {step.name: step for step in plan_steps(read_dataset(make_dataset(6, test=0, seconds=seconds)), [], EXTRACT)}
    assert (steps["windows"].adds if "windows" in steps else None) == sets


def test_columns_of_the_table_are_tried_unless_they_say_who_it_is_or_hold_the_label(make_dataset, rng):
    dataset = read_dataset(make_dataset(40, test=8))
    for number, row in enumerate((*dataset.train, *dataset.test)):
        row.columns.update(age=str(20 + number % 7), sex="fm"[number % 2], speaker_id=str(number % 9), room=str(number % 5))
        row.columns.update(code=f"0{number % 4}", same="1", remark=f"remark {number}", grade=str(row.label), only_train="1")
    for row in dataset.test:
        del row.columns["only_train"]
    assert feature_columns(dataset, "room") == ("table:age", 'table:sex=["f","m"]')
    assert "table:room" in feature_columns(dataset, None)


def test_what_could_be_fetched_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("EARMARK_MODELS", str(tmp_path / "none"))
    assert ("openai/whisper-base", 290) in [(one.model, one.megabytes) for one in missing_models()]


def test_a_search_goes_on_without_a_model_that_cannot_be_fetched(monkeypatch, models):
    def no_network(model):
        raise ParameterError(f"{model} is not on this machine and could not be fetched (no network)")

    told = []
    monkeypatch.setattr(ladder_module, "fetch", no_network)
    assert fetch_models([models[0], "owner/none"], told.append) == (models[0],)
    assert [event.text for event in told if isinstance(event, Warned)] == [
        "owner/none is not on this machine and could not be fetched (no network); the search goes on without it"
    ]
    with pytest.raises(ParameterError, match="nowhere/at/all is not on this machine"):
        fetch_models(["nowhere/at/all"])
