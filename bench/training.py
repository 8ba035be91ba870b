"""What a cross-validated training costs: a pool of single-threaded ``fast`` fits, and ``classic`` fits one after the other."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MODELS = ("xgboost", "lightgbm", "catboost", "random_forest", "extra_trees")
THREADS = {"xgboost": "nthread", "lightgbm": "num_threads", "catboost": "thread_count"}


def classic(file: Path) -> dict[str, float]:
    """Model after model, fold after fold, each fit with all threads; the same folds, preprocessing and early stopping."""
    from core.ensemble import EnsembleSettings
    from core.ensemble.models import CATALOGUE, make_model
    from core.ensemble.preprocess import make_preprocessor
    from core.scoring.folds import stopping_split
    from core.scoring.metrics import rmse

    X, y, groups = load(file)
    settings = EnsembleSettings()
    began = time.perf_counter()
    oof = np.zeros((len(MODELS), len(y)))
    cores = len(os.sched_getaffinity(0))
    for number, name in enumerate(MODELS):
        for fold in settings.plans(y, groups)[0]:
            known = X[fold.train_rows]
            preprocessor = make_preprocessor(settings.scaling).fit(known)
            fit_rows, _ = stopping_split(fold.train_rows, y, seed=settings.seed, groups=groups)
            parameters = CATALOGUE[name].presets["classic"] | {THREADS.get(name, "n_jobs"): cores}
            model = make_model(name, parameters=parameters, seed=settings.seed)
            model.fit(preprocessor.transform(known), y[fold.train_rows], ~np.isin(fold.train_rows, fit_rows))
            scored = model.predict(preprocessor.transform(X[fold.test_rows]))
            oof[number, fold.test_rows] = np.clip(scored, y[fold.train_rows].min(), y[fold.train_rows].max())
    return {"seconds": time.perf_counter() - began, "rmse": rmse(y, oof.mean(axis=0))}


def fast(file: Path) -> dict[str, float]:
    """The same five models and folds as Earmark trains them, starting its processes and writing the models included."""
    from core.ensemble import EnsembleSettings, train_ensemble
    from core.extraction.matrix import Matrix

    X, y, groups = load(file)
    names = tuple(f"column_{number}" for number in range(X.shape[1]))
    matrix = Matrix(X, y, names, tuple(map(str, range(len(y)))), groups)
    settings = EnsembleSettings(members=MODELS, blend="mean")
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        result = train_ensemble(matrix, settings, folder=Path(folder))
        return {"seconds": time.perf_counter() - began, "rmse": float(result.oof.rmse_by_repeat(result.oof.predictions)[0])}


def load(file: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Matrix, labels and groups that ``save`` wrote."""
    with np.load(file) as arrays:
        return arrays["X"], arrays["y"], tuple(arrays["groups"].tolist())


def save(dataset: Path, file: Path, workspace: Path) -> int:
    """Extract a data set and write its training matrix; returns the number of rows."""
    from core.data.dataset import read_dataset
    from core.extraction.config import ExtractSettings
    from core.extraction.extract import extract_clips
    from core.extraction.matrix import build_matrix
    from core.grouping.ties import group_labels

    rows = read_dataset(dataset).train
    settings = ExtractSettings()
    found = extract_clips([row.path for row in rows], settings, cache_path=workspace / "cache.sqlite")
    column = "speaker" if "speaker" in rows[0].columns else "note"
    matrix = build_matrix(rows, found, ("mfcc", "ultra", "metadata"))
    np.savez(file, X=matrix.X, y=matrix.y, groups=np.array(group_labels(rows, column)))
    return len(rows)


if __name__ == "__main__":
    way, file = sys.argv[1:]
    print(json.dumps({"classic": classic, "fast": fast}[way](Path(file))))
