"""Data set and models at hand in, the steps that a search for the best experiment tries out, cheapest and most promising first.

A step changes what is trained: feature sets that join the best ones so far, or take the place of some of them, further members, or
a setting. Times are in seconds.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from core.data.audio import header_seconds
from core.data.dataset import Dataset
from core.ensemble import EnsembleSettings
from core.ensemble.models import CATALOGUE
from core.errors import ParameterError
from core.events import Notify, StageStarted, Warned, ignore
from core.extraction.config import FEATURE_SETS, ExtractSettings, text_column
from core.extraction.group_means import clips_a_group
from core.features import parse_set
from core.features.sets import ENCODER, GROUP, TRANSCRIPT, WINDOWED
from core.runtime.weights import WHISPER, encoder_shape, fetch, find, is_fetched, is_here, list_models, require_recogniser
from core.tasks.table_columns import feature_columns

QUICK = ("svr", "kernel_ridge", "ridge")  # on the columns of encoders: seconds on thousands, and the others add little there
LAYERS = 4  # of an encoder side by side, from its middle to its end
# The families in the order in which they are tried: those that published comparisons find best at grading speech come first.
_ORDER = (WHISPER, "wavlm", "hubert", "wav2vec2")


@dataclass(frozen=True, slots=True)
class Fetchable:
    """A model that could be fetched.

    Attributes
    ----------
    model : str, id of the hub
    megabytes : int
    brings : str, what it usually brings
    gains : dict of "encoder", "reading" and "encoder reading" to how much of the error these sets took off; empty if not measured
    """

    model: str
    megabytes: int
    brings: str
    gains: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """The model with its size and what it brings, as a part of a sentence.

        Examples
        --------
        >>> Fetchable("owner/name", 90, "bird song; not measured").line()
        'owner/name (90 MB; bird song; not measured)'
        """
        return f"{self.model} ({self.megabytes} MB; {self.brings})"


# Sizes, and gains as measured on 409 graded sentences of 82 speakers, where that was done.
FETCHABLE = (
    Fetchable(
        "openai/whisper-base",
        290,
        "speech: a quarter of the error less, a third where the table has the text that was read",
        {"encoder": "a quarter", "reading": "a tenth", "encoder reading": "a third"},
    ),
    Fetchable("microsoft/wavlm-base", 380, "speech and other sound; not measured"),
)
# What reads the text of a table beside the clip, one step a line: short name, title, and set of a recogniser and a column.
TEXT_STEPS = (("reading", "how likely {shown} finds the text in column {text!r}", "reading:{model}:column={text}"),)
LEAST_OF_GROUP = 2.0  # clips of a usual clip's group, itself included, from which on their mean says more than the clip
WINDOWS_S = ((10.0, 5), (4.0, 2), (2.0, 1))  # usual length of a clip from which on windows of so many seconds are tried
_SAMPLE = 200  # clips whose length stands for that of all


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is tried on top of the best experiment so far.

    Attributes
    ----------
    name : str, short and without spaces
    title : str, what it is, for people
    adds : tuple of str, feature sets that join those of the best experiment
    members : tuple of str, instead of those of the best experiment; empty keeps them
    trials, augment : int, settings of the training; None keeps those of the best experiment
    drops : tuple of str, feature sets of the best experiment whose place those that join take
    by_layers : bool, whether ``adds`` and ``drops`` are found when it is the step's turn: other layers of its encoders
    among : int >= 1, how many alternatives what is tried was picked from by its score
    """

    name: str
    title: str
    adds: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    trials: int | None = None
    augment: int | None = None
    drops: tuple[str, ...] = ()
    by_layers: bool = False
    among: int = 1


def plan_steps(dataset: Dataset, models: Sequence[str], extract: ExtractSettings, *, group_by: str | None = None) -> list[Step]:
    """What is tried for a data set, the baseline first: what is cheap and brought most elsewhere before what takes long.

    Parameters
    ----------
    dataset : Dataset
    models : sequence of str, audio models on this machine, folders or ids of the hub
    extract : ExtractSettings, how clips are read
    group_by : str or None, column of the groups, which is no feature

    Returns
    -------
    steps : list of Step
    """
    text = text_column(dataset.train[0].columns if dataset.train else {})
    ranked = sorted(models, key=_rank)
    steps = [Step("baseline", "handcrafted features", FEATURE_SETS, EnsembleSettings().members)]
    for model in ranked[:1]:
        steps += _steps_of(model, text)
    steps += _group_step(dataset, group_by, ranked)
    if text is None and (recognisers := [model for model in ranked if _reads(model)]):
        shown = _shown(recognisers[0])
        steps.append(Step(f"transcript-{shown}", f"words that {shown} recognises", (f"{TRANSCRIPT}:whisper={recognisers[0]}",)))
    if columns := feature_columns(dataset, group_by):
        named = ", ".join(parse_set(name).column for name in columns)
        steps.append(Step("table", f"table columns: {named}", columns))
    if ranked:
        steps.append(Step("layers", "the neighbouring layers of the encoder that score best by themselves", by_layers=True))
    if (window_s := _window_s(dataset, extract)) is not None:
        sets = tuple(f"{name}@{window_s}s" for name in WINDOWED)
        steps.append(Step("windows", f"handcrafted features over windows of {window_s} s", sets))
    for model in ranked[1:]:
        steps += _steps_of(model, text)
    if ranked:
        steps.append(Step("members", "forests and boosted trees beside the kernels", members=tuple(CATALOGUE)))
    steps.append(Step("search", "settings that each member finds on an inner split", trials=15))
    steps.append(Step("augmentation", "two augmented copies of each training clip", augment=2))
    return _with_own_names(steps)


def _with_own_names(steps: Sequence[Step]) -> list[Step]:
    """The steps with a number where two would be called the same: folders of two models may end alike."""
    seen = Counter[str]()
    named = []
    for step in steps:
        seen[step.name] += 1
        named.append(step if seen[step.name] == 1 else replace(step, name=f"{step.name}-{seen[step.name]}"))
    return named


def _steps_of(model: str, text: str | None) -> list[Step]:
    """The steps of a model: its hidden layers, and what it makes of a text that was read."""
    shown = _shown(model)
    steps = [Step(f"encoder-{shown}", f"hidden layers of {shown}", (f"{ENCODER}:{model}{side_by_side(model)}",), QUICK)]
    if text is not None and _reads(model):
        steps += [
            Step(f"{name}-{shown}", title.format(shown=shown, text=text), (feature_set.format(model=model, text=text),), QUICK)
            for name, title, feature_set in TEXT_STEPS
        ]
    return steps


def _group_step(dataset: Dataset, group_by: str | None, models: Sequence[str]) -> list[Step]:
    """What the clips of a group have in common, where those that are to be predicted come several of a group too."""
    train, test = (clips_a_group(rows, group_by or "") for rows in (dataset.train, dataset.test))
    if group_by is None or train < LEAST_OF_GROUP or test < max(LEAST_OF_GROUP, train / 2) or ":" in group_by:
        return []
    sets = [f"{ENCODER}:{models[0]}{side_by_side(models[0])}"] if models else [name for name in FEATURE_SETS if name in WINDOWED]
    title = f"what the clips of one {group_by} have in common: those that are predicted come several of one too"
    return [Step("group", title, tuple(f"{GROUP}:{group_by}:{name}" for name in sets))]


def _shown(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2]


def _window_s(dataset: Dataset, extract: ExtractSettings) -> int | None:
    """Length of windows that a usual clip has several of; None where clips are too short for windows."""
    paths = [row.path for row in dataset.train][:: max(1, len(dataset.train) // _SAMPLE)]
    lengths_s = [extract.treatment.analysed_seconds(header_seconds(path) or 0.0, extract.max_seconds) for path in paths]
    usual_s = statistics.median(lengths_s) if lengths_s else 0.0
    return next((window_s for least_s, window_s in WINDOWS_S if usual_s >= least_s), None)


def side_by_side(model: str) -> str:
    """Suffix of the set of an encoder with layers from its middle to its end, as columns of their own.

    Examples
    --------
    >>> spread_layers(7), spread_layers(13), spread_layers(3)
    ((3, 4, 5, 6), (6, 8, 10, 12), (1, 2))
    """
    layers, _ = encoder_shape(find(model))
    return "@L" + "+".join(map(str, spread_layers(layers)))


def spread_layers(layers: int) -> tuple[int, ...]:
    """Layers from the middle to the last, ``LAYERS`` at most, evenly spread, of an encoder that has so many with layer 0."""
    first, last = (layers - 1) // 2, layers - 1
    count = min(LAYERS, last - first + 1)
    chosen = tuple(round(first + index * (last - first) / max(1, count - 1)) for index in range(count))
    assert all(one < other for one, other in pairwise(chosen))
    return chosen


def audio_models(named: Sequence[str]) -> list[str]:
    """Models that hear: those that are named, and those that are on this machine.

    Raises
    ------
    ParameterError
        One that is named is no audio encoder, or not here.
    """
    for model in named:
        encoder_shape(find(model))
    there = []
    for model in list_models():
        try:
            encoder_shape(find(model))
        except ParameterError:  # a text encoder, or one that is not whole
            continue
        there.append(model)
    return list(dict.fromkeys([*named, *there]))


def missing_models() -> list[Fetchable]:
    """What could be fetched and is not on this machine, by its id or in a folder of its name."""
    there = {_shown(model) for model in list_models()}
    return [one for one in FETCHABLE if not is_here(one.model) and _shown(one.model) not in there]


def unused(dataset: Dataset, sets: Sequence[str]) -> str | None:
    """Sets of the best model at hand that a training leaves out, in a line with what they brought elsewhere; None without any.

    Parameters
    ----------
    dataset : Dataset
    sets : sequence of str, feature sets of the training
    """
    if not (models := sorted(audio_models(()), key=_rank)):
        return None
    model, used = models[0], [parse_set(parse_set(name).of_group or name) for name in sets]
    left = [] if any(one.has_layers for one in used) else ["encoder"]
    if text_column(dataset.train[0].columns if dataset.train else {}) and _reads(model) and not any(one.reads_text for one in used):
        left.append("reading")
    if not left:
        return None
    gains = next((one.gains for one in FETCHABLE if _shown(one.model) == _shown(model)), {})
    gain = f" on graded speech {'they' if len(left) > 1 else 'it'} took off {gains[' '.join(left)]} of the error;" if gains else ""
    return f"not used: {' and '.join(f'{kind}:{model}' for kind in left)};{gain} earmark auto tries what is at hand"


def fetch_models(models: Sequence[str], notify: Notify = ignore) -> tuple[str, ...]:
    """Bring models here that are not; the search goes on without those of the hub that cannot be fetched.

    Parameters
    ----------
    models : sequence of str, folders or ids of the hub
    notify : told of each model that is fetched, and with Warned of each that could not be

    Returns
    -------
    models : tuple of str, those that are here

    Raises
    ------
    ParameterError
        A folder is missing, or what is here is not whole.
    """
    there = []
    for model in models:
        if not is_fetched(model):
            there.append(find(model).model)
            continue
        notify(StageStarted(f"fetching {model}"))
        try:
            there.append(fetch(model).model)
        except ParameterError as error:
            notify(Warned(f"{error}; the search goes on without it"))
    return tuple(there)


def _rank(model: str) -> tuple[int, str]:
    kind = find(model).architecture
    return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), model)


def _reads(model: str) -> bool:
    try:
        require_recogniser(find(model))
    except ParameterError:
        return False
    return True
