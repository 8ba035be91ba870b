"""Means over the clips of a group: what they are, what they bring, and when they are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core import features
from core.data.dataset import read_dataset
from core.data.rows import Row
from core.ensemble import EnsembleSettings
from core.errors import ParameterError
from core.extraction.config import ExtractSettings
from core.extraction.extract import Extraction, column_names
from core.extraction.group_means import lonely
from core.extraction.matrix import build_matrix
from core.tasks.ladder import plan_steps
from core.tasks.score import ScoringOptions, predict_clips, predict_rows
from core.tasks.train import train_dataset
from core.workspace import Workspace
from tests.conftest import tone, write_clip, write_table

QUICK = EnsembleSettings(members=("ridge",), folds=4, blend="mean", workers=0, group_by="speaker")
SPEAKERS, EACH = 12, 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Tones whose level in dB is that of their speaker, and the label, but for 6 dB of noise on each clip."""
    root, rng = tmp_path_factory.mktemp("levels") / "set", np.random.default_rng(5)
    levels_db = rng.permutation(np.linspace(-40, -13, SPEAKERS))
    tables = {"train": [], "test": []}
    for number in range(SPEAKERS * EACH):
        speaker = number % SPEAKERS
        split = "test" if speaker >= SPEAKERS - 2 else "train"
        amplitude = 10 ** ((levels_db[speaker] + 6 * rng.normal()) / 20)
        write_clip(root / f"audios/{split}/c{number}.wav", amplitude * tone(300, seconds=0.2), subtype="FLOAT")
        label = [levels_db[speaker] / 10] if split == "train" else []
        tables[split].append([f"c{number}", *label, f"s{speaker}"])
    write_table(root / "csvs/train.csv", ["filename", "label", "speaker"], tables["train"])
    write_table(root / "csvs/test.csv", ["filename", "speaker"], tables["test"])
    return read_dataset(root)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("ws"))
    sets = {"alone": ("mfcc",), "together": ("group:speaker:mfcc",)}
    extracts = {name: ExtractSettings(features=chosen, workers=0) for name, chosen in sets.items()}
    return {name: train_dataset(dataset, extract, QUICK, workspace) for name, extract in extracts.items()}, workspace


def test_the_mean_is_over_the_rows_with_the_same_word_and_an_empty_cell_is_alone():
    who = ["a", "b", " a ", "", ""]
    rows = [Row(str(n), Path(f"/{n}.wav"), 1.0, {"speaker": name}) for n, name in enumerate(who)]
    values = np.arange(5.0)[:, None] * np.ones(120)
    values[2, 1] = np.nan
    vectors = {row.path: {"mfcc": value.astype(np.float32)} for row, value in zip(rows, values, strict=True)}
    matrix = build_matrix(rows, Extraction(vectors, {}, {}, 0), ("mfcc", "group:speaker:mfcc"))
    assert matrix.names[120:] == tuple(f"group:speaker:{name}" for name in column_names(("mfcc",)))
    assert matrix.X[:, 120].tolist() == [1, 1, 1, 3, 4]
    assert matrix.X[:, 121].tolist() == [0, 1, 0, 3, 4]  # what has no value is left out
    assert [features.set_of(name) for name in (matrix.names[0], matrix.names[120])] == ["mfcc", "group:speaker:mfcc"]


@pytest.mark.parametrize("name", ["group:speaker", "group::ultra", "group:speaker:table:age", "group:speaker:nothing"])
def test_what_has_no_mean_is_refused(name):
    with pytest.raises(ParameterError, match=r"feature set .*(group:speaker:ultra|from the sound|not among)"):
        features.parse_set(name)


def test_the_mean_of_a_group_has_the_noise_of_its_clips_averaged(trained):
    runs, _ = trained
    left = {}
    for name, run in runs.items():
        matrix = run.load_matrix()
        loudness = matrix.X[:, [column.endswith("mfcc.mfcc0_mean") for column in matrix.names]].ravel()
        slope, offset = np.polyfit(matrix.y, loudness, 1)
        left[name] = np.std(loudness - slope * matrix.y - offset)
    assert 0.4 < left["together"] / left["alone"] < 0.6  # of four clips half


def test_a_submission_has_means_over_the_test_clips_and_a_clip_alone_a_warning(trained, dataset):
    runs, workspace = trained
    options = ScoringOptions(workspace)
    together = predict_rows(runs["together"], dataset.test, options)
    by_speaker = {}
    for row, one in zip(dataset.test, together, strict=True):
        by_speaker.setdefault(row.columns["speaker"], set()).add(round(one.prediction, 9))
        assert not [why for why in one.warnings if "no other clip" in why]
    assert sorted(map(len, by_speaker.values())) == [1, 1]  # clips of one speaker have the same mean, and nothing else here
    [loose] = predict_clips(runs["together"], [str(dataset.test[0].path)], workspace=workspace)
    assert "no other clip of its speaker is scored with it: expect worse" in loose.warnings


def test_means_of_groups_that_folds_would_cut_are_refused(dataset, tmp_path):
    extract = ExtractSettings(features=("group:speaker:mfcc",), workers=0)
    with pytest.raises(ParameterError, match="--group-by speaker"):
        train_dataset(dataset, extract, QUICK.replace(group_by=None), Workspace(tmp_path))


def test_a_search_tries_them_where_test_clips_come_several_of_a_group_too(dataset):
    extract = ExtractSettings(workers=0)

    def tried(data, group_by):
        return [step.adds for step in plan_steps(data, [], extract, group_by=group_by) if step.name == "group"]

    assert tried(dataset, "speaker") == [("group:speaker:ultra", "group:speaker:mfcc")]
    assert tried(dataset, None) == []
    assert tried(replace(dataset, test=()), "speaker") == []
    single = tuple({row.columns["speaker"]: row for row in dataset.test}.values())
    assert tried(replace(dataset, test=single), "speaker") == []


def test_who_is_alone_is_told():
    rows = [Row(name, Path(name), 1.0, {"speaker": who}) for name, who in (("a", "x"), ("b", "x"), ("c", "y"))]
    assert [bool(why) for why in lonely(rows, ("group:speaker:mfcc", "ultra"))] == [False, False, True]
    assert lonely(rows, ("ultra",)) == ["", "", ""]
