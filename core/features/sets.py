"""Name of a feature set in, what it holds out: its columns in order, how they are called in a matrix, what each one says.

``ultra``, ``mfcc`` and ``metadata`` describe a whole clip, ``ultra@5s`` is ``ultra`` over windows of 5 s, ``table:age`` is the
column ``age`` of the table beside the clips, and ``group:speaker:ultra`` the mean of ``ultra`` over a speaker's clips. These kinds
are defined here. The kinds that PyTorch computes (``torch200``, ``voice256``, pretrained encoders, transcripts) each have a module
in ``core.encoders``, and are known from its registry. A name is parsed from its text alone: only the columns of an encoder depend
on weights.
"""

import csv
import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from core.errors import ParameterError

# Raise the number of a set whenever its code changes what a column holds: stored vectors of that set are then computed anew.
SET_VERSIONS = {"ultra": 4, "mfcc": 2, "metadata": 2}
WINDOWED = ("ultra", "mfcc")  # of the sound; ``metadata`` is of the file, which has no windows
NEVER = "never"
TABLE, METADATA, GROUP = "table", "metadata", "group"
TORCH200, VOICE256, ENCODER, TRANSCRIPT = "torch200", "voice256", "encoder", "transcript"
READING, RECOGNITION, PRONUNCIATION = "reading", "recognition", "pronunciation"
OF_TEXTS = (READING, RECOGNITION, PRONUNCIATION)  # KIND:MODEL:column=NAME: of the clip and a text of the table
MIN_WINDOW_S = 1.0
MAX_WINDOW_S = 3600.0
_REGISTRY = (
    "core.encoders.registry"  # by name, because it stands above this module: a kind that PyTorch computes is known from there
)

_WINDOWED = re.compile(r"([a-z]+)@([0-9]+(?:\.[0-9]+)?)s")
_LEVELS = re.compile(r'(.+?)=(\[".*"\])', re.DOTALL)
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
    """What the name of a feature set says; its kind fills this in when it parses the name.

    Attributes
    ----------
    name : str, the only spelling of it
    base : str, the kind: the set of FEATURES.csv that it rests on, "table", or a key of the registry of ``core.encoders``
    window_s : float, length of the windows; None where the clip is analysed as a whole
    column : str, of the table; empty for a set that is computed from the audio
    model : str, folder or hub id of an encoder, or of a recogniser
    layers : (int, int), first and last of an encoder, whose mean the columns are; None for the usual ones
    side_by_side : tuple of int, layers of an encoder whose columns stand side by side; empty where the mean is taken
    levels : tuple of str, the words that a column of words has in the training table; empty where it holds numbers
    of_group : str, set whose mean over the clips with the same word in ``column`` it is; empty for all others
    language : str, code of the language that a recogniser is told; empty where it finds out by itself
    of_audio : bool, computed from the clip
    on_device : bool, PyTorch computes it, in batches
    of_text : bool, computed from a text of the table, beside the length of the clip
    reads_text : bool, computed from the clip and a text of the table: a clip has a vector for each text
    has_layers : bool, hidden layers of an encoder, which can be chosen
    is_compiled : bool, its code is compiled on the machine before the first clip
    stored : str, name of what is stored; by default its own. An encoder's vector holds all layers, so that choosing others costs
        nothing
    prefix : str, what stands before the point in the names of a matrix; by default its name
    """

    name: str
    base: str
    window_s: float | None = None
    column: str = ""
    model: str = ""
    layers: tuple[int, int] | None = None
    language: str = ""
    levels: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    of_audio: bool = dataclasses.field(default=True, repr=False)
    on_device: bool = dataclasses.field(default=False, repr=False)
    of_text: bool = dataclasses.field(default=False, repr=False)
    reads_text: bool = dataclasses.field(default=False, repr=False)
    has_layers: bool = dataclasses.field(default=False, repr=False)
    side_by_side: tuple[int, ...] = dataclasses.field(default=(), repr=False)
    of_group: str = dataclasses.field(default="", repr=False)
    is_compiled: bool = dataclasses.field(default=False, repr=False)
    stored: str = dataclasses.field(default="", repr=False)
    prefix: str = dataclasses.field(default="", repr=False)

    def __post_init__(self) -> None:
        for default in ("stored", "prefix"):
            if not getattr(self, default):
                object.__setattr__(self, default, self.name)


class SetKind(Protocol):
    """A kind of feature set: how its sets are named, and what their columns are.

    Attributes
    ----------
    titles : mapping of the sets that have a name of their own to a line about each, for people
    usage : str, how the others are named, for the error about a name that no kind knows; may be empty
    """

    titles: ClassVar[Mapping[str, str]] = {}
    usage: ClassVar[str] = ""

    def parse(self, name: str) -> FeatureSet | None:
        """The set of a name, or None where the name is of another kind.

        Raises
        ------
        ParameterError
            It is of this kind, but misspelt.
        """
        ...

    def columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        """The columns of a set, in order.

        Raises
        ------
        ParameterError
            They depend on weights that are not on this machine.
        """
        ...

    def canonical(self, name: str) -> str:
        """The one spelling of a name; a name of another kind stays as it is."""
        return name

    def version(self, feature_set: FeatureSet) -> Any:
        """Number of the code that computes a set: stored vectors of another one are computed anew."""
        return 1

    def chooser(self, feature_set: FeatureSet) -> Callable[[np.ndarray], np.ndarray]:
        """What a set takes of its stored vector: by default all of it."""
        return lambda vector: vector

    def possible_columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        """Columns that a set may have, where ``columns`` cannot tell how many there are."""
        return ()


class Handcrafted(SetKind):
    """The sets of FEATURES.csv, of a whole clip or over windows."""

    titles: ClassVar[Mapping[str, str]] = {
        "ultra": "energy, pauses, spectrum, voice, rhythm, harmony, quality",
        "mfcc": "20 cepstral coefficients with their changes",
        "metadata": "length, rate, channels and size of the file",
    }
    usage = f"{' and '.join(WINDOWED)} are also computed over windows, as in {WINDOWED[0]}@5s"

    def parse(self, name: str) -> FeatureSet | None:
        if name in SET_VERSIONS:
            return FeatureSet(name, name, is_compiled=True)
        if not (match := _WINDOWED.fullmatch(name)) or match[1] not in SET_VERSIONS:
            return None
        base, window_s = match[1], float(match[2])
        if base not in WINDOWED:
            raise ParameterError(f"feature set {name!r}: {base} describes the file, which has no windows; write {base!r}")
        if not MIN_WINDOW_S <= window_s <= MAX_WINDOW_S:
            raise ParameterError(f"feature set {name!r}: windows last {MIN_WINDOW_S:g} to {MAX_WINDOW_S:g} s")
        spelt = f"{base}@{window_s:g}s"
        if spelt != name:
            raise ParameterError(f"feature set {name!r}: write {spelt!r}")
        return FeatureSet(name, base, window_s, is_compiled=True, prefix=name.replace("@", "_").replace(".", "_"))

    def columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        return _handcrafted_columns(feature_set)

    def version(self, feature_set: FeatureSet) -> int:
        return SET_VERSIONS[feature_set.base]


class OfTable(SetKind):
    """A column of the table: ``table:age`` of numbers, ``table:sex=["f","m"]`` of words with their levels, one feature each."""

    usage = f"{TABLE}:NAME is the column NAME of the table, of numbers or of a few words"

    def parse(self, name: str) -> FeatureSet | None:
        kind, _, column = name.partition(":")
        if kind != TABLE or not column:
            return None
        if column != column.strip():
            raise ParameterError(
                f"feature set {name!r}: columns are named without blanks around them; write '{TABLE}:{column.strip()}'"
            )
        if not (match := _LEVELS.fullmatch(column)):
            return FeatureSet(name, TABLE, column=column, of_audio=False, prefix=TABLE)
        try:
            levels = tuple(json.loads(match[2]))
        except ValueError:
            levels = ()
        if not levels or with_levels(f"{TABLE}:{match[1]}", levels) != name:
            raise ParameterError(f'feature set {name!r}: levels are a list of texts, as in {TABLE}:sex=["f","m"]')
        return FeatureSet(name, TABLE, column=match[1], levels=levels, of_audio=False, prefix=TABLE)

    def columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        column = feature_set.column
        if not feature_set.levels:
            return (Column(feature_set.name, 0, TABLE, column, "1", f"column {column!r} of the table", "empty cell", ""),)
        words = [
            (f"{column}={level}", f"1 where column {column!r} of the table is {level!r}, else 0") for level in feature_set.levels
        ]
        return tuple(
            Column(feature_set.name, index, TABLE, name, "1", definition, "empty cell", "")
            for index, (name, definition) in enumerate(words)
        )


class OfGroup(SetKind):
    """What the clips of a group have in common: ``group:speaker:ultra`` is the mean of ``ultra`` over a speaker's clips.

    The mean is over the clips of one table that have the same word in the column; where a cell is empty it is of the clip alone.
    """

    usage = f"{GROUP}:NAME:SET is the mean of a set over the clips with the same word in the column NAME of the table"

    def parse(self, name: str) -> FeatureSet | None:
        kind, _, rest = name.partition(":")
        column, _, inner = rest.partition(":")
        if kind != GROUP:
            return None
        if not column or column != column.strip() or not inner:
            raise ParameterError(f"feature set {name!r}: write {GROUP}:COLUMN:SET, as in {GROUP}:speaker:ultra")
        of = parse_set(inner)
        if not of.of_audio or of.of_text or of.reads_text:
            raise ParameterError(f"feature set {name!r}: only a set that is computed from the sound has a mean over a group")
        return FeatureSet(name, GROUP, column=column, of_group=of.name, of_audio=False)

    def columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        return self._of(feature_set, columns(feature_set.of_group))

    def possible_columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        return self._of(feature_set, possible_columns(feature_set.of_group))

    def canonical(self, name: str) -> str:
        kind, _, rest = name.partition(":")
        column, _, inner = rest.partition(":")
        return f"{GROUP}:{column}:{canonical(inner)}" if kind == GROUP and inner else name

    def _of(self, feature_set: FeatureSet, inner: Sequence[Column]) -> tuple[Column, ...]:
        words = f"mean over the clips with the same {feature_set.column!r} of: "
        return tuple(
            dataclasses.replace(
                column,
                set=feature_set.name,
                definition=words + column.definition,
                nan_when=column.nan_when if column.nan_when == NEVER else f"{column.nan_when}, in each clip",
                reference="",
            )
            for column in inner
        )


def with_levels(set_name: str, levels: Sequence[str]) -> str:
    """The set of a column of words with its levels.

    Examples
    --------
    >>> with_levels("table:sex", ["f", "m"])
    'table:sex=["f","m"]'
    """
    return f"{set_name}={json.dumps(list(levels), ensure_ascii=False, separators=(',', ':'))}"


_HANDCRAFTED: dict[str, SetKind] = dict.fromkeys(SET_VERSIONS, Handcrafted())
_OF_TABLE: dict[str, SetKind] = {TABLE: OfTable(), GROUP: OfGroup()}


def kinds() -> dict[str, SetKind]:
    """Every kind of set by its base: those of this module and those that PyTorch computes."""
    return _HANDCRAFTED | import_module(_REGISTRY).SOURCES | _OF_TABLE


def named_sets() -> dict[str, str]:
    """The sets with a name of their own, with a line about each: the choice that a form offers."""
    return {name: title for kind in kinds().values() for name, title in kind.titles.items()}


@cache
def parse_set(name: str) -> FeatureSet:
    """The feature set of a name; no file is read for it.

    Examples
    --------
    >>> parse_set("ultra@5s")
    FeatureSet(name='ultra@5s', base='ultra', window_s=5.0, column='', model='', layers=None, language='')
    >>> parse_set("wavlm@L7-8").model
    'microsoft/wavlm-base'

    Raises
    ------
    ParameterError
        There is no such set, or its name is spelt another way: one set has one name, so that it is stored once.
    """
    for kind in kinds().values():
        if (feature_set := kind.parse(name)) is not None:
            return feature_set
    *usages, last = dict.fromkeys(kind.usage for kind in kinds().values() if kind.usage)
    raise ParameterError(f"feature set {name!r} is not among {', '.join(named_sets())}; {', '.join(usages)}, and {last}")


def canonical(name: str) -> str:
    """The one spelling of a set. A folder in it is made absolute: jobs run elsewhere than where they are asked for.

    Examples
    --------
    >>> canonical("encoder:/models/./tiny/@L2")
    'encoder:/models/tiny@L2'
    """
    for kind in kinds().values():
        name = kind.canonical(name)
    return name


def absolute_folder(model: str) -> str:
    """A model by the absolute path of its folder, or, where it is none, by its id as it stands."""
    path = Path(model).expanduser()
    return os.path.abspath(path) if model and (path.is_absolute() or path.is_dir()) else model


def chooser(set_name: str) -> Callable[[np.ndarray], np.ndarray]:
    """What a set takes of a stored vector: of an encoder its layers, or their mean; of any other set all of it."""
    feature_set = parse_set(set_name)
    return kinds()[feature_set.base].chooser(feature_set)


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
    if ":" in prefix or "@" in prefix:  # names of folders and models have points
        return column.rpartition(".")[0]
    if match := _WINDOWED_PREFIX.fullmatch(prefix):
        return f"{match[1]}@{match[2]}{'.' + match[3] if match[3] else ''}s"
    return prefix


def columns(set_name: str) -> tuple[Column, ...]:
    """The columns of a set, in order: over windows, and of an encoder, first all means, then all standard deviations, and of an
    encoder then all mean steps.

    Raises
    ------
    ParameterError
        There is no such set, or its encoder is not on this machine.
    """
    feature_set = parse_set(set_name)
    return kinds()[feature_set.base].columns(feature_set)


def possible_columns(set_name: str) -> tuple[Column, ...]:
    """The columns of a set; of an encoder that is not on this machine as many as any has."""
    feature_set = parse_set(set_name)
    kind = kinds()[feature_set.base]
    try:
        return kind.columns(feature_set)
    except ParameterError:
        return kind.possible_columns(feature_set)


def width(set_name: str) -> int | None:
    """Columns of a set; None where its encoder is not on this machine to tell."""
    try:
        return len(columns(set_name))
    except ParameterError:
        parse_set(set_name)
        return None


def names(set_name: str) -> tuple[str, ...]:
    """Bare column names of a set, in order."""
    return tuple(column.name for column in columns(set_name))


@cache
def read_columns(table: str, set_name: str) -> tuple[Column, ...]:
    """The columns of a set as a table beside this module lists them: FEATURES.csv, TORCH200.csv."""
    lines = files(__package__).joinpath(table).read_text(encoding="utf-8").splitlines()
    texts = [field.name for field in dataclasses.fields(Column) if field.name != "index"]
    rows = (Column(index=int(row["index"]), **{name: row[name] for name in texts}) for row in csv.DictReader(lines))
    return tuple(column for column in rows if column.set == set_name)


@cache
def _handcrafted_columns(feature_set: FeatureSet) -> tuple[Column, ...]:
    whole = read_columns("FEATURES.csv", feature_set.base)
    if feature_set.window_s is None:
        return whole
    pools = [(column, pool) for pool in ("mean", "std") for column in whole]
    return tuple(_pooled(feature_set, index, column, pool) for index, (column, pool) in enumerate(pools))


def _pooled(feature_set: FeatureSet, index: int, column: Column, pool: str) -> Column:
    words = {"mean": "mean", "std": "standard deviation"}[pool] + f" over windows of {feature_set.window_s:g} s of: "
    return dataclasses.replace(
        column,
        set=feature_set.name,
        index=index,
        name=f"{column.name}_{pool}",
        definition=words + column.definition,
        nan_when=column.nan_when if column.nan_when == NEVER else f"{column.nan_when}, in each window",
        reference=words + column.reference if column.reference else "",
    )
