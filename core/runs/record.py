"""What a training takes in and what its record says, whatever was trained: features, groups, figures with their badges, tables."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import Dataset, Problem, Row, describe_labels, why_not_trainable
from core.ensemble import IN_SAMPLE, NESTED, EnsembleResult
from core.ensemble.checks import SelfTest
from core.errors import DataError
from core.events import Notify, Warned
from core.extraction.config import ExtractSettings
from core.extraction.extract import Extraction, extract_clips
from core.extraction.matrix import Matrix, fingerprint
from core.grouping.leaks import LeakGap, LeakingColumn
from core.grouping.ties import Ties, find_label_leaks, measure_leak, tie_rows
from core.runs.store import OOF, library_versions
from core.scoring.compare import Verdict
from core.workspace import Workspace, to_json, write_csv, write_whole


def check_labels(dataset: Dataset, labels: np.ndarray) -> None:
    """Refuse labels from which nothing can be learned.

    Raises
    ------
    DataError
    """
    if problem := why_not_trainable(labels):
        raise DataError(f"{dataset.source}: {problem}; see: {shlex.join(['earmark', 'check', str(dataset.source)])}")


def extract_all(
    dataset: Dataset,
    settings: ExtractSettings,
    workspace: Workspace,
    notify: Notify,
    *,
    copies: Mapping[Path, int] | None = None,
) -> Extraction:
    """Vectors of all clips of a data set, of some with altered copies."""
    paths = [row.path for row in (*dataset.train, *dataset.test)]
    return extract_clips(paths, settings, cache_path=workspace.cache, copies=copies or 0, notify=notify)


def list_set_aside(dataset: Dataset, failures: Mapping[Path, str]) -> list[Problem]:
    """Rows that the data set left out, and those whose clip could not be read, with reasons."""
    rows = {row.path: row for row in (*dataset.test, *dataset.train)}
    in_train = {row.path for row in dataset.train}
    unreadable = [
        Problem(rows[path].name, "error", reason, "train" if path in in_train else "test") for path, reason in failures.items()
    ]
    return [*dataset.set_aside, *unreadable]


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


def beside(
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
    figures["verdicts"] = verdict_records(verdicts)
    return figures


def verdict_records(verdicts: Mapping[str, Verdict]) -> dict[str, dict[str, Any]]:
    """Verdicts as a record has them, each with its sentence."""
    return {name: to_json(verdict) | {"sentence": verdict.sentence()} for name, verdict in verdicts.items()}


def tie_and_measure(
    rows: Sequence[Row],
    matrix: Matrix,
    extraction: Extraction,
    *,
    groups: str | None,
    folds: int,
    seed: int,
    sets: Sequence[str],
    notify: Notify,
) -> tuple[Matrix, Ties, tuple[str, LeakGap] | None, list[LeakingColumn]]:
    """The groups that stay whole, how much random folds would flatter, and columns that hold the label.

    Parameters
    ----------
    rows : sequence of Row, those of the matrix in its order
    matrix : Matrix
    extraction : Extraction
    groups : str or None, as for ``tie_rows``
    folds, seed : of the plan
    sets : sequence of str, of the matrix
    notify : called with LeakGapFound, and with Warned for each column that holds the label

    Returns
    -------
    matrix : Matrix with its groups
    ties : Ties
    leak : (what the groups are, LeakGap) or None
    leaking : list of LeakingColumn

    Raises
    ------
    DataError
        There are fewer different recordings than folds.
    """
    ties = tie_rows(rows, matrix, extraction, groups)
    matrix = replace(matrix, groups=ties.groups)
    if ties.groups is not None and not ties.chosen and len(set(ties.groups)) < folds:
        raise DataError(
            f"{len(set(ties.groups))} different recordings among {len(rows)} clips are too few for {folds} folds: clips "
            "with the same audio stay in one fold; use fewer folds or add recordings"
        )
    leak = measure_leak(rows, matrix, ties, folds=folds, seed=seed, notify=notify)
    leaking = find_label_leaks(rows, matrix, sets)
    for one in leaking:
        notify(Warned(f"{one.name}: {one.reason}"))
    return matrix, ties, leak, leaking


def describe_run(
    run_id: str,
    dataset: Dataset,
    extraction: Extraction,
    matrix: Matrix,
    ties: Ties,
    leaking: Sequence[LeakingColumn],
    result: EnsembleResult,
    set_aside: Sequence[Problem],
) -> dict[str, object]:
    """What the record of any run says of its data, its groups and its folds."""
    return {
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
        "columns": matrix.names,
        "groups": {"from": ties.chosen or None, "count": len(set(ties.groups)) if ties.groups else None},
        "proposed_groups": [{"kind": one.kind, "tied": one.tied, "reason": one.reason} for one in ties.proposals],
        "label_leaks": [{"column": one.name, "reason": one.reason} for one in leaking],
        "fold_plan": dict(zip(matrix.filenames, (fold_numbers(result)[0] + 1).tolist(), strict=True)),
        "set_aside": [{"file": problem.file, "reason": problem.reason} for problem in set_aside],
    }


def save_oof(folder: Path, result: EnsembleResult, filenames: Sequence[str], contents: Sequence[str]) -> None:
    """One row a clip for people, the means over repeats; and all repeats for ``earmark compare``.

    Parameters
    ----------
    folder : of the run
    result : EnsembleResult
    filenames : sequence of str [n]
    contents : sequence of str [n], hashes of the clips' bytes
    """
    fold_of = fold_numbers(result)
    columns: dict[str, list[object]] = {
        "filename": list(filenames),
        "label": result.labels.tolist(),
        "fold": (fold_of[0] + 1).tolist(),
        "oof_prediction": result.oof_ensemble.mean(axis=0).tolist(),
        "low": result.low.mean(axis=0).tolist(),
        "high": result.high.mean(axis=0).tolist(),
    }
    if result.groups is not None:
        columns["group"] = list(result.groups)
    columns |= {name: predictions.mean(axis=0).tolist() for name, predictions in result.oof.items()}
    write_csv(folder / "oof.csv", tuple(columns), list(zip(*columns.values(), strict=True)))
    arrays = {
        "filenames": np.array(filenames, str),
        "contents": np.array(contents, str),
        "labels": result.labels,
        "groups": np.array(result.groups or [""] * len(result.labels), str),
        "folds": fold_of,
        "predictions": result.oof_ensemble,
    }
    write_whole(folder / OOF, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def fold_numbers(result: EnsembleResult) -> np.ndarray:
    """Number of the fold that scored each row, in each repeat [shape=(repeats, n)]."""
    fold_of = np.empty(result.oof_ensemble.shape, int)
    for repeat, plan in enumerate(result.plans):
        for number, fold in enumerate(plan):
            fold_of[repeat, fold.test_rows] = number
    return fold_of
