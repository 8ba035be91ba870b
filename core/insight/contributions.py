"""A fitted model and rows in, what each column adds to each prediction out. Values are in the unit of the label.

Shapley values (Lundberg and Lee 2017): of a row, base value and contributions sum to the prediction. Trees give them natively
(Lundberg et al. 2020, path-dependent), a linear model has them in its coefficients, a support vector regression gets them from
permutations of its columns, as ``shap.PermutationExplainer`` does.
"""

from typing import Any

import numpy as np

from core.ensemble.boosting import CatBoost, LightGBM, XGBoost
from core.ensemble.label_transform import TransformedLabels
from core.ensemble.models import ExtraTrees, KernelModel, RandomForest, Ridge
from core.ensemble.regressor import Regressor

BACKGROUND_ROWS = 50


def contributions(model: Regressor, X: np.ndarray, background: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What each column adds to the predictions of a model.

    Parameters
    ----------
    model : Regressor, fitted
    X : np.ndarray [shape=(n, k)], as the model takes them
    background : np.ndarray [shape=(m, k)], rows that it was fitted on; what a column adds is counted from their mean prediction,
        except for trees, which count from the mean of the rows in their leaves
    seed : int, of what is drawn: rows of the background and the order of columns

    Returns
    -------
    values : np.ndarray [shape=(n, k)]
    base : np.ndarray [shape=(n,)]; ``base + values.sum(axis=1)`` is the prediction
    """
    match model:
        case TransformedLabels():
            values, base = contributions(model.regressor, X, background, seed=seed)
            return _on_label_scale(model, values, base)
        case XGBoost() | LightGBM() | CatBoost():
            both = _of_boosting(model, X)
            return both[:, :-1], both[:, -1]
        case RandomForest() | ExtraTrees():
            return _of_forest(model.estimator_, X)
        case Ridge():
            return _of_linear(model.estimator_, X, background)
        case KernelModel():
            return _of_kernel(model.estimator_, X, _drawn(background, seed), seed)
    return _by_permutation(model, X, _drawn(background, seed), seed)


def _on_label_scale(model: TransformedLabels, values: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Contributions to transformed labels, stretched for each row so that they sum to its prediction on the labels' own scale.

    The rescale rule of DeepLIFT (Shrikumar et al. 2017), which Chen, Lundberg and Lee (2022, "Explaining a series of models by
    propagating Shapley values") use for a transform behind a model. Shares of the columns stay as they are.
    """
    bent = values.sum(axis=1)
    own = model.transform.inverse(base)
    rise = model.transform.inverse(base + bent) - own
    stretch = np.divide(rise, bent, out=np.zeros(len(bent)), where=bent != 0)
    return values * stretch[:, None], own


def _drawn(background: np.ndarray, seed: int) -> np.ndarray:
    if len(background) <= BACKGROUND_ROWS:
        return background
    return background[np.sort(np.random.default_rng(seed).choice(len(background), BACKGROUND_ROWS, replace=False))]


def _of_boosting(model: XGBoost | LightGBM | CatBoost, X: np.ndarray) -> np.ndarray:
    """Contributions with the base value as last column [shape=(n, k + 1)]."""
    match model:
        case XGBoost():
            import xgboost

            both = model.booster_.predict(xgboost.DMatrix(X, nthread=1), pred_contribs=True)
        case LightGBM():
            both = model.booster_.predict(X, pred_contrib=True, num_threads=1)
        case CatBoost():
            import catboost

            both = model.model_.get_feature_importance(catboost.Pool(X, thread_count=1), type="ShapValues", thread_count=1)
    return np.asarray(both, np.float64)


def _of_forest(forest: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import shap

    explainer = shap.TreeExplainer(forest, feature_perturbation="tree_path_dependent")
    values = np.asarray(explainer.shap_values(X, check_additivity=False), np.float64)
    return values, np.full(len(X), float(np.ravel(explainer.expected_value)[0]))


def _of_linear(estimator: Any, X: np.ndarray, background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre = background.mean(axis=0)
    slopes = np.ravel(estimator.regressor_.coef_) * estimator.transformer_.scale_[0]
    return (X - centre) * slopes, np.full(len(X), float(estimator.predict(centre[None])[0]))


def _of_kernel(estimator: Any, X: np.ndarray, background: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One random order of the columns a row, there and back: columns change from the background to the row one by one.

    A step changes one column, so the squared distance of a half-changed row to a support vector changes by one term; that is what
    makes all rows affordable. (Kernel ridge has every fitted row as one.) The way back takes columns out in the same order, which
    cancels what two columns do together.
    """
    machine, (scale,), (mean,) = estimator.regressor_, estimator.transformer_.scale_, estimator.transformer_.mean_
    if hasattr(machine, "support_vectors_"):
        vectors, weights = machine.support_vectors_, machine.dual_coef_[0]
        gamma, intercept = float(machine._gamma), float(machine.intercept_[0])
    else:
        vectors, weights, gamma, intercept = machine.X_fit_, np.ravel(machine.dual_coef_), float(machine.gamma), 0.0
    rng = np.random.default_rng(seed)
    values = np.zeros(X.shape)

    def mean_output(distances: np.ndarray) -> float:
        return float((np.exp(-gamma * distances) @ weights).mean())

    to_background = ((background[:, None, :] - vectors[None]) ** 2).sum(axis=2)  # (m, s)
    floor = mean_output(to_background)
    for row, x in zip(values, X, strict=True):
        order = rng.permutation(len(x))
        to_row = np.broadcast_to(((x - vectors) ** 2).sum(axis=1), to_background.shape)
        for turned, start in ((1.0, to_background), (-1.0, to_row)):
            distances = start.copy()
            before = mean_output(distances)
            for column in order:
                was = background[:, column]
                distances += turned * ((x[column] ** 2 - was**2)[:, None] - 2 * np.outer(x[column] - was, vectors[:, column]))
                after = mean_output(distances)
                row[column] += turned * (after - before) / 2
                before = after
    return values * scale, np.full(len(X), (floor + intercept) * scale + mean)


def _by_permutation(model: Regressor, X: np.ndarray, background: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    import shap

    masker = shap.maskers.Independent(background, max_samples=len(background))
    found = shap.PermutationExplainer(model.predict, masker, seed=seed)(X, max_evals=2 * X.shape[1] + 1, silent=True)
    return np.asarray(found.values, np.float64), np.broadcast_to(np.asarray(found.base_values, np.float64), len(X)).copy()
