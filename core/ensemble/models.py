"""The catalogue of base regressors: forests, kernels and linear ones of scikit-learn, and the boosted ones, each by its name.

Any regressor of scikit-learn's contract is added as a class below ``_Estimator``, and to ``CATALOGUE``: members, forms and the
command line know it from there.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from core.ensemble.boosting import MOST_COLUMNS, CatBoost, LightGBM, XGBoost
from core.ensemble.regressor import PRESETS as PRESETS, OnRound, Parameters as Parameters, Regressor as Regressor
from core.ensemble.storage import load_skops, save_skops
from core.errors import ParameterError, RunError

SCALINGS = ("standard", "robust")  # of the columns that come in; ``preprocess.make_preprocessor`` has what they mean


class _Estimator(Regressor):
    """What regressors of scikit-learn's contract share: all training rows, no early stopping, stored as .skops."""

    suffix = ".skops"

    @abstractmethod
    def _make(self) -> Any:
        """The estimator, not fitted."""

    @staticmethod
    @abstractmethod
    def _kind() -> type:
        """The class that a stored model must have."""

    def _find_rounds(self, X: np.ndarray, y: np.ndarray, X_stop: np.ndarray, y_stop: np.ndarray, on_round: OnRound) -> None:
        return None

    def _fit(self, X: np.ndarray, y: np.ndarray, rounds: int | None) -> None:
        self.estimator_ = self._make().fit(X, y)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.estimator_.predict(X), np.float64)

    def save(self, path: Path) -> None:
        save_skops(self.estimator_, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        model = cls({}, 0)
        model.estimator_ = load_skops(path, cls._kind())
        return model


class _Forest(_Estimator):
    """What both forests share."""

    settable = ("n_estimators", "max_features", "max_depth", "min_samples_leaf")
    most_columns = MOST_COLUMNS

    def _make(self) -> Any:
        return self._kind()(**{"n_jobs": 1} | self.parameters, random_state=self.seed)

    @classmethod
    def load(cls, path: Path) -> Self:
        model = super().load(path)
        for tree in model.estimator_.estimators_:
            _check_tree(tree.tree_, model.estimator_.n_features_in_, path)
        return model


class RandomForest(_Forest):
    """Random forest of scikit-learn."""

    name = "random_forest"
    presets: ClassVar[dict[str, Parameters]] = {
        "classic": {"n_estimators": 500},
        "fast": {"n_estimators": 150, "max_features": 0.2},
    }
    rough: ClassVar[Parameters] = {"n_estimators": 50, "max_features": 0.2}
    cost = 3
    explain_cost = 5.0

    @staticmethod
    def _kind() -> type:
        from sklearn.ensemble import RandomForestRegressor

        return RandomForestRegressor


class ExtraTrees(_Forest):
    """Extremely randomised trees of scikit-learn."""

    name = "extra_trees"
    presets: ClassVar[dict[str, Parameters]] = {
        "classic": {"n_estimators": 500},
        "fast": {"n_estimators": 200, "max_features": 0.3},
    }
    rough: ClassVar[Parameters] = {"n_estimators": 50, "max_features": 0.3}
    cost = 2.5
    explain_cost = 6.0

    @staticmethod
    def _kind() -> type:
        from sklearn.ensemble import ExtraTreesRegressor

        return ExtraTreesRegressor


class _ScaledLabels(_Estimator):
    """Regressors whose parameters are in standard deviations of the training rows' labels."""

    @staticmethod
    def _kind() -> type:
        from sklearn.compose import TransformedTargetRegressor

        return TransformedTargetRegressor

    def _scaled(self, estimator: Any) -> Any:
        from sklearn.preprocessing import StandardScaler

        return self._kind()(estimator, transformer=StandardScaler())


class KernelModel(_ScaledLabels):
    """Regressors with a radial kernel. Columns come scaled, and weighed by feature set where ``widths`` is among the parameters.

    ``widths`` has for each feature set how fast the kernel falls with the distance there, as ``core.ensemble.kernels`` chooses them
    inside each fold. ``gamma`` is one width for all columns alike, in units of 1 / (columns x their variance), scikit-learn's
    "scale", so that it means the same on any feature set; a member that names it has no widths.
    """

    explain_cost = 10.0

    @abstractmethod
    def _make(self, kernel: str = "rbf") -> Any:
        """The estimator, not fitted."""

    def _fit(self, X: np.ndarray, y: np.ndarray, rounds: int | None) -> None:
        estimator = self._make()
        weighed = "widths" in self.parameters
        gamma = 1.0 if weighed else self.parameters["gamma"] / (X.shape[1] * (float(X.var()) or 1.0))
        estimator.regressor.set_params(gamma=gamma)
        self.estimator_ = estimator.fit(X, y)

    def predict_kernel(self, K: np.ndarray, y: np.ndarray, K_new: np.ndarray) -> np.ndarray:
        """Fit to a kernel [shape=(n, n)] and predict rows by theirs [shape=(m, n)]; predictions [shape=(m,)]."""
        return np.asarray(self._make("precomputed").fit(K, y).predict(K_new), np.float64)


class SupportVectors(KernelModel):
    """Support vector regression of scikit-learn."""

    name = "svr"
    presets: ClassVar[dict[str, Parameters]] = {preset: {"C": 3.0, "epsilon": 0.1, "gamma": 0.25} for preset in PRESETS}
    settable = ("C", "epsilon", "gamma")
    cost = 0.6

    def _make(self, kernel: str = "rbf") -> Any:
        from sklearn.svm import SVR

        return self._scaled(SVR(kernel=kernel, C=self.parameters["C"], epsilon=self.parameters["epsilon"]))


class KernelRidge(KernelModel):
    """Kernel ridge regression of scikit-learn: the mean of a Gaussian process with noise ``alpha``."""

    name = "kernel_ridge"
    presets: ClassVar[dict[str, Parameters]] = {preset: {"alpha": 0.3, "gamma": 0.25} for preset in PRESETS}
    settable = ("alpha", "gamma")
    choices: ClassVar[tuple[Parameters, ...]] = ({}, *({"alpha": alpha} for alpha in (0.01, 0.03, 0.1, 1.0)))
    cost = 0.9

    def _make(self, kernel: str = "rbf") -> Any:
        from sklearn.kernel_ridge import KernelRidge as Regression

        return self._scaled(Regression(kernel=kernel, alpha=self.parameters["alpha"]))


class Ridge(_ScaledLabels):
    """Linear regression of scikit-learn with a squared penalty, by its dual where there are more columns than rows."""

    name = "ridge"
    presets: ClassVar[dict[str, Parameters]] = {preset: {"alpha": 100.0} for preset in PRESETS}
    settable = ("alpha",)
    choices: ClassVar[tuple[Parameters, ...]] = ({}, *({"alpha": alpha} for alpha in (10.0, 1e3, 3e3, 1e4, 3e4)))
    cost = 0.3

    def _make(self) -> Any:
        from sklearn.linear_model import Ridge as Linear

        return self._scaled(Linear(**self.parameters))


CATALOGUE: dict[str, type[Regressor]] = {
    model.name: model for model in (XGBoost, LightGBM, CatBoost, RandomForest, ExtraTrees, SupportVectors, KernelRidge, Ridge)
}


def make_model(name: str, *, parameters: Parameters, seed: int) -> Regressor:
    """A regressor of the catalogue, not fitted.

    Parameters
    ----------
    name : str
    parameters : dict, as the presets of the catalogue have them
    seed : int

    Raises
    ------
    ParameterError
        The name is not known.
    """
    if name not in CATALOGUE:
        raise ParameterError(f"model {name!r} not among {', '.join(CATALOGUE)}")
    return CATALOGUE[name](dict(parameters), seed)


def _check_tree(tree: Any, features: int, path: Path) -> None:
    nodes = tree.node_count
    left, right = tree.children_left, tree.children_right
    inner = left != -1
    here = np.arange(nodes)
    # Children stand behind their parent, so every walk ends.
    whole = len(left) == len(right) == nodes and (right[inner] > here[inner]).all() and (left[inner] > here[inner]).all()
    if (
        not whole
        or max(left.max(), right.max()) >= nodes
        or not ((tree.feature[inner] >= 0) & (tree.feature[inner] < features)).all()
    ):
        raise RunError(f"{path}: a tree points outside itself; the file is damaged, train again")
