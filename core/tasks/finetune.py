"""A data set in, a fine-tuned run out: what is heard and read of each clip, fold after fold, record and submission.

The folds are those of an ensemble with the same groups and seed, so that both score the same rows in the same way.
"""

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.data.dataset import Dataset, Row
from core.ensemble import EnsembleResult, check_plan
from core.ensemble.blend import Blend, label_range
from core.errors import DataError, ParameterError
from core.events import BegunAnew, DeviceChosen, FinetuneStarted, Notify, Warned, ignore
from core.extraction.config import FEATURE_SETS, ExtractSettings
from core.extraction.extract import Extraction
from core.extraction.matrix import Matrix, build_matrix, save_matrix
from core.grouping.leaks import LeakingColumn, label_leaks
from core.jobs import new_id
from core.multimodal.config import FinetuneSettings
from core.multimodal.data import make_examples
from core.multimodal.frames import Heard, hear_clips
from core.multimodal.texts import features_for, read_texts
from core.runs import FINETUNE, MATRIX, RECORD, Run, model_hashes, read_run
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
from core.runtime.device import choose, exclusive, free_memory, require_torch
from core.runtime.weights import Checkpoint
from core.scoring import intervals
from core.tasks.score import describe_predictions, submission_rows, write_submission
from core.workspace import Workspace, make_folder, write_csv, write_json

if TYPE_CHECKING:
    from core.multimodal.fitted import Encoders
    from core.multimodal.train import FoldFit

MEMBER = "fine-tuned"  # in the record, where an ensemble has the names of its members
SUBMISSION_NAME = "multimodal_llm_submission.csv"


def finetune_dataset(
    dataset: Dataset,
    settings: FinetuneSettings,
    extract: ExtractSettings,
    workspace: Workspace,
    *,
    folder: Path | None = None,
    notify: Notify = ignore,
) -> Run:
    """Train an audio and a text encoder together on every fold, score each row by the network that has not seen it.

    Parameters
    ----------
    dataset : Dataset
    settings : FinetuneSettings
    extract : ExtractSettings: how much of a clip is heard, and by how many processes; its feature sets are not looked at
    workspace : Workspace
    folder : of the run, whose name is its id; a run that an earlier attempt finished there is returned, folds and epochs that it
        finished are not done again. None makes a new one, and removes it when the run fails
    notify : told of the progress

    Raises
    ------
    DataError, ParameterError
        The data set cannot be trained on with these settings; nothing that was computed of clips is lost.
    JobError
        The loss is not a number any more, or memory does not hold a single clip.
    """
    started = time.perf_counter()
    if folder is not None and (folder / RECORD).is_file():
        return read_run(folder)
    extract = features_for(settings, extract)
    labels = np.array([row.label for row in dataset.train])
    check_labels(dataset, labels)
    _check_text(dataset, settings)
    device = choose(settings.device)
    require_torch("fine-tuning")
    from core.multimodal.fitted import find_encoders

    encoders = find_encoders(settings)
    if dataset.test_names is not None:
        make_folder(workspace.submissions)  # rather refused now than after the work
    extraction = extract_all(dataset, extract, workspace, notify)
    with exclusive(device, notify):
        heard = _hear(dataset, settings, extract, encoders.audio, workspace, extraction, notify)
        ours = folder is None
        folder = make_folder(folder or workspace.jobs / new_id())
        try:
            _train(dataset, extraction, heard, encoders, settings, extract, workspace, folder, started=started, notify=notify)
        except BaseException:
            if ours:
                shutil.rmtree(folder, ignore_errors=True)  # a folder without run.json would only puzzle
            raise
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return read_run(folder)


def _check_text(dataset: Dataset, settings: FinetuneSettings) -> None:
    """Refuse a column that is not there, or holds nothing."""
    if settings.column is None:
        return
    for split, rows in (("training", dataset.train), ("test", dataset.test)):
        if rows and settings.column not in rows[0].columns:
            there = ", ".join(rows[0].columns) or "none besides file name and label"
            raise ParameterError(f"text: the {split} table has no column {settings.column!r}; there are: {there}")
    if not any(row.columns[settings.column].strip() for row in dataset.train):
        raise DataError(f"text: column {settings.column!r} is empty in every row; name another, or describe")


def _label_in_text(rows: Sequence[Row], matrix: Matrix, settings: FinetuneSettings) -> LeakingColumn | None:
    """The column of the text, where its words tell the label as a code or a number does."""
    if settings.column is None:
        return None
    cells = [row.columns[settings.column].strip() for row in rows]
    numbers = np.array([_number(cell) for cell in cells])
    if np.isfinite(numbers).all():
        found = label_leaks({settings.column: numbers}, matrix.y, {})
        return found[0] if found else None
    of_cell: dict[str, set[float]] = {}
    for cell, label in zip(cells, matrix.y.tolist(), strict=True):
        of_cell.setdefault(cell, set()).add(label)
    if len(of_cell) <= len(rows) / 2 and all(len(labels) == 1 for labels in of_cell.values()):
        reason = f"tells the label: each of its {len(of_cell)} texts stands beside one label alone"
        return LeakingColumn(settings.column, reason)
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _hear(
    dataset: Dataset,
    settings: FinetuneSettings,
    extract: ExtractSettings,
    checkpoint: Checkpoint | None,
    workspace: Workspace,
    extraction: Extraction,
    notify: Notify,
) -> Heard:
    """What is heard of every clip whose features could be computed."""
    paths = [row.path for row in (*dataset.train, *dataset.test) if row.path in extraction.vectors]
    if checkpoint is None:
        return Heard({}, {}, 0)
    return hear_clips(
        paths,
        checkpoint,
        workspace,
        device=choose(settings.device),
        layer=settings.layer,
        encode=settings.audio == "frozen",
        max_seconds=extract.max_seconds,
        workers=extract.workers,
        batch=extract.batch,
        notify=notify,
    )


def _train(
    dataset: Dataset,
    extraction: Extraction,
    heard: Heard,
    encoders: "Encoders",
    settings: FinetuneSettings,
    extract: ExtractSettings,
    workspace: Workspace,
    folder: Path,
    *,
    started: float,
    notify: Notify,
) -> None:
    from core.multimodal.data import Collator
    from core.multimodal.fitted import build_network, count_parameters, save_network, write_layout
    from core.multimodal.train import begin, finish_fold, fit_fold

    extraction = _without(extraction, heard.failures)
    rows, test_rows = (
        [row for row in some if row.path in extraction.vectors and row.path not in heard.failures]
        for some in (dataset.train, dataset.test)
    )
    matrix = build_matrix(rows, extraction, FEATURE_SETS)
    check_labels(dataset, matrix.y)
    matrix, ties, leak, leaking = tie_and_measure(
        rows,
        matrix,
        extraction,
        groups=settings.groups,
        folds=settings.folds,
        seed=settings.seed,
        sets=FEATURE_SETS,
        notify=notify,
    )
    if (told := _label_in_text(rows, matrix, settings)) is not None:
        leaking = [*leaking, told]
        notify(Warned(f"{told.name}: {told.reason}"))
    plan = settings.plan(matrix.y, matrix.groups)
    check_plan(plan, matrix.y)
    examples, test = (
        make_examples(
            read_texts(some, settings, extract, extraction, workspace),
            [row.label for row in some],
            [heard.files.get(row.path) for row in some],
            encoders.text,
            encoders.tokenizer,
        )
        for some in (rows, test_rows)
    )
    kept = folder / "checkpoints"
    if begin(kept, examples, test, settings, groups=matrix.groups, revisions=encoders.revisions):
        notify(BegunAnew())
        notify(Warned("clips, labels, texts or weights are not those that this fine-tuning was stopped with; it begins anew"))
    trained, parameters = count_parameters(settings, encoders)
    device = choose(settings.device)
    notify(DeviceChosen(device.kind, device.name))
    notify(FinetuneStarted(settings.folds, settings.epochs, trained, parameters))
    collator = Collator(waveforms=settings.audio == "lora", pad_token=encoders.pad_token)
    models, fits = folder / "models", []
    for number, fold in enumerate(plan):
        fit, network = fit_fold(
            examples,
            test,
            fold,
            number,
            settings,
            build=lambda labels: build_network(settings, labels, encoders),
            collator=collator,
            device=device,
            folder=kept / f"fold{number}",
            groups=matrix.groups,
            notify=notify,
        )
        if network is not None:
            save_network(network, models / f"fold{number}")
            finish_fold(fit, kept / f"fold{number}")
            del network
            free_memory()
        fits.append(fit)
    result = _result(plan, fits, matrix.y, matrix.groups, settings)
    errors = [np.abs(matrix.y - result.oof_ensemble[0])[fold.test_rows] for fold in plan]
    write_layout(models, settings, encoders, fits, errors)

    scores = result.scores() | beside(leak, ties, None, {})
    scores["badges"] = badges_of(scores, leaking)
    scores |= {"trained_share": trained / parameters, "trained_parameters": trained, "parameters": parameters}
    save_oof(folder, result, matrix.filenames, [extraction.contents[row.path] for row in rows])
    save_matrix(matrix, folder / MATRIX)
    aside = list_set_aside(dataset, extraction.failures)
    record = describe_run(folder.name, dataset, extraction, matrix, ties, leaking, result, aside) | {
        "kind": FINETUNE,
        "settings": {
            "layout": dataset.layout,
            "extract": extract,
            "ensemble": {"members": [MEMBER], "repeats": 1}
            | {name: getattr(settings, name) for name in ("folds", "groups", "stratified", "seed", "level")},
            "finetune": settings,
        },
        "scores": scores,
        "model_files": model_hashes(models),
        "epochs": [fit.epoch for fit in fits],
        "test": None,
        "submission": None,
    }
    if dataset.test_names is not None:
        scored = _write_test(folder, test_rows, fits, errors, settings)
        rows_out, filled = submission_rows(dataset.test_names, scored, float(np.median(matrix.y)))
        home = workspace.submissions
        record["submission"] = write_submission(rows_out, home / folder.name, latest=home, name=SUBMISSION_NAME)
        of_rows = np.array([scored[name] for name in dataset.test_names if name in scored])
        record["test"] = describe_predictions(of_rows) | {"filled_with_training_median": filled}
    record["seconds"] = time.perf_counter() - started
    write_json(folder / RECORD, record)


def _result(
    plan: Sequence[Any], fits: Sequence["FoldFit"], labels: np.ndarray, groups: tuple[str, ...] | None, settings: FinetuneSettings
) -> EnsembleResult:
    """Out-of-fold predictions as those of an ensemble with one member."""
    oof, constant = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
    for fold, fit in zip(plan, fits, strict=True):
        oof[fold.test_rows] = fit.predictions
        constant[fold.test_rows] = labels[fold.train_rows].mean()
    least, most = label_range(labels)
    low, high = intervals.oof_intervals(oof, labels, groups=groups, level=settings.level)
    predictions = oof[None]
    return EnsembleResult(
        plans=(tuple(plan),),
        oof={MEMBER: predictions},
        oof_ensemble=predictions,
        oof_plain=predictions,
        oof_constant=constant[None],
        labels=labels,
        groups=groups,
        low=np.clip(low, least, most)[None],
        high=np.clip(high, least, most)[None],
        level=settings.level,
        blends=(tuple(Blend(np.ones(1), "mean") for _ in plan),),
        sets={MEMBER: [() for _ in plan]},
        found={MEMBER: [{} for _ in plan]},
        seconds=sum(fit.seconds for fit in fits),
    )


def _write_test(
    folder: Path, rows: Sequence[Row], fits: Sequence["FoldFit"], errors: Sequence[np.ndarray], settings: FinetuneSettings
) -> dict[str, float]:
    """Predictions of the test clips by name, the mean over folds, and their table in the run's folder."""
    header = ("filename", "prediction", "low", "high")
    if not rows:
        write_csv(folder / "test_predictions.csv", header, [])
        return {}
    found = np.array([fit.test for fit in fits])
    model_of = np.concatenate([np.full(len(of), number) for number, of in enumerate(errors)])
    low, high = intervals.cv_plus(found, np.concatenate(errors), model_of, level=settings.level)
    least, most = min(fit.labels.low for fit in fits), max(fit.labels.high for fit in fits)
    value = found.mean(axis=0).tolist()
    columns = ([row.name for row in rows], value, np.clip(low, least, most).tolist(), np.clip(high, least, most).tolist())
    write_csv(folder / "test_predictions.csv", header, list(zip(*columns, strict=True)))
    return dict(zip(columns[0], value, strict=True))


def _without(extraction: Extraction, failures: Mapping[Path, str]) -> Extraction:
    """What was extracted, without clips that could not be heard."""
    vectors = {path: of for path, of in extraction.vectors.items() if path not in failures}
    return replace(extraction, vectors=vectors, failures=extraction.failures | dict(failures))
