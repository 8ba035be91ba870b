"""A data set with several labels in; a run for each label, on one extraction and the same folds, and one joined submission out.

Each label is a training of its own, the one that would be asked for with that label alone: its run can be looked at, explained and
deleted like any other. The folder of the job has the runs that are done in ``labels.json``, so that another attempt resumes at the
label where it stopped.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import jobs
from core.data.dataset import read_dataset
from core.data.layouts.layout import Layout
from core.ensemble import EnsembleSettings, with_sets_of
from core.errors import EarmarkError, JobError, ParameterError
from core.events import LabelStarted, Notify
from core.extraction.config import ExtractSettings
from core.jobs import DONE, Job
from core.jobs.runner import perform
from core.runs import find_run
from core.runs.submission import join_submissions
from core.tasks.kinds import DatasetRequest, JobKind, Result, work
from core.tasks.prepare import check_early
from core.workspace import Workspace, read_json, to_json, write_json

ALL_LABELS = "all_labels_submission.csv"
RUNS = "labels.json"  # in the folder of the job: the runs that are done, by label


class LabelsRequest(DatasetRequest):
    """A data set, its labels, what is extracted, and how each ensemble is trained."""

    labels: tuple[str, ...]
    extract: ExtractSettings
    ensemble: EnsembleSettings

    def layout_of(self, label: str) -> Layout:
        """How the data set is read for one of the labels."""
        return self.layout.with_label(label, {*self.labels, self.layout.label_column, *self.layout.other_labels})

    def request_of(self, label: str) -> dict[str, Any]:
        """The request for the training on one of the labels, fit for JSON."""
        asked = {"dataset": self.dataset, "layout": self.layout_of(label), "extract": self.extract, "ensemble": self.ensemble}
        fields: dict[str, Any] = to_json(asked)
        return fields


class LabelsResult(Result):
    """The run of each label, the joined submission where there is one, and the state of the data set."""

    runs: dict[str, str]
    submission: str | None
    stamp: str


def run(request: LabelsRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Train on each label that a job names, one after another.

    Raises
    ------
    ParameterError, DataError
        A label cannot be trained on; nothing has been trained then.
    JobError
        The training on a label failed; those that are done are kept.
    """
    stamp = _check(request, workspace)
    done = finished_runs(folder)
    for number, label in enumerate(request.labels, 1):
        if label not in done:
            asked = request.request_of(label)
            job, is_new = jobs.claim("train", asked, workspace.jobs)
            notify(LabelStarted(label, number, len(request.labels), job.id))
            done[label] = _train(label, job, notify, is_new=is_new)
            write_json(folder / RUNS, done)
    runs = {label: done[label] for label in request.labels}
    return {"runs": runs, "submission": _join(runs, folder, workspace), "stamp": stamp}


def finished_runs(folder: Path) -> dict[str, str]:
    """The runs that are done so far, by label.

    Raises
    ------
    FileError
        The list of them is damaged.
    """
    path = folder / RUNS
    if not path.is_file():
        return {}
    runs: dict[str, str] = read_json(path)
    return runs


def _check(request: LabelsRequest, workspace: Workspace) -> str:
    """Refuse before the long work what could not be trained on; the state of the data set."""
    if len(set(request.labels)) < 2 or len(set(request.labels)) < len(request.labels):
        raise ParameterError(f"labels={','.join(request.labels)!r} must be two different columns or more")
    if request.layout.rating_columns:
        raise ParameterError("several labels cannot be means of the same columns of ratings; train each label by itself")
    sets = with_sets_of(request.extract, request.ensemble).features
    stamps = []
    for label in request.labels:
        dataset = read_dataset(request.dataset, request.layout_of(label), segments=workspace.segments)
        check_early(dataset, sets, request.ensemble, workspace)
        stamps.append(dataset.stamp())
    return stamps[0]


def _train(label: str, job: Job, notify: Notify, *, is_new: bool) -> str:
    """The run of a label; a training that another process is at is followed."""
    if is_new:
        try:
            perform(job, work, notify=notify)
        except EarmarkError as error:
            raise JobError(f"label {label}: {error}") from None
    else:
        for recorded in jobs.follow(job):
            notify(recorded.event)
    if (state := jobs.status(job)) != DONE:
        why = f": {jobs.why_failed(job)}" if state == jobs.FAILED else ""
        raise JobError(f"label {label}: job {job.id} is {state}{why}; train again, what is finished is kept")
    run_id: str = jobs.result(job)["run_id"]
    return run_id


def _join(runs: Mapping[str, str], folder: Path, workspace: Workspace) -> str | None:
    """Write the submissions of the runs as one, beside those of runs; None where there is no test table."""
    written = [find_run(run_id, workspace.jobs).record.submission for run_id in runs.values()]
    paths: Sequence[Path] = [Path(path) for path in written if path is not None]
    if len(paths) < len(written):
        return None
    join_submissions(paths, workspace.submissions / ALL_LABELS)
    return os.fspath(join_submissions(paths, workspace.submissions / folder.name / ALL_LABELS))


JOB = JobKind(
    "labels",
    LabelsRequest,
    LabelsResult,
    run,
    verb="Training",
    noun="Training on several labels",
    page="train",
    trains=True,
    after_clips="looking for what ties clips together",
)
