"""The smallest job and the smallest run of kinds of their own: what a new kind has to bring, in one module."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.data.rows import Row
from core.events import Notify, StageStarted
from core.extraction.matrix import Matrix
from core.runs import Run
from core.runs.context import RunContext
from core.runs.kinds import RunKind
from core.runs.record import Outcome, TrainingData, complete_scores, write_run
from core.scoring.folds import make_folds
from core.scoring.oof import measure
from core.tasks.kinds import JobKind, Request, Result
from core.tasks.score import Prediction, ScoringOptions
from core.workspace import Workspace, write_json

ANSWER = 4.5


class ToyRequest(Request):
    """The answer to be given."""

    answer: float = ANSWER


class ToyResult(Result):
    """The run."""

    run_id: str


def train(request: ToyRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """A run that answers every clip in the same way."""
    notify(StageStarted("thinking of a number"))
    labels = np.arange(6.0)
    plans = [make_folds(6, folds=3, seed=seed) for seed in (1, 2)]
    oof = measure(plans, np.full((2, 6), request.answer), labels, groups=None, level=0.9)
    matrix = Matrix(np.arange(6.0, dtype=np.float32)[:, None], labels, ("mfcc.a",), tuple("abcdef"))
    record = {
        "dataset": {"name": "toys", "path": "toys", "fingerprint": "00", "train_clips": 6, "labels": {}},
        "columns": matrix.names,
        "groups": {"from": None, "count": None},
        "proposed_groups": [],
        "label_leaks": [],
        "set_aside": [],
    }
    combined = {"models": {"answer": oof.member_scores(oof.predictions)}, "blend": {"answer": 1.0}, "blend_rules": {}}
    settings = {
        "layout": {},
        "extract": {"features": ["mfcc"], "max_seconds": 45.0},
        "ensemble": {
            "members": ["answer"],
            "folds": 3,
            "repeats": 2,
            "group_by": None,
            "stratified": False,
            "seed": 1,
            "level": 0.9,
        },
    }
    with RunContext.begin(workspace, folder, notify) as context:
        write_json(context.models / "answer.json", {"answer": request.answer})
        scores = complete_scores(oof.scores() | combined, leak=None, cheated=False)
        outcome = Outcome("toy", "toy.csv", oof, {"answer": oof.predictions}, scores, settings, None)
        run = write_run(context, TrainingData(matrix, ("",) * 6, record, None), outcome)
    return {"run_id": run.id}


def predict(run: Run, rows: Sequence[Row], options: ScoringOptions) -> list[Prediction]:
    """The answer, for every clip."""
    return [Prediction(row.name, ANSWER, (), ANSWER, ANSWER, str(row.path)) for row in rows]


RUN = RunKind(
    "toy",
    command="toy",
    noun="a guessed number",
    label="guessed",
    page="runs",
    member_noun="Guesses",
    whole_noun="guess",
    submission_name="toy.csv",
    predict=predict,
    why_not_explained="it is a guess",
)
JOB = JobKind("toy", ToyRequest, ToyResult, train, verb="Guessing", noun="Guess", page="runs", trains=True)
