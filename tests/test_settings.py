import json
import shlex

import pytest
from hypothesis import given, strategies as st

from core.cli import as_command, commands as commands_module
from core.data.dataset import Layout
from core.ensemble import EnsembleSettings
from core.ensemble.blend import BLENDS
from core.ensemble.models import CATALOGUE, PRESETS, SCALINGS
from core.errors import ParameterError
from core.extraction.config import FEATURE_SETS, ExtractSettings
from core.settings import build, changed, read_settings
from core.workspace import to_json

sets = st.lists(st.sampled_from(FEATURE_SETS), min_size=1, unique=True).map(tuple)
specs = st.sampled_from(
    [*CATALOGUE, "svr:mfcc", "svr::C=10", "lightgbm:ultra,mfcc:seed=7,num_leaves=15", "svr:ultra@5s,table:midi"]
)
models = st.lists(specs, min_size=1, unique=True).map(tuple)
words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1).filter(
    lambda text: not text.startswith("-")
)
extracts = st.builds(ExtractSettings, features=sets, max_seconds=st.floats(1, 1e6), rehash=st.booleans())
ensembles = st.builds(
    EnsembleSettings,
    members=models,
    preset=st.sampled_from(PRESETS),
    folds=st.integers(2, 99),
    repeats=st.integers(1, 9),
    stratified=st.booleans(),
    groups=st.none() | words,
    scaling=st.sampled_from(SCALINGS),
    blend=st.sampled_from(BLENDS),
    round_labels=st.booleans(),
    augment=st.integers(0, 9),
    tta=st.integers(0, 9),
    pseudo_labels=st.booleans(),
    self_test=st.booleans(),
    level=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31 - 1),
)


@given(extracts, ensembles)
def test_settings_come_back_from_json_as_they_were(extract, ensemble):
    for settings in (extract, ensemble):
        assert build(type(settings), json.loads(json.dumps(to_json(settings)))) == settings


@given(extracts, ensembles, words)
def test_the_copied_command_means_the_same_job(extract, ensemble, column):
    layout = Layout(label_column=column) if column != "filename" else Layout()
    line = as_command.train_command("/data/my set", layout, extract, ensemble, "/w")
    program, *rest = shlex.split(line)
    options = commands_module._parser().parse_args(rest)
    assert (program, options.dataset, options.workspace) == ("earmark", "/data/my set", "/w")
    assert commands_module._extract_settings(options) == extract
    assert commands_module._ensemble_settings(options) == ensemble
    assert commands_module._layout(options) == layout


def test_flags_override_a_settings_file_and_a_run_record_is_one(tmp_path):
    record = {"settings": {"layout": to_json(Layout()), "extract": {"features": ["mfcc"]}, "ensemble": {"folds": 3, "seed": 7}}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    line = ["train", "x", "--settings", str(tmp_path / "run.json"), "--folds", "4"]
    options = commands_module._parser().parse_args(line)
    assert commands_module._ensemble_settings(options) == EnsembleSettings(folds=4, seed=7)
    assert commands_module._extract_settings(options) == ExtractSettings(("mfcc",))


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
        ({"groups": 3}, "groups=3 must be text or null"),
        ({"members": "xgboost"}, "members='xgboost' must be a list of names"),
        ({"depth": 3}, "settings depth not among members, preset"),
        ({"folds": 1}, "folds=1 must be 2 or more"),
    ],
)
def test_a_wrong_setting_is_refused_in_words(values, text):
    with pytest.raises(ParameterError, match=text):
        build(EnsembleSettings, values)


def test_only_what_differs_from_the_defaults_is_named():
    assert changed(EnsembleSettings()) == {}
    assert changed(EnsembleSettings(folds=3, groups="speaker")) == {"folds": 3, "groups": "speaker"}
