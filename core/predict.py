"""A finished run and clips in, predictions out, in the unit of the label; and the submission table of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.audio import clip_warnings, read_clip
from core.dataset import Row
from core.errors import AudioError
from core.events import Notify, ignore
from core.extract import ExtractSettings, extract_clips
from core.matrix import build_matrix
from core.runs import Run
from core.workspace import write_csv

SUBMISSION_NAME = "optimized_ensemble_submission.csv"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a run says of a clip.

    Attributes
    ----------
    file : str, as it was named
    prediction : float, or None where the clip cannot be read
    warnings : tuple of str, why to doubt it; the reason where there is no prediction
    """

    file: str
    prediction: float | None
    warnings: tuple[str, ...]


def predict_clips(run: Run, files: Sequence[str], *, cache_path: Path, notify: Notify = ignore) -> list[Prediction]:
    """Score clips with the ensemble of a run.

    Parameters
    ----------
    run : Run
    files : paths of audio files
    cache_path : SQLite file for the vectors
    notify : told of the extraction

    Returns
    -------
    predictions : list of Prediction, in the order of the files

    Raises
    ------
    RunError
        A model of the run is missing or damaged.
    """
    kept = run.record["settings"]["extract"]
    settings = ExtractSettings(features=tuple(kept["features"]), max_seconds=kept["max_seconds"])
    ensemble = run.load_ensemble()
    rows = [Row(name, Path(name).absolute(), float("nan")) for name in files]
    extraction = extract_clips([row.path for row in rows], settings, cache_path=cache_path, notify=notify)
    matrix = build_matrix(rows, extraction, settings.features)
    scored = dict(zip(matrix.filenames, ensemble.predict(matrix.X, matrix.names), strict=True)) if matrix.filenames else {}
    return [
        Prediction(row.name, float(scored[row.name]), _doubts(row.path, settings.max_seconds))
        if row.name in scored
        else Prediction(row.name, None, (extraction.failures[row.path],))
        for row in rows
    ]


def submission_rows(
    names: Sequence[str], predictions: dict[str, float], fallback: float
) -> tuple[list[tuple[str, float]], list[str]]:
    """The rows of a submission in the order and spelling of the test table.

    Parameters
    ----------
    names : every row of the test table
    predictions : by name
    fallback : float, for clips without a prediction: the median of the training labels

    Returns
    -------
    rows : list of (filename, label)
    filled : list of str, the names that got the fallback
    """
    return [(name, predictions.get(name, fallback)) for name in names], [name for name in names if name not in predictions]


def write_submission(rows: Sequence[tuple[str, float]], folder: Path, *, latest: Path) -> Path:
    """Write the submission of a run, and a copy as the latest one.

    Returns
    -------
    path : of the submission in the run's folder
    """
    for target in (folder, latest):
        write_csv(target / SUBMISSION_NAME, ("filename", "label"), rows)
    return folder / SUBMISSION_NAME


def describe_predictions(predictions: np.ndarray) -> dict[str, float | int | None]:
    """Count, range, mean, median and standard deviation of predictions [shape=(n,)]; None for an empty set."""
    if len(predictions) == 0:
        return {"count": 0, "min": None, "max": None, "mean": None, "median": None, "std": None}
    return {
        "count": len(predictions),
        "min": float(predictions.min()),
        "max": float(predictions.max()),
        "mean": float(predictions.mean()),
        "median": float(np.median(predictions)),
        "std": float(predictions.std()),
    }


def _doubts(path: Path, max_seconds: float) -> tuple[str, ...]:
    try:
        return tuple(clip_warnings(read_clip(path, max_seconds=max_seconds), max_seconds=max_seconds))
    except AudioError as error:  # it was there for the features
        return (f"gone or changed since it was analysed: {error.reason}",)
