"""A data set in, a fine-tuned run out: what is heard and read of each clip, fold after fold, record and submission.

The folds are those of an ensemble with the same groups and seed, so that both score the same rows in the same way.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.data.dataset import Dataset, further_columns
from core.data.rows import Row
from core.errors import DataError, ParameterError
from core.events import BegunAnew, DeviceChosen, FinetuneStarted, Notify, Warned, ignore
from core.extraction.config import FEATURE_SETS, ExtractSettings
from core.extraction.extract import Extraction, extract_clips
from core.extraction.machine import Production
from core.extraction.matrix import build_matrix
from core.grouping.leaks import LeakingColumn, label_leaks
from core.multimodal.config import FinetuneSettings
from core.multimodal.data import make_examples
from core.multimodal.frames import FrameStore, encode_clips
from core.multimodal.texts import features_for, read_texts
from core.runs import Run
from core.runs.context import RunContext
from core.runs.kinds import RunKind
from core.runs.record import Outcome, complete_scores, write_run
from core.runs.submission import TestPredictions, no_predictions
from core.runtime.device import choose, exclusive, free_memory, require_torch
from core.runtime.weights import Checkpoint
from core.scoring import intervals
from core.scoring.oof import measure
from core.settings import build
from core.tasks.kinds import DatasetRequest, JobKind, TrainingResult
from core.tasks.prepare import Prepared, check_early, extract_all, prepare
from core.tasks.score import Prediction, ScoringOptions, describe_rows, extract_settings
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.multimodal.data import Example
    from core.multimodal.fitted import Encoders
    from core.multimodal.train import FoldFit

MEMBER = "fine-tuned"  # in the record, where an ensemble has the names of its members


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
    context = RunContext.begin(workspace, folder, notify)
    if (finished := context.finished()) is not None:
        return finished
    extract = features_for(settings, extract)
    check_early(dataset, (), settings, workspace)
    _check_text(dataset, settings)
    device = choose(settings.device)
    require_torch("fine-tuning")
    from core.multimodal.fitted import find_encoders

    encoders = find_encoders(settings)
    extraction = extract_all(dataset, extract, workspace, notify)
    with exclusive(device, notify):
        heard = _hear(dataset, settings, extract, encoders.audio, workspace, extraction, notify)
        with context:
            prepared = prepare(dataset, _without(extraction, heard.failures), settings, sets=FEATURE_SETS, notify=notify)
            if (column := _label_in_text(prepared, settings)) is not None:
                prepared = replace(prepared, leaking=[*prepared.leaking, column])
                notify(Warned(f"{column.name}: {column.reason}"))
            training = _Training(context, prepared, settings, extract, encoders, heard)
            fits = training.fit_folds()
            return write_run(context, prepared.training_data(), training.outcome(fits))


def _check_text(dataset: Dataset, settings: FinetuneSettings) -> None:
    """Refuse a column that is not there, or holds nothing."""
    if settings.column is None:
        return
    for split, rows in (("training", dataset.train), ("test", dataset.test)):
        if rows and settings.column not in rows[0].columns:
            further = further_columns(rows[0].columns)
            raise ParameterError(f"text: the {split} table has no column {settings.column!r}; there are: {further}")
    if not any(row.columns[settings.column].strip() for row in dataset.train):
        raise DataError(f"text: column {settings.column!r} is empty in every row; name another, or describe")


def _label_in_text(prepared: Prepared, settings: FinetuneSettings) -> LeakingColumn | None:
    """The column of the text, where its words give the label away as a code or a number does."""
    if settings.column is None:
        return None
    rows, matrix = prepared.rows, prepared.matrix
    cells = [row.columns[settings.column].strip() for row in rows]
    numbers = np.array([_number(cell) for cell in cells])
    if np.isfinite(numbers).all():
        return next(iter(label_leaks({settings.column: numbers}, matrix.y, {})), None)
    labels_by_cell: dict[str, set[float]] = {}
    for cell, label in zip(cells, matrix.y.tolist(), strict=True):
        labels_by_cell.setdefault(cell, set()).add(label)
    if len(labels_by_cell) <= len(rows) / 2 and all(len(labels) == 1 for labels in labels_by_cell.values()):
        reason = f"tells the label: each of its {len(labels_by_cell)} texts stands beside one label alone"
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
) -> FrameStore:
    """What is heard of every clip whose features could be computed."""
    paths = [row.path for row in (*dataset.train, *dataset.test) if row.path in extraction.vectors]
    if checkpoint is None:
        return FrameStore({}, {}, 0)
    return encode_clips(
        paths,
        checkpoint,
        workspace,
        Production(choose(settings.device), extract.max_seconds, extract.workers, extract.batch, treatment=extract.treatment),
        layer=settings.layer,
        encode=settings.audio_encoder == "frozen",
        notify=notify,
    )


@dataclass(frozen=True)
class _Training:
    """The fits of a run, fold after fold, and what its record says of them."""

    context: RunContext
    prepared: Prepared
    settings: FinetuneSettings
    extract: ExtractSettings
    encoders: "Encoders"
    heard: FrameStore

    @cached_property
    def parameters(self) -> tuple[int, int]:
        """Numbers that are trained, and all of them."""
        from core.multimodal.fitted import count_parameters

        return count_parameters(self.settings, self.encoders)

    def fit_folds(self) -> list["FoldFit"]:
        """Train a network a fold and save it, or take what an earlier attempt left of it."""
        from core.multimodal.data import Collator
        from core.multimodal.fitted import build_network, save_network
        from core.multimodal.train import Training, finish_fold, fit_fold

        context, settings, encoders = self.context, self.settings, self.encoders
        examples, test = self._examples(self.prepared.rows), self._examples(self.prepared.test_rows)
        self._begin(examples, test)
        training = Training(
            examples,
            test,
            settings,
            build=lambda labels: build_network(settings, labels, encoders),
            collator=Collator(waveforms=settings.audio_encoder == "lora", pad_token=encoders.pad_token),
            device=choose(settings.device),
            groups=self.prepared.matrix.groups,
        )
        fits = []
        for number, fold in enumerate(self.prepared.plans[0]):
            kept = context.checkpoints / f"fold{number}"
            fit, network = fit_fold(training, fold, number, folder=kept, notify=context.notify)
            if network is not None:
                save_network(network, context.models / f"fold{number}")
                finish_fold(fit, kept)
                del network
                free_memory()
            fits.append(fit)
        return fits

    def outcome(self, fits: Sequence["FoldFit"]) -> Outcome:
        """What the record is made of; writes the layout of the models."""
        from core.multimodal.fitted import write_layout

        settings, prepared = self.settings, self.prepared
        [plan], matrix = prepared.plans, prepared.matrix
        predictions = np.full((1, len(matrix.y)), np.nan)
        for fold, fit in zip(plan, fits, strict=True):
            predictions[0, fold.test_rows] = fit.predictions
        oof = measure([plan], predictions, matrix.y, groups=matrix.groups, level=settings.level)
        errors = [np.abs(matrix.y - predictions[0])[fold.test_rows] for fold in plan]
        write_layout(self.context.models, settings, self.encoders, fits, errors)
        trained, parameters = self.parameters
        combined = {"models": {MEMBER: oof.member_scores(predictions)}, "blend": {MEMBER: 1.0}, "blend_rules": {"mean": len(plan)}}
        sizes = {"trained_share": trained / parameters, "trained_parameters": trained, "parameters": parameters}
        folds = {name: getattr(settings, name) for name in ("folds", "group_by", "stratified", "seed", "level")}
        return Outcome(
            RUN.name,
            RUN.submission_name,
            oof,
            {MEMBER: predictions},
            complete_scores(
                oof.scores() | combined | sizes,
                leak=prepared.leak_record(),
                ceiling=prepared.ceiling_record(),
                cheated=bool(prepared.leaking),
            ),
            {
                "layout": prepared.dataset.layout,
                "extract": self.extract,
                "ensemble": {"members": [MEMBER], "repeats": 1} | folds,  # where every kind of run has its folds
                "finetune": settings,
            },
            None if prepared.dataset.submission is None else self._predict_test(fits, errors),
            {"epochs": [fit.epoch for fit in fits]},
        )

    def _examples(self, rows: Sequence[Row]) -> list["Example"]:
        return make_examples(
            read_texts(rows, self.settings, self.extract, self.prepared.extraction, self.context.workspace),
            [row.label for row in rows],
            [self.heard.files.get(row.path) for row in rows],
            self.encoders.text,
            self.encoders.tokenizer,
        )

    def _begin(self, examples: Sequence["Example"], test: Sequence["Example"]) -> None:
        """Drop what an earlier attempt left of other clips, and report what is going to be trained."""
        from core.multimodal.train import begin

        notify, groups = self.context.notify, self.prepared.matrix.groups
        if begin(self.context.checkpoints, examples, test, self.settings, groups=groups, revisions=self.encoders.revisions):
            notify(BegunAnew())
            notify(Warned("clips, labels, texts or weights differ from those of the interrupted fine-tuning; it starts over"))
        device = choose(self.settings.device)
        notify(DeviceChosen(device.kind, device.name))
        notify(FinetuneStarted(self.settings.folds, self.settings.epochs, *self.parameters))

    def _predict_test(self, fits: Sequence["FoldFit"], errors: Sequence[np.ndarray]) -> TestPredictions:
        """The mean over folds for each test clip, with its interval."""
        rows = self.prepared.test_rows
        if not rows:
            return no_predictions()
        by_fold = np.array([fit.test for fit in fits])  # (folds, q)
        model_of = np.concatenate([np.full(len(fold), number) for number, fold in enumerate(errors)])
        low, high = intervals.cv_plus(by_fold, np.concatenate(errors), model_of, level=self.settings.level)
        least, most = min(fit.labels.low for fit in fits), max(fit.labels.high for fit in fits)
        names = tuple(row.name for row in rows)
        return TestPredictions(names, by_fold.mean(axis=0), np.clip(low, least, most), np.clip(high, least, most))


def predict(run: Run, rows: Sequence[Row], options: ScoringOptions) -> list[Prediction]:
    """Score clips with the networks of a run."""
    if options.tta:
        raise ParameterError(f"tta={options.tta}: a fine-tuned run takes each clip as it is; leave it out")
    run.check_models()
    column = build(FinetuneSettings, run.record.settings.finetune or {}).column
    for row in rows:
        if column is not None and column not in row.columns and (row.columns or not options.allow_missing_table):
            further = further_columns(row.columns)
            raise ParameterError(f"run {run.id} reads the column {column!r}, which the table does not have; there are: {further}")
    settings, workspace = extract_settings(run), options.workspace
    extraction = extract_clips([row.path for row in rows], settings, cache_path=workspace.cache, notify=options.notify)
    require_torch(f"run {run.id}, which trained encoders,")
    from core.multimodal.fitted import score_rows

    audible = [row for row in rows if row.path in extraction.vectors]
    scored = score_rows(run.models, audible, extraction, settings, workspace, notify=options.notify)
    extraction = _without(extraction, scored.failures)
    matrix = build_matrix(rows, extraction, FEATURE_SETS, allow_missing_table=options.allow_missing_table)
    ends = scored.value, scored.low, scored.high
    return describe_rows(run, rows, ends, extraction, matrix, [] if column is None else [column], options.notify)


def _without(extraction: Extraction, failures: Mapping[Path, str]) -> Extraction:
    """What was extracted, without clips that the encoder could not read."""
    vectors = {path: vectors for path, vectors in extraction.vectors.items() if path not in failures}
    return replace(extraction, vectors=vectors, failures=extraction.failures | dict(failures))


class FinetuneRequest(DatasetRequest):
    """A data set, how much of a clip is analysed, and how the encoders are trained."""

    extract: ExtractSettings
    finetune: FinetuneSettings


def run(request: FinetuneRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Fine-tune on the data set that a job names."""
    dataset = request.read_dataset(workspace)
    stamp = dataset.stamp()
    trained = finetune_dataset(dataset, request.finetune, request.extract, workspace, folder=folder, notify=notify)
    return {"run_id": trained.id, "stamp": stamp}


RUN = RunKind(
    "finetune",
    command="finetune",
    noun="a fine-tuned run",
    label="fine-tuned",
    page="finetune",
    member_noun="",
    whole_noun="fine-tuned",
    submission_name="multimodal_llm_submission.csv",
    predict=predict,
    models_note="Adapters and heads of all folds with the record of the run, as one zip; the encoders stay where they are.",
    why_not_explained="it trained encoders, which read sound and text, not features",
    why_no_curve="each of its points would take as long as the fine-tuning; measure it for an ensemble on the same clips",
)
JOB = JobKind(
    "finetune",
    FinetuneRequest,
    TrainingResult,
    run,
    verb="Fine-tuning",
    noun="Fine-tuning",
    page="finetune",
    trains=True,
    after_clips="reading encoders, texts and groups",
)
