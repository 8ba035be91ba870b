"""The whole jobs, end to end: a data set in, a report, exported matrices or a finished run out.

``work`` does what a job asks for; the command line and the worker process give it to ``jobs.perform``.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import Dataset, Layout, Problem, read_batch, read_dataset
from core.data.report import check_dataset
from core.encoders import batches
from core.ensemble import EnsembleResult, EnsembleSettings, check_plan, train_ensemble, with_sets_of
from core.ensemble.checks import judge_switches, self_test
from core.ensemble.fitted import Ensemble
from core.errors import DataError, ParameterError, RunError, TrackingError
from core.events import Notify, Warned, ignore
from core.extraction.config import ExtractSettings
from core.extraction.extract import Extraction, column_names, definitions_of, extract_clips
from core.extraction.matrix import Matrix, build_matrix, export_matrices, fingerprint, group_labels, save_matrix, table_values
from core.extraction.speed import probe_speed
from core.features import parse_set
from core.features.sets import ENCODER
from core.grouping.ties import AUTO, tie_rows
from core.insight.explain import explain_run
from core.insight.layers import propose_band, score_layers
from core.jobs import Job, new_id
from core.multimodal.config import FinetuneSettings
from core.runs import MATRIX, RECORD, Run, find_run, model_hashes, read_run, tracking
from core.runs.record import (
    badges_of,
    beside,
    check_labels,
    describe_run,
    extract_all,
    list_set_aside,
    save_oof,
    tie_and_measure,
)
from core.runtime.weights import encoder_shape, find
from core.settings import build
from core.tasks.blend import blend_runs
from core.tasks.finetune import finetune_dataset
from core.tasks.score import describe_predictions, judge, predict_clips, predict_rows, submission_rows, write_submission
from core.workspace import Workspace, make_folder, write_csv, write_json

CHECKPOINTS = "checkpoints"


def work(job: Job, notify: Notify) -> dict[str, Any]:
    """Do what a job asks for.

    Parameters
    ----------
    job : Job of one of the nine kinds, in the folder ``jobs`` of a workspace. Its request names a ``dataset`` with its ``layout``,
        and the settings of ``extract`` and ``ensemble`` where they matter; for predict and explain a ``run`` and ``clips``
    notify : told of the progress

    Returns
    -------
    result : dict, fit for JSON
    """
    request, workspace = job.request, Workspace(job.folder.parents[1])
    match job.kind:
        case "predict":
            run = find_run(request["run"], workspace.jobs)
            return score(run, request, workspace, notify=notify)
        case "explain":
            run = find_run(request["run"], workspace.jobs)
            explanation = explain_run(run, clips=request["clips"], checkpoints=job.folder / CHECKPOINTS, notify=notify)
            return {"run_id": run.id, "clips": len(explanation.filenames)}
        case "layers":
            extract = build(ExtractSettings, request["extract"] | {"features": [request["encoder"]]})
            return look_at_layers(_dataset(request), extract, request, workspace, notify=notify)
        case "check":
            dataset = _dataset(request)
            stamp = dataset.stamp()  # of what is heard from here on
            report = check_dataset(dataset, notify=notify)
            return {
                **report.as_json(),
                "problems": report.problems,
                "table": report.clips,
                "twins": report.twins,
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
                "definitions": definitions_of(settings),
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
        case "finetune":
            dataset = _dataset(request)
            stamp = dataset.stamp()
            extract, finetune = build(ExtractSettings, request["extract"]), build(FinetuneSettings, request["finetune"])
            run = finetune_dataset(dataset, finetune, extract, workspace, folder=job.folder, notify=notify)
            return {"run_id": mirrored(run, workspace, notify).id, "stamp": stamp}
        case "blend":
            chosen = [find_run(name, workspace.jobs) for name in request["runs"]]
            return {"run_id": mirrored(blend_runs(chosen, workspace, folder=job.folder, notify=notify), workspace, notify).id}
    known = "check, probe, extract, layers, train, finetune, predict, explain, blend"
    raise ParameterError(f"job {job.id}: kind {job.kind!r} is not among {known}")


def score(run: Run, request: dict[str, Any], workspace: Workspace, *, notify: Notify = ignore) -> dict[str, Any]:
    """Score clips, and compare with their labels where a table has them.

    Parameters
    ----------
    run : Run
    request : dict with ``clips`` (paths), a ``table`` (CSV or folder, or None), its ``layout``, and ``tta``; all may be missing
    workspace : Workspace
    notify : told of the progress

    Returns
    -------
    result : dict with ``run_id``, ``predictions``, ``problems`` of the table, and ``evaluation`` (None without labels) or
        ``not_judged``, why there is none in spite of labels

    Raises
    ------
    DataError
        The table or folder cannot be read, or names nothing to score.
    RunError
        A model of the run is missing or damaged.
    """
    clips, table, tta = request.get("clips") or [], request.get("table"), request.get("tta")
    if table is None:
        found = predict_clips(run, clips, cache_path=workspace.cache, tta=tta, notify=notify)
        return {"run_id": run.id, "predictions": found, "problems": [], "evaluation": None}
    rows, problems = read_batch(table, build(Layout, request.get("layout") or {}), clips=clips or None)
    if not rows:
        first = f" (first: {problems[0].file}: {problems[0].reason})" if problems else ""
        raise DataError(f"{Path(table).name}: not one of its clips can be scored{first}")
    found = predict_rows(run, rows, cache_path=workspace.cache, tta=tta, allow_missing_table=True, notify=notify)
    result: dict[str, Any] = {"run_id": run.id, "predictions": found, "problems": problems, "evaluation": None}
    if any(one.label is not None for one in found):
        try:
            result["evaluation"] = judge(run, found)
        except (DataError, RunError) as error:
            result["not_judged"] = str(error)
    return result


def look_at_layers(
    dataset: Dataset, settings: ExtractSettings, request: Mapping[str, Any], workspace: Workspace, *, notify: Notify = ignore
) -> dict[str, Any]:
    """Score every layer of an encoder on the labelled clips, and propose a band of them.

    Parameters
    ----------
    dataset : Dataset
    settings : ExtractSettings, whose one set is that of the encoder
    request : dict with any of ``groups`` (a column, auto, or None), ``folds``, ``repeats``, ``seed``, ``heads``
    workspace : Workspace
    notify : told of the progress

    Returns
    -------
    result : dict with ``scores`` as ``LayerScores.to_record``, ``band`` (first, last, reason) and ``set``, which is the feature set
        of that band, or None

    Raises
    ------
    ParameterError
        The set is not that of an encoder.
    DataError
        The labels do not suffice.
    """
    [name] = settings.features
    of = parse_set(name)
    if of.base != ENCODER:
        raise ParameterError(f"{name!r} is no encoder; name wav2vec2, hubert, wavlm or encoder:MODEL")
    check_labels(dataset, np.array([row.label for row in dataset.train]))
    batches.check_installed(settings.on_device)
    layers, _ = encoder_shape(find(of.model))
    sets = tuple(f"{of.stored}@L{layer}" for layer in range(layers))
    found = extract_clips(
        [row.path for row in dataset.train], replace(settings, features=sets), cache_path=workspace.cache, notify=notify
    )
    matrix = build_matrix(dataset.train, found, sets)
    rows = [row for row in dataset.train if row.path in found.vectors]
    ties = tie_rows(rows, replace(matrix, X=matrix.X[:, : matrix.X.shape[1] // layers]), found, request.get("groups"))
    scores = score_layers(
        matrix.X.reshape(len(rows), layers, -1),
        matrix.y,
        ties.groups,
        encoder=of.stored,
        grouped_by=ties.chosen,
        workers=settings.workers,
        notify=notify,
        **{option: request[option] for option in ("heads", "folds", "repeats", "seed") if request.get(option) is not None},
    )
    band = propose_band(scores)
    proposed = None if band.first is None else of.stored + band.suffix()
    return {"scores": scores.to_record(), "band": band, "set": proposed}


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
    extraction = extract_all(dataset, settings, workspace, notify)
    set_aside = list_set_aside(dataset, extraction.failures)
    if not extraction.vectors:
        first = f" (first: {set_aside[0].file}: {set_aside[0].reason})" if set_aside else ""
        raise DataError(f"{dataset.root}: none of its clips can be read{first}")
    folder = workspace.features / f"{dataset.name}-{fingerprint(dataset, extraction, settings=settings)}"
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
        return mirrored(read_run(folder), workspace, notify)
    extract = with_sets_of(extract, ensemble)
    _check_plan(dataset, extract, ensemble)
    copies = {row.path: ensemble.tta for row in dataset.test} | {row.path: ensemble.copies for row in dataset.train}
    copies = {path: number for path, number in copies.items() if number}
    extraction = extract_all(dataset, extract, workspace, notify, copies=copies)
    matrix = build_matrix(dataset.train, extraction, extract.features, copies=ensemble.copies)
    check_labels(dataset, matrix.y)

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
    return mirrored(run, workspace, notify)


def mirrored(run: Run, workspace: Workspace, notify: Notify) -> Run:
    """The run, after it was copied to MLflow; where that cannot be done it is no worse for it."""
    try:
        tracking.mirror(run, workspace)
    except TrackingError as error:
        notify(Warned(f"the run is complete, but was not written to MLflow: {error}"))
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
    run_id, kept = folder.name, folder / CHECKPOINTS
    rows = [row for row in dataset.train if row.path in extraction.vectors]
    matrix, ties, leak, leaking = tie_and_measure(
        rows,
        matrix,
        extraction,
        groups=ensemble.groups,
        folds=ensemble.folds,
        seed=ensemble.seed,
        sets=extract.features,
        notify=notify,
    )
    for repeat in range(ensemble.repeats):
        check_plan(ensemble.plan(matrix.y, matrix.groups, repeat), matrix.y)

    test = build_matrix(dataset.test, extraction, extract.features, copies=ensemble.tta)
    sets = {name: column_names((name,)) for name in extract.features}
    log, studies = folder / "events.jsonl", workspace.root / "tune.sqlite"

    def train(matrix: Matrix, settings: EnsembleSettings, name: str) -> EnsembleResult:
        where = kept / name
        return train_ensemble(matrix, settings, folder=where, sets=sets, unlabelled=test.X, checkpoints=where, notify=notify)

    result = train_ensemble(
        matrix,
        ensemble,
        folder=folder / "models",
        sets=sets,
        unlabelled=test.X,
        checkpoints=kept,
        events=log if log.exists() else None,
        studies=studies,
        notify=notify,
    )
    verdicts = judge_switches(matrix, ensemble, result, train, notify=notify)
    tested = self_test(matrix, ensemble, train, notify=notify) if ensemble.self_test else None

    scores = result.scores() | beside(leak, ties, tested, verdicts)
    scores["badges"] = badges_of(scores, leaking)
    save_oof(folder, result, matrix.filenames, [extraction.contents[row.path] for row in rows])
    save_matrix(matrix, folder / MATRIX)
    aside = list_set_aside(dataset, extraction.failures)
    record = describe_run(run_id, dataset, extraction, matrix, ties, leaking, result, aside) | {
        "settings": {"layout": dataset.layout, "extract": extract, "ensemble": ensemble},
        "scores": scores,
        "model_files": model_hashes(folder / "models"),
        "test": None,
        "submission": None,
    }
    if dataset.test_names is not None:
        scored = _predict_test(folder, test)
        rows_out, filled = submission_rows(dataset.test_names, scored, float(np.median(matrix.y)))
        record["submission"] = write_submission(rows_out, workspace.submissions / run_id, latest=workspace.submissions)
        of_rows = np.array([scored[name] for name in dataset.test_names if name in scored])
        record["test"] = describe_predictions(of_rows) | {"filled_with_training_median": filled}
    record["seconds"] = time.perf_counter() - started
    write_json(folder / RECORD, record)


def _check_plan(dataset: Dataset, extract: ExtractSettings, ensemble: EnsembleSettings) -> None:
    """Refuse before the long work what could not be trained on even if every clip were readable."""
    labels = np.array([row.label for row in dataset.train])
    check_labels(dataset, labels)
    for name in extract.features:
        of = parse_set(name)
        for rows in (dataset.train, dataset.test) if of.column else ():
            if not of.of_text:
                table_values(rows, name)
            elif rows and of.column not in rows[0].columns:
                raise ParameterError(
                    f"features={name!r}: there is no column {of.column!r}; there are: {', '.join(rows[0].columns)}"
                )
    if ensemble.pseudo_labels and not dataset.test:
        raise ParameterError("--pseudo-labels needs clips without labels: this data set has no test table with readable clips")
    if ensemble.groups == AUTO:  # known only when the clips have been heard
        return
    groups = group_labels(dataset.train, ensemble.groups) if ensemble.groups else None
    check_plan(ensemble.plan(labels, groups, 0), labels)


def _predict_test(folder: Path, matrix: Matrix) -> dict[str, float]:
    """Predictions of the test clips by name, and their table in the run's folder."""
    if not matrix.filenames:
        write_csv(folder / "test_predictions.csv", ("filename", "prediction", "low", "high"), [])
        return {}
    found = Ensemble.load(folder / "models").score(matrix.X, matrix.names, copies=matrix.copies)
    columns = (matrix.filenames, found.value.tolist(), found.low.tolist(), found.high.tolist())
    write_csv(folder / "test_predictions.csv", ("filename", "prediction", "low", "high"), list(zip(*columns, strict=True)))
    return dict(zip(matrix.filenames, found.value.tolist(), strict=True))


def _dataset(request: dict[str, Any]) -> Dataset:
    return read_dataset(request["dataset"], build(Layout, request["layout"]))
