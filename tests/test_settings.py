import json
import shlex
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from core.cli import as_command
from core.cli.arguments import make_parser
from core.cli.commands import COMMANDS, main
from core.cli.common import read_layout, read_options
from core.cli.training import read_ensemble
from core.data.layouts.layout import Layout
from core.encoders.source import ENCODER_WINDOWS
from core.ensemble import EnsembleSettings
from core.ensemble.blend import BLENDS
from core.ensemble.models import CATALOGUE, PRESETS, SCALINGS
from core.errors import ParameterError
from core.extraction.config import FEATURE_SETS, ExtractSettings
from core.jobs.queue import read_job
from core.multimodal.config import FinetuneSettings
from core.scoring.losses import CHOICES
from core.settings import SECTIONS, build, read_settings, schema
from core.workspace import to_json
from tests.conftest import write_run

sets = st.lists(st.sampled_from(FEATURE_SETS), min_size=1, unique=True).map(tuple)
specs = st.sampled_from(
    [*CATALOGUE, "svr:mfcc", "svr::C=10", "lightgbm:ultra,mfcc:seed=7,num_leaves=15", "svr:ultra@5s,table:midi"]
)
models = st.lists(specs, min_size=1, unique=True).map(tuple)
words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1).filter(
    lambda text: not text.startswith("-")
)
extracts = st.builds(
    ExtractSettings,
    features=sets,
    max_seconds=st.floats(1, 1e6),
    rehash=st.booleans(),
    batch=st.none() | st.integers(1, 99),
    encoder_window=st.sampled_from(ENCODER_WINDOWS),
)
ensembles = st.builds(
    EnsembleSettings,
    members=models,
    preset=st.sampled_from(PRESETS),
    folds=st.integers(2, 99),
    repeats=st.integers(1, 9),
    stratified=st.booleans(),
    group_by=st.none() | words,
    scaling=st.sampled_from(SCALINGS),
    blend=st.sampled_from(BLENDS),
    metric=st.sampled_from(CHOICES),
    round_labels=st.booleans(),
    augment=st.integers(0, 9),
    tta=st.integers(0, 9),
    pseudo_labels=st.booleans(),
    self_test=st.booleans(),
    level=st.floats(0.01, 0.99),
    trials=st.integers(0, 99),
    minutes=st.none() | st.floats(0.01, 1e6),
    seed=st.integers(0, 2**31 - 1),
)
SETTINGS = [(kind, setting) for kind in SECTIONS.values() for setting in kind.describe().values()]
OUTSIDE = {"ge": lambda limit: limit - 1, "gt": lambda limit: limit, "le": lambda limit: limit + 1, "lt": lambda limit: limit}


def parse(line):
    return make_parser(COMMANDS, line).parse_args(line)


def flags(command):
    """Each flag of a command, and what it sets."""
    parser = make_parser(COMMANDS, command.split())
    for word in command.split():
        [actions] = [action for action in parser._actions if action.choices and not action.option_strings]
        parser = actions.choices[word]
    return {flag: action.dest for action in parser._actions for flag in action.option_strings}


@given(extracts, ensembles)
def test_settings_come_back_from_json_as_they_were(extract, ensemble):
    for settings in (extract, ensemble):
        assert build(type(settings), json.loads(json.dumps(to_json(settings)))) == settings


@hypothesis_settings(deadline=None)  # each example makes a parser, which a busy machine takes long for
@given(extracts, ensembles, words)
def test_the_copied_command_means_the_same_job(extract, ensemble, column):
    layout = Layout(label_column=column) if column != "filename" else Layout()
    line = as_command.train_command("/data/my set", layout, extract, ensemble, Path("/w"))
    program, *rest = shlex.split(line)
    options = parse(rest)
    assert (program, options.dataset, options.workspace) == ("earmark", "/data/my set", "/w")
    assert read_options(options, ExtractSettings) == extract
    assert read_ensemble(options) == ensemble
    assert read_layout(options) == layout


def test_flags_override_a_settings_file_and_a_run_record_is_one(tmp_path):
    record = {"settings": {"layout": to_json(Layout()), "extract": {"features": ["mfcc"]}, "ensemble": {"folds": 3, "seed": 7}}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    options = parse(["train", "x", "--settings", str(tmp_path / "run.json"), "--folds", "4"])
    assert read_ensemble(options) == EnsembleSettings(folds=4, seed=7)
    assert read_options(options, ExtractSettings) == ExtractSettings(features=("mfcc",))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object with any of layout, extract, ensemble"),
        ('{"ensemble": 3}', "each an object"),
        ('{"model": {}}', "sections model not among layout, extract, ensemble"),
    ],
)
def test_a_settings_file_of_something_else_is_refused_in_words(tmp_path, content, text):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(ParameterError, match=text):
        read_settings(tmp_path / "s.json")
    with pytest.raises(ParameterError, match="cannot be read"):
        read_settings(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"folds": "5"}, "folds='5' must be a whole number"),
        ({"folds": True}, "folds=True must be a whole number"),
        ({"group_by": 3}, "group_by=3 must be text or null"),
        ({"members": "xgboost"}, "members='xgboost' must be a list of names"),
        ({"depth": 3}, "settings depth not among folds, group_by, .*members, preset"),
        ({"folds": 1}, "folds=1 must be 2 or more"),
        ({"minutes": float("inf")}, "minutes=inf must be a finite number, above 0"),
    ],
)
def test_a_wrong_setting_is_refused_in_words(values, text):
    with pytest.raises(ParameterError, match=text):
        build(EnsembleSettings, values)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, setting.name, OUTSIDE[end](limit)) for kind, setting in SETTINGS for end, limit in setting.limits.items()]
    + [(kind, setting.name, "neither") for kind, setting in SETTINGS if setting.choices]
    + [(kind, setting.name, object()) for kind, setting in SETTINGS],
)
def test_each_setting_refuses_what_is_outside_and_names_itself(kind, name, value):
    with pytest.raises(ParameterError, match=rf"^{name}=.* (must be|not among) "):
        kind(**{name: value})


def test_only_what_differs_from_the_defaults_is_named():
    assert EnsembleSettings().changed() == {}
    assert EnsembleSettings(folds=3, group_by="speaker").changed() == {"folds": 3, "group_by": "speaker"}


def test_replaced_settings_are_checked_again():
    settings = EnsembleSettings(members=("ridge",), folds=3)
    assert settings.replace(folds=4) == EnsembleSettings(members=("ridge",), folds=4)
    assert settings.folds == 3
    with pytest.raises(ParameterError, match="folds=1"):
        settings.replace(folds=1)


def test_numbers_of_numpy_are_numbers():
    np = pytest.importorskip("numpy")
    settings = EnsembleSettings(folds=np.int64(3), level=np.float32(0.5), stratified=np.bool_(True))
    assert settings == EnsembleSettings(folds=3, level=0.5, stratified=True)
    assert type(settings.folds) is int


def test_earlier_records_mean_the_same_settings(tmp_path):
    ensemble, finetune = {"groups": "speaker", "folds": 3}, {"groups": "speaker", "audio": "lora", "batch": 2}
    assert build(EnsembleSettings, ensemble) == EnsembleSettings(group_by="speaker", folds=3)
    assert build(FinetuneSettings, finetune) == FinetuneSettings(group_by="speaker", audio_encoder="lora", batch_clips=2)
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"ensemble": ensemble}}))
    options = parse(["train", "x", "--settings", str(tmp_path / "run.json")])
    assert read_ensemble(options) == EnsembleSettings(group_by="speaker", folds=3)
    spec = {"kind": "finetune", "request": {"finetune": finetune, "dataset": "x"}, "created": 0.0}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    assert read_job(tmp_path).request["finetune"] == {"group_by": "speaker", "audio_encoder": "lora", "batch_clips": 2}


def test_a_run_of_an_earlier_version_has_the_present_names(tmp_path):
    ensemble = write_run(tmp_path / "one", ensemble={"groups": "speaker"}).record.as_json()["settings"]["ensemble"]
    assert ensemble["group_by"] == "speaker"
    assert "groups" not in ensemble


def test_the_command_prints_the_schema(capsys):
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(to_json(schema())))


def test_the_schema_is_one_and_knows_every_setting_with_its_help():
    described = schema()
    jsonschema.Draft202012Validator.check_schema(described)
    for name, kind in SECTIONS.items():
        properties = described["properties"][name]["properties"]
        assert list(properties) == list(kind.describe())
        for setting in kind.describe().values():
            assert properties[setting.name]["description"] == setting.help != ""
    usual = {name: to_json(kind()) for name, kind in SECTIONS.items()}
    jsonschema.validate(usual, described)
    for wrong in ({"folds": 1}, {"preset": "slow"}, {"fold": 5}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"ensemble": wrong}, described)


BESIDE = {"--help", "-h", "--settings", "--workspace", "--json", "--models"}


@pytest.mark.parametrize(
    ("command", "sections"),
    [
        ("extract", ["layout", "extract"]),
        ("train", ["layout", "extract", "ensemble"]),
        ("tune", ["layout", "extract", "ensemble"]),
        ("finetune", ["layout", "finetune"]),
    ],
)
def test_every_setting_has_a_flag_and_every_flag_is_a_setting(command, sections):
    expected = {flag: name for section in sections for name, one in SECTIONS[section].describe().items() for flag in one.flag.names}
    if command == "finetune":
        expected |= {"--max-seconds": "max_seconds", "--channel": "channel", "--slow-down": "slow_down", "--workers": "workers"}
    assert {flag: name for flag, name in flags(command).items() if flag not in BESIDE} == expected


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.run])
def test_every_flag_is_explained(command):
    parser = make_parser(COMMANDS, command.split())
    for word in command.split():
        [actions] = [action for action in parser._actions if action.choices and not action.option_strings]
        parser = actions.choices[word]
    assert all(action.help for action in parser._actions if action.option_strings)
    assert "None" not in parser.format_help()


def test_one_flag_means_one_thing():
    meanings: dict[str, set[str]] = {}
    for command in (name for name, command in COMMANDS.items() if command.run):
        for flag, name in flags(command).items():
            meanings.setdefault(flag, set()).add(name)
    assert {flag: names for flag, names in meanings.items() if len(names) > 1} == {}


def test_auto_says_nothing_and_leaves_the_settings_file_to_speak(tmp_path):
    (tmp_path / "s.json").write_text('{"extract": {"batch": 3}}')
    line = ["extract", "x", "--settings", str(tmp_path / "s.json"), "--batch"]
    assert read_options(parse([*line, "auto"]), ExtractSettings).batch == 3
    assert read_options(parse([*line, "5"]), ExtractSettings).batch == 5
