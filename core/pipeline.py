"""The whole jobs, end to end: a data set in, exported matrices or a finished run out. The command line and the app call these."""

import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from core.dataset import Dataset, Problem, Row, describe_labels, why_not_trainable
from core.ensemble import Ensemble, EnsembleSettings, check_plan, train_ensemble
from core.errors import DataError
from core.events import Notify, ignore
from core.extract import Extraction, ExtractSettings, column_names, extract_clips
from core.matrix import Matrix, build_matrix, export_matrices, fingerprint, group_labels
from core.predict import describe_predictions, submission_rows, write_submission
from core.runs import RECORD, Run, library_versions, model_hashes, new_run_id, read_run
from core.splits import make_folds
from core.workspace import Workspace, make_folder, write_csv, write_json


@dataclass(frozen=True, slots=True)
class Exported:
    """What ``extract_dataset`` left.

    Attributes
    ----------
    folder : Path
    files : list of Path
    extraction : Extraction
    set_aside : list of Problem, clips without a vector
    """

    folder: Path
    files: list[Path]
    extraction: Extraction
    set_aside: list[Problem]


def extract_dataset(dataset: Dataset, settings: ExtractSettings, workspace: Workspace, *, notify: Notify = ignore) -> Exported:
    """Extract every clip of a data set and export its matrices.

    Raises
    ------
    DataError
        Not one clip could be read.
    """
    extraction = _extract(dataset, settings, workspace, notify)
    set_aside = _set_aside(dataset, extraction)
    if not extraction.vectors:
        first = f" (first: {set_aside[0].file}: {set_aside[0].reason})" if set_aside else ""
        raise DataError(f"{dataset.root}: none of its clips can be read{first}")
    folder = workspace.features / f"{dataset.name}-{fingerprint(dataset, extraction, max_seconds=settings.max_seconds)}"
    files = export_matrices(dataset, extraction, settings.features, folder)
    return Exported(folder, files, extraction, set_aside)


def train_dataset(
    dataset: Dataset,
    extract: ExtractSettings,
    ensemble: EnsembleSettings,
    workspace: Workspace,
    *,
    notify: Notify = ignore,
) -> Run:
    """Extract, train, score, predict the test clips, write the submission and the record of the run.

    Raises
    ------
    DataError, ParameterError
        The data set cannot be trained on with these settings; nothing that was extracted is lost.
    """
    started = time.perf_counter()
    _check_plan(dataset, ensemble)
    extraction = _extract(dataset, extract, workspace, notify)
    matrix = build_matrix(dataset.train, extraction, extract.features, group_column=ensemble.groups)
    _check_labels(dataset, matrix.y)

    run_id = new_run_id()
    if dataset.test_names is not None:
        make_folder(workspace.submissions / run_id)  # rather refused now than after the work
    folder = make_folder(workspace.jobs / run_id)
    try:
        _train(dataset, extraction, matrix, extract, ensemble, workspace, folder, started=started, notify=notify)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # a folder without run.json would only puzzle
        raise
    return read_run(folder)


def _train(
    dataset: Dataset,
    extraction: Extraction,
    matrix: Matrix,
    extract: ExtractSettings,
    ensemble: EnsembleSettings,
    workspace: Workspace,
    folder: Path,
    *,
    started: float,
    notify: Notify,
) -> None:
    run_id = folder.name
    result = train_ensemble(matrix, ensemble, folder=folder / "models", notify=notify)
    fold_of = np.empty(len(matrix.y), int)
    for number, fold in enumerate(result.plan):
        fold_of[fold.test_rows] = number
    columns = [matrix.filenames, matrix.y.tolist(), (fold_of + 1).tolist(), result.oof_ensemble.tolist()]
    columns += [result.oof[name].tolist() for name in ensemble.models]
    write_csv(
        folder / "oof.csv", ("filename", "label", "fold", "oof_prediction", *ensemble.models), list(zip(*columns, strict=True))
    )

    record: dict[str, object] = {
        "run_id": run_id,
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "versions": library_versions(),
        "dataset": {
            "path": dataset.root,
            "name": dataset.name,
            "fingerprint": fingerprint(dataset, extraction),
            "train_clips": len(matrix.y),
            "labels": describe_labels(matrix.y),
        },
        "settings": {"layout": dataset.layout, "extract": extract, "ensemble": ensemble},
        "columns": matrix.names,
        "fold_plan": dict(zip(matrix.filenames, (fold_of + 1).tolist(), strict=True)),
        "scores": result.scores(),
        "model_files": model_hashes(folder / "models"),
        "set_aside": [{"file": problem.file, "reason": problem.reason} for problem in _set_aside(dataset, extraction)],
        "test": None,
        "submission": None,
    }
    if dataset.test_names is not None:
        scored = _predict_test(dataset.test, extraction, extract, read_models=folder / "models", ensemble=ensemble)
        rows, filled = submission_rows(dataset.test_names, scored, float(np.median(matrix.y)))
        write_csv(folder / "test_predictions.csv", ("filename", "prediction"), list(scored.items()))
        record["submission"] = write_submission(rows, workspace.submissions / run_id, latest=workspace.submissions)
        of_rows = np.array([scored[name] for name in dataset.test_names if name in scored])
        record["test"] = describe_predictions(of_rows) | {"filled_with_training_median": filled}
    record["seconds"] = time.perf_counter() - started
    write_json(folder / RECORD, record)


def _check_plan(dataset: Dataset, ensemble: EnsembleSettings) -> None:
    """Refuse before the long work what could not be trained on even if every clip were readable."""
    labels = np.array([row.label for row in dataset.train])
    _check_labels(dataset, labels)
    groups = group_labels(dataset.train, ensemble.groups) if ensemble.groups else None
    check_plan(make_folds(len(labels), folds=ensemble.folds, seed=ensemble.seed, groups=groups), labels)


def _check_labels(dataset: Dataset, labels: np.ndarray) -> None:
    if problem := why_not_trainable(labels):
        raise DataError(f"{dataset.root}: {problem}; see: earmark check {dataset.root}")


def _extract(dataset: Dataset, settings: ExtractSettings, workspace: Workspace, notify: Notify) -> Extraction:
    paths = [row.path for row in (*dataset.train, *dataset.test)]
    return extract_clips(paths, settings, cache_path=workspace.cache, notify=notify)


def _set_aside(dataset: Dataset, extraction: Extraction) -> list[Problem]:
    rows = {row.path: row for row in (*dataset.test, *dataset.train)}
    unreadable = [Problem(rows[path].name, "error", reason) for path, reason in extraction.failures.items()]
    return [*dataset.set_aside, *unreadable]


def _predict_test(
    rows: tuple[Row, ...], extraction: Extraction, extract: ExtractSettings, *, read_models: Path, ensemble: EnsembleSettings
) -> dict[str, float]:
    matrix = build_matrix(rows, extraction, extract.features)
    if not matrix.filenames:
        return {}
    names = column_names(extract.features)
    trained = Ensemble.load(read_models, models=ensemble.models, folds=ensemble.folds, names=names)
    return dict(zip(matrix.filenames, trained.predict(matrix.X, matrix.names).tolist(), strict=True))
