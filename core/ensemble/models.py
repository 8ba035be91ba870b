"""The catalogue of base regressors: how each is built, fitted, stored without pickle and loaded again.

Every regressor has the same shape: ``fit(X, y, stopping)``, ``predict(X)``, ``save(path)``, ``load(path)``. X is float64
[shape=(n, d)] without NaN, y float64 [shape=(n,)]. Each works in one thread: fits run side by side.

A boosted regressor uses ``stopping``, a share of its training rows, to find the number of rounds (stop after 50 without a better
RMSE there), and is then fitted to all its training rows with that number.

Any regressor of scikit-learn's contract is added as a class below ``_Estimator``, and to ``CATALOGUE``: members, forms and the
command line know it from there.
"""

import importlib
import sys
import threading
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from core.errors import ParameterError, RunError

PRESETS = ("fast", "classic")
SCALINGS = ("standard", "robust")  # of the columns that come in; ``preprocess.make_preprocessor`` has what they mean
PATIENCE = 50
_importing = threading.Lock()
Parameters = dict[str, Any]
Rows = np.ndarray
OnRound = Callable[[int, float], None]


class Regressor(ABC):
    """What all base regressors share.

    Attributes
    ----------
    name : str, in the catalogue
    suffix : str, of the file that ``save`` writes
    presets : dict of preset name to parameters of the library
    rough : dict, parameters over those of a preset that make a fit several times cheaper and a little worse: for choices
    settable : tuple of str, parameters that a member may name
    cost : float, how long a fit takes beside those of other models
    explain_cost : float, how long the contributions to a row take beside those of boosting
    rounds_ : int or None, boosting rounds of the fitted model
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    presets: ClassVar[dict[str, Parameters]]
    rough: ClassVar[Parameters] = {}
    settable: ClassVar[tuple[str, ...]]
    cost: ClassVar[float]
    explain_cost: ClassVar[float] = 1.0

    def __init__(self, parameters: Parameters, seed: int):
        self.parameters = parameters
        self.seed = seed
        self.rounds_: int | None = None

    def fit(self, X: np.ndarray, y: np.ndarray, stopping: Rows, *, on_round: OnRound | None = None) -> Self:
        """Fit to all rows.

        Parameters
        ----------
        X : np.ndarray [shape=(n, d)]
        y : np.ndarray [shape=(n,)]
        stopping : np.ndarray [shape=(n,)], bool, the rows that early stopping looks at; without any, all rounds are fitted
        on_round : called after each round of the search for their number, with its number from 1 and the RMSE of ``stopping``
        """
        if stopping.any():
            self.rounds_ = self._find_rounds(X[~stopping], y[~stopping], X[stopping], y[stopping], on_round or _ignore)
        else:
            self.rounds_ = self.parameters.get("rounds")
        self._fit(X, y, self.rounds_)
        return self

    @abstractmethod
    def _find_rounds(
        self, X: np.ndarray, y: np.ndarray, X_stop: np.ndarray, y_stop: np.ndarray, on_round: OnRound
    ) -> int | None: ...

    @abstractmethod
    def _fit(self, X: np.ndarray, y: np.ndarray, rounds: int | None) -> None: ...

    @abstractmethod
    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predictions [shape=(n,)], float64."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the fitted model in the library's own exchange format."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> Self:
        """Read a fitted model; it predicts exactly what the saved one did."""


class XGBoost(Regressor):
    """Gradient boosting of XGBoost, histogram method."""

    name = "xgboost"
    suffix = ".ubj"
    _common: ClassVar[Parameters] = {
        "objective": "reg:squarederror",
        "max_depth": 6,
        "learning_rate": 0.05,
        "subsample": 0.8,
        "tree_method": "hist",
        "nthread": 1,
        "verbosity": 0,
    }
    presets: ClassVar[dict[str, Parameters]] = {
        "classic": _common | {"colsample_bytree": 0.8, "rounds": 2000},
        "fast": _common | {"max_depth": 4, "min_child_weight": 3, "colsample_bytree": 0.2, "max_bin": 32, "rounds": 600},
    }
    rough: ClassVar[Parameters] = {"learning_rate": 0.1, "colsample_bytree": 0.2, "max_bin": 32, "rounds": 100}
    settable = (
        "max_depth",
        "learning_rate",
        "subsample",
        "colsample_bytree",
        "min_child_weight",
        "reg_lambda",
        "max_bin",
        "rounds",
    )
    cost = 1.2

    def _train(self, X: np.ndarray, y: np.ndarray, rounds: int, **options: Any) -> Any:
        import xgboost

        parameters = {key: value for key, value in self.parameters.items() if key != "rounds"} | {"seed": self.seed}
        return xgboost.train(parameters, xgboost.DMatrix(X, y, nthread=1), rounds, **options)

    def _find_rounds(self, X: np.ndarray, y: np.ndarray, X_stop: np.ndarray, y_stop: np.ndarray, on_round: OnRound) -> int:
        import xgboost

        class Watch(xgboost.callback.TrainingCallback):  # type: ignore[misc]
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                on_round(epoch + 1, evals_log["stop"]["rmse"][-1])
                return False

        booster = self._train(
            X,
            y,
            self.parameters["rounds"],
            evals=[(xgboost.DMatrix(X_stop, y_stop, nthread=1), "stop")],
            early_stopping_rounds=PATIENCE,
            verbose_eval=False,
            callbacks=[Watch()],
        )
        return int(booster.best_iteration) + 1

    def _fit(self, X: np.ndarray, y: np.ndarray, rounds: int | None) -> None:
        assert rounds is not None
        self.booster_ = self._train(X, y, rounds)

    def predict(self, X: np.ndarray) -> np.ndarray:
        import xgboost

        return self.booster_.predict(xgboost.DMatrix(X, nthread=1)).astype(np.float64)

    def save(self, path: Path) -> None:
        self.booster_.save_model(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        import xgboost

        model = cls({}, 0)
        model.booster_ = xgboost.Booster({"nthread": 1}, model_file=path)
        model.rounds_ = model.booster_.num_boosted_rounds()
        return model


class LightGBM(Regressor):
    """Gradient boosting of LightGBM."""

    name = "lightgbm"
    suffix = ".txt"
    _common: ClassVar[Parameters] = {
        "objective": "regression",
        "metric": "rmse",
        "num_leaves": 31,
        "learning_rate": 0.05,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "num_threads": 1,
        "force_col_wise": True,
        "deterministic": True,
        "verbosity": -1,
    }
    presets: ClassVar[dict[str, Parameters]] = {
        "classic": _common | {"feature_fraction": 0.8, "rounds": 2000},
        "fast": _common | {"feature_fraction": 0.3, "max_bin": 63, "rounds": 600},
    }
    rough: ClassVar[Parameters] = {"learning_rate": 0.1, "feature_fraction": 0.3, "max_bin": 31, "rounds": 100}
    settable = (
        "num_leaves",
        "max_depth",
        "learning_rate",
        "bagging_fraction",
        "feature_fraction",
        "min_data_in_leaf",
        "lambda_l2",
        "max_bin",
        "rounds",
    )
    cost = 1

    def _train(self, X: np.ndarray, y: np.ndarray, rounds: int, **options: Any) -> Any:
        import lightgbm

        parameters = {key: value for key, value in self.parameters.items() if key != "rounds"} | {"seed": self.seed}
        return lightgbm.train(parameters, lightgbm.Dataset(X, y, params=parameters), rounds, **options)

    def _find_rounds(self, X: np.ndarray, y: np.ndarray, X_stop: np.ndarray, y_stop: np.ndarray, on_round: OnRound) -> int:
        import lightgbm

        def watch(state: Any) -> None:
            on_round(state.iteration + 1, state.evaluation_result_list[0][2])

        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        booster = self._train(
            X,
            y,
            self.parameters["rounds"],
            valid_sets=[lightgbm.Dataset(X_stop, y_stop, params={"verbosity": -1})],
            callbacks=[watch, stop],
        )
        return max(1, int(booster.best_iteration))

    def _fit(self, X: np.ndarray, y: np.ndarray, rounds: int | None) -> None:
        assert rounds is not None
        self.booster_ = self._train(X, y, rounds)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster_.predict(X, num_threads=1), np.float64)

    def save(self, path: Path) -> None:
        self.booster_.save_model(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        import lightgbm

        model = cls({}, 0)
        model.booster_ = lightgbm.Booster(model_file=path)
        model.rounds_ = model.booster_.num_trees()
        return model


class CatBoost(Regressor):
    """Gradient boosting of CatBoost, plain (not ordered) boosting."""

    name = "catboost"
    suffix = ".cbm"
    _common: ClassVar[Parameters] = {
        "loss_function": "RMSE",
        "learning_rate": 0.05,
        "depth": 6,
        "l2_leaf_reg": 3,
        "boosting_type": "Plain",
        "thread_count": 1,
        "allow_writing_files": False,
        "logging_level": "Silent",
    }
    presets: ClassVar[dict[str, Parameters]] = {
        "classic": _common | {"rounds": 2000},
        "fast": _common | {"depth": 4, "learning_rate": 0.06, "rsm": 0.3, "border_count": 32, "rounds": 600},
    }
    rough: ClassVar[Parameters] = {"learning_rate": 0.1, "rsm": 0.2, "border_count": 32, "rounds": 100}
    settable = ("depth", "learning_rate", "l2_leaf_reg", "rsm", "border_count", "rounds")
    cost = 2

    def _model(self, rounds: int) -> Any:
        import catboost

        parameters = {key: value for key, value in self.parameters.items() if key != "rounds"}
        return catboost.CatBoostRegressor(**parameters, iterations=rounds, random_seed=self.seed)

    def _find_rounds(self, X: np.ndarray, y: np.ndarray, X_stop: np.ndarray, y_stop: np.ndarray, on_round: OnRound) -> int:
        class Watch:
            def after_iteration(self, state: Any) -> bool:
                on_round(state.iteration, state.metrics["validation"]["RMSE"][-1])
                return True

        model = self._model(self.parameters["rounds"])
        model.fit(X, y, eval_set=(X_stop, y_stop), early_stopping_rounds=PATIENCE, callbacks=[Watch()])
        return int(model.get_best_iteration()) + 1

    def _fit(self, X: np.ndarray, y: np.ndarray, rounds: int | None) -> None:
        assert rounds is not None
        self.model_ = self._model(rounds).fit(X, y)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.model_.predict(X, thread_count=1), np.float64)

    def save(self, path: Path) -> None:
        self.model_.save_model(str(path))

    @classmethod
    def load(cls, path: Path) -> Self:
        import catboost

        model = cls({}, 0)
        model.model_ = catboost.CatBoostRegressor().load_model(str(path))
        model.rounds_ = int(model.model_.tree_count_)
        return model


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


class SupportVectors(_ScaledLabels):
    """Support vector regression of scikit-learn with a radial kernel; columns come scaled.

    ``gamma`` is in units of 1 / (columns x their variance), scikit-learn's "scale", so that it means the same on any feature set.
    """

    name = "svr"
    presets: ClassVar[dict[str, Parameters]] = {preset: {"C": 3.0, "epsilon": 0.1, "gamma": 0.25} for preset in PRESETS}
    settable = ("C", "epsilon", "gamma")
    cost = 0.2
    explain_cost = 10.0

    def _make(self) -> Any:
        from sklearn.svm import SVR

        return self._scaled(SVR(C=self.parameters["C"], epsilon=self.parameters["epsilon"]))

    def _fit(self, X: np.ndarray, y: np.ndarray, rounds: int | None) -> None:
        estimator = self._make()
        estimator.regressor.set_params(gamma=self.parameters["gamma"] / (X.shape[1] * (float(X.var()) or 1.0)))
        self.estimator_ = estimator.fit(X, y)


class Ridge(_ScaledLabels):
    """Linear regression of scikit-learn with a squared penalty; columns come standardised."""

    name = "ridge"
    presets: ClassVar[dict[str, Parameters]] = {preset: {"alpha": 100.0} for preset in PRESETS}
    settable = ("alpha",)
    cost = 0.1

    def _make(self) -> Any:
        from sklearn.linear_model import Ridge as Linear

        return self._scaled(Linear(**self.parameters))


CATALOGUE: dict[str, type[Regressor]] = {
    model.name: model for model in (XGBoost, LightGBM, CatBoost, RandomForest, ExtraTrees, SupportVectors, Ridge)
}


def make_model(name: str, *, preset: str = "fast", parameters: Parameters | None = None, seed: int = 42) -> Regressor:
    """A regressor of the catalogue, not fitted.

    Parameters
    ----------
    name : str
    preset : str, whose parameters are taken where none are given
    parameters : dict, optional
    seed : int

    Raises
    ------
    ParameterError
        The name or the preset is not known.
    """
    if name not in CATALOGUE:
        raise ParameterError(f"model {name!r} not among {', '.join(CATALOGUE)}")
    if preset not in PRESETS:
        raise ParameterError(f"preset={preset!r} not among {', '.join(PRESETS)}")
    return CATALOGUE[name](dict(CATALOGUE[name].presets[preset] if parameters is None else parameters), seed)


# The types that a stored forest or preprocessor may hold besides those that skops trusts by itself. A tree's node indices are
# checked after loading, because scikit-learn follows them blindly.
TRUSTED_TYPES = (
    *(f"core.{module}.{name}" for module in ("ensemble.preprocess", "preprocess") for name in ("DropRedundant", "Limit")),
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
)


def save_skops(estimator: Any, path: Path) -> None:
    """Write a scikit-learn estimator as .skops: data and type names, no code."""
    _skops_io().dump(estimator, path, compression=zipfile.ZIP_DEFLATED, compresslevel=1)


def load_skops(path: Path, expected: type) -> Any:
    """Read a .skops file that holds an estimator of the expected type and nothing that is not trusted.

    Raises
    ------
    RunError
        The file is damaged, holds other types, or an estimator of another kind.
    """
    skops_io = _skops_io()
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        estimator = skops_io.load(path, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise RunError(f"{path}: holds types that Earmark does not load ({str(error).splitlines()[0]})") from None
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path}: not a readable model ({error}); train again") from None
    if not isinstance(estimator, expected):
        raise RunError(f"{path}: expected {expected.__name__}, found {type(estimator).__name__}")
    return estimator


def _skops_io() -> Any:
    """``skops.io``, without PyTorch: it looks into each part of scikit-learn, and one of them imports torch, which takes seconds.

    A part that is marked as not to be imported is passed over.
    """
    import sklearn.base  # noqa: F401  (whole before a part of it is held back)

    part = "sklearn.externals.array_api_compat.torch"
    with _importing:
        hold_back = "skops.io" not in sys.modules and part not in sys.modules
        if hold_back:
            sys.modules[part] = None  # type: ignore[assignment]
        try:
            return importlib.import_module("skops.io")
        finally:
            if hold_back:
                sys.modules.pop(part, None)


def _ignore(number: int, rmse: float) -> None:
    """The listener of those who do not listen."""


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
