"""Predictions of test clips in; their table in the run's folder and the submission of the data set out."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
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


def number_rows(names: Sequence[str]) -> list[tuple[str, int]]:
    """What tells rows apart: a name, and how many rows before have it too, as a clip may stand twice with other cells.

    Examples
    --------
    >>> number_rows(["a", "b", "a"])
    [('a', 0), ('b', 0), ('a', 1)]
    """
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        numbered.append((name, seen[name]))
        seen[name] += 1
    return numbered


def load_test_predictions(folder: Path) -> dict[tuple[str, int], float]:
    """Predictions of the rows of the test table of a run, by row as ``number_rows`` tells them apart.

    Raises
    ------
    RunError
        The table is missing or damaged.
    """
    path = folder / TEST_PREDICTIONS
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(row["filename"], float(row["prediction"])) for row in csv.DictReader(file)]
        return dict(zip(number_rows([name for name, _ in rows]), (value for _, value in rows), strict=True))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error}); train again") from None


def submission_rows(
    form: SubmissionForm, predictions: Mapping[tuple[str, int], float], fallback: float
) -> tuple[list[tuple[str | float, ...]], list[str]]:
    """The rows of a submission in the order and spelling of the test table.

    Parameters
    ----------
    form : SubmissionForm
    predictions : by row as ``number_rows`` tells them apart; a row that the test table lacks has that of the one before of its name
    fallback : float, for clips without a prediction: the median of the training labels

    Returns
    -------
    rows : list of tuple, the cells that name a row and its prediction
    filled : list of str, the names that got the fallback
    """
    values = values_of(form, predictions)
    rows: list[tuple[str | float, ...]] = [
        (*cells, fallback if value is None else value) for cells, value in zip(form.cells, values, strict=True)
    ]
    return rows, [name for name, value in zip(form.names, values, strict=True) if value is None]


def values_of(form: SubmissionForm, predictions: Mapping[tuple[str, int], float]) -> list[float | None]:
    """The prediction of each row of a submission; None where its clip has none."""
    return [
        next((predictions[name, row] for row in range(number, -1, -1) if (name, row) in predictions), None)
        for name, number in number_rows(form.names)
    ]


def write_submission(
    form: SubmissionForm, rows: Sequence[tuple[str | float, ...]], folder: Path, *, latest: Path, name: str
) -> Path:
    """Write the submission of a run, and a copy as the latest one.

    Parameters
    ----------
    form : SubmissionForm
    rows : as ``submission_rows``
    folder, latest : where the two are written
    name : of the file

    Returns
    -------
    path : of the submission in the run's folder
    """
    for target in (folder, latest):
        write_csv(target / name, form.columns, rows)
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
            columns, *rows = csv.reader(file)
            cells, labels = tuple(tuple(row[:-1]) for row in rows), [float(row[-1]) for row in rows]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error}); train its run again") from None
    if len(columns) < 2 or any(len(row) != len(columns) - 1 for row in cells):
        raise RunError(f"{path}: expected columns of names and one of predictions in every row; train its run again")
    return SubmissionForm(tuple(columns), tuple(" ".join(row) for row in cells), cells), np.array(labels)


def join_submissions(paths: Sequence[Path], target: Path) -> Path:
    """Write the submissions of runs on several labels of one test table as one, a column each.

    Raises
    ------
    RunError
        One is missing or damaged, or they are of different test tables.
    """
    read = [read_submission(path) for path in paths]
    form = read[0][0]
    for path, (other, _) in zip(paths, read, strict=True):
        if (other.cells, other.columns[:-1]) != (form.cells, form.columns[:-1]):
            raise RunError(f"{path}: expected the rows of {paths[0].name}, found others; train all labels again")
    columns = (*form.columns[:-1], *(other.columns[-1] for other, _ in read))
    rows = [(*cells, *values) for cells, *values in zip(form.cells, *(labels.tolist() for _, labels in read), strict=True)]
    write_csv(target, columns, rows)
    return target


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
