"""A finished run and clips in, predictions out, in the unit of the label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.audio import clip_warnings, read_clip
from core.data.rows import Row
from core.errors import AudioError, DataError, RunError
from core.events import Notify, StageStarted, Warned, ignore
from core.extraction.config import ExtractSettings
from core.extraction.extract import Extraction
from core.extraction.group_means import lonely
from core.extraction.levels import unseen_words
from core.extraction.matrix import Matrix
from core.features import parse_set
from core.insight.neighbours import Neighbourhood, TrainingReference
from core.runs import Run
from core.runs.leaderboard import load_oof
from core.scoring import intervals, metrics
from core.workspace import Workspace


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
    surroundings : Neighbourhood, where it stands among the training clips; None where that is not known
    """

    file: str
    prediction: float | None
    warnings: tuple[str, ...]
    low: float | None = None
    high: float | None = None
    path: str = ""
    label: float | None = None
    trained_on: tuple[str, ...] = ()
    surroundings: Neighbourhood | None = None


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How clips are scored.

    Attributes
    ----------
    workspace : Workspace, whose cache has the vectors
    tta : int >= 0, augmented copies of each clip whose predictions are averaged with its own; None takes as many as the run
    allow_missing_table : bool, a row without any further column has NaN for what comes from a table
    notify : told of the extraction
    """

    workspace: Workspace
    tta: int | None = None
    allow_missing_table: bool = False
    notify: Notify = ignore


def predict_clips(
    run: Run,
    files: Sequence[str],
    *,
    workspace: Workspace,
    columns: Mapping[str, str] | None = None,
    tta: int | None = None,
    notify: Notify = ignore,
) -> list[Prediction]:
    """Score clips with a run.

    Parameters
    ----------
    run : Run
    files : paths of audio files
    columns : what a table would say of each of them, by column; columns that are left out are empty
    workspace, tta, notify : as in ``ScoringOptions``

    Returns
    -------
    predictions : list of Prediction, in the order of the files

    Raises
    ------
    RunError
        A model of the run is missing or damaged.
    """
    needed = dict.fromkeys((name for set_name in extract_settings(run).features if (name := parse_set(set_name).column)), "")
    cells = {**needed, **columns} if columns else {}
    rows = [Row(name, Path(name).absolute(), float("nan"), cells) for name in files]
    return predict_rows(run, rows, ScoringOptions(workspace, tta, allow_missing_table=True, notify=notify))


def predict_rows(run: Run, rows: Sequence[Row], options: ScoringOptions) -> list[Prediction]:
    """Score the clips of a table; labels are handed on, not looked at.

    Parameters
    ----------
    run : Run
    rows : sequence of Row, with NaN where there is no label
    options : ScoringOptions

    Returns
    -------
    predictions : list of Prediction, in the order of the rows

    Raises
    ------
    RunError
        A model of the run is missing or damaged.
    """
    return run.kind.predict(run, rows, options)


def describe_rows(
    run: Run,
    rows: Sequence[Row],
    ends: Sequence[np.ndarray],
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
    ends : predictions, low and high ends of their intervals [shape=(n,)] of the rows whose clips have vectors, in their order:
        a clip may stand in several rows, with other cells or texts
    extraction : Extraction; of each clip without vectors it knows the reason
    matrix : Matrix of the rows that were scored
    of_table : names of what comes from a table
    notify : told of the comparison
    """
    notify(StageStarted("comparing with the training clips"))
    seen, surroundings = _compare(run, matrix, notify)
    scored = enumerate(zip(*(column.tolist() for column in ends), strict=True))
    settings = extract_settings(run)
    alone = lonely([row for row in rows if row.path in extraction.vectors], settings.features)
    unknown = f"{', '.join(of_table)} is not known of a clip without its table"
    predictions = []
    for row in rows:
        label = None if np.isnan(row.label) else row.label
        if row.path not in extraction.vectors:
            failure = (extraction.failures[row.path],)
            predictions.append(Prediction(row.name, None, failure, path=str(row.path), label=label))
            continue
        place, (value, low, high) = next(scored)
        doubts = (*_doubts(row.path, settings), *unseen_words(row, settings.features))
        doubts += (unknown,) if of_table and not row.columns else ()
        doubts += (alone[place],) if alone[place] else ()
        same = seen.get(extraction.contents[row.path], ())
        around = surroundings[place] if surroundings is not None else None
        predictions.append(Prediction(row.name, value, doubts, low, high, str(row.path), label, same, around))
    return predictions


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a run does on labelled clips that it was not trained on.

    Attributes
    ----------
    scores : dict of score to float
    coverage : float, interval coverage, share of labels inside their prediction interval
    constant_rmse : float, error of the mean label of the run's own training clips
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


def evaluate_run(run: Run, rows: Sequence[Row], options: ScoringOptions) -> Evaluation:
    """Score a run on a labelled hold-out.

    Parameters
    ----------
    run : Run
    rows : sequence of Row with labels
    options : ScoringOptions

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
    return judge(run, predict_rows(run, rows, options))


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


def _compare(run: Run, matrix: Matrix, notify: Notify) -> tuple[dict[str, tuple[str, ...]], list[Neighbourhood] | None]:
    """Training clips by the hash of their bytes, and where each row stands among them; less of a run of an earlier version."""
    seen: dict[str, tuple[str, ...]] = {}
    try:
        training = load_oof(run)
        for name, content in zip(training.filenames, training.contents, strict=True):
            seen[content] = (*seen.get(content, ()), name)
        return seen, TrainingReference(run.load_matrix()).locate(matrix.X, matrix.names)
    except RunError as error:
        notify(Warned(f"not compared with the training clips: {error}"))
        return seen, None


def extract_settings(run: Run) -> ExtractSettings:
    """What a run extracts from a clip."""
    kept = run.record.settings.extract
    names = ("features", "max_seconds", "encoder_window", "channel", "slow_down")
    values = {name: getattr(kept, name) for name in names}
    return ExtractSettings(**values | {"features": tuple(kept.features)})


def _doubts(path: Path, settings: ExtractSettings) -> tuple[str, ...]:
    try:
        clip = read_clip(path, max_seconds=settings.max_seconds, treatment=settings.treatment)
        return tuple(clip_warnings(clip, max_seconds=settings.max_seconds))
    except AudioError as error:  # it was there for the features
        return (f"gone or changed since it was analysed: {error.reason}",)
