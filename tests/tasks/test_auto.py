"""The search for the best experiment, on tones whose labels their pitch tells, and on decisions that are known beforehand."""

import io
import shutil
from argparse import Namespace

import numpy as np
import pytest

from core.cli.console import Progress
from core.cli.training import fetch_missing
from core.data.dataset import read_dataset
from core.ensemble.auto import FRESH_SEED, AutoSettings
from core.errors import ParameterError
from core.events import LadderPlanned, LadderStepDone, LayerScored, Warned
from core.extraction.config import ExtractSettings
from core.runs import read_run
from core.runs.schema import LadderRecord
from core.scoring.metrics import METRICS
from core.scoring.oof import NESTED, OUT_OF_FOLD
from core.tasks import auto, ladder as ladder_module
from core.tasks.auto import find_best
from core.tasks.climb import ALPHA
from core.tasks.ladder import Step, fetch_models, missing_models, plan_steps, spread_layers, unused
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


@pytest.mark.parametrize("metric", ["mae", "ccc"])
def test_steps_are_compared_by_the_metric_that_was_chosen(search, metric):
    run, told = search(settings=SETTINGS.replace(metric=metric, patience=1))
    ladder = {step.name: step for step in run.record.ladder}
    higher = METRICS[metric].higher_is_better
    assert ladder["sound"].kept
    assert (ladder["sound"].score > ladder["baseline"].score) is higher
    assert (ladder["sound"].difference > 0) is higher
    assert ladder["sound"].low <= ladder["sound"].score <= ladder["sound"].high
    assert f"helps with 36 clips: {METRICS[metric].label}" in ladder["sound"].reason
    assert run.record.settings.ensemble.metric == metric
    assert {event.metric for event in told if isinstance(event, LadderStepDone)} == {metric}


def test_a_step_of_an_older_record_has_its_rmse_as_score():
    step = LadderRecord.model_validate(
        {"name": "baseline", "title": "features", "rmse": 0.5, "low": 0.4, "high": 0.6, "kept": True}
    )
    assert (step.metric, step.score, step.rmse) == ("rmse", 0.5, 0.5)


def test_layers_take_the_place_of_those_that_an_encoder_has(make_dataset, models, tmp_path, monkeypatch):
    """Of four layers of a wav2vec2, two side by side have three neighbouring pairs; what is kept says which."""
    encoder = f"encoder:{models[0]}@L0+3"
    steps = [
        Step("baseline", "length and size of the file, and an encoder", ("metadata", encoder), ("ridge",)),
        Step("layers", "neighbouring layers", by_layers=True),
    ]
    monkeypatch.setattr(auto, "plan_steps", lambda *_, **__: steps)
    monkeypatch.setattr(auto, "audio_models", list)
    told = []
    dataset, workspace = read_dataset(make_dataset(24, test=0)), Workspace.resolve(tmp_path / "workspace")
    run = find_best(dataset, EXTRACT, SETTINGS, workspace, notify=told.append)
    layers = next(step for step in run.record.ladder if step.name == "layers")
    assert layers.sets[0] == "metadata"
    assert layers.sets[1:] in [[f"encoder:{models[0]}@L{first}+{first + 1}"] for first in range(3)]
    assert run.record.settings.extract.features == (layers.sets if layers.kept else ["metadata", encoder])
    assert sum(isinstance(event, LayerScored) for event in told) == 4 * 2  # layers, heads


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
        kept += paired_verdict(y, before, after, level=1 - 2 * ALPHA / 5).verdict == HELPS
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
    assert names_of(plan_steps(dataset, [], EXTRACT)) == ["baseline", "search", "augmentation"]


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


def test_columns_that_the_test_table_cannot_fill_or_that_name_someone_are_not_tried(make_dataset):
    dataset = read_dataset(make_dataset(40, test=8))
    for number, row in enumerate(dataset.train):
        row.columns.update(snr=str(number / 3), reader=["", "ann", "bob", "cid", "dan"][number % 5])
    for number, row in enumerate(dataset.test):
        row.columns.update(snr="", reader=["zoe", "yan"][number % 2])
    assert feature_columns(dataset, "speaker") == ()


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


class Answers(io.StringIO):
    """Standard input with answers, on a terminal or not."""

    terminal = True

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize(
    ("answer", "terminal", "flags", "fetched"),
    [
        ("n\ny\n", True, {}, ["microsoft/wavlm-base"]),
        ("\n\n", True, {}, []),
        ("y\ny\n", False, {}, []),
        ("y\ny\n", True, {"json": True}, []),
        ("", False, {"yes": True}, ["openai/whisper-base", "microsoft/wavlm-base"]),
    ],
)
def test_a_model_is_fetched_only_where_a_terminal_or_a_flag_says_so(monkeypatch, capsys, answer, terminal, flags, fetched):
    said, stdin = [], Answers(answer)
    stdin.terminal = terminal
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr(ladder_module, "is_here", lambda model: False)
    monkeypatch.setattr(ladder_module, "list_models", list)
    monkeypatch.setattr(ladder_module, "fetch_models", lambda models, notify: said.extend(models))
    fetch_missing((), Namespace(**{"json": False, "yes": False} | flags))
    assert said == fetched
    assert "openai/whisper-base (290 MB; speech" in capsys.readouterr().err or flags.get("yes")


def test_sets_at_hand_that_a_training_leaves_out_are_named_with_what_they_brought(make_dataset, tmp_path, monkeypatch):
    from tests.tiny_models import tiny_recogniser

    monkeypatch.setenv("EARMARK_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    dataset = read_dataset(make_dataset(12))
    assert unused(dataset, ("mfcc",)) is None
    whisper = tiny_recogniser(tmp_path / "models/openai/whisper-base")
    gain = "on graded speech it took off a quarter of the error"
    line = f"not used: encoder:openai/whisper-base; {gain}; earmark auto tries what is at hand"
    assert unused(dataset, ("mfcc",)) == line
    assert unused(dataset, ("mfcc", f"group:speaker:encoder:{whisper}")) is None
    assert unused(dataset, ("mfcc", f"encoder:{whisper}")) is None
    dataset.train[0].columns["text"] = "say it"
    left_out = unused(dataset, ("mfcc",))
    assert left_out is not None
    both = "encoder:openai/whisper-base and reading:openai/whisper-base"
    assert f"not used: {both}; on graded speech they took off a third of the error" in left_out


def test_models_whose_folders_end_alike_have_steps_of_their_own(make_dataset, models, tmp_path):
    twin = tmp_path / "elsewhere" / "whisper"
    shutil.copytree(models[1], twin)
    names = names_of(plan_steps(read_dataset(make_dataset(12)), [*models, str(twin)], EXTRACT))
    assert len(set(names)) == len(names)
    assert {"encoder-whisper", "encoder-whisper-2"} <= set(names)
