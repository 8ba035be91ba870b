"""A data set in, the best experiment that its steps lead to out: a ladder of paired comparisons, and a run like any other.

Every step is scored on the same repeated folds and compared, pair by pair, with the best so far; it is kept where it helps for sure
(one-sided, at 5 % divided by the number of steps: Bonferroni). The steps were chosen on these folds, so their figures flatter a
little. The run at the end is trained on folds that no step has used, and its figure is the one to quote. Its rows are the same, so
what was chosen has seen their labels, in other folds: it is badged out-of-fold, not nested.
"""

from pathlib import Path
from typing import Any

from core.data.dataset import Dataset
from core.ensemble.auto import FRESH_SEED, AutoSettings
from core.events import Notify, StageStarted, ignore
from core.extraction.config import ExtractSettings
from core.runs import Run
from core.runs.context import RunContext
from core.tasks.climb import Climb
from core.tasks.kinds import DatasetRequest, JobKind, TrainingResult
from core.tasks.ladder import audio_models, fetch_models, plan_steps
from core.tasks.train import train_dataset
from core.workspace import Workspace


def find_best(
    dataset: Dataset,
    extract: ExtractSettings,
    settings: AutoSettings,
    workspace: Workspace,
    *,
    folder: Path | None = None,
    notify: Notify = ignore,
) -> Run:
    """Climb the ladder, and train what it ends with on fresh folds.

    Parameters
    ----------
    dataset : Dataset
    extract : ExtractSettings, whose feature sets are not used: the ladder has its own
    settings : AutoSettings
    workspace : Workspace
    folder : of the run, whose name is its id; steps that an earlier attempt finished there are not done again
    notify : told of the progress: first LadderPlanned for each step, then LadderStepDone after each

    Raises
    ------
    DataError, ParameterError
        The data set cannot be trained on.
    """
    context = RunContext.begin(workspace, folder, notify)
    if (finished := context.finished()) is not None:
        return finished
    with context:
        models = audio_models(fetch_models(settings.models, notify))
        climb = Climb(dataset, extract, settings, context)
        best = climb.run(plan_steps(dataset, models, extract, group_by=settings.group_by))
        notify(StageStarted("the best experiment on folds that no step has used"))
        return train_dataset(
            dataset,
            extract.replace(features=best.sets),
            best.settings(settings, seed=(settings.seed + FRESH_SEED) % 2**31),
            workspace,
            folder=context.folder,
            search={"ladder": climb.record(), "auto": settings},
            notify=notify,
        )


class AutoRequest(DatasetRequest):
    """A data set, how clips are read, and how the best experiment is searched for."""

    extract: ExtractSettings
    auto: AutoSettings


def run(request: AutoRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Find the best experiment for the data set that a job names."""
    dataset = request.read_dataset(workspace)
    stamp = dataset.stamp()
    best = find_best(dataset, request.extract, request.auto, workspace, folder=folder, notify=notify)
    return {"run_id": best.id, "stamp": stamp}


JOB = JobKind(
    "auto",
    AutoRequest,
    TrainingResult,
    run,
    verb="Finding the best",
    noun="Search for the best",
    page="train",
    trains=True,
    after_clips="looking for what ties clips together",
)
