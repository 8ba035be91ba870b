"""Several ratings of a clip in, one row a clip out: its label is their mean, and the ratings stay with it.

Ratings stand one a row, told apart by a column that names the rater, or side by side in columns of their own.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.data.layouts.layout import AVERAGE, SET_ASIDE, Layout
from core.data.layouts.roles import is_rater
from core.data.layouts.table import Table
from core.data.rows import ERROR, WARNING, Problem, Row
from core.errors import DataError
from core.scoring.agreement import Ratings

_DISTINCT_SHARE = 0.9  # of the rows, that name another rater than the clip's other rows do


def ratings_of(rows: Sequence[Row]) -> Ratings | None:
    """The ratings of some rows, which are numbered in their order; None where no clip has several."""
    if not any(len(row.ratings) > 1 for row in rows):
        return None
    marks = [(number, rater, value) for number, row in enumerate(rows) for rater, value in row.ratings]
    clips, values = np.array([clip for clip, _, _ in marks]), np.array([value for *_, value in marks])
    names = sorted({rater for _, rater, _ in marks})
    if "" in names:
        return Ratings(clips, values)
    place = {name: number for number, name in enumerate(names)}
    return Ratings(clips, values, np.array([place[rater] for _, rater, _ in marks]), tuple(names))


def find_rater_column(by_clip: Mapping[Path, Sequence[Row]]) -> str | None:
    """The column that is called as raters are and tells the rows of one clip apart; None where there is none."""
    repeated = [rows for rows in by_clip.values() if len(rows) > 1]
    if not repeated:
        return None
    for name in repeated[0][0].columns:
        if not is_rater(name):
            continue
        raters = [[row.columns.get(name, "") for row in rows] for rows in repeated]
        distinct = sum(len(set(filter(None, names))) for names in raters)
        if distinct >= _DISTINCT_SHARE * sum(map(len, raters)):
            return name
    return None


def rater_of(rows: Sequence[Row], table: Table, layout: Layout) -> str | None:
    """The column of a table that told its ratings apart; None where there was none."""
    if not any(len(row.ratings) > 1 for row in rows) or layout.rating_columns:
        return None
    taken = (name for name in table.columns if is_rater(name) and name not in rows[0].columns)
    return layout.rater_column or next(taken, None)


def one_row_a_clip(
    by_clip: Mapping[Path, list[Row]], refused: Sequence[tuple[Path, Problem]], layout: Layout, table: str, problems: list[Problem]
) -> list[Row]:
    """Bring the rows of each clip together.

    Parameters
    ----------
    by_clip : dict of path to the rows that name the clip with a label that can be learned
    refused : pairs of path and Problem, of rows whose label cannot be learned
    layout : Layout
    table : str, name of the table
    problems : list of Problem, to which is added what is odd

    Returns
    -------
    rows : list of Row, each clip once

    Raises
    ------
    DataError
        Clips stand there several times with different labels, and nothing says what that means; or there is no such column of
        raters.
    """
    rater = layout.rater_column or find_rater_column(by_clip)
    rated = rater is not None or layout.repeated == AVERAGE or bool(layout.rating_columns)
    for clip, problem in refused:
        others = rated and clip in by_clip
        problems.append(replace(problem, level=WARNING, reason=f"{problem.reason}; the other ratings count") if others else problem)
    if rated:
        return _average(by_clip, rater, table, problems)
    bad = {clip for clip, _ in refused}
    sure = {clip: rows for clip, rows in by_clip.items() if clip not in bad}
    differing = {clip: rows for clip, rows in sure.items() if len({row.label for row in rows}) > 1}
    if len(differing) > 1 and layout.repeated != SET_ASIDE:  # one alone is a slip
        raise DataError(_question(differing, len(by_clip), table))
    for clip, rows in sure.items():
        if clip in differing:
            problems.append(
                Problem(rows[0].name, ERROR, f"named {len(rows)} times with different labels ({_labels(rows)})", "train")
            )
        elif len(rows) > 1:
            problems.append(Problem(rows[0].name, WARNING, f"named {len(rows)} times with the same label; used once", "train"))
    return [rows[0] for clip, rows in sure.items() if clip not in differing]


def _question(differing: Mapping[Path, Sequence[Row]], clips: int, table: str) -> str:
    first = next(iter(differing.values()))
    columns = ", ".join(first[0].columns) or "there are no further ones"
    return (
        f"{table}: {len(differing)} of {clips} clips stand there several times with different labels, such as {first[0].name} with "
        f"{_labels(first)}. Are these ratings of one clip? Average them with --repeated average, or name the column of the raters "
        f"with --rater (columns: {columns}); --repeated set-aside leaves these clips out"
    )


def _labels(rows: Sequence[Row]) -> str:
    return ", ".join(f"{label:g}" for label in sorted({row.label for row in rows}))


def _average(by_clip: Mapping[Path, Sequence[Row]], rater: str | None, table: str, problems: list[Problem]) -> list[Row]:
    changing: Counter[str] = Counter()
    averaged = []
    for rows in by_clip.values():
        if rater is not None and rater not in rows[0].columns:
            raise DataError(f"{table}: expected a column {rater!r} with the raters, found {', '.join(rows[0].columns) or 'none'}")
        marks = _marks(rows, rater, problems)
        changing.update(name for name, cell in rows[0].columns.items() if any(row.columns[name] != cell for row in rows))
        label = float(np.mean([value for _, value in marks]))
        averaged.append(replace(rows[0], label=label, ratings=marks))
    dropped = {name for name in (rater, *changing) if name is not None}
    for name in sorted(set(changing) - {rater}):
        problems.append(
            Problem(table, WARNING, f"the column {name!r} differs between the ratings of {changing[name]} clips; it is left out")
        )
    return [
        replace(row, columns={name: cell for name, cell in row.columns.items() if name not in dropped}) if dropped else row
        for row in averaged
    ]


def _marks(rows: Sequence[Row], rater: str | None, problems: list[Problem]) -> tuple[tuple[str, float], ...]:
    """Ratings of one clip; of two by one rater the mean."""
    if rater is None:
        return tuple(mark for row in rows for mark in (row.ratings or (("", row.label),)))
    by_rater: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_rater[row.columns[rater].strip()].append(row.label)
    for name, values in by_rater.items():
        if name and len(values) > 1:
            problems.append(Problem(rows[0].name, WARNING, f"{name} rated it {len(values)} times; the mean counts once", "train"))
    unnamed = [("", value) for value in by_rater.pop("", [])]
    return tuple([(name, float(np.mean(values))) for name, values in by_rater.items()] + unnamed)
