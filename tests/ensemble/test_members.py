import pytest

from core.ensemble.members import Member, file_stems, parse_member, parse_members
from core.ensemble.models import CATALOGUE
from core.errors import ParameterError


@pytest.mark.parametrize(
    "text",
    [
        "svr",
        "svr:mfcc",
        "lightgbm:ultra,mfcc",
        "svr::C=10",
        "lightgbm:ultra:seed=7,num_leaves=15",
        "ridge:ultra,table:midi:alpha=0.5",
    ],
)
def test_a_member_is_read_back_from_its_name(text):
    member = parse_member(text)
    assert member.name == text
    assert parse_member(member.name) == member


def test_sets_and_settings_are_told_apart_by_the_equals_sign():
    assert parse_member("svr:C=10") == parse_member("svr::C=10") == Member("svr", parameters=(("C", 10),))
    assert parse_member("svr:ultra,reading:a/b:column=said").sets == ("ultra", "reading:a/b:column=said")
    assert parse_member("svr:reading:a/b:column=said:C=2") == Member("svr", ("reading:a/b:column=said",), parameters=(("C", 2),))
    assert parse_member("svr:table:midi").sets == ("table:midi",)
    assert parse_member("svr:ultra,table:midi:C=0.5,seed=3") == Member(
        "svr", ("ultra", "table:midi"), seed=3, parameters=(("C", 0.5),)
    )
    assert parse_member(" lightgbm: ultra , mfcc ").sets == ("ultra", "mfcc")


def test_a_member_overrides_what_the_preset_says_and_nothing_else():
    member = parse_member("xgboost::max_depth=3,preset=classic")
    parameters = member.all_parameters("fast")
    assert parameters == CATALOGUE["xgboost"].presets["classic"] | {"max_depth": 3}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("svm", r"model 'svm' not among xgboost.*expected MODEL\[:SETS\]"),
        ("svr:mfcc,mfcc", "names a feature set twice"),
        ("svr::gama=3", "'gama' not among the settings of svr: preset, seed, C, epsilon, gamma"),
        ("svr::C=", "'C=' has no value"),
        ("svr::seed=-1", "seed='-1' must be a whole number"),
        ("svr::preset=slow", "preset='slow' not among fast, classic"),
    ],
)
def test_a_member_that_cannot_be_read_is_refused_in_words(text, match):
    with pytest.raises(ParameterError, match=match):
        parse_member(text)


def test_two_equal_members_are_refused_and_two_seeds_are_not():
    with pytest.raises(ParameterError, match="svr is named twice; give another seed or setting, such as svr::seed=1"):
        parse_members(["svr", "ridge", "svr"])
    assert len(parse_members(["svr", "svr::C=1", "catboost::seed=1", "catboost::seed=2"])) == 4
    with pytest.raises(ParameterError, match="name at least one"):
        parse_members([])


def test_file_names_are_plain_and_differ_where_members_do():
    members = parse_members(["svr", "svr:ultra,mfcc", "svr:ultra:C=10", "svr:ultra:C=1.0", "ridge:table:a b", "ridge:table:a/b"])
    stems = file_stems(members)
    assert stems["svr"] == "svr"
    assert stems["svr:ultra,mfcc"] == "svr_ultra_mfcc"
    assert len(set(stems.values())) == len(members)
    assert all(not set(stem) & set("/\\ :,=") for stem in stems.values())


@pytest.mark.parametrize(
    ("text", "sets", "parameters"),
    [
        ("svr:transcript:column=said.text", ("transcript:column=said.text",), ()),
        ("svr:ultra,transcript:column=text:C=10", ("ultra", "transcript:column=text"), (("C", 10),)),
        ("svr:encoder:/models/tiny@L2-3", ("encoder:/models/tiny@L2-3",), ()),
        ("svr:wavlm@L7-8:C=2", ("wavlm@L7-8",), (("C", 2),)),
    ],
)
def test_sets_with_colons_and_equals_signs_are_sets(text, sets, parameters):
    member = parse_member(text)
    assert (member.sets, member.parameters) == (sets, parameters)
    assert parse_member(member.name) == member
