"""A finished run and clips in, predictions out, in the unit of the label; and the submission table of a data set."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.data.audio import clip_warnings, read_clip
from core.data.dataset import Row
from core.errors import AudioError, DataError, ParameterError, RunError
from core.events import Notify, StageStarted, Warned, ignore
from core.extraction.config import FEATURE_SETS, ExtractSettings
from core.extraction.extract import Extraction, extract_clips
from core.extraction.matrix import Matrix, build_matrix
from core.features import parse_set
from core.insight.neighbours import Surrounder, Surroundings
from core.multimodal.config import FinetuneSettings
from core.runs import BLEND, Run, find_run
from core.runs.leaderboard import load_oof
from core.runtime.device import require_torch
from core.scoring import intervals, metrics
from core.settings import build
from core.workspace import Workspace, write_csv

BLEND_LAYOUT = "blend.json"
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
    path : str, absolute
    label : float or None, what a table says
    trained_on : tuple of str, training clips with the same bytes
    surroundings : Surroundings, where it stands among the training clips; None where that is not known
    """

    file: str
    prediction: float | None
    warnings: tuple[str, ...]
    low: float | None = None
    high: float | None = None
    path: str = ""
    label: float | None = None
    trained_on: tuple[str, ...] = ()
    surroundings: Surroundings | None = None


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
    return predict_rows(run, rows, cache_path=cache_path, tta=tta, allow_missing_table=True, notify=notify)


def predict_rows(
    run: Run,
    rows: Sequence[Row],
    *,
    cache_path: Path,
    tta: int | None = None,
    allow_missing_table: bool = False,
    notify: Notify = ignore,
) -> list[Prediction]:
    """Score the clips of a table; labels are handed on, not looked at. Models are read while clips are analysed.

    Parameters
    ----------
    run : Run
    rows : sequence of Row, with NaN where there is no label
    cache_path, tta, notify : as for ``predict_clips``
    allow_missing_table : bool, a row without any further column has NaN for what is of the table

    Returns
    -------
    predictions : list of Prediction, in the order of the rows

    Raises
    ------
    RunError
        A model of the run is missing or damaged.
    """
    if run.kind == BLEND:
        return _predict_blend(run, rows, cache_path=cache_path, tta=tta, missing=allow_missing_table, notify=notify)
    if run.is_finetuned:
        return _predict_finetuned(run, rows, cache_path=cache_path, tta=tta, missing=allow_missing_table, notify=notify)
    with ThreadPoolExecutor(1) as beside:
        loading = beside.submit(run.load_ensemble)
        extraction, matrix = _features(run, rows, cache_path=cache_path, tta=tta, notify=notify, missing=allow_missing_table)
        if not loading.done():
            notify(StageStarted("reading the models"))
        ensemble = loading.result()
    scored = [row for row in rows if row.path in extraction.vectors]
    found = ensemble.score(matrix.X, matrix.names, copies=matrix.copies) if scored else None
    ends = {} if found is None else _by_path(scored, found.value, found.low, found.high)
    settings = _extract_settings(run)
    of_table = [name for name in settings.features if parse_set(name).column]
    return _describe(run, rows, ends, extraction, matrix, of_table, notify)


def _predict_finetuned(
    run: Run, rows: Sequence[Row], *, cache_path: Path, tta: int | None, missing: bool, notify: Notify
) -> list[Prediction]:
    """As ``predict_rows``, with the networks of a fine-tuned run."""
    if tta:
        raise ParameterError(f"tta={tta}: a fine-tuned run hears each clip as it is; leave it out")
    run.check_models()
    column = build(FinetuneSettings, run.record["settings"]["finetune"]).column
    for row in rows:
        if column is not None and column not in row.columns and (row.columns or not missing):
            there = ", ".join(row.columns) or "none besides file name and label"
            raise ParameterError(f"run {run.id} reads the column {column!r}, which the table does not have; there are: {there}")
    settings = _extract_settings(run)
    extraction = extract_clips([row.path for row in rows], settings, cache_path=cache_path, notify=notify)
    require_torch(f"run {run.id}, which trained encoders,")
    from core.multimodal.fitted import score_rows

    audible = [row for row in rows if row.path in extraction.vectors]
    workspace = Workspace(cache_path.parent)
    found = score_rows(run.models, audible, extraction, settings, workspace, notify=notify)
    vectors = {row.path: extraction.vectors[row.path] for row in found.rows}
    extraction = replace(extraction, vectors=vectors, failures=extraction.failures | found.failures)
    matrix = build_matrix(rows, extraction, FEATURE_SETS, allow_missing_table=missing)
    ends = _by_path(found.rows, found.value, found.low, found.high)
    return _describe(run, rows, ends, extraction, matrix, [] if column is None else [column], notify)


def _predict_blend(
    run: Run, rows: Sequence[Row], *, cache_path: Path, tta: int | None, missing: bool, notify: Notify
) -> list[Prediction]:
    """As ``predict_rows``: the mean of the runs of a blend, with an interval from the errors of the blend itself."""
    run.check_models()
    layout = json.loads((run.models / BLEND_LAYOUT).read_text(encoding="utf-8"))
    by_run = []
    for name in layout["runs"]:
        try:
            one = find_run(name, run.folder.parent)
        except RunError as error:
            raise RunError(f"run {run.id} is a blend, and one of its runs is gone: {error}") from None
        altered = None if one.is_finetuned else tta
        by_run.append(predict_rows(one, rows, cache_path=cache_path, tta=altered, allow_missing_table=missing, notify=notify))
    half = intervals.half_width(np.array(layout["residuals"]), level=layout["level"], rows=layout["rows"])
    blended = []
    for same in zip(*by_run, strict=True):
        doubts = tuple(dict.fromkeys(doubt for one in same for doubt in one.warnings))
        values = [one.prediction for one in same if one.prediction is not None]
        if len(values) < len(same):
            blended.append(replace(same[0], prediction=None, low=None, high=None, warnings=doubts))
            continue
        value = float(np.mean(values))
        low, high = (float(np.clip(value + sign * half, layout["low"], layout["high"])) for sign in (-1, 1))
        blended.append(replace(same[0], prediction=value, low=low, high=high, warnings=doubts))
    return blended


def _by_path(rows: Sequence[Row], *of_rows: np.ndarray) -> dict[Path, tuple[float, ...]]:
    return dict(zip((row.path for row in rows), zip(*(of.tolist() for of in of_rows), strict=True), strict=True))


def _describe(
    run: Run,
    rows: Sequence[Row],
    ends: Mapping[Path, tuple[float, ...]],
    extraction: Extraction,
    matrix: Matrix,
    of_table: Sequence[str],
    notify: Notify,
) -> list[Prediction]:
    """Predictions with their doubts, and beside the training clips.

    Parameters
    ----------
    run : Run
    rows : sequence of Row
    ends : prediction, low and high end of its interval, by path
    extraction : Extraction; of each row whose path is not in ``ends`` it knows the reason
    matrix : Matrix of the rows that were scored
    of_table : names of what comes from a table
    notify : told of the comparison
    """
    notify(StageStarted("comparing with the training clips"))
    seen, surroundings = _compare(run, matrix, notify)
    places = {row.path: place for place, row in enumerate(row for row in rows if row.path in extraction.vectors)}
    seconds = _extract_settings(run).max_seconds
    unknown = f"{', '.join(of_table)} is not known of a clip without its table"
    predictions = []
    for row in rows:
        label = None if np.isnan(row.label) else row.label
        if row.path not in ends:
            failure = (extraction.failures[row.path],)
            predictions.append(Prediction(row.name, None, failure, path=str(row.path), label=label))
            continue
        value, low, high = ends[row.path]
        doubts = (*_doubts(row.path, seconds), *((unknown,) if of_table and not row.columns else ()))
        same = seen.get(extraction.contents[row.path], ())
        around = surroundings[places[row.path]] if surroundings is not None else None
        predictions.append(Prediction(row.name, value, doubts, low, high, str(row.path), label, same, around))
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
    load_oof(run)  # without it nobody knows what the run has seen
    return judge(run, predict_rows(run, rows, cache_path=cache_path, tta=tta, notify=notify))


def judge(run: Run, predictions: Sequence[Prediction]) -> Evaluation:
    """Compare predictions with the labels of their clips; those without a label are passed over.

    Raises
    ------
    DataError
        No labelled clip is left that the run has not seen.
    RunError
        The record of the training clips is missing or damaged.
    """
    training = load_oof(run)
    labelled = [one for one in predictions if one.label is not None]
    new = [one for one in labelled if one.prediction is not None and not one.trained_on]
    if not new:
        raise DataError(
            f"none of the {len(labelled)} labelled clips is new to run {run.id}: all were trained on, or cannot be read"
        )
    labels, values, low, high = (
        np.array([getattr(one, name) for one in new], float) for name in ("label", "prediction", "low", "high")
    )
    columns = ([one.file for one in new], labels.tolist(), values.tolist(), low.tolist(), high.tolist())
    return Evaluation(
        scores=metrics.evaluate(labels, values),
        coverage=intervals.coverage(labels, low, high),
        constant_rmse=metrics.rmse(labels, np.full(len(labels), training.labels.mean())),
        rows=list(zip(*columns, strict=True)),
        trained_on=tuple(one.file for one in labelled if one.prediction is not None and one.trained_on),
        unreadable={one.file: one.warnings[0] for one in labelled if one.prediction is None},
    )


def _compare(run: Run, matrix: Matrix, notify: Notify) -> tuple[dict[str, tuple[str, ...]], list[Surroundings] | None]:
    """Training clips by the hash of their bytes, and where each row stands among them; less of a run of an earlier version."""
    seen: dict[str, tuple[str, ...]] = {}
    try:
        training = load_oof(run)
        for name, content in zip(training.filenames, training.contents, strict=True):
            seen[content] = (*seen.get(content, ()), name)
        return seen, Surrounder(run.load_matrix()).look(matrix.X, matrix.names)
    except RunError as error:
        notify(Warned(f"not compared with the training clips: {error}"))
        return seen, None


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


def write_submission(rows: Sequence[tuple[str, float]], folder: Path, *, latest: Path, name: str = SUBMISSION_NAME) -> Path:
    """Write the submission of a run, and a copy as the latest one.

    Returns
    -------
    path : of the submission in the run's folder
    """
    for target in (folder, latest):
        write_csv(target / name, ("filename", "label"), rows)
    return folder / name


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
    missing: bool,
) -> tuple[Extraction, Matrix]:
    settings = _extract_settings(run)
    copies = run.record["settings"]["ensemble"].get("tta", 0) if tta is None else tta
    if copies < 0:
        raise ParameterError(f"tta={copies} must be 0 or more")
    extraction = extract_clips([row.path for row in rows], settings, cache_path=cache_path, copies=copies, notify=notify)
    matrix = build_matrix(rows, extraction, settings.features, copies=copies, allow_missing_table=missing)
    return extraction, matrix


def _doubts(path: Path, max_seconds: float) -> tuple[str, ...]:
    try:
        return tuple(clip_warnings(read_clip(path, max_seconds=max_seconds), max_seconds=max_seconds))
    except AudioError as error:  # it was there for the features
        return (f"gone or changed since it was analysed: {error.reason}",)
