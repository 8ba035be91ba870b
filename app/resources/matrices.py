"""Feature matrices as pages see them: correlations, typical values, a map, near twins, files to download."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from app.resources.caching import cached, version
from core.data.dataset import Dataset
from core.data.duplicates import NEAR_AUDIO, Twins, near_pairs
from core.data.treatment import AS_RECORDED, Treatment
from core.errors import DataError
from core.extraction.export import as_npz, as_parquet, definitions, read_exported
from core.extraction.matrix import Matrix
from core.features import Column
from core.scoring import associations
from core.scoring.associations import Usual, usual

Split = Literal["train", "test"]
Kind = Literal["npz", "parquet"]


@dataclass(frozen=True, slots=True)
class Features:
    """What an extraction exported, and what it was made of.

    Attributes
    ----------
    key : str, differs wherever files or labels do
    sets : tuple of str
    train, test : Matrix, or None where the table has no rows
    treatment : Treatment, which channel was analysed, and how far it was slowed down
    """

    key: str
    sets: tuple[str, ...]
    train: Matrix | None
    test: Matrix | None
    treatment: Treatment = AS_RECORDED

    @property
    def whole(self) -> Matrix:
        """The larger part to look at: train, else test."""
        matrix = self.train or self.test
        assert matrix is not None
        return matrix

    @property
    def definitions(self) -> dict[str, Column]:
        """What each column is, by its name."""
        return definitions(self.sets, self.treatment)


def _features_key(files: list[str], sets: list[str], dataset: Dataset, treatment: Treatment = AS_RECORDED) -> tuple[object, ...]:
    return files, version(*map(Path, files)), sets, dataset.stamp(), treatment


@cached(_features_key, most=2, spinner="Reading the matrices ...")
def features(files: list[str], sets: list[str], dataset: Dataset, treatment: Treatment = AS_RECORDED) -> Features:
    """The matrices of an extraction, with the labels of a data set as they are now.

    Raises
    ------
    DataError
        As ``read_exported``.
    """
    labels = {row.name: row.label for row in dataset.train}
    train, test = (read_exported(files, sets, split, known) for split, known in (("train", labels), ("test", {})))
    if train is None and test is None:
        raise DataError("the last extraction exported no matrix; extract again")
    return Features(repr(_features_key(files, sets, dataset, treatment)), tuple(sets), train, test, treatment)


@cached(lambda features: features.key, most=2, spinner="Comparing the features with the label ...")
def label_table(features: Features) -> pd.DataFrame:
    """Columns by how closely they go with the label, the closest first; what is undefined stands last.

    Returns
    -------
    table : pd.DataFrame with ``column``, ``spearman``, ``pearson``, ``clips``, ``unit``, ``definition``
    """
    matrix, known = features.whole, features.definitions
    correlations = associations.with_label(matrix.X, matrix.y)
    frame = pd.DataFrame(
        {
            "column": matrix.names,
            "spearman": correlations.spearman,
            "pearson": correlations.pearson,
            "clips": correlations.rows,
            "unit": [known[name].unit for name in matrix.names],
            "definition": [known[name].definition for name in matrix.names],
        }
    )
    order = np.argsort(-frame["spearman"].abs().fillna(-1).to_numpy(), kind="stable")
    return frame.iloc[order].reset_index(drop=True)


@cached(lambda features: features.key, most=2, spinner="Comparing the features with each other ...")
def column_correlations(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of each pair of columns over the clips of both tables, and the clips that have both [shape=(d, d)]."""
    return associations.correlations(_stacked(features))


@cached(lambda features: features.key, most=2, spinner="Comparing the clips ...")
def typical(features: Features) -> Usual:
    """Median and percentiles of each column over the training clips, or over the test clips where there are no others."""
    return usual(features.whole.X)


@dataclass(frozen=True, slots=True)
class Map:
    """Clips of both tables on the two directions along which they differ most.

    Attributes
    ----------
    points : pd.DataFrame with ``table``, ``clip``, ``label``, ``x``, ``y``
    shares : share of the variance along x, and along y
    columns : int, that vary
    """

    points: pd.DataFrame
    shares: tuple[float, float]
    columns: int


@cached(lambda features, feature_set=None: (features.key, feature_set), most=6, spinner="Drawing the map ...")
def clip_map(features: Features, feature_set: str | None = None) -> Map:
    """A map of the clips by their columns, or by those of one feature set."""
    tables = _tables_of(features)
    of_set = None if feature_set is None else definitions((feature_set,))
    take = [index for index, name in enumerate(features.whole.names) if of_set is None or name in of_set]
    axes = associations.principal_axes(_stacked(features)[:, take])
    points = pd.concat([pd.DataFrame({"table": split, "clip": matrix.filenames, "label": matrix.y}) for split, matrix in tables])
    points["x"], points["y"] = axes.points.T.round(4)
    return Map(points.reset_index(drop=True), (float(axes.shares[0]), float(axes.shares[1])), axes.columns)


@cached(lambda features: features.key, most=2, spinner="Looking for clips that are nearly the same ...")
def near_twins(features: Features) -> list[Twins]:
    """Pairs of clips of both tables with all but equal features."""
    tables = _tables_of(features)
    keys = [(split, name) for split, matrix in tables for name in matrix.filenames]
    return [Twins(NEAR_AUDIO, *keys[first], *keys[second]) for first, second in near_pairs(*(matrix.X for _, matrix in tables))]


def _tables_of(features: Features) -> list[tuple[str, Matrix]]:
    return [(split, matrix) for split, matrix in (("train", features.train), ("test", features.test)) if matrix is not None]


def _stacked(features: Features) -> np.ndarray:
    """Rows of both tables, one below the other [shape=(n, d)]."""
    return np.concatenate([matrix.X for _, matrix in _tables_of(features)])


@cached(lambda features, split, kind: (features.key, split, kind), most=4)
def export_bytes(features: Features, split: Split, kind: Kind) -> bytes:
    """A matrix as a file to download."""
    matrix = features.train if split == "train" else features.test
    assert matrix is not None
    return as_npz(matrix) if kind == "npz" else as_parquet(matrix, features.treatment)
