"""Predictions of test clips in; their table in the run's folder and the submission of the data set out."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.layouts.submission import SubmissionForm
from core.errors import RunError
from core.workspace import write_csv

TEST_PREDICTIONS = "test_predictions.csv"


@dataclass(frozen=True, slots=True)
class TestPredictions:
    """What a run predicts for the clips of the test table that can be read.

    Attributes
    ----------
    filenames : tuple of str [q], as the table spells them
    value, low, high : np.ndarray [shape=(q,)], in the unit of the label
    """

    __test__ = False  # no test of pytest's

    filenames: tuple[str, ...]
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def no_predictions() -> TestPredictions:
    """Those of a test table of which not one clip can be read."""
    return TestPredictions((), np.zeros(0), np.zeros(0), np.zeros(0))


def save_test_predictions(folder: Path, test: TestPredictions) -> None:
    """Write the table into the folder of a run."""
    columns = (test.filenames, test.value.tolist(), test.low.tolist(), test.high.tolist())
    write_csv(folder / TEST_PREDICTIONS, ("filename", "prediction", "low", "high"), list(zip(*columns, strict=True)))


def load_test_predictions(folder: Path) -> dict[str, float]:
    """Predictions of the test clips of a run, by name.

    Raises
    ------
    RunError
        The table is missing or damaged.
    """
    path = folder / TEST_PREDICTIONS
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["filename"]: float(row["prediction"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error}); train again") from None


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
    rows : list of (name, prediction)
    filled : list of str, the names that got the fallback
    """
    return [(name, predictions.get(name, fallback)) for name in names], [name for name in names if name not in predictions]


def write_submission(columns: tuple[str, str], rows: Sequence[tuple[str, float]], folder: Path, *, latest: Path, name: str) -> Path:
    """Write the submission of a run, and a copy as the latest one.

    Parameters
    ----------
    columns : of the names and of the predictions
    rows : as ``submission_rows``
    folder, latest : where the two are written
    name : of the file

    Returns
    -------
    path : of the submission in the run's folder
    """
    for target in (folder, latest):
        write_csv(target / name, columns, rows)
    return folder / name


def read_submission(path: Path) -> tuple[SubmissionForm, np.ndarray]:
    """A submission: its columns and names, and its predictions [shape=(q,)].

    Raises
    ------
    RunError
        It is missing or damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            (of_names, of_labels), *rows = csv.reader(file)
            names, labels = [row[0] for row in rows], [float(row[1]) for row in rows]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error}); train its run again") from None
    return SubmissionForm((of_names, of_labels), tuple(names)), np.array(labels)


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
