"""The whole jobs, end to end: a data set in, a report, exported matrices or a finished run out.

``work`` does what a job asks for; the command line and the worker process give it to ``jobs.perform``.
"""

import shlex
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.dataset import Dataset, Layout, Problem, Row, describe_labels, read_dataset, why_not_trainable
from core.ensemble import Ensemble, EnsembleSettings, check_plan, train_ensemble
from core.errors import DataError, ParameterError
from core.estimate import probe_speed
from core.events import Notify, ignore
from core.extract import Extraction, ExtractSettings, column_names, definition_hash, extract_clips
from core.jobs import Job, new_id
from core.matrix import Matrix, build_matrix, export_matrices, fingerprint, group_labels
from core.predict import describe_predictions, predict_clips, submission_rows, write_submission
from core.report import check_dataset
from core.runs import RECORD, Run, find_run, library_versions, model_hashes, read_run
from core.settings import build
from core.splits import make_folds
from core.workspace import Workspace, make_folder, write_csv, write_json

CHECKPOINTS = "checkpoints"


def work(job: Job, notify: Notify) -> dict[str, Any]:
    """Do what a job asks for.

    Parameters
    ----------
    job : Job of one of the five kinds, in the folder ``jobs`` of a workspace. Its request names a ``dataset`` with its ``layout``,
        and the settings of ``extract`` and ``ensemble`` where they matter; for predict a ``run`` and ``clips``
    notify : told of the progress

    Returns
    -------
    result : dict, fit for JSON
    """
    request, workspace = job.request, Workspace(job.folder.parents[1])
    match job.kind:
        case "predict":
            run = find_run(request["run"], workspace.jobs)
            return {
                "run_id": run.id,
                "predictions": predict_clips(run, request["clips"], cache_path=workspace.cache, notify=notify),
            }
        case "check":
            dataset = _dataset(request)
            stamp = dataset.stamp()  # of what is heard from here on
            report = check_dataset(dataset, notify=notify)
            return {
                **report.as_json(),
                "problems": report.problems,
                "table": report.clips,
                "why_not": report.why_not,
                "stamp": stamp,
            }
        case "probe":
            dataset = _dataset(request)
            paths = [row.path for row in (*dataset.train, *dataset.test)]
            settings = build(ExtractSettings, request["extract"])
            return {"speed": probe_speed(paths, settings, cache_path=workspace.cache, notify=notify)}
        case "extract":
            dataset = _dataset(request)
            stamp = dataset.stamp()
            settings = build(ExtractSettings, request["extract"])
            done = extract_dataset(dataset, settings, workspace, notify=notify)
            return {
                "definitions": {name: definition_hash(name, settings.max_seconds).hex() for name in settings.features},
                "ready": len(done.extraction.vectors),
                "computed": done.extraction.computed,
                "unreadable": len(done.extraction.failures),
                "set_aside": done.set_aside,
                "files": done.files,
                "stamp": stamp,
            }
        case "train":
            extract, ensemble = build(ExtractSettings, request["extract"]), build(EnsembleSettings, request["ensemble"])
            dataset = _dataset(request)
            stamp = dataset.stamp()
            run = train_dataset(dataset, extract, ensemble, workspace, folder=job.folder, notify=notify)
            return {"run_id": run.id, "stamp": stamp}
    raise ParameterError(f"job {job.id}: kind {job.kind!r} is not among check, probe, extract, train, predict")


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
    folder: Path | None = None,
    notify: Notify = ignore,
) -> Run:
    """Extract, train, score, predict the test clips, write the submission and the record of the run.

    Parameters
    ----------
    dataset : Dataset
    extract : ExtractSettings
    ensemble : EnsembleSettings
    workspace : Workspace
    folder : of the run, whose name is its id; a run that an earlier attempt finished there is returned, and fits that it finished
        are not done again. None makes a new one, and removes it when the run fails
    notify : told of the progress

    Raises
    ------
    DataError, ParameterError
        The data set cannot be trained on with these settings; nothing that was extracted is lost.
    """
    started = time.perf_counter()
    if folder is not None and (folder / RECORD).is_file():
        return read_run(folder)
    _check_plan(dataset, ensemble)
    extraction = _extract(dataset, extract, workspace, notify)
    matrix = build_matrix(dataset.train, extraction, extract.features, group_column=ensemble.groups)
    _check_labels(dataset, matrix.y)

    ours = folder is None
    folder = folder or workspace.jobs / new_id()
    if dataset.test_names is not None:
        make_folder(workspace.submissions)  # rather refused now than after the work
    make_folder(folder)
    try:
        _train(dataset, extraction, matrix, extract, ensemble, workspace, folder, started=started, notify=notify)
    except BaseException:
        if ours:
            shutil.rmtree(folder, ignore_errors=True)  # a folder without run.json would only puzzle
        raise
    run = read_run(folder)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # the run has what they held
    return run


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
    result = train_ensemble(matrix, ensemble, folder=folder / "models", checkpoints=folder / CHECKPOINTS, notify=notify)
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
            "path": dataset.source,
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
        raise DataError(f"{dataset.source}: {problem}; see: {shlex.join(['earmark', 'check', str(dataset.source)])}")


def _extract(dataset: Dataset, settings: ExtractSettings, workspace: Workspace, notify: Notify) -> Extraction:
    paths = [row.path for row in (*dataset.train, *dataset.test)]
    return extract_clips(paths, settings, cache_path=workspace.cache, notify=notify)


def _set_aside(dataset: Dataset, extraction: Extraction) -> list[Problem]:
    rows = {row.path: row for row in (*dataset.test, *dataset.train)}
    in_train = {row.path for row in dataset.train}
    unreadable = [
        Problem(rows[path].name, "error", reason, "train" if path in in_train else "test")
        for path, reason in extraction.failures.items()
    ]
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


def _dataset(request: dict[str, Any]) -> Dataset:
    return read_dataset(request["dataset"], build(Layout, request["layout"]))
