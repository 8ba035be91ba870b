"""Widths of a kernel, one a feature set: planted sets, of which some hold the label."""

import numpy as np
import pytest

from core.ensemble.kernels import WIDTHS, KernelPart, choose_widths, distances, unit
from core.ensemble.models import CATALOGUE, make_model
from core.ensemble.preprocess import Screen, make_preprocessor, screen_columns, weigh_sets
from core.ensemble.storage import load_skops, save_skops


def predict(K, y, K_new, parameters):
    model = make_model("kernel_ridge", parameters=CATALOGUE["kernel_ridge"].presets["fast"] | parameters, seed=0)
    return model.predict_kernel(K, y, K_new)


def parts_of(blocks, labels, number=3):
    """Every ``number``th row is scored by the others, once each."""
    parts = []
    for start in range(number):
        scored = np.arange(len(labels)) % number == start
        within, across = {}, {}
        for name, X in blocks.items():
            known, new = unit(X[~scored]) * X[~scored], unit(X[~scored]) * X[scored]
            within[name], across[name] = distances(known, known), distances(new, known)
        parts.append(KernelPart(within, across, labels[~scored], labels[scored]))
    return parts


def test_distances_are_those_of_scipy(rng):
    from scipy.spatial.distance import cdist

    rows, others = rng.normal(size=(7, 4)), rng.normal(size=(5, 4))
    assert np.allclose(distances(rows, others), cdist(rows, others, "sqeuclidean"), atol=1e-5)  # float32


def test_two_rows_of_scaled_noise_are_2_apart_whatever_the_number_of_columns(rng):
    for columns in (3, 300):
        X = 5 * rng.normal(size=(400, columns))
        apart = distances(unit(X) * X, unit(X) * X)
        assert np.mean(apart[~np.eye(400, dtype=bool)]) == pytest.approx(2, rel=0.01)


def test_a_few_columns_that_hold_the_label_count_more_than_a_thousand_that_do_not(rng):
    strong, noise = rng.normal(size=(150, 3)), rng.normal(size=(150, 1000))
    labels = strong.sum(axis=1)
    choice = choose_widths(parts_of({"strong": strong, "noise": noise}, labels), predict, [{}, {"alpha": 0.03}])
    assert choice.widths["strong"] > 2 * choice.widths.get("noise", 0)
    assert choice.parameters == {"alpha": 0.03}  # labels without any noise want the smaller penalty


def test_labels_that_nothing_tells_still_leave_a_set_in_the_kernel(rng):
    blocks = {"one": rng.normal(size=(150, 5)), "other": rng.normal(size=(150, 5))}
    choice = choose_widths(parts_of(blocks, rng.normal(size=150)), predict, [{}])
    assert choice.widths
    assert set(choice.widths.values()) <= set(WIDTHS) - {0.0}


@pytest.mark.parametrize("name", ["svr", "kernel_ridge"])
def test_a_model_on_weighed_columns_predicts_as_one_on_the_kernel_does(name, rng, tmp_path):
    blocks = {"one": rng.normal(size=(80, 3)), "other": rng.normal(size=(80, 40))}
    X, y, widths = np.concatenate(list(blocks.values()), axis=1), rng.normal(size=80), {"one": 0.25, "other": 0.06}
    preprocessor = make_preprocessor("robust").fit(X[:60])
    scaled = preprocessor.transform(X)
    weighed = weigh_sets(preprocessor, X[:60], {"one": 3, "other": 40}, widths)
    parameters = CATALOGUE[name].presets["fast"] | {"widths": widths}
    model = make_model(name, parameters=parameters, seed=0).fit(weighed.transform(X[:60]), y[:60], np.zeros(60, bool))

    squares = 0
    for columns, width in ((slice(0, 3), 0.25), (slice(3, 43), 0.06)):
        part = unit(scaled[:60, columns]) * scaled[:, columns]
        squares = squares + width * distances(part, part[:60]).astype(float)
    expected = make_model(name, parameters=parameters, seed=0).predict_kernel(np.exp(-squares[:60]), y[:60], np.exp(-squares[60:]))
    assert np.allclose(model.predict(weighed.transform(X[60:])), expected, atol=2e-3)  # libsvm stops at 1e-3

    save_skops(weighed, tmp_path / "a.skops")
    again = load_skops(tmp_path / "a.skops", type(weighed))
    assert np.array_equal(again.transform(X), weighed.transform(X))


def test_screening_keeps_the_columns_that_go_with_the_labels_of_the_rows_it_is_fitted_on(rng, tmp_path):
    X = rng.normal(size=(100, 500))
    labels = X[:, 7] - X[:, 401]
    preprocessor = make_preprocessor("standard").fit(X)
    screened = screen_columns(preprocessor, X, labels, 2)
    assert screened["screen"].kept_.tolist() == [7, 401]
    assert screen_columns(preprocessor, X, labels, 500) is preprocessor
    save_skops(screened, tmp_path / "a.skops")
    assert np.array_equal(load_skops(tmp_path / "a.skops", type(screened)).transform(X), screened.transform(X))
    assert Screen(3).fit(np.column_stack([np.ones(100), X[:, :2]]), labels).kept_.tolist() == [0, 1, 2]  # constants do no harm


def test_quartiles_of_all_columns_at_once_are_those_of_scikit_learn(rng):
    from sklearn.preprocessing import RobustScaler

    from core.ensemble.preprocess import ColumnsRobustScaler

    X = np.column_stack([rng.normal(size=(61, 4)), np.full(61, 3.0), rng.integers(0, 2, 61)])
    assert np.array_equal(ColumnsRobustScaler().fit_transform(X), RobustScaler().fit_transform(X))
