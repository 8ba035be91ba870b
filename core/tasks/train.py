"""A data set in, a cross-validated ensemble on its features out: models, out-of-fold predictions, submission, record."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import Dataset
from core.data.rows import Row
from core.ensemble import EnsembleResult, EnsembleSettings, train_ensemble, with_sets_of
from core.ensemble.checks import judge_switches, self_test
from core.ensemble.fitted import Ensemble
from core.ensemble.label_transform import check_labels
from core.ensemble.train import WorkFiles
from core.errors import ParameterError
from core.events import Notify, StageStarted, ignore
from core.extraction.config import ExtractSettings
from core.extraction.extract import Extraction, column_names, extract_clips
from core.extraction.levels import bind_levels, plain_set
from core.extraction.matrix import Matrix, build_matrix, columns_of_run
from core.extraction.texts import texts_of
from core.features import parse_set
from core.runs import Run
from core.runs.context import RunContext
from core.runs.kinds import ENSEMBLE, RunKind
from core.runs.record import Outcome, complete_scores, write_run
from core.runs.submission import TestPredictions, no_predictions
from core.tasks.kinds import DatasetRequest, JobKind, TrainingResult
from core.tasks.prepare import Prepared, check_early, extract_all, prepare
from core.tasks.score import Prediction, ScoringOptions, describe_rows, extract_settings
from core.workspace import Workspace


def train_dataset(
    dataset: Dataset,
    extract: ExtractSettings,
    ensemble: EnsembleSettings,
    workspace: Workspace,
    *,
    folder: Path | None = None,
    search: Mapping[str, object] | None = None,
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
    search : dict, what the search that chose these settings adds to the record; its figures are then out-of-fold, not nested
    notify : told of the progress

    Raises
    ------
    DataError, ParameterError
        The data set cannot be trained on with these settings; nothing that was extracted is lost.
    """
    context = RunContext.begin(workspace, folder, notify)
    if (finished := context.finished()) is not None:
        return finished
    extract = with_sets_of(extract, ensemble)
    extract = extract.replace(features=bind_levels(extract.features, dataset.train))
    check_early(dataset, extract.features, ensemble, workspace)
    _check_switches(dataset, ensemble)
    copies = {row.path: ensemble.tta for row in dataset.test} | {row.path: ensemble.copies for row in dataset.train}
    copies = {path: number for path, number in copies.items() if number}
    extraction = extract_all(dataset, extract, workspace, notify, copies=copies)
    with context:
        prepared = prepare(
            dataset,
            extraction,
            ensemble,
            sets=extract.features,
            copies=ensemble.copies,
            test_copies=ensemble.tta,
            notify=notify,
        )
        result, scores = _Training(context, prepared, extract, ensemble, searched=search is not None).run()
        outcome = Outcome(
            RUN.name,
            RUN.submission_name,
            result.oof,
            result.members,
            scores,
            {"layout": dataset.layout, "extract": extract, "ensemble": ensemble},
            None if dataset.submission is None else _predict_test(context.models, prepared.test),
            search or {},
        )
        return write_run(context, prepared.training_data(), outcome)


def _check_switches(dataset: Dataset, ensemble: EnsembleSettings) -> None:
    """Refuse switches for which the data set has nothing."""
    if ensemble.pseudo_labels and not dataset.test:
        raise ParameterError("--pseudo-labels needs clips without labels: this data set has no test table with readable clips")
    check_labels(ensemble.label_transform, np.array([row.label for row in dataset.train], float))
    if ensemble.rater_bias and not dataset.has_raters:
        raise ParameterError("--rater-bias needs several ratings a clip and a column that names the raters (--rater)")


@dataclass(frozen=True, slots=True)
class _Training:
    """The fits of a run, and those beside them that tell whether to believe it."""

    context: RunContext
    prepared: Prepared
    extract: ExtractSettings
    ensemble: EnsembleSettings
    searched: bool = False

    def run(self) -> tuple[EnsembleResult, dict[str, Any]]:
        """The result, and every figure with its badge."""
        matrix, context = self.prepared.matrix, self.context
        events = context.folder / "events.jsonl"
        files = WorkFiles(context.checkpoints, events if events.exists() else None, context.workspace.root / "tune.sqlite")
        result = self._fit(matrix, self.ensemble, context.models, files)
        verdicts = judge_switches(matrix, self.ensemble, result, self._fit_beside, notify=context.notify)
        tested = self_test(matrix, self.ensemble, self._fit_beside, notify=context.notify) if self.ensemble.self_test else None
        scores = complete_scores(
            result.scores(),
            leak=self.prepared.leak_record(),
            ceiling=self.prepared.ceiling_record(),
            tested=tested,
            verdicts=verdicts,
            cheated=bool(self.prepared.leaking),
            searched=self.searched,
        )
        return result, scores

    def _fit(self, matrix: Matrix, settings: EnsembleSettings, folder: Path, files: WorkFiles) -> EnsembleResult:
        return train_ensemble(
            matrix,
            settings,
            folder=folder,
            plans=self.prepared.plans[: settings.repeats] if matrix is self.prepared.matrix else None,  # not of permuted labels
            sets={plain_set(name): column_names((name,)) for name in self.extract.features},
            unlabelled=self.prepared.test.X,
            files=files,
            notify=self.context.notify,
        )

    def _fit_beside(self, matrix: Matrix, settings: EnsembleSettings, name: str) -> EnsembleResult:
        folder = self.context.checkpoints / name
        return self._fit(matrix, settings, folder, WorkFiles(checkpoints=folder))


def _predict_test(models: Path, matrix: Matrix) -> TestPredictions:
    if not matrix.filenames:
        return no_predictions()
    scored = Ensemble.load(models).score(matrix.X, matrix.names, copies=matrix.copies)
    return TestPredictions(matrix.filenames, scored.value, scored.low, scored.high)


def predict(run: Run, rows: Sequence[Row], options: ScoringOptions) -> list[Prediction]:
    """Score clips with the ensemble of a run. Models are read while clips are analysed."""
    with ThreadPoolExecutor(1) as beside:
        loading = beside.submit(run.load_ensemble)
        extraction, matrix = _scoring_matrix(run, rows, options)
        if not loading.done():
            options.notify(StageStarted("reading the models"))
        ensemble = loading.result()
        matrix = columns_of_run(matrix, ensemble.names)
    ends: tuple[np.ndarray, ...] = (np.zeros(0),) * 3
    if matrix.filenames:
        found = ensemble.score(matrix.X, matrix.names, copies=matrix.copies)
        ends = found.value, found.low, found.high
    of_table = [plain_set(name) for name in extract_settings(run).features if (of := parse_set(name)).column and not of.of_group]
    return describe_rows(run, rows, ends, extraction, matrix, of_table, options.notify)


def _scoring_matrix(run: Run, rows: Sequence[Row], options: ScoringOptions) -> tuple[Extraction, Matrix]:
    settings = extract_settings(run)
    copies = run.record.settings.ensemble.tta if options.tta is None else options.tta
    if copies < 0:
        raise ParameterError(f"tta={copies} must be 0 or more")
    missing = options.allow_missing_table
    extraction = extract_clips(
        [row.path for row in rows],
        settings,
        cache_path=options.workspace.cache,
        copies=copies,
        texts=texts_of(rows, settings.features, allow_missing_table=missing),
        notify=options.notify,
    )
    return extraction, build_matrix(rows, extraction, settings.features, copies=copies, allow_missing_table=missing)


class TrainRequest(DatasetRequest):
    """A data set, what is extracted, and how the ensemble is trained."""

    extract: ExtractSettings
    ensemble: EnsembleSettings


def run(request: TrainRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Train on the data set that a job names."""
    dataset = request.read_dataset(workspace)
    stamp = dataset.stamp()
    trained = train_dataset(dataset, request.extract, request.ensemble, workspace, folder=folder, notify=notify)
    return {"run_id": trained.id, "stamp": stamp}


RUN = RunKind(
    ENSEMBLE,
    command="train",
    noun="a trained ensemble",
    label="",
    page="train",
    member_noun="Members",
    whole_noun="ensemble",
    submission_name="optimized_ensemble_submission.csv",
    predict=predict,
    why_no_curve="",
    takes_copies=True,
)
JOB = JobKind(
    "train",
    TrainRequest,
    TrainingResult,
    run,
    verb="Training",
    noun="Training",
    page="train",
    trains=True,
    after_clips="looking for what ties clips together",
)
