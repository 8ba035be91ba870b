"""Data set and models at hand in, the steps that a search for the best experiment tries out, cheapest and most promising first.

A step changes what is trained: feature sets that join the best ones so far, or take the place of some of them, further members, or
a setting. Times are in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.data.dataset import Dataset
from core.ensemble.models import CATALOGUE
from core.errors import ParameterError
from core.extraction.config import FEATURE_SETS, text_column
from core.features.sets import ENCODER
from core.runtime.weights import WHISPER, encoder_shape, find, is_here, list_models, require_recogniser

QUICK = ("svr", "kernel_ridge", "ridge")  # which judge feature sets: seconds on thousands of columns
LAYERS = 4  # of an encoder side by side, from its middle to its end
# The families in the order in which they are tried: those that published comparisons find best at grading speech come first.
_ORDER = (WHISPER, "wavlm", "hubert", "wav2vec2")
# What could be fetched, with its size in MB and what it brought on 409 sentences of 82 speakers, where that was measured.
FETCHABLE = (
    ("openai/whisper-base", 290, "speech: a quarter of the error less, a third where the table has the text that was read"),
    ("microsoft/wavlm-base", 380, "speech and other sound; not measured"),
)


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
    """

    name: str
    title: str
    adds: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    trials: int | None = None
    augment: int | None = None


def plan_steps(dataset: Dataset, models: Sequence[str]) -> list[Step]:
    """What is tried for a data set, the baseline first.

    Parameters
    ----------
    dataset : Dataset
    models : sequence of str, audio models on this machine, folders or ids of the hub

    Returns
    -------
    steps : list of Step
    """
    steps = [Step("baseline", "handcrafted features", FEATURE_SETS, QUICK)]
    columns = dataset.train[0].columns if dataset.train else {}
    text = text_column(columns)
    for model in sorted(models, key=_rank):
        shown = model.rstrip("/").rpartition("/")[2]
        steps.append(Step(f"encoder-{shown}", f"hidden layers of {shown}", (f"{ENCODER}:{model}{side_by_side(model)}",)))
        if text is not None and _reads(model):
            steps.append(
                Step(
                    f"reading-{shown}", f"how likely {shown} finds the text in column {text!r}", (f"reading:{model}:column={text}",)
                )
            )
    steps.append(Step("members", "forests and boosted trees beside the kernels", members=tuple(CATALOGUE)))
    steps.append(Step("search", "settings that each member finds on an inner split", trials=15))
    steps.append(Step("augmentation", "two augmented copies of each training clip", augment=2))
    return steps


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


def missing_models() -> list[str]:
    """What could be fetched, in a line each: how large it is, and what it usually brings."""
    return [
        f"not on this machine: {model} ({megabytes} MB; {brings})" for model, megabytes, brings in FETCHABLE if not is_here(model)
    ]


def _rank(model: str) -> tuple[int, str]:
    kind = find(model).architecture
    return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), model)


def _reads(model: str) -> bool:
    try:
        require_recogniser(find(model))
    except ParameterError:
        return False
    return True
