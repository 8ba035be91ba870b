"""A raw matrix in, columns that a model can take out: imputed, without redundant columns, scaled. Fitted inside each fold.

Where a model asks for it, columns are then screened by how well they go with the labels, or weighed by their feature set.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from core.ensemble.kernels import unit
from core.scoring.associations import distinct_columns


class DropRedundant(TransformerMixin, BaseEstimator):
    """Leave out columns that are constant, or equal to an earlier one, in the rows that it is fitted on.

    Attributes
    ----------
    kept_ : np.ndarray [shape=(k,)], int, the columns that stay; the first one where all are constant
    """

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> Self:
        X = validate_data(self, X, dtype=np.float64)
        distinct = distinct_columns(X)
        self.kept_ = distinct if len(distinct) else np.array([0])
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False)[:, self.kept_]


class ColumnsRobustScaler(RobustScaler):
    """Scikit-learn's ``RobustScaler`` for columns without NaN: all quartiles in one call instead of one call a column."""

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> Self:
        X = validate_data(self, X, dtype=np.float64)
        self.center_ = np.median(X, axis=0)
        low, high = np.percentile(X, self.quantile_range, axis=0)
        between = high - low
        self.scale_ = np.where(between < 10 * np.finfo(np.float64).eps, 1.0, between)
        return self


class Limit(TransformerMixin, BaseEstimator):
    """Bring values outside of -limit to +limit to the nearer end: a single odd clip then has no more to say than others.

    Parameters
    ----------
    limit : float > 0
    """

    def __init__(self, limit: float = 3.0):
        self.limit = limit

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> Self:
        validate_data(self, X, dtype=np.float64)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return np.clip(validate_data(self, X, dtype=np.float64, reset=False), -self.limit, self.limit)


class Screen(TransformerMixin, BaseEstimator):
    """Keep the columns that correlate most with the labels of the rows that it is fitted on, whatever the sign.

    Parameters
    ----------
    most : int >= 1, columns that are kept

    Attributes
    ----------
    kept_ : np.ndarray [shape=(k,)], int, ascending
    """

    def __init__(self, most: int = 400):
        self.most = most

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        X = validate_data(self, X, dtype=np.float64)
        centred, labels = X - X.mean(axis=0), np.asarray(y, float) - np.mean(y)
        lengths = np.sqrt((centred**2).sum(axis=0))
        strength = np.abs(labels @ centred) / np.where(lengths > 0, lengths, np.inf)
        self.kept_ = np.sort(np.argsort(-strength, kind="stable")[: self.most])
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False)[:, self.kept_]


class WeighSets(TransformerMixin, BaseEstimator):
    """Multiply columns so that the squared distance of two rows is the sum over feature sets of width x their distance there.

    The distance in a set is the mean squared difference of its columns, as ``core.ensemble.kernels`` has it.

    Parameters
    ----------
    numbers : sequence of int [d], the feature set of each column
    widths : sequence of float > 0, one a feature set

    Attributes
    ----------
    factors_ : np.ndarray [shape=(d,)]
    """

    def __init__(self, numbers: Sequence[int] = (), widths: Sequence[float] = ()):
        self.numbers = numbers
        self.widths = widths

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> Self:
        X = validate_data(self, X, dtype=np.float64)
        numbers = np.asarray(self.numbers)
        self.factors_ = np.empty(X.shape[1])
        for number, width in enumerate(self.widths):
            columns = numbers == number
            if columns.any():
                self.factors_[columns] = np.sqrt(width) * unit(X[:, columns])
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False) * self.factors_


def make_preprocessor(scaling: str = "standard") -> Pipeline:
    """Median imputation, then the columns that say something, then scaling; not fitted.

    A column without any value in the rows that it is fitted on is filled with 0 and so dropped as constant.

    Parameters
    ----------
    scaling : "standard" (mean 0, standard deviation 1) or "robust" (median 0, quartiles 1 apart, values beyond 3 brought to 3)
    """
    scale = {"standard": [("scale", StandardScaler())], "robust": [("scale", ColumnsRobustScaler()), ("limit", Limit())]}
    steps = [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("drop", DropRedundant())]
    return Pipeline([*steps, *scale[scaling]])


def screen_columns(preprocessor: Pipeline, X: np.ndarray, y: np.ndarray, most: int) -> Pipeline:
    """A fitted preprocessor that also leaves out all but the columns that go best with the labels.

    Parameters
    ----------
    preprocessor : Pipeline, fitted
    X : np.ndarray [shape=(n, d)], rows that it was fitted on
    y : np.ndarray [shape=(n,)], their labels
    most : int >= 1
    """
    scaled = preprocessor.transform(X)
    return preprocessor if scaled.shape[1] <= most else Pipeline([*preprocessor.steps, ("screen", Screen(most).fit(scaled, y))])


def weigh_sets(preprocessor: Pipeline, X: np.ndarray, sizes: Mapping[str, int], widths: Mapping[str, float]) -> Pipeline:
    """A fitted preprocessor that also weighs columns by their feature set.

    Parameters
    ----------
    preprocessor : Pipeline, fitted
    X : np.ndarray [shape=(n, d)], rows that it was fitted on
    sizes : dict of feature set to the number of its columns in X, in their order
    widths : dict of feature set to float > 0
    """
    numbers = np.repeat(np.arange(len(sizes)), list(sizes.values()))[preprocessor["drop"].kept_]
    weigh = WeighSets(numbers.tolist(), [float(widths[name]) for name in sizes])
    return Pipeline([*preprocessor.steps, ("weigh", weigh.fit(preprocessor.transform(X)))])
