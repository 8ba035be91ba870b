"""The whole jobs, end to end: a data set in, a report, exported matrices or a finished run out.

``work`` does what a job asks for; the command line and the worker process give it to ``jobs.perform``.
"""

import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core import batches, tracking
from core.checkpoints import encoder_shape, find
from core.compare import Verdict
from core.dataset import Dataset, Layout, Problem, Row, describe_labels, read_batch, read_dataset, why_not_trainable
from core.ensemble import IN_SAMPLE, NESTED, EnsembleResult, EnsembleSettings, check_plan, train_ensemble, with_sets_of
from core.errors import DataError, ParameterError, RunError, TrackingError
from core.estimate import probe_speed
from core.events import Notify, Warned, ignore
from core.explain import explain_run
from core.extract import Extraction, ExtractSettings, column_names, definitions_of, extract_clips
from core.features import parse_set
from core.features.sets import ENCODER
from core.jobs import Job, new_id
from core.layers import propose_band, score_layers
from core.leaks import LeakGap, LeakingColumn
from core.matrix import Matrix, build_matrix, export_matrices, fingerprint, group_labels, save_matrix, table_values
from core.predict import describe_predictions, judge, predict_clips, predict_rows, submission_rows, write_submission
from core.report import check_dataset
from core.runs import MATRIX, OOF, RECORD, Run, find_run, library_versions, model_hashes, read_run
from core.settings import build
from core.ties import AUTO, Ties, find_label_leaks, measure_leak, tie_rows
from core.trained import Ensemble
from core.trials import SelfTest, judge_switches, self_test
from core.workspace import Workspace, make_folder, to_json, write_csv, write_json, write_whole

CHECKPOINTS = "checkpoints"


def work(job: Job, notify: Notify) -> dict[str, Any]:
    """Do what a job asks for.

    Parameters
    ----------
    job : Job of one of the seven kinds, in the folder ``jobs`` of a workspace. Its request names a ``dataset`` with its ``layout``,
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
    raise ParameterError(f"job {job.id}: kind {job.kind!r} is not among check, probe, extract, layers, train, predict, explain")


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
    _check_labels(dataset, np.array([row.label for row in dataset.train]))
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
    extraction = _extract(dataset, settings, workspace, notify)
    set_aside = _set_aside(dataset, extraction)
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
        return _mirrored(read_run(folder), workspace, notify)
    extract = with_sets_of(extract, ensemble)
    _check_plan(dataset, extract, ensemble)
    copies = {row.path: ensemble.tta for row in dataset.test} | {row.path: ensemble.copies for row in dataset.train}
    extraction = _extract(dataset, extract, workspace, notify, copies={path: number for path, number in copies.items() if number})
    matrix = build_matrix(dataset.train, extraction, extract.features, copies=ensemble.copies)
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
    return _mirrored(run, workspace, notify)


def _mirrored(run: Run, workspace: Workspace, notify: Notify) -> Run:
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
    ties = tie_rows(rows, matrix, extraction, ensemble.groups)
    matrix = replace(matrix, groups=ties.groups)
    if ties.groups is not None and not ties.chosen and len(set(ties.groups)) < ensemble.folds:
        raise DataError(
            f"{len(set(ties.groups))} different recordings among {len(rows)} clips are too few for {ensemble.folds} folds: clips "
            "with the same audio stay in one fold; use fewer folds or add recordings"
        )
    for repeat in range(ensemble.repeats):
        check_plan(ensemble.plan(matrix.y, matrix.groups, repeat), matrix.y)
    leak = measure_leak(rows, matrix, ties, folds=ensemble.folds, seed=ensemble.seed, notify=notify)
    leaking = find_label_leaks(rows, matrix, extract.features)
    for one in leaking:
        notify(Warned(f"{one.name}: {one.reason}"))

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

    scores = result.scores() | _beside(leak, ties, tested, verdicts)
    scores["badges"] = badges_of(scores, leaking)
    _write_oof(folder, rows, matrix, extraction, result)
    save_matrix(matrix, folder / MATRIX)
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
        "groups": {"from": ties.chosen or None, "count": len(set(ties.groups)) if ties.groups else None},
        "proposed_groups": [{"kind": one.kind, "tied": one.tied, "reason": one.reason} for one in ties.proposals],
        "label_leaks": [{"column": one.name, "reason": one.reason} for one in leaking],
        "fold_plan": dict(zip(matrix.filenames, (_fold_of(result)[0] + 1).tolist(), strict=True)),
        "scores": scores,
        "model_files": model_hashes(folder / "models"),
        "set_aside": [{"file": problem.file, "reason": problem.reason} for problem in _set_aside(dataset, extraction)],
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


def badges_of(scores: dict[str, Any], leaking: Sequence[LeakingColumn]) -> dict[str, str]:
    """How each figure was come by: ``nested``, ``out-of-fold`` or ``in-sample``.

    The gap is in-sample, because one of its two sides has rows of a group in both parts, on purpose. Where a column of the table
    holds the label, or the self-test fails, every figure is: what was fitted has seen what it is asked for.
    """
    badges: dict[str, str] = dict(scores["badges"])
    beside = {"leak_gap": IN_SAMPLE, "self_test": NESTED, "verdicts": NESTED}
    badges |= {name: badge for name, badge in beside.items() if scores[name] not in (None, {})}
    tested = scores["self_test"]
    cheated = bool(leaking) or (tested is not None and not tested["passed"])
    return dict.fromkeys(badges, IN_SAMPLE) if cheated else badges


def _beside(
    leak: tuple[str, LeakGap] | None, ties: Ties, tested: SelfTest | None, verdicts: dict[str, Verdict]
) -> dict[str, object]:
    """What stands beside the scores of the ensemble: the leak gap, the self-test, the verdicts."""
    figures: dict[str, object] = {"leak_gap": None, "leak": None, "self_test": None}
    if leak is not None:
        groups, gap = leak
        figures["leak_gap"] = gap.gap
        figures["leak"] = {
            "groups": groups,
            "chosen": bool(ties.chosen),
            "random_rmse": gap.random_rmse,
            "grouped_rmse": gap.grouped_rmse,
            "gap": gap.gap,
        }
    if tested is not None:
        figures["self_test"] = {"ratio": tested.ratio, "ratios": list(tested.ratios), "passed": tested.passed}
    figures["verdicts"] = {name: to_json(verdict) | {"sentence": verdict.sentence()} for name, verdict in verdicts.items()}
    return figures


def _write_oof(folder: Path, rows: Sequence[Row], matrix: Matrix, extraction: Extraction, result: EnsembleResult) -> None:
    """One row a clip for people, the means over repeats; and all repeats for ``earmark compare``."""
    fold_of = _fold_of(result)
    columns: dict[str, list[object]] = {
        "filename": list(matrix.filenames),
        "label": matrix.y.tolist(),
        "fold": (fold_of[0] + 1).tolist(),
        "oof_prediction": result.oof_ensemble.mean(axis=0).tolist(),
        "low": result.low.mean(axis=0).tolist(),
        "high": result.high.mean(axis=0).tolist(),
    }
    if matrix.groups is not None:
        columns["group"] = list(matrix.groups)
    columns |= {name: predictions.mean(axis=0).tolist() for name, predictions in result.oof.items()}
    write_csv(folder / "oof.csv", tuple(columns), list(zip(*columns.values(), strict=True)))
    arrays = {
        "filenames": np.array(matrix.filenames, str),
        "contents": np.array([extraction.contents[row.path] for row in rows], str),
        "labels": matrix.y,
        "groups": np.array(matrix.groups or [""] * len(matrix.y), str),
        "folds": fold_of,
        "predictions": result.oof_ensemble,
    }
    write_whole(folder / OOF, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def _fold_of(result: EnsembleResult) -> np.ndarray:
    """Number of the fold that scored each row, in each repeat [shape=(repeats, n)]."""
    fold_of = np.empty(result.oof_ensemble.shape, int)
    for repeat, plan in enumerate(result.plans):
        for number, fold in enumerate(plan):
            fold_of[repeat, fold.test_rows] = number
    return fold_of


def _check_plan(dataset: Dataset, extract: ExtractSettings, ensemble: EnsembleSettings) -> None:
    """Refuse before the long work what could not be trained on even if every clip were readable."""
    labels = np.array([row.label for row in dataset.train])
    _check_labels(dataset, labels)
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


def _check_labels(dataset: Dataset, labels: np.ndarray) -> None:
    if problem := why_not_trainable(labels):
        raise DataError(f"{dataset.source}: {problem}; see: {shlex.join(['earmark', 'check', str(dataset.source)])}")


def _extract(
    dataset: Dataset,
    settings: ExtractSettings,
    workspace: Workspace,
    notify: Notify,
    *,
    copies: Mapping[Path, int] | None = None,
) -> Extraction:
    paths = [row.path for row in (*dataset.train, *dataset.test)]
    return extract_clips(paths, settings, cache_path=workspace.cache, copies=copies or 0, notify=notify)


def _set_aside(dataset: Dataset, extraction: Extraction) -> list[Problem]:
    rows = {row.path: row for row in (*dataset.test, *dataset.train)}
    in_train = {row.path for row in dataset.train}
    unreadable = [
        Problem(rows[path].name, "error", reason, "train" if path in in_train else "test")
        for path, reason in extraction.failures.items()
    ]
    return [*dataset.set_aside, *unreadable]


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
