"""Rows of a table in, the groups that stay whole in the folds out, and what it would cost not to keep them whole."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.data.dataset import further_columns
from core.data.rows import Row
from core.errors import DataError, ParameterError
from core.events import LeakGapFound, Notify, ignore
from core.extraction.extract import Extraction, column_names
from core.extraction.levels import plain_set
from core.extraction.matrix import Matrix
from core.features import FeatureSet, parse_set
from core.features.sets import VOICE256
from core.grouping import leaks
from core.grouping.leaks import LeakGap, LeakingColumn, Proposal
from core.grouping.speakers import MOST_ROWS, propose_speakers

AUTO = "auto"
RECORDING = "recording"
_TRIED = 3  # ways of grouping that the cheap model tries where none was chosen


@dataclass(frozen=True, slots=True)
class Ties:
    """What belongs together.

    Attributes
    ----------
    groups : tuple of str [n], rows of one value stay in one fold; None where each row stands alone
    chosen : str, where the groups come from, in words; empty where they were not asked for
    proposals : list of Proposal, what else would tie rows together
    """

    groups: tuple[str, ...] | None
    chosen: str
    proposals: list[Proposal]


def tie_rows(rows: Sequence[Row], matrix: Matrix, extraction: Extraction, groups: str | None) -> Ties:
    """Find the groups that stay whole. Clips with the same bytes always do, and segments of one recording: on
    both sides they would be a question with its answer.

    Parameters
    ----------
    rows : sequence of Row, those of the matrix in its order
    matrix : Matrix
    extraction : Extraction
    groups : str or None, a column of the table; "auto" for all that is proposed (a column of that name goes first)

    Raises
    ------
    ParameterError
        The table has no such column, or nothing is found that ties rows together.
    """
    recordings = recordings_of(rows)
    contents = [extraction.contents[row.path] for row in rows]
    prints = [extraction.fingerprints[row.path] for row in rows if row.path in extraction.fingerprints]
    fingerprints = np.stack(prints) if rows and len(prints) == len(rows) else None
    proposals = leaks.propose_groups(matrix.filenames, contents, matrix.X, fingerprints, _speakers(rows, extraction))
    same_audio = [one.groups for one in proposals if one.kind == leaks.IDENTICAL_AUDIO]
    same_audio += [recordings] if recordings is not None else []
    if groups == AUTO and AUTO not in (rows[0].columns if rows else {}):
        if not proposals and recordings is None:
            raise ParameterError(
                "groups=auto: neither audio, nor file names, nor features tie rows together; name a column, add voice256 to the "
                "features so that voices are heard, or leave it out"
            )
        found = [one.groups for one in proposals] + same_audio
        kinds = [one.kind for one in proposals] + ([RECORDING] if recordings is not None else [])
        return Ties(leaks.merge_groups(*found), ", ".join(kinds), [])
    if groups is not None:
        chosen = group_labels(rows, groups)
        return Ties(leaks.merge_groups(chosen, *same_audio), groups, [])
    tied = leaks.merge_groups(*same_audio) if same_audio else None
    known = None if tied is None else _partition(tied)
    others = [one for one in proposals if one.kind != leaks.IDENTICAL_AUDIO and _partition(one.groups) != known]
    return Ties(tied, "" if recordings is None else RECORDING, others)


def recordings_of(rows: Sequence[Row]) -> tuple[str, ...] | None:
    """The recording of each row, where some are segments of one; None where each row is a recording of its own."""
    if not any(row.recording is not None for row in rows):
        return None
    return tuple(str(row.recording or row.path) for row in rows)


def _speakers(rows: Sequence[Row], extraction: Extraction) -> tuple[str, ...] | None:
    """Who probably speaks, where voices were extracted and are not too many; what else was extracted are the test clips."""
    voices = [extraction.vectors[row.path].get(VOICE256) for row in rows]
    if any(voice is None for voice in voices) or not 2 <= len(voices) <= MOST_ROWS:
        return None
    known = {row.path for row in rows}
    test = [vectors[VOICE256] for path, vectors in extraction.vectors.items() if path not in known]
    return propose_speakers(np.stack(voices), np.stack(test) if test else None).groups  # type: ignore[arg-type]


def group_labels(rows: Sequence[Row], column: str) -> tuple[str, ...]:
    """The values of a column, without blanks around them.

    Raises
    ------
    ParameterError
        The table has no such column.
    DataError
        A row has no value.
    """
    if rows and column not in rows[0].columns:
        further = further_columns(rows[0].columns)
        raise ParameterError(f"groups={column!r} is not a column of the training table; there are: {further}")
    groups = tuple(row.columns[column].strip() for row in rows)
    empty = [row.name for row, group in zip(rows, groups, strict=True) if not group]
    if empty:
        raise DataError(f"{len(empty)} of {len(rows)} rows have no {column!r} (first: {empty[0]}); fill the column or drop them")
    return groups


def repeating_columns(rows: Sequence[Row]) -> list[str]:
    """Columns of a table whose values several clips share: speakers, rooms, notes. ``group_labels`` takes each of them.

    Such a column has two values at least and half as many as rows at most, and none is empty or blank.
    """
    if not rows:
        return []
    values = {name: {row.columns.get(name, "").strip() for row in rows} for name in rows[0].columns}
    return [name for name, different in values.items() if "" not in different and 1 < len(different) <= len(rows) / 2]


def measure_leak(
    rows: Sequence[Row], matrix: Matrix, ties: Ties, *, folds: int, seed: int, notify: Notify = ignore
) -> tuple[str, LeakGap] | None:
    """How much random folds flatter: a cheap model under random folds, and under the groups.

    Where no groups were chosen, those that the table or the rows themselves propose are tried, and the widest gap is told.

    Returns
    -------
    found : (what the groups are, LeakGap), or None where nothing ties rows together
    """
    if ties.chosen:
        assert ties.groups is not None
        ways: list[tuple[str, Sequence[str]]] = [(ties.chosen, ties.groups)]
    else:
        ways = [(one.kind, one.groups) for one in ties.proposals]
        ways += [(f"{name}, which was not chosen", group_labels(rows, name)) for name in repeating_columns(rows)]
    found = []
    different: dict[tuple[int, ...], tuple[str, Sequence[str]]] = {}
    for way in ways:
        different.setdefault(_partition(way[1]), way)
    for name, groups in list(different.values())[:_TRIED]:
        if len(set(groups)) >= folds and _can_learn(matrix.y, groups):
            found.append((name, leaks.leak_gap(matrix.X, matrix.y, groups, folds=folds, seed=seed)))
    if not found:
        return None
    name, gap = max(found, key=lambda one: one[1].gap)
    notify(LeakGapFound(gap.random_rmse, gap.grouped_rmse, name))
    return name, gap


def find_label_leaks(rows: Sequence[Row], matrix: Matrix, sets: Sequence[str]) -> list[LeakingColumn]:
    """Columns of the table that are used as features and hold the label, or the mean label of a group."""
    names = [name for name in sets if not parse_set(name).of_audio and not parse_set(name).of_group]
    words = {name: _mean_by_level(parse_set(name), matrix) for name in names if parse_set(name).levels}
    found = leaks.label_leaks({plain_set(name): means for name, means in words.items() if means is not None}, matrix.y, {})
    columns = {
        name: matrix.X[:, matrix.names.index(column)] for name in names if name not in words for column in column_names((name,))
    }
    if not columns:
        return found
    return found + leaks.label_leaks(columns, matrix.y, {name: group_labels(rows, name) for name in repeating_columns(rows)})


def _mean_by_level(feature_set: FeatureSet, matrix: Matrix) -> np.ndarray | None:
    """The mean label of the rows with the same word [shape=(n,)], which is the label only where the words give it away.

    None where there are more levels than half of the rows: a mean of one row is its label, whatever the word.
    """
    levels = [matrix.X[:, matrix.names.index(column)] == 1 for column in column_names((feature_set.name,))]
    if len(levels) > len(matrix.y) / 2:
        return None
    means = np.full(len(matrix.y), np.nan)
    for rows in levels:
        means[rows] = matrix.y[rows].mean() if rows.any() else np.nan
    return means


def _partition(groups: Sequence[str]) -> tuple[int, ...]:
    """Numbers instead of names, by first appearance: equal where the same rows belong together under other names."""
    first: dict[str, int] = {}
    return tuple(first.setdefault(group, len(first)) for group in groups)


def _can_learn(labels: np.ndarray, groups: Sequence[str]) -> bool:
    """Whether more than one label is left whichever group is taken out."""
    of = np.asarray(groups, str)
    return all(np.ptp(labels[of != group]) > 0 for group in set(groups) if (of != group).any())
