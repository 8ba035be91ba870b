"""Name of a feature set in, what it holds out: its columns in order, how they are called in a matrix, what each one says.

``ultra``, ``mfcc`` and ``metadata`` are of a whole clip, ``ultra@5s`` is ``ultra`` over windows of 5 s, and ``table:age`` is the
column ``age`` of the table beside the clips. PyTorch computes ``torch200``, ``voice256`` and what pretrained encoders say:
``wav2vec2``, ``hubert``, ``wavlm`` and ``encoder:MODEL``, of the usual layers or of others, as in ``wavlm@L7-8``. ``parse_set``
alone decides which names there are.
"""

import csv
import dataclasses
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from core.errors import ParameterError
from core.runtime.weights import encoder_shape, find

# Raise the number of a set whenever its code changes what a column holds: stored vectors of that set are then computed anew.
SET_VERSIONS = {"ultra": 4, "mfcc": 2, "metadata": 2}
WINDOWED = ("ultra", "mfcc")  # of the sound; ``metadata`` is of the file, which has no windows
TABLE, METADATA = "table", "metadata"
NEVER = "never"
TORCH200, VOICE256, ENCODER, TRANSCRIPT = "torch200", "voice256", "encoder", "transcript"
ENCODERS = {"wav2vec2": "facebook/wav2vec2-base", "hubert": "facebook/hubert-base-ls960", "wavlm": "microsoft/wavlm-base"}
DEVICE_SETS = (TORCH200, VOICE256, *ENCODERS)  # PyTorch computes them; ``encoder:MODEL`` too
MIN_WINDOW_S = 1.0
MAX_WINDOW_S = 3600.0

_OF_LAYERS = re.compile(r"(.+)@L([0-9]+)(?:-([0-9]+))?", re.DOTALL)
_USUAL_LAYERS = (7 / 12, 8 / 12)  # of the depth; of a base model layers 7 and 8 grade speech best
_VOICE_COLUMNS = 256
MAX_UNITS = 4096  # no layer of an encoder has more
_WINDOWED = re.compile(r"([a-z]+)@([0-9]+(?:\.[0-9]+)?)s")
_WINDOWED_PREFIX = re.compile(r"([a-z]+)_([0-9]+)(?:_([0-9]+))?s")


_NO_WORDS = "no words"
_OF_WORDS = (  # name, unit, definition and NaN rule of each column of a text
    ("n_words", "1", "words of the text", NEVER),
    ("words_per_s", "1/s", "words over the length of what was said", NEVER),
    ("type_token_ratio", "1", "different words over words", _NO_WORDS),
    ("n_fillers", "1", "um, uh, er and their like, and you know, I mean, sort of, kind of", NEVER),
    ("fillers_per_word", "1", "fillers over words", _NO_WORDS),
    ("n_repetitions", "1", "words, or two in a row, that are said again at once", NEVER),
    ("n_characters", "1", "characters of the text, runs of blanks counted once", NEVER),
    ("mean_word_length", "1", "characters of words over words", _NO_WORDS),
)


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
    base : str, the set of FEATURES.csv that it rests on; "table" for a column of the table, "encoder" for a pretrained one
    window_s : float, length of the windows; None where the clip is analysed as a whole
    column : str, of the table; empty for a set that is computed from the audio
    model : str, folder or hub id of an encoder, or of a recogniser
    layers : (int, int), first and last of an encoder, whose mean the columns are; None for the usual ones
    """

    name: str
    base: str
    window_s: float | None = None
    column: str = ""
    model: str = ""
    layers: tuple[int, int] | None = None

    @property
    def of_audio(self) -> bool:
        """Whether it is computed from the clip."""
        return self.base != TABLE

    @property
    def on_device(self) -> bool:
        """Whether PyTorch computes it, in batches."""
        return self.base in (TORCH200, VOICE256, ENCODER) or (self.base == TRANSCRIPT and bool(self.model))

    @property
    def of_text(self) -> bool:
        """Whether it is computed from a text of the table, beside the length of the clip."""
        return self.base == TRANSCRIPT and bool(self.column)

    @property
    def is_compiled(self) -> bool:
        """Whether its code is compiled on the machine before the first clip."""
        return self.of_audio and (not self.on_device or self.base == TORCH200)

    @property
    def stored(self) -> str:
        """Name of what is stored: an encoder's vector holds all layers, so that choosing others costs nothing."""
        if self.of_text:  # the length of the clip is in it
            return METADATA
        return self.name if self.base != ENCODER or self.layers is None else self.name.rpartition("@L")[0]

    @property
    def prefix(self) -> str:
        """What stands before the point in the names of a matrix: ``ultra_5s`` for ``ultra@5s``, ``mfcc_2_5s`` for ``mfcc@2.5s``."""
        if self.base in (ENCODER, TRANSCRIPT):
            return self.name
        return self.base if self.window_s is None else self.name.replace("@", "_").replace(".", "_")


@cache
def parse_set(name: str) -> FeatureSet:
    """The feature set of a name.

    Examples
    --------
    >>> parse_set("ultra@5s")
    FeatureSet(name='ultra@5s', base='ultra', window_s=5.0, column='', model='', layers=None)
    >>> parse_set("wavlm@L7-8").model
    'microsoft/wavlm-base'

    Raises
    ------
    ParameterError
        There is no such set, or its name is spelt another way: one set has one name, so that it is stored once.
    """
    if name in SET_VERSIONS or (name in DEVICE_SETS and name not in ENCODERS):
        return FeatureSet(name, name)
    kind, _, column = name.partition(":")
    if kind == TRANSCRIPT:
        return _transcript(name, column)
    if kind == ENCODER or (_OF_LAYERS.fullmatch(name) or [name, name])[1] in ENCODERS:
        return _encoder(name)
    if kind == TABLE and column:
        if column != column.strip():
            raise ParameterError(
                f"feature set {name!r}: columns are named without blanks around them; write '{TABLE}:{column.strip()}'"
            )
        return FeatureSet(name, TABLE, column=column)
    if (match := _WINDOWED.fullmatch(name)) and match[1] in SET_VERSIONS:
        return _windowed(name, match[1], float(match[2]))
    raise ParameterError(
        f"feature set {name!r} is not among {', '.join((*SET_VERSIONS, *DEVICE_SETS))}; {' and '.join(WINDOWED)} are also computed "
        f"over windows, as in {WINDOWED[0]}@5s, {ENCODER}:MODEL is an encoder by its folder or hub id (wavlm@L7-8: its layers 7 to "
        f"8), {TRANSCRIPT}:column=NAME, {TRANSCRIPT}:whisper=MODEL and {TRANSCRIPT}:describe are of words, "
        f"and {TABLE}:NAME is the numeric column NAME of the table"
    )


def canonical(name: str) -> str:
    """The one spelling of a set. A folder in it is made absolute: jobs run elsewhere than where they are asked for.

    Examples
    --------
    >>> canonical("encoder:/models/./tiny/@L2")
    'encoder:/models/tiny@L2'
    """
    if name.startswith(f"{TRANSCRIPT}:whisper="):
        way, _, model = name.partition("=")
        return f"{way}={absolute_folder(model)}"
    if not name.startswith(f"{ENCODER}:"):
        return name
    match = _OF_LAYERS.fullmatch(name)
    whole, layers = (match[1], name[match.end(1) :]) if match else (name, "")
    return f"{ENCODER}:{absolute_folder(whole.partition(':')[2])}{layers}"


def absolute_folder(model: str) -> str:
    """A model by the absolute path of its folder, or, where it is none, by its id as it stands."""
    path = Path(model).expanduser()
    return os.path.abspath(path) if model and (path.is_absolute() or path.is_dir()) else model


def encoder_layers(of: FeatureSet, layers: int) -> tuple[int, int]:
    """First and last layer of a set of an encoder that has so many, layer 0 included.

    Examples
    --------
    >>> encoder_layers(parse_set("wavlm"), 13), encoder_layers(parse_set("wavlm@L3"), 13)
    ((7, 8), (3, 3))

    Raises
    ------
    ParameterError
        The encoder has no such layer.
    """
    if of.layers is None:
        first, last = (round(share * (layers - 1)) for share in _USUAL_LAYERS)
        return first, last
    if of.layers[1] >= layers:
        raise ParameterError(f"feature set {of.name!r}: {of.model} has layers 0 to {layers - 1}")
    return of.layers


def chooser(set_name: str) -> Callable[[np.ndarray], np.ndarray]:
    """What a set takes of a stored vector: of an encoder the mean of its layers, of any other set all of it.

    Returns
    -------
    choose : function of np.ndarray [shape=(layers * 2 * width,)], of each layer first all means, then all standard deviations;
        gives np.ndarray [shape=(2 * width,)], float32
    """
    of = parse_set(set_name)
    if of.base != ENCODER:
        return lambda vector: vector
    layers, width = encoder_shape(find(of.model))
    first, last = encoder_layers(of, layers)
    return lambda vector: vector.reshape(layers, 2 * width)[first : last + 1].mean(axis=0, dtype=np.float64).astype(np.float32)


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
    if (whole := column.rpartition(".")[0]).startswith(
        (f"{ENCODER}:", f"{TRANSCRIPT}:")
    ):  # names of folders and models have points
        return whole
    if match := _WINDOWED_PREFIX.fullmatch(prefix):
        return f"{match[1]}@{match[2]}{'.' + match[3] if match[3] else ''}s"
    return prefix


def columns(set_name: str) -> tuple[Column, ...]:
    """The columns of a set, in order: over windows, and of an encoder, first all means, then all standard deviations.

    Raises
    ------
    ParameterError
        There is no such set, or its encoder is not on this machine.
    """
    of = parse_set(set_name)
    if of.base == ENCODER:
        layers, width = encoder_shape(find(of.model))
        return encoder_columns(of, encoder_layers(of, layers), width)
    return _columns(of)


@cache
def _columns(of: FeatureSet) -> tuple[Column, ...]:
    if not of.of_audio:
        return (Column(of.name, 0, TABLE, of.column, "1", f"column {of.column!r} of the table", "empty cell", ""),)
    if of.base == TRANSCRIPT:
        return tuple(Column(of.name, at, TRANSCRIPT, *words, "") for at, words in enumerate(_OF_WORDS))
    if of.base == VOICE256:
        said = "unit {} of the speaker encoder, mean over parts of 1.6 s, scaled to length 1"
        reference = "Wan et al. 2018, as trained in Resemblyzer 0.1.4"
        return tuple(
            Column(VOICE256, unit, VOICE256, f"voice{unit}", "1", said.format(unit), NEVER, reference)
            for unit in range(_VOICE_COLUMNS)
        )
    whole = tuple(column for column in _table("TORCH200.csv" if of.base == TORCH200 else "FEATURES.csv") if column.set == of.base)
    if of.window_s is None:
        return whole
    pools = [(column, pool) for pool in ("mean", "std") for column in whole]
    return tuple(_pooled(of, index, column, pool) for index, (column, pool) in enumerate(pools))


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


def _transcript(name: str, source: str) -> FeatureSet:
    way, _, of = source.partition("=")
    if source == "describe":
        return FeatureSet(name, TRANSCRIPT)
    if of and of == of.strip() and way == "column":
        return FeatureSet(name, TRANSCRIPT, column=of)
    if of and of == of.strip() and way == "whisper":
        return FeatureSet(name, TRANSCRIPT, model=of)
    raise ParameterError(
        f"feature set {name!r}: write {TRANSCRIPT}:column=NAME for a text of the table, {TRANSCRIPT}:whisper=MODEL for a "
        f"recogniser by its folder or hub id, or {TRANSCRIPT}:describe for a description of the sound"
    )


def _encoder(name: str) -> FeatureSet:
    match = _OF_LAYERS.fullmatch(name)
    whole = match[1] if match else name
    kind, _, model = whole.partition(":")
    layers = (int(match[2]), int(match[3] or match[2])) if match else None
    if layers:
        spelt = f"{whole}@L{layers[0]}" + (f"-{layers[1]}" if layers[1] > layers[0] else "")
        if spelt != name or layers[1] < layers[0]:
            raise ParameterError(
                f"feature set {name!r}: layers are named from the first to the last, as in {whole}@L7-8 or {whole}@L7"
            )
    if kind == ENCODER and (not model or model != model.strip()):
        raise ParameterError(f"feature set {name!r}: write {ENCODER}:MODEL, a folder or an id of the Hugging Face hub")
    return FeatureSet(name, ENCODER, model=ENCODERS.get(whole, model), layers=layers)


@cache
def encoder_columns(of: FeatureSet, layers: tuple[int, int] | None = None, width: int = MAX_UNITS) -> tuple[Column, ...]:
    """Columns of a set of an encoder, first all means, then all standard deviations.

    Parameters
    ----------
    of : FeatureSet
    layers : first and last, None where that is not known
    width : int, units of a layer
    """
    first, last = layers or of.layers or (None, None)
    where = f"layer {first}" if first == last else f"layers {first} to {last}, whose mean is taken,"
    where = "the usual layers" if first is None else where
    family = of.stored if of.stored in ENCODERS else ENCODER
    reference = f"hidden states of {of.model}"
    pools = [(pool, words, unit) for pool, words in (("mean", "mean"), ("std", "standard deviation")) for unit in range(width)]
    return tuple(
        Column(
            of.name,
            index,
            family,
            f"{pool}{unit}",
            "1",
            f"{words} over frames of unit {unit} of {where} of {of.model}",
            NEVER,
            reference,
        )
        for index, (pool, words, unit) in enumerate(pools)
    )


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
def _table(name: str) -> tuple[Column, ...]:
    lines = files(__package__).joinpath(name).read_text(encoding="utf-8").splitlines()
    texts = [field.name for field in dataclasses.fields(Column) if field.name != "index"]
    return tuple(Column(index=int(row["index"]), **{name: row[name] for name in texts}) for row in csv.DictReader(lines))
