import csv

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from core.data.dataset import read_dataset
from core.encoders import voices
from core.errors import ParameterError
from core.extraction.config import ExtractSettings
from core.extraction.extract import extract_clips
from core.extraction.matrix import build_matrix
from core.grouping.speakers import DISTANCE, MOST_ROWS, propose_speakers
from core.grouping.ties import tie_rows


def spoken(rng, speakers, clips, *, spread=0.02, d=64):
    """Voices of length 1: each speaker a direction of its own, each clip near to it."""
    directions = np.linalg.qr(rng.normal(size=(d, speakers)))[0].T
    vectors = np.repeat(directions, clips, axis=0) + spread * rng.normal(size=(speakers * clips, d))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.repeat(np.arange(speakers), clips)


def test_voices_that_stand_apart_are_told_apart(rng):
    vectors, who = spoken(rng, 12, 5)
    found = propose_speakers(vectors)
    assert adjusted_rand_score(who, found.groups) == 1.0
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
    assert adjusted_rand_score(family, far.groups) > 0.9
    for found in (near, far):
        assert np.isfinite(found.validation_similarity)


def test_order_changes_no_group(rng):
    vectors, _ = spoken(rng, 8, 4, spread=0.05)
    order = rng.permutation(len(vectors))
    found, shuffled = propose_speakers(vectors).groups, propose_speakers(vectors[order]).groups
    assert adjusted_rand_score(np.array(found)[order], shuffled) == 1.0


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
    settings = ExtractSettings(features=("voice256",), workers=0)
    extraction = extract_clips([row.path for row in rows], settings, cache_path=tmp_path / "c.sqlite")
    matrix = build_matrix(rows, extraction, ("voice256",))
    assert adjusted_rand_score([who[row.name] for row in rows], propose_speakers(matrix.X).groups) > 0.6
    ties = tie_rows(rows, matrix, extraction, None)
    assert "voices" in [proposal.kind for proposal in ties.proposals]
    assert "voices" in tie_rows(rows, matrix, extraction, "auto").chosen
