"""A data set and what was extracted from it in; what any trainer needs, made once, out."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.data.dataset import Dataset, describe_labels, why_not_trainable
from core.data.rows import Problem, Row
from core.errors import DataError
from core.events import Notify, Warned, ignore
from core.extraction.config import ExtractSettings
from core.extraction.export import fingerprint
from core.extraction.extract import Extraction, extract_clips
from core.extraction.group_means import check_groups
from core.extraction.levels import warn_of_unseen
from core.extraction.matrix import Matrix, build_matrices, check_table
from core.extraction.texts import texts_of
from core.grouping.leaks import LeakGap, LeakingColumn
from core.grouping.ties import AUTO, Ties, find_label_leaks, group_labels, measure_leak, recordings_of, tie_rows
from core.runs.record import TrainingData
from core.scoring.agreement import agreement
from core.scoring.folds import Fold, FoldSettings, check_units
from core.workspace import Workspace, make_folder


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a trainer fits on.

    Attributes
    ----------
    dataset : Dataset
    extraction : Extraction
    rows : list of Row, those of the matrix in its order
    matrix : Matrix with labels and groups
    test : Matrix of the test clips that can be read
    ties : Ties
    leak : (what the groups are, LeakGap), or None where nothing ties rows together
    leaking : list of LeakingColumn, columns that hold the label
    plans : list of folds, one a repeat
    """

    dataset: Dataset
    extraction: Extraction
    rows: list[Row]
    matrix: Matrix
    test: Matrix
    ties: Ties
    leak: tuple[str, LeakGap] | None
    leaking: list[LeakingColumn]
    plans: list[list[Fold]]

    @property
    def test_rows(self) -> list[Row]:
        """Those of the test matrix, in its order."""
        return [row for row in self.dataset.test if row.path in self.extraction.vectors]

    def leak_record(self) -> dict[str, Any] | None:
        """How much random folds flatter, as a record has it."""
        if self.leak is None:
            return None
        groups, gap = self.leak
        return {
            "groups": groups,
            "chosen": bool(self.ties.chosen),
            "random_rmse": gap.random_rmse,
            "grouped_rmse": gap.grouped_rmse,
            "gap": gap.gap,
        }

    def ceiling_record(self) -> dict[str, Any] | None:
        """What the raters' disagreement allows, as a record has it."""
        found = None if self.matrix.ratings is None else agreement(self.matrix.ratings)
        return None if found is None else found.ceiling_record()

    def training_data(self) -> TrainingData:
        """What the record of a run says of it."""
        ties, dataset = self.ties, self.dataset
        record = {
            "dataset": {
                "path": dataset.source,
                "name": dataset.name,
                "fingerprint": fingerprint(dataset, self.extraction),
                "train_clips": len(self.matrix.y),
                "labels": describe_labels(self.matrix.y),
            },
            "columns": self.matrix.names,
            "groups": {"from": ties.chosen or None, "count": len(set(ties.groups)) if ties.groups else None},
            "proposed_groups": [
                {"kind": proposal.kind, "tied": proposal.tied, "reason": proposal.reason} for proposal in ties.proposals
            ],
            "label_leaks": [{"column": column.name, "reason": column.reason} for column in self.leaking],
            "set_aside": [
                {"file": problem.file, "reason": problem.reason} for problem in list_set_aside(dataset, self.extraction.failures)
            ],
        }
        contents = tuple(self.extraction.contents[row.path] for row in self.rows)
        return TrainingData(self.matrix, contents, record, dataset.submission)


def check_early(dataset: Dataset, sets: Sequence[str], settings: FoldSettings, workspace: Workspace) -> None:
    """Refuse before the long work what could not be trained on even if every clip were readable.

    Parameters
    ----------
    dataset : Dataset
    sets : sequence of str, feature sets
    settings : FoldSettings
    workspace : Workspace, in which a submission is to be written

    Raises
    ------
    DataError, ParameterError
        Nothing can be learned from the labels, a column is missing or holds something else, or there are too few groups.
    """
    check_labels(dataset)
    check_table(dataset, sets)
    check_groups(sets, settings.group_by)
    if settings.group_by != AUTO:  # known only when the clips have been read
        recordings = None if settings.group_by else recordings_of(dataset.train)
        if recordings is not None and len(set(recordings)) < settings.folds:
            raise DataError(
                f"segments of {len(set(recordings))} recordings are too few for {settings.folds} folds: those of one recording "
                "stay in one fold; use fewer folds, or --split-recordings"
            )
        groups = group_labels(dataset.train, settings.group_by) if settings.group_by else recordings
        check_units(len(dataset.train), groups, folds=settings.folds)
    if dataset.submission is not None:
        make_folder(workspace.submissions)


def prepare(
    dataset: Dataset,
    extraction: Extraction,
    settings: FoldSettings,
    *,
    sets: Sequence[str],
    copies: int = 0,
    test_copies: int = 0,
    notify: Notify = ignore,
) -> Prepared:
    """The matrices, the groups that stay whole and the folds; how much random folds would flatter, and columns that hold the label.

    Parameters
    ----------
    dataset : Dataset
    extraction : Extraction of its clips
    settings : FoldSettings
    sets : sequence of str, in the order of the columns
    copies, test_copies : int >= 0, augmented copies of each training and each test clip
    notify : called with LeakGapFound, and with Warned for each column that holds the label

    Raises
    ------
    DataError
        Too few labels are left, there are fewer different recordings than folds, or a fold has nothing to learn.
    ParameterError
        There are fewer groups than folds.
    """
    matrix, test = build_matrices(dataset, extraction, sets, copies=copies, test_copies=test_copies)
    rows = [row for row in dataset.train if row.path in extraction.vectors]
    if len(rows) < len(dataset.train):
        check_labels(dataset, matrix.y)
    ties = tie_rows(rows, matrix, extraction, settings.group_by)
    matrix = replace(matrix, groups=ties.groups)
    if ties.groups is not None and not ties.chosen and len(set(ties.groups)) < settings.folds:
        raise DataError(
            f"{len(set(ties.groups))} different recordings among {len(rows)} clips are too few for {settings.folds} folds: clips "
            "with the same audio stay in one fold; use fewer folds or add recordings"
        )
    leak = measure_leak(rows, matrix, ties, folds=settings.folds, seed=settings.seed, notify=notify)
    leaking = find_label_leaks(rows, matrix, sets)
    for text in warn_of_unseen(dataset.test, sets):
        notify(Warned(text))
    for column in leaking:
        notify(Warned(f"{column.name}: {column.reason}"))
    plans = settings.plans(matrix.y, matrix.groups)
    return Prepared(dataset, extraction, rows, matrix, test, ties, leak, leaking, plans)


def check_labels(dataset: Dataset, labels: np.ndarray | None = None) -> None:
    """Refuse labels from which nothing can be learned.

    Parameters
    ----------
    dataset : Dataset
    labels : np.ndarray [shape=(n,)], those that are left; None takes all of the training table

    Raises
    ------
    DataError
    """
    if labels is None:
        labels = np.array([row.label for row in dataset.train])
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
    """Vectors and fingerprints of all clips of a data set, of some with augmented copies."""
    rows = (*dataset.train, *dataset.test)
    return extract_clips(
        [row.path for row in rows],
        settings,
        cache_path=workspace.cache,
        copies=copies or 0,
        texts=texts_of(rows, settings.features),
        fingerprints=True,
        notify=notify,
    )


def list_set_aside(dataset: Dataset, failures: Mapping[Path, str]) -> list[Problem]:
    """Rows that the data set left out, and those whose clip could not be read, with reasons."""
    rows = {row.path: row for row in (*dataset.test, *dataset.train)}
    in_train = {row.path for row in dataset.train}
    unreadable = [
        Problem(rows[path].name, "error", reason, "train" if path in in_train else "test") for path, reason in failures.items()
    ]
    return [*dataset.set_aside, *unreadable]
