"""The classic function names, in a few lines each, for notebooks and scripts.

Vectors are float32; X is [shape=(n, 289)] with the columns of ``mfcc``, ``ultra`` and ``metadata`` in this order. What was
extracted once is kept in the workspace.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from core import features
from core.data.dataset import read_dataset
from core.ensemble import EnsembleSettings, train_ensemble as _train_ensemble
from core.ensemble.fitted import Ensemble
from core.errors import DataError, ParameterError
from core.extraction.config import ExtractSettings
from core.extraction.extract import column_names, extract_clips
from core.extraction.matrix import COMBINED_SETS, Matrix
from core.multimodal.config import FinetuneSettings
from core.runs import Run
from core.runs.submission import read_submission
from core.tasks.finetune import finetune_dataset
from core.workspace import Workspace


class EfficientAudioFeatureExtractor:
    """All 289 handcrafted features of clips.

    Parameters
    ----------
    workspace : folder whose cache is used; None takes ``EARMARK_WORKSPACE``, else ./workspace
    workers : int >= 0, processes; None takes one for each core
    """

    def __init__(self, workspace: str | Path | None = None, workers: int | None = None):
        self.workspace = workspace
        self.workers = workers

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns, ``set.name``."""
        return column_names(COMBINED_SETS)

    def extract_all(self, audio_files: Sequence[str | Path]) -> np.ndarray:
        """Features of clips, a row a file in their order.

        Parameters
        ----------
        audio_files : paths

        Returns
        -------
        X : np.ndarray [shape=(n, 289)], float32, NaN where a feature is not defined

        Raises
        ------
        DataError
            Clips cannot be read; each is named with its reason. The others are kept in the cache.
        """
        return _extract(audio_files, COMBINED_SETS, self.workspace, self.workers)


def extract_ultra_advanced_features(audio_path: str | Path) -> np.ndarray:
    """The set ``ultra`` of one clip.

    Returns
    -------
    features : np.ndarray [shape=(160,)], float32
    """
    return _extract([audio_path], ("ultra",), None, 0)[0]


def extract_gpu_features(audio_path: str | Path) -> np.ndarray:
    """The set ``torch200`` of one clip, on a GPU where there is one.

    Returns
    -------
    features : np.ndarray [shape=(200,)], float32
    """
    return _extract([audio_path], ("torch200",), None, 0)[0]


def combine_features(mfcc_features: np.ndarray, ultra_features: np.ndarray, metadata_features: np.ndarray) -> np.ndarray:
    """Join the three sets of one clip or of many.

    Parameters
    ----------
    mfcc_features : np.ndarray [shape=(120,) or (n, 120)]
    ultra_features : np.ndarray [shape=(160,) or (n, 160)]
    metadata_features : np.ndarray [shape=(9,) or (n, 9)]

    Returns
    -------
    combined : np.ndarray [shape=(289,) or (n, 289)], float32

    Raises
    ------
    ParameterError
        A set has another width, or they have different numbers of rows.
    """
    parts = [np.asarray(part, np.float32) for part in (mfcc_features, ultra_features, metadata_features)]
    widths = [len(features.names(name)) for name in COMBINED_SETS]
    shapes = [part.shape for part in parts]
    if [shape[-1:] for shape in shapes] != [(width,) for width in widths] or len({shape[:-1] for shape in shapes}) > 1:
        raise ParameterError(f"expected mfcc, ultra and metadata of widths {widths} and equal lengths, received shapes {shapes}")
    return np.concatenate(parts, axis=-1)


def train_ensemble(
    X: np.ndarray, labels: Sequence[float], *, groups: Sequence[str] | None = None, settings: EnsembleSettings | None = None
) -> Ensemble:
    """Train the cross-validated ensemble.

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)], NaN allowed
    labels : sequence of float [n]
    groups : sequence of str [n], optional: rows of one value stay in one fold
    settings : EnsembleSettings, optional

    Returns
    -------
    models : Ensemble; its ``scores_`` hold ``oof_rmse`` and the other figures
    """
    X, y = np.asarray(X, np.float32), np.asarray(labels, np.float64)
    if X.ndim != 2 or y.shape != (len(X),):
        raise DataError(f"expected X [n, d] and n labels, received shapes {X.shape} and {y.shape}")
    if np.isinf(X).any() or not np.isfinite(y).all():
        raise DataError("X must be finite or NaN, labels must be finite")
    names = _names(X)
    matrix = Matrix(X, y, names, tuple(str(row) for row in range(len(X))), tuple(map(str, groups)) if groups is not None else None)
    settings = settings or EnsembleSettings()
    whole = names == column_names(COMBINED_SETS)
    sets = {name: column_names((name,)) for name in COMBINED_SETS} if whole else None
    with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
        result = _train_ensemble(matrix, settings, folder=Path(folder), sets=sets)
        models = Ensemble.load(Path(folder))
    return replace(models, scores_=result.scores())


def ensemble_predict(models: Ensemble, X: np.ndarray) -> np.ndarray:
    """Predictions of the ensemble.

    Parameters
    ----------
    models : Ensemble
    X : np.ndarray [shape=(n, d)], the columns that it was trained on

    Returns
    -------
    predictions : np.ndarray [shape=(n,)], float64
    """
    X = np.asarray(X, np.float32)
    if X.ndim != 2 or X.shape[1] != len(models.names):
        raise DataError(f"expected X [n, {len(models.names)}], received shape {X.shape}")
    return models.predict(X, models.names)


def train_multimodal_model(
    dataset: str | Path, *, settings: FinetuneSettings | None = None, workspace: str | Path | None = None
) -> tuple[Run, float, np.ndarray]:
    """Train an audio and a text encoder together on a data set, with adapters.

    Parameters
    ----------
    dataset : folder or CSV, as ``earmark finetune`` takes it
    settings : FinetuneSettings, optional
    workspace : folder in which the run is kept; None takes ``EARMARK_WORKSPACE``, else ./workspace

    Returns
    -------
    model : Run; ``core.tasks.score.predict_clips`` scores clips with it
    best_rmse : float, out of fold: of each row by the network that has not seen it
    predictions : np.ndarray [shape=(q,)], of the rows of the test table in its order; empty where there is none
    """
    work = (
        read_dataset(dataset, segments=Workspace.resolve(workspace).segments),
        settings or FinetuneSettings(),
        ExtractSettings(),
        Workspace.resolve(workspace),
    )
    run = finetune_dataset(*work)
    if run.record.submission is None:
        return run, run.scores.oof_rmse, np.zeros(0)
    return run, run.scores.oof_rmse, read_submission(Path(run.record.submission))[1]


def _names(X: np.ndarray) -> tuple[str, ...]:
    names = column_names(COMBINED_SETS)
    return names if X.shape[1] == len(names) else tuple(f"column_{number}" for number in range(X.shape[1]))


def _extract(
    audio_files: Sequence[str | Path], sets: tuple[str, ...], workspace: str | Path | None, workers: int | None
) -> np.ndarray:
    paths = [Path(file).absolute() for file in audio_files]
    settings = ExtractSettings(features=sets, workers=workers)
    extraction = extract_clips(paths, settings, cache_path=Workspace.resolve(workspace).cache)
    if extraction.failures:
        listed = "; ".join(f"{path.name}: {reason}" for path, reason in extraction.failures.items())
        raise DataError(f"{len(extraction.failures)} of {len(paths)} clips cannot be read, leave them out: {listed}")
    return np.array([np.concatenate([extraction.vectors[path][name] for name in sets]) for path in paths], np.float32).reshape(
        len(paths), len(column_names(sets))
    )
