"""The ensemble as an estimator of scikit-learn: X and y in, predictions with intervals out, in the unit of the label.

X is [shape=(n, d)] with NaN where a feature is not defined, y [shape=(n,)]. The columns may be those of any matrix; the scores are
those of the cross-validated ensemble, so a fitted estimator knows how good it is on new rows.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from core.ensemble import EnsembleSettings, train_ensemble
from core.ensemble.fitted import Ensemble, Predicted
from core.ensemble.models import CATALOGUE
from core.errors import ParameterError
from core.extraction.matrix import Matrix

FEWEST_ROWS = 5


class EarmarkRegressor(RegressorMixin, BaseEstimator):
    """The cross-validated ensemble, for pipelines, searches and scores of scikit-learn.

    Parameters
    ----------
    members : sequence of str, each as ``core.ensemble.members.parse_member`` reads it
    preset : str, "fast" or "classic"
    folds : int >= 2
    repeats : int >= 1, of the folds, each with another seed
    stratified : bool, folds with about the same distribution of labels
    scaling : str, "standard" or "robust"
    blend : str, "auto", "mean", "weights" or "best"
    metric : str, "rmse", "mae" or another of ``core.scoring.losses.CHOICES``, that choices inside the folds follow
    label_transform : str, "none", "log" (labels above 0) or "yeo-johnson": the scale on which members are fitted, learned inside
        each fold; predictions and scores keep the scale of y
    round_labels : bool, predictions are brought to the grid on which the labels stand
    trials : int >= 0, settings that each member tries on an inner split of each fold; 0 takes its own
    level : float between 0 and 1, share of the labels that an interval is to cover
    sets : dict of feature set to its columns, by name (of a data frame) or by number; members choose among sets or name them. None
        takes all columns as one set
    random_state : int >= 0, np.random.RandomState or None, as everywhere in scikit-learn
    workers : int >= 0, processes; None takes one for each core, 0 works in this process

    Attributes
    ----------
    ensemble_ : Ensemble
    scores_ : dict, the figures of the training: ``oof_rmse``, ``badges`` and the others
    oof_prediction_ : np.ndarray [shape=(n,)], of each row of the training by models that have not seen it, the mean over repeats
    n_features_in_ : int
    feature_names_in_ : np.ndarray [shape=(d,)], of str; only where X had names

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(60, 4))
    >>> model = EarmarkRegressor(members=["ridge::alpha=1"], workers=0).fit(X, X @ [3, 2, 1, 0])
    >>> model.scores_["oof_rmse"] < 0.5 < model.scores_["constant_rmse"]
    True
    >>> low, high = model.predict_interval(X)
    >>> bool((low <= model.predict(X)).all() and (model.predict(X) <= high).all())
    True
    """

    def __init__(
        self,
        members: Sequence[str] = tuple(CATALOGUE),
        *,
        preset: str = "fast",
        folds: int = 5,
        repeats: int = 1,
        stratified: bool = False,
        scaling: str = "robust",
        blend: str = "auto",
        metric: str = "rmse",
        label_transform: str = "none",
        round_labels: bool = False,
        trials: int = 0,
        level: float = 0.9,
        sets: Mapping[str, Sequence[str] | Sequence[int]] | None = None,
        random_state: int | np.random.RandomState | None = 42,
        workers: int | None = None,
    ):
        self.members = members
        self.preset = preset
        self.folds = folds
        self.repeats = repeats
        self.stratified = stratified
        self.scaling = scaling
        self.blend = blend
        self.metric = metric
        self.label_transform = label_transform
        self.round_labels = round_labels
        self.trials = trials
        self.level = level
        self.sets = sets
        self.random_state = random_state
        self.workers = workers

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: Any, y: Any, groups: Sequence[object] | None = None) -> Self:
        """Train the ensemble.

        Parameters
        ----------
        X : array-like [shape=(n, d)], n >= 5 and n >= ``folds``, NaN where a value is missing
        y : array-like [shape=(n,)], finite
        groups : sequence [n], optional: rows of one value stay in one fold

        Raises
        ------
        ValueError, ParameterError, DataError
            X or y are not of this form, a parameter is not known, or the labels of a fold's training rows are all equal.
        """
        settings = self._settings()
        X, y = validate_data(
            self,
            X,
            y,
            dtype=(np.float64, np.float32),
            ensure_all_finite="allow-nan",
            ensure_min_samples=max(FEWEST_ROWS, self.folds),
            y_numeric=True,
        )
        if groups is not None:
            check_consistent_length(X, groups)
            groups = tuple(str(group) for group in groups)
        matrix = Matrix(X, np.asarray(y, np.float64), self._names(), tuple(str(row) for row in range(len(X))), groups)
        with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
            result = train_ensemble(matrix, settings, folder=Path(folder), sets=self._sets(matrix.names))
            self.scores_ = result.scores()
            self.ensemble_ = replace(Ensemble.load(Path(folder)), scores_=self.scores_)
        self.oof_prediction_ = result.oof.predictions.mean(axis=0)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predictions of new rows, the mean over the models of all folds.

        Parameters
        ----------
        X : array-like [shape=(n, d)]

        Returns
        -------
        predictions : np.ndarray [shape=(n,)]
        """
        return self._score(X).value

    def predict_interval(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the interval of each new row, which is to hold its label in a share ``level`` of the cases.

        Parameters
        ----------
        X : array-like [shape=(n, d)]

        Returns
        -------
        low, high : np.ndarray [shape=(n,)]
        """
        found = self._score(X)
        return found.low, found.high

    def _score(self, X: Any) -> Predicted:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), ensure_all_finite="allow-nan", reset=False)
        return self.ensemble_.score(X, self.ensemble_.names)

    def _settings(self) -> EnsembleSettings:
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        return EnsembleSettings(
            members=tuple(self.members),
            preset=self.preset,
            folds=self.folds,
            repeats=self.repeats,
            stratified=self.stratified,
            scaling=self.scaling,
            blend=self.blend,
            metric=self.metric,
            label_transform=self.label_transform,
            round_labels=self.round_labels,
            trials=self.trials,
            level=self.level,
            seed=int(seed),
            workers=self.workers,
        )

    def _names(self) -> tuple[str, ...]:
        named = getattr(self, "feature_names_in_", None)
        return tuple(f"column_{number}" for number in range(self.n_features_in_)) if named is None else tuple(map(str, named))

    def _sets(self, names: tuple[str, ...]) -> dict[str, list[str]] | None:
        if self.sets is None:
            return None
        sets = {}
        for name, columns in self.sets.items():
            try:
                sets[name] = [names[names.index(column) if isinstance(column, str) else column] for column in columns]
            except (ValueError, IndexError):
                raise ParameterError(f"sets: {name!r} has columns that are not among the {len(names)} of X: {columns!r}") from None
        return sets
