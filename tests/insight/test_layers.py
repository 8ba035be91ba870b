import json
from dataclasses import replace

import numpy as np
import pytest

from core.errors import JobError, ParameterError
from core.events import LayerScored, LayersStarted
from core.insight.layers import HEADS, Band, LayerScores, LayerSettings, propose_band, score_layers

LAYERS = 9


def layered(rng, n=120, *, telling=(4, 5, 6), d=12):
    """Layers of noise, and some that hold the label in each of their columns."""
    y = rng.normal(size=n)
    X = rng.normal(size=(n, LAYERS, d)).astype(np.float32)
    for layer in telling:
        X[:, layer] += 2 * y[:, None]
    groups = tuple(str(row // 4) for row in range(n))
    return X, y, groups


@pytest.fixture(scope="module")
def scores():
    X, y, groups = layered(np.random.default_rng(0))
    told = []
    found = score_layers(X, y, groups, encoder="wavlm", grouped_by="speaker", workers=0, notify=told.append)
    return found, told


def test_layers_that_tell_the_label_score_well_and_the_others_like_the_constant(scores):
    found, _ = scores
    telling, others = found.oof_rmse[4:7], np.delete(found.oof_rmse, [4, 5, 6], axis=0)
    assert telling.max() < 0.5 * found.constant_rmse
    assert others.min() > 0.9 * found.constant_rmse
    assert found.fold_rmse.shape == (LAYERS, len(HEADS), 5)


def test_each_layer_and_head_is_reported_once(scores):
    found, (started, *told) = scores
    assert started == LayersStarted(LAYERS * len(HEADS))
    assert {(one.layer, one.head) for one in told} == {(layer, head) for layer in range(LAYERS) for head in HEADS}
    assert all(isinstance(one, LayerScored) and one.rmse == found.oof_rmse[one.layer, HEADS.index(one.head)] for one in told)


def test_the_band_lies_where_the_signal_is(scores):
    band = propose_band(scores[0])
    assert 4 <= band.first <= band.last <= 6
    assert band.last > band.first
    assert band.suffix() == f"@L{band.first}-{band.last}"


def test_a_single_lucky_fold_moves_no_band(scores):
    found, _ = scores
    lucky = found.fold_rmse.copy()
    lucky[1, :, 2] = 0.0
    assert propose_band(replace(found, fold_rmse=lucky)) == propose_band(found)


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_band(seed):
    X, y, groups = layered(np.random.default_rng(seed), telling=())
    band = propose_band(score_layers(X, y, groups, encoder="wavlm", settings=LayerSettings(("svr", "ridge"), repeats=2), workers=0))
    assert band.first is None
    assert "no layer is surely better than the baseline" in band.reason
    assert band.suffix() == ""


def made_up(beside):
    """Scores whose fold errors are 1 and so much [shape=(layers, heads, folds)], beside a baseline of 1."""
    of_folds = 1 + np.asarray(beside, float)
    heads = HEADS[: of_folds.shape[1]]
    return LayerScores("x", heads, of_folds, of_folds.mean(axis=2), 1.0, np.ones(of_folds.shape[2]), 100)


def test_heads_that_are_all_worse_than_the_constant_have_no_band(rng):
    assert propose_band(made_up(rng.uniform(0.1, 0.2, size=(6, 3, 5)))).first is None


def test_a_head_that_fits_noise_hides_no_band_of_another(rng):
    beside = rng.normal(0, 0.01, size=(12, 2, 5))
    beside[:, 0] += 0.05 - 0.06 * np.isin(np.arange(12), [7, 8])[:, None]
    beside[[7, 8], 1] -= 0.1
    band = propose_band(made_up(beside))
    assert (band.first, band.last) == (7, 8)


def test_folds_that_happen_to_agree_on_one_layer_prove_nothing(rng):
    """Layers that differ from the constant by noise alone, and one whose five folds are a little better, all by the same."""
    beside = rng.normal(0, 0.1, size=(12, 1, 5))
    beside[3] = -0.08
    beside[[2, 4], 0] = np.linspace(-0.25, 0.1, 5)
    assert propose_band(made_up(beside)).first is None


def test_a_band_is_a_third_of_the_layers_at_most_and_two_at_least(rng):
    """All layers equally good, then one alone."""
    flat = np.tile([-0.5, -0.4, -0.45, -0.55, -0.5], (12, 1, 1)) + rng.normal(0, 0.001, size=(12, 1, 5))
    band = propose_band(made_up(flat))
    assert band.last - band.first + 1 == 4
    alone = rng.normal(0, 0.01, size=(12, 1, 5))
    alone[5] -= 0.5
    band = propose_band(made_up(alone))
    assert band.first <= 5 <= band.last
    assert band.last - band.first == 1


def test_rows_of_a_group_stay_on_one_side(rng):
    """A layer that holds nothing but the group's number knows the label where groups are torn apart, and nothing otherwise."""
    groups = np.repeat(np.arange(30), 4)
    y = rng.normal(size=30)[groups]
    X = np.eye(30, dtype=np.float32)[groups][:, None, :]
    torn = score_layers(X, y, None, encoder="x", settings=LayerSettings(("svr",)), workers=0)
    whole = score_layers(X, y, tuple(map(str, groups)), encoder="x", settings=LayerSettings(("svr",)), workers=0)
    assert torn.oof_rmse[0, 0] < 0.7 * torn.constant_rmse
    assert whole.oof_rmse[0, 0] > 0.95 * whole.constant_rmse


def test_an_encoder_of_one_layer_has_a_band_of_one(rng):
    X, y, groups = layered(rng)
    band = propose_band(score_layers(X[:, 4:5], y, groups, encoder="x", settings=LayerSettings(("ridge",)), workers=0))
    assert (band.first, band.last) == (0, 0)


def test_scores_survive_json_and_damage_is_told(scores):
    found, _ = scores
    record = json.loads(json.dumps(found.to_record()))
    again = LayerScores.from_record(record)
    np.testing.assert_array_equal(again.fold_rmse, found.fold_rmse)
    assert propose_band(again) == propose_band(found)
    assert record["badges"]["oof_rmse"] == "out-of-fold"
    with pytest.raises(JobError, match="score them again"):
        LayerScores.from_record(record | {"oof_rmse": [[1.0]]})
    with pytest.raises(JobError, match="score them again"):
        LayerScores.from_record(record | {"constant_fold_rmse": [1.0]})


def test_heads_are_models_of_the_catalogue():
    with pytest.raises(ParameterError, match="heads=perceptron not among"):
        LayerSettings(("perceptron",))


def test_a_band_of_one_layer_is_named_by_it():
    assert Band(3, 3, "").suffix() == "@L3"
