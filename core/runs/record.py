"""What was trained, on what, and how it scored in; the folder of a finished run out, whatever its kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.data.layouts.submission import SubmissionForm
from core.ensemble.checks import SelfTest
from core.extraction.matrix import Matrix, save_matrix
from core.runs.context import RunContext
from core.runs.store import MATRIX, OOF, Run, library_versions, model_hashes, write_record
from core.runs.submission import (
    TestPredictions,
    describe_predictions,
    number_rows,
    save_test_predictions,
    submission_rows,
    values_of,
    write_submission,
)
from core.scoring.compare import Verdict
from core.scoring.oof import IN_SAMPLE, NESTED, OUT_OF_FOLD, OofResult
from core.workspace import to_json, write_csv, write_whole


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run was trained on.

    Attributes
    ----------
    matrix : Matrix, its rows those of the out-of-fold predictions
    contents : tuple of str [n], hashes of the clips' bytes
    record : what run.json says of it: ``dataset``, ``columns``, ``groups``, ``proposed_groups``, ``label_leaks``, ``set_aside``
    submission : SubmissionForm, every row of the test table; None where there is none
    """

    matrix: Matrix
    contents: tuple[str, ...]
    record: Mapping[str, object]
    submission: SubmissionForm | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trainer hands over.

    Attributes
    ----------
    kind : str, name of the run's kind
    submission_name : str, file name of its submission
    oof : OofResult
    members : dict of name to np.ndarray [shape=(repeats, n)], out-of-fold predictions of what was combined
    scores : every figure with its badge, as ``complete_scores`` makes them
    settings : sections of the settings, by name
    test : TestPredictions; None where there is no submission
    extra : what else run.json has of this kind
    """

    kind: str
    submission_name: str
    oof: OofResult
    members: Mapping[str, np.ndarray]
    scores: Mapping[str, Any]
    settings: Mapping[str, object]
    test: TestPredictions | None
    extra: Mapping[str, object] = field(default_factory=dict)


def write_run(context: RunContext, data: TrainingData, outcome: Outcome) -> Run:
    """Write predictions, matrix, submission and record into the folder of a run whose models are there, and mirror it to MLflow.

    Parameters
    ----------
    context : RunContext
    data : TrainingData
    outcome : Outcome

    Returns
    -------
    run : Run
    """
    folder, fold_numbers = context.folder, outcome.oof.fold_numbers()
    _save_oof(folder, outcome, data)
    save_matrix(data.matrix, folder / MATRIX)
    record: dict[str, object] = {
        "kind": outcome.kind,
        "run_id": folder.name,
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "versions": library_versions(),
        **data.record,
        "fold_plan": dict(zip(data.matrix.filenames, (fold_numbers[0] + 1).tolist(), strict=True)),
        "settings": outcome.settings,
        "scores": outcome.scores,
        "model_files": model_hashes(context.models),
        "test": None,
        "submission": None,
        **outcome.extra,
    }
    if outcome.test is not None and data.submission is not None:
        record |= _submit(context, data, outcome.test, outcome.submission_name)
    write_record(folder, record | {"seconds": context.seconds})
    return context.finish()


def complete_scores(
    scores: Mapping[str, Any],
    *,
    leak: Mapping[str, Any] | None,
    ceiling: Mapping[str, Any] | None = None,
    tested: SelfTest | None = None,
    verdicts: Mapping[str, Verdict] | None = None,
    cheated: bool,
    searched: bool = False,
) -> dict[str, Any]:
    """Figures of a cross-validation, with what was checked beside them and how each was computed.

    Parameters
    ----------
    scores : as ``OofResult.scores``
    leak : how much random folds flatter, as ``tasks.prepare.Prepared.leak_record``; None where nothing ties rows together. Its
        gap is in-sample, because one of its two sides has rows of a group in both parts, on purpose
    ceiling : what raters' disagreement allows, as ``tasks.prepare.Prepared.ceiling_record``; None where a clip has one rating
    tested : SelfTest or None
    verdicts : dict of what was compared to Verdict
    cheated : bool, something that was fitted has seen what it is asked for: a column of the table holds the label. Then, or
        where the self-test fails, every badge is in-sample
    searched : bool, the settings were chosen on other folds of the same rows: what would be nested is out-of-fold
    """
    checks: dict[str, Any] = {"leak": leak, "leak_gap": None if leak is None else leak["gap"], "self_test": None}
    if tested is not None:
        checks["self_test"] = {"ratio": tested.ratio, "ratios": list(tested.ratios), "passed": tested.passed}
        cheated = cheated or not tested.passed
    checks["verdicts"] = {name: to_json(verdict) | {"sentence": verdict.sentence()} for name, verdict in (verdicts or {}).items()}
    computed = {"leak_gap": IN_SAMPLE, "self_test": NESTED, "verdicts": NESTED}
    badges = scores["badges"] | {name: badge for name, badge in computed.items() if checks[name] not in (None, {})}
    if searched:
        badges = {name: OUT_OF_FOLD if badge == NESTED else badge for name, badge in badges.items()}
    return {**scores, **checks, "ceiling": ceiling, "badges": dict.fromkeys(badges, IN_SAMPLE) if cheated else badges}


def _submit(context: RunContext, data: TrainingData, test: TestPredictions, name: str) -> dict[str, object]:
    assert data.submission is not None
    save_test_predictions(context.folder, test)
    predictions = dict(zip(number_rows(test.filenames), test.value.tolist(), strict=True))
    rows, filled = submission_rows(data.submission, predictions, float(np.median(data.matrix.y)))
    submissions = context.workspace.submissions
    scored = np.array([value for value in values_of(data.submission, predictions) if value is not None])
    return {
        "submission": write_submission(data.submission, rows, submissions / context.folder.name, latest=submissions, name=name),
        "test": describe_predictions(scored) | {"filled_with_training_median": filled},
    }


def _save_oof(folder: Path, outcome: Outcome, data: TrainingData) -> None:
    """One row a clip for people, the means over repeats; and all repeats for ``earmark compare``."""
    oof, fold_numbers = outcome.oof, outcome.oof.fold_numbers()
    columns: dict[str, list[object]] = {
        "filename": list(data.matrix.filenames),
        "label": oof.labels.tolist(),
        "fold": (fold_numbers[0] + 1).tolist(),
        "oof_prediction": oof.predictions.mean(axis=0).tolist(),
        "low": oof.low.mean(axis=0).tolist(),
        "high": oof.high.mean(axis=0).tolist(),
    }
    if oof.groups is not None:
        columns["group"] = list(oof.groups)
    columns |= {name: predictions.mean(axis=0).tolist() for name, predictions in outcome.members.items()}
    write_csv(folder / "oof.csv", tuple(columns), list(zip(*columns.values(), strict=True)))
    arrays = {
        "filenames": np.array(data.matrix.filenames, str),
        "contents": np.array(data.contents, str),
        "labels": oof.labels,
        "groups": np.array(oof.groups or [""] * len(oof.labels), str),
        "folds": fold_numbers,
        "predictions": oof.predictions,
    }
    write_whole(folder / OOF, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]
