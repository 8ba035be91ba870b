import csv

import numpy as np
import pytest

from core.data.dataset import read_dataset
from core.encoders import voices
from core.errors import ParameterError
from core.extraction.config import ExtractSettings
from core.extraction.extract import extract_clips
from core.extraction.matrix import build_matrix
from core.grouping.speakers import DISTANCE, MOST_ROWS, pair_scores, propose_speakers
from core.grouping.ties import tie_rows


def spoken(rng, speakers, clips, *, spread=0.02, d=64):
    """Voices of length 1: each speaker a direction of its own, each clip near to it."""
    directions = np.linalg.qr(rng.normal(size=(d, speakers)))[0].T
    vectors = np.repeat(directions, clips, axis=0) + spread * rng.normal(size=(speakers * clips, d))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.repeat(np.arange(speakers), clips)


def test_voices_that_stand_apart_are_told_apart(rng):
    vectors, who = spoken(rng, 12, 5)
    found = propose_speakers(vectors)
    assert pair_scores(found.groups, who) == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "adjusted_rand": 1.0}
    assert found.groups[0] == "voice 1"
    assert found.distance == DISTANCE
    assert np.isnan(found.test_similarity)


def test_folds_come_as_far_apart_as_the_test_clips_are(rng):
    """Families of three kindred voices: test clips of new voices of known families want voices apart, of new families families."""
    families = np.linalg.qr(rng.normal(size=(64, 20)))[0].T
    voices_of = families[np.repeat(np.arange(20), 3)] + 0.045 * rng.normal(size=(60, 64))

    def clips(directions):
        vectors = np.repeat(directions, 4, axis=0) + 0.02 * rng.normal(size=(4 * len(directions), 64))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    family = np.repeat(np.arange(20), 12)
    train, kindred = clips(voices_of), clips(families[:10] + 0.045 * rng.normal(size=(10, 64)))
    strangers = clips(rng.normal(size=(10, 64)) / 8)
    near, far = propose_speakers(train, kindred), propose_speakers(train, strangers)
    assert near.distance < far.distance
    assert near.test_similarity > far.test_similarity
    assert len(set(near.groups)) > 20
    assert pair_scores(far.groups, family)["adjusted_rand"] > 0.9
    for found in (near, far):
        assert np.isfinite(found.validation_similarity)


def test_pairs_are_scored_by_hand():
    scores = pair_scores(["a", "a", "b", "b"], ["x", "x", "x", "y"])
    assert scores["precision"] == pytest.approx(1 / 2)  # 2 pairs together, 1 of them rightly
    assert scores["recall"] == pytest.approx(1 / 3)  # 3 pairs belong together
    assert pair_scores(["a", "b"], ["x", "y"])["f1"] == 1.0


def test_order_changes_no_group(rng):
    vectors, _ = spoken(rng, 8, 4, spread=0.05)
    order = rng.permutation(len(vectors))
    found, shuffled = propose_speakers(vectors).groups, propose_speakers(vectors[order]).groups
    assert pair_scores(shuffled, np.array(found)[order])["adjusted_rand"] == 1.0


def test_what_cannot_be_compared_is_refused(rng):
    with pytest.raises(ParameterError, match=f"expected 2 to {MOST_ROWS}"):
        propose_speakers(np.ones((1, 4)))


@pytest.mark.skipif(not voices.is_installed(), reason="Resemblyzer is not installed (make offline)")
def test_the_speakers_of_real_recordings_are_mostly_found(speech, tmp_path):
    """Clips of six speakers with most clips: what is put together mostly belongs together."""
    with (speech / "csvs/train.csv").open() as file:
        who = {row["filename"]: row["speaker"] for row in csv.DictReader(file)}
    names = sorted(who.values())
    many = sorted(set(names), key=lambda name: -names.count(name))[:6]
    rows = [row for row in read_dataset(speech).train if who[row.name] in many]
    settings = ExtractSettings(("voice256",), workers=0)
    extraction = extract_clips([row.path for row in rows], settings, cache_path=tmp_path / "c.sqlite")
    matrix = build_matrix(rows, extraction, ("voice256",))
    scores = pair_scores(propose_speakers(matrix.X).groups, [who[row.name] for row in rows])
    assert scores["adjusted_rand"] > 0.6
    ties = tie_rows(rows, matrix, extraction, None)
    assert "voices" in [proposal.kind for proposal in ties.proposals]
    assert "voices" in tie_rows(rows, matrix, extraction, "auto").chosen
