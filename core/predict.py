"""A finished run and clips in, predictions out, in the unit of the label; and the submission table of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core import intervals, metrics
from core.audio import clip_warnings, read_clip
from core.dataset import Row
from core.errors import AudioError, DataError, ParameterError
from core.events import Notify, ignore
from core.extract import Extraction, ExtractSettings, extract_clips
from core.features import parse_set
from core.leaderboard import load_oof
from core.matrix import Matrix, build_matrix
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
    low, high : float or None, the interval in which the label is expected
    """

    file: str
    prediction: float | None
    warnings: tuple[str, ...]
    low: float | None = None
    high: float | None = None


def predict_clips(
    run: Run, files: Sequence[str], *, cache_path: Path, tta: int | None = None, notify: Notify = ignore
) -> list[Prediction]:
    """Score clips with the ensemble of a run.

    Parameters
    ----------
    run : Run
    files : paths of audio files
    cache_path : SQLite file for the vectors
    tta : int >= 0, altered copies of each clip whose predictions are averaged with its own; None takes as many as the run
    notify : told of the extraction

    Returns
    -------
    predictions : list of Prediction, in the order of the files

    Raises
    ------
    RunError
        A model of the run is missing or damaged.
    """
    rows = [Row(name, Path(name).absolute(), float("nan")) for name in files]
    extraction, matrix = _features(run, rows, cache_path=cache_path, tta=tta, notify=notify, allow_missing_table=True)
    ensemble = run.load_ensemble()
    places = {name: number for number, name in enumerate(matrix.filenames)}
    found = ensemble.score(matrix.X, matrix.names, copies=matrix.copies) if places else None
    settings = _extract_settings(run)
    missing = [name for name in settings.features if not parse_set(name).of_audio]
    unknown = (f"{', '.join(missing)} is not known of a clip without its table",) if missing else ()
    predictions = []
    for row in rows:
        if found is None or row.name not in places:
            predictions.append(Prediction(row.name, None, (extraction.failures[row.path],)))
            continue
        place = places[row.name]
        value, low, high = (float(ends[place]) for ends in (found.value, found.low, found.high))
        predictions.append(Prediction(row.name, value, (*_doubts(row.path, settings.max_seconds), *unknown), low, high))
    return predictions


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a run does on labelled clips that it was not trained on.

    Attributes
    ----------
    scores : dict of score to float
    coverage : float, share of the labels inside their interval
    constant_rmse : float, error of always saying the mean label of the run's own training clips
    rows : list of (file name, label, prediction, low, high)
    trained_on : tuple of str, clips of the table that the run was trained on: left out
    unreadable : dict of file name to reason
    """

    scores: dict[str, float]
    coverage: float
    constant_rmse: float
    rows: list[tuple[str, float, float, float, float]]
    trained_on: tuple[str, ...]
    unreadable: dict[str, str]


def evaluate_run(run: Run, rows: Sequence[Row], *, cache_path: Path, tta: int | None = None, notify: Notify = ignore) -> Evaluation:
    """Score a run on a labelled hold-out.

    Parameters
    ----------
    run : Run
    rows : sequence of Row with labels
    cache_path : SQLite file for the vectors
    tta : int >= 0 or None, as for ``predict_clips``
    notify : told of the extraction

    Returns
    -------
    evaluation : Evaluation; clips with the same bytes as a training clip are left out and named

    Raises
    ------
    DataError
        No labelled clip is left that the run has not seen.
    RunError
        The record of the training clips, or a model, is missing or damaged.
    """
    training = load_oof(run)
    seen = set(training.contents)
    extraction, matrix = _features(run, rows, cache_path=cache_path, tta=tta, notify=notify)
    by_name = {row.name: row for row in rows}
    kept = np.array([extraction.contents[by_name[name].path] not in seen for name in matrix.filenames], bool)
    if not kept.any():
        raise DataError(f"none of the {len(rows)} labelled clips is new to run {run.id}: all were trained on, or cannot be read")
    copies = None if matrix.copies is None else matrix.copies[:, kept]
    found = run.load_ensemble().score(matrix.X[kept], matrix.names, copies=copies)
    labels = matrix.y[kept]
    names = [name for name, new in zip(matrix.filenames, kept, strict=True) if new]
    columns = (names, labels.tolist(), found.value.tolist(), found.low.tolist(), found.high.tolist())
    return Evaluation(
        scores=metrics.evaluate(labels, found.value),
        coverage=intervals.coverage(labels, found.low, found.high),
        constant_rmse=metrics.rmse(labels, np.full(len(labels), training.labels.mean())),
        rows=list(zip(*columns, strict=True)),
        trained_on=tuple(name for name, new in zip(matrix.filenames, kept, strict=True) if not new),
        unreadable={row.name: extraction.failures[row.path] for row in rows if row.path in extraction.failures},
    )


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


def _extract_settings(run: Run) -> ExtractSettings:
    kept = run.record["settings"]["extract"]
    return ExtractSettings(features=tuple(kept["features"]), max_seconds=kept["max_seconds"])


def _features(
    run: Run,
    rows: Sequence[Row],
    *,
    cache_path: Path,
    tta: int | None,
    notify: Notify,
    allow_missing_table: bool = False,
) -> tuple[Extraction, Matrix]:
    settings = _extract_settings(run)
    copies = run.record["settings"]["ensemble"].get("tta", 0) if tta is None else tta
    if copies < 0:
        raise ParameterError(f"tta={copies} must be 0 or more")
    extraction = extract_clips([row.path for row in rows], settings, cache_path=cache_path, copies=copies, notify=notify)
    matrix = build_matrix(rows, extraction, settings.features, copies=copies, allow_missing_table=allow_missing_table)
    return extraction, matrix


def _doubts(path: Path, max_seconds: float) -> tuple[str, ...]:
    try:
        return tuple(clip_warnings(read_clip(path, max_seconds=max_seconds), max_seconds=max_seconds))
    except AudioError as error:  # it was there for the features
        return (f"gone or changed since it was analysed: {error.reason}",)
