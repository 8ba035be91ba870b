"""Gradient boosting by XGBoost, LightGBM and CatBoost, each in one thread and stored in the library's own exchange format.

A boosted regressor uses ``stopping``, a share of its training rows, to find the number of rounds (stop after 50 without a better
RMSE there), and is then fitted to all its training rows with that number.
"""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from core.ensemble.regressor import OnRound, Parameters, Regressor

PATIENCE = 50
MOST_COLUMNS = 400  # a fit takes as long as there are columns, and those of an encoder say much the same


class XGBoost(Regressor):
    """Gradient boosting of XGBoost, histogram method."""

    name = "xgboost"
    most_columns = MOST_COLUMNS
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
    most_columns = MOST_COLUMNS
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
    most_columns = MOST_COLUMNS
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
