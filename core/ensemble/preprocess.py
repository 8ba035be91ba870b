"""A raw matrix in, columns that every model can take out: imputed, without redundant columns, scaled. Fitted inside each fold."""

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

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


def make_preprocessor(scaling: str = "standard") -> Pipeline:
    """Median imputation, then the columns that say something, then scaling; not fitted.

    A column without any value in the rows that it is fitted on is filled with 0 and so dropped as constant.

    Parameters
    ----------
    scaling : "standard" (mean 0, standard deviation 1) or "robust" (median 0, quartiles 1 apart, values beyond 3 brought to 3)
    """
    scale = {"standard": [("scale", StandardScaler())], "robust": [("scale", RobustScaler()), ("limit", Limit())]}
    steps = [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("drop", DropRedundant())]
    return Pipeline([*steps, *scale[scaling]])
