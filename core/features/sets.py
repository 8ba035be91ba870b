"""Name of a feature set in, what it holds out: its columns in order, how they are called in a matrix, what each one says.

``ultra``, ``mfcc`` and ``metadata`` are of a whole clip, ``ultra@5s`` is ``ultra`` over windows of 5 s, and ``table:age`` is the
column ``age`` of the table beside the clips. ``parse_set`` alone decides which names there are.
"""

import csv
import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from core.errors import ParameterError

# Raise the number of a set whenever its code changes what a column holds: stored vectors of that set are then computed anew.
SET_VERSIONS = {"ultra": 4, "mfcc": 2, "metadata": 2}
WINDOWED = ("ultra", "mfcc")  # of the sound; ``metadata`` is of the file, which has no windows
TABLE = "table"
NEVER = "never"
MIN_WINDOW_S = 1.0
MAX_WINDOW_S = 3600.0

_WINDOWED = re.compile(r"([a-z]+)@([0-9]+(?:\.[0-9]+)?)s")
_WINDOWED_PREFIX = re.compile(r"([a-z]+)_([0-9]+)(?:_([0-9]+))?s")


@dataclass(frozen=True, slots=True)
class Column:
    """One row of FEATURES.csv, or what is made of it."""

    set: str
    index: int
    family: str
    name: str
    unit: str
    definition: str
    nan_when: str
    reference: str


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """What the name of a feature set says.

    Attributes
    ----------
    name : str, the only spelling of it
    base : str, the set of FEATURES.csv that it rests on; "table" for a column of the table
    window_s : float, length of the windows; None where the clip is analysed as a whole
    column : str, of the table; empty for a set that is computed from the audio
    """

    name: str
    base: str
    window_s: float | None = None
    column: str = ""

    @property
    def of_audio(self) -> bool:
        """Whether it is computed from the clip."""
        return self.base != TABLE

    @property
    def prefix(self) -> str:
        """What stands before the point in the names of a matrix: ``ultra_5s`` for ``ultra@5s``, ``mfcc_2_5s`` for ``mfcc@2.5s``."""
        return self.base if self.window_s is None else self.name.replace("@", "_").replace(".", "_")


@cache
def parse_set(name: str) -> FeatureSet:
    """The feature set of a name.

    Examples
    --------
    >>> parse_set("ultra@5s")
    FeatureSet(name='ultra@5s', base='ultra', window_s=5.0, column='')

    Raises
    ------
    ParameterError
        There is no such set, or its name is spelt another way: one set has one name, so that it is stored once.
    """
    if name in SET_VERSIONS:
        return FeatureSet(name, name)
    kind, _, column = name.partition(":")
    if kind == TABLE and column:
        if column != column.strip():
            raise ParameterError(
                f"feature set {name!r}: columns are named without blanks around them; write '{TABLE}:{column.strip()}'"
            )
        return FeatureSet(name, TABLE, column=column)
    if (match := _WINDOWED.fullmatch(name)) and match[1] in SET_VERSIONS:
        return _windowed(name, match[1], float(match[2]))
    raise ParameterError(
        f"feature set {name!r} is not among {', '.join(SET_VERSIONS)}; {' and '.join(WINDOWED)} are also computed over windows, "
        f"as in {WINDOWED[0]}@5s, and {TABLE}:NAME is the numeric column NAME of the table"
    )


def set_of(column: str) -> str:
    """Name of the feature set that a column of a matrix belongs to.

    Examples
    --------
    >>> [set_of(name) for name in ("mfcc.mfcc0_mean", "mfcc_2_5s.mfcc0_mean_std", "table.age")]
    ['mfcc', 'mfcc@2.5s', 'table:age']
    """
    prefix, _, name = column.partition(".")
    if prefix == TABLE:
        return f"{TABLE}:{name}"
    if match := _WINDOWED_PREFIX.fullmatch(prefix):
        return f"{match[1]}@{match[2]}{'.' + match[3] if match[3] else ''}s"
    return prefix


@cache
def columns(set_name: str) -> tuple[Column, ...]:
    """The columns of a set, in order: over windows first all means, then all standard deviations.

    Raises
    ------
    ParameterError
        There is no such set.
    """
    of = parse_set(set_name)
    if not of.of_audio:
        return (Column(set_name, 0, TABLE, of.column, "1", f"column {of.column!r} of the table", "empty cell", ""),)
    whole = tuple(column for column in _table() if column.set == of.base)
    if of.window_s is None:
        return whole
    pools = [(column, pool) for pool in ("mean", "std") for column in whole]
    return tuple(_pooled(of, index, column, pool) for index, (column, pool) in enumerate(pools))


def names(set_name: str) -> tuple[str, ...]:
    """Bare column names of a set, in order."""
    return tuple(column.name for column in columns(set_name))


def _windowed(name: str, base: str, window_s: float) -> FeatureSet:
    if base not in WINDOWED:
        raise ParameterError(f"feature set {name!r}: {base} describes the file, which has no windows; write {base!r}")
    if not MIN_WINDOW_S <= window_s <= MAX_WINDOW_S:
        raise ParameterError(f"feature set {name!r}: windows last {MIN_WINDOW_S:g} to {MAX_WINDOW_S:g} s")
    spelt = f"{base}@{window_s:g}s"
    if spelt != name:
        raise ParameterError(f"feature set {name!r}: write {spelt!r}")
    return FeatureSet(name, base, window_s)


def _pooled(of: FeatureSet, index: int, column: Column, pool: str) -> Column:
    words = {"mean": "mean", "std": "standard deviation"}[pool] + f" over windows of {of.window_s:g} s of: "
    return dataclasses.replace(
        column,
        set=of.name,
        index=index,
        name=f"{column.name}_{pool}",
        definition=words + column.definition,
        nan_when=column.nan_when if column.nan_when == NEVER else f"{column.nan_when}, in each window",
        reference=words + column.reference if column.reference else "",
    )


@cache
def _table() -> tuple[Column, ...]:
    lines = files(__package__).joinpath("FEATURES.csv").read_text(encoding="utf-8").splitlines()
    texts = [field.name for field in dataclasses.fields(Column) if field.name != "index"]
    return tuple(Column(index=int(row["index"]), **{name: row[name] for name in texts}) for row in csv.DictReader(lines))
