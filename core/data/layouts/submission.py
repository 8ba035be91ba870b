"""The rows that a submission must have: those of the sample submission, or else of the test table, as they are spelled there."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.data.layouts.roles import Roles, find_column, row_names
from core.data.layouts.similar import core
from core.data.layouts.source import Source
from core.data.layouts.table import Table
from core.errors import DataError


@dataclass(frozen=True, slots=True)
class SubmissionForm:
    """What a submission looks like before it has predictions.

    Attributes
    ----------
    columns : tuple of str, of the names and, last, of the predictions; segments of recordings are named by several columns
    names : tuple of str, one for each row, in its order and spelling; of several columns the cells with blanks between them
    cells : tuple of tuple of str, the cells that name each row
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Submission:
    """The form, and how the rows of the test table and of the sample submission go together.

    Attributes
    ----------
    form : SubmissionForm
    ids : str, column of the test table that names its rows in the submission
    row_names : tuple of str, the name that each row of the test table has in the submission
    unknown : tuple of str, names of the sample submission that no row of the test table has
    notes : tuple of str
    """

    form: SubmissionForm
    ids: str
    row_names: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def make_submission(source: Source, test: Table, roles: Roles, label: str) -> Submission:
    """The form of the submission of a test table.

    Parameters
    ----------
    source : Source
    test : its test table
    roles : of the columns of the test table
    label : column of the labels in the training table

    Raises
    ------
    DataError
        The sample submission has not one row of the test table, or it cannot be told which of its columns is to be filled.
    """
    sample = source.sample
    if sample is None:
        ids = source.ids if source.ids in test.columns else roles.filename
        keys, names = row_names(test, ids, roles.times)
        cells = tuple(tuple(line.cells[key] for key in keys) for line in test.lines)
        return Submission(SubmissionForm((*keys, find_column(test, label) or label), names, cells), ids, names)
    columns = _sample_columns(sample, label)
    ids = columns[0] if columns[0] in test.columns else roles.filename
    wanted = tuple(sample.cells(columns[0]))
    spelled = _spelling(test.cells(ids), wanted)
    called = tuple(spelled[name] for name in test.cells(ids))
    unknown, added = _without(wanted, called), _without(called, wanted)
    if wanted and len(added) == len(set(called)):
        raise DataError(
            f"{sample.name}: expected the names of the rows of {test.name}, such as {called[0]!r}, in its column "
            f"{columns[0]!r}; found {wanted[0]!r}. Spell them alike in both tables"
        )
    form = SubmissionForm(columns, (*wanted, *added), tuple((name,) for name in (*wanted, *added)))
    return Submission(form, ids, called, unknown, _notes(sample, columns, added))


def _spelling(names: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """How the sample submission spells the names of the test table. Case, extension and zeros may differ where that is clear."""
    ours, theirs = _without(names, wanted), _without(wanted, names)
    by_core = {core(name): name for name in theirs}
    ours_of, theirs_of = Counter(map(core, ours)), Counter(map(core, theirs))
    clear = {name: by_core[core(name)] for name in ours if ours_of[core(name)] == theirs_of[core(name)] == 1}
    return {name: clear.get(name, name) for name in names}


def _without(names: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in order, but for the others."""
    known = set(others)
    return tuple(name for name in dict.fromkeys(names) if name not in known)


def _sample_columns(sample: Table, label: str) -> tuple[str, str]:
    if len(sample.columns) < 2:
        raise DataError(
            f"{sample.name}: expected a column of names and one to be filled, found {', '.join(sample.columns) or 'none'}"
        )
    names, *others = sample.columns
    filled = find_column(replace(sample, columns=tuple(others)), label) or (others[0] if len(others) == 1 else None)
    if filled is None:
        raise DataError(
            f"{sample.name}: which of its columns {', '.join(others)} is to be filled cannot be told; name the column of the "
            "labels as it is called there, with --label-column"
        )
    return names, filled


def _notes(sample: Table, columns: tuple[str, str], added: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if left_out := [column for column in sample.columns if column not in columns]:
        notes.append(f"its columns {', '.join(left_out)} are left out of the submission, which has one label")
    if added:
        notes.append(f"{len(added)} rows of the test table are not in it (first: {added[0]}); they follow at the end")
    return tuple(notes)
