"""The sets of pretrained encoders: ``wav2vec2``, ``hubert``, ``wavlm`` and ``encoder:MODEL``, of the usual layers or of others.

Mean, standard deviation and mean step over frames of every layer are stored, so that choosing layers costs nothing: ``@L7-8`` is
the mean of layers 7 to 8, ``@L3+4+6`` are layers 3, 4 and 6 side by side.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np

from core.data.audio import Clip
from core.encoders import pretrained
from core.encoders.pretrained import POOLS
from core.encoders.source import TO_CLIP, Extractor, FeatureSource, Load
from core.errors import ParameterError
from core.features.sets import ENCODER, NEVER, Column, FeatureSet, absolute_folder
from core.runtime.device import Device
from core.runtime.weights import encoder_shape, fetch, find

ENCODERS = {"wav2vec2": "facebook/wav2vec2-base", "hubert": "facebook/hubert-base-ls960", "wavlm": "microsoft/wavlm-base"}
MAX_UNITS = 4096  # no layer of an encoder has more

_OF_LAYERS = re.compile(r"(.+)@L([0-9]+(?:[-+][0-9]+)*)", re.DOTALL)
_POOLS = {
    "mean": "mean over frames",
    "std": "standard deviation over frames",
    "delta": "mean absolute change from frame to frame",
}
_USUAL_LAYERS = (7 / 12, 8 / 12)  # of the depth; of a base model layers 7 and 8 grade speech best


class EncoderLayers(FeatureSource):
    """Hidden layers of a pretrained encoder."""

    base = ENCODER
    titles: ClassVar[Mapping[str, str]] = {
        "wav2vec2": "Wav2Vec2 base, layers 7 and 8",
        "hubert": "HuBERT base, layers 7 and 8",
        "wavlm": "WavLM base, layers 7 and 8; of grading speech mostly the best",
    }
    usage = (
        f"{ENCODER}:MODEL is an encoder by its folder or hub id (wavlm@L7-8: the mean of its layers 7 to 8; wavlm@L7+8: both "
        "side by side)"
    )
    cuts_windows = True

    def parse(self, name: str) -> FeatureSet | None:
        match = _OF_LAYERS.fullmatch(name)
        whole = match[1] if match else name
        kind, _, model = whole.partition(":")
        if kind != ENCODER and whole not in ENCODERS:
            return None
        layers, side_by_side = _read_layers(name, whole, match[2]) if match else (None, ())
        if kind == ENCODER and (not model or model != model.strip()):
            raise ParameterError(f"feature set {name!r}: write {ENCODER}:MODEL, a folder or an id of the Hugging Face hub")
        model = ENCODERS.get(whole, model)
        return FeatureSet(
            name,
            ENCODER,
            model=model,
            layers=layers,
            side_by_side=side_by_side,
            on_device=True,
            has_layers=True,
            stored=whole,
        )

    def canonical(self, name: str) -> str:
        if not name.startswith(f"{ENCODER}:"):
            return name
        match = _OF_LAYERS.fullmatch(name)
        whole, layers = (match[1], name[match.end(1) :]) if match else (name, "")
        return f"{ENCODER}:{absolute_folder(whole.partition(':')[2])}{layers}"

    def columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        layers, width = encoder_shape(find(feature_set.model))
        return _columns(feature_set, choose_layers(feature_set, layers), width)

    def possible_columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        return _columns(feature_set, _named_layers(feature_set), MAX_UNITS)

    def chooser(self, feature_set: FeatureSet) -> Callable[[np.ndarray], np.ndarray]:
        """Takes what ``pretrained.Extractor`` gives, np.ndarray [shape=(layers * 3 * width,)]."""
        layers, width = encoder_shape(find(feature_set.model))
        bands = choose_layers(feature_set, layers)

        def take_layers(vector: np.ndarray) -> np.ndarray:
            of_layers = vector.reshape(layers, len(POOLS) * width)
            means = [of_layers[first : last + 1].mean(axis=0, dtype=np.float64) for first, last in bands]
            return np.concatenate(means).astype(np.float32)

        return take_layers

    def version(self, feature_set: FeatureSet) -> int:
        return pretrained.VERSION

    def check(self, feature_set: FeatureSet) -> None:
        encoder_shape(fetch(feature_set.model))
        self.columns(feature_set)

    def state(self, feature_set: FeatureSet) -> str:
        self.columns(feature_set)
        return f"weights in {find(feature_set.model).folder}"

    def definition(self, feature_set: FeatureSet, *, device: Device, encoder_window: str = TO_CLIP) -> dict[str, Any]:
        to_clip = encoder_window == TO_CLIP
        read = pretrained.definition(find(feature_set.model), precision=device.precision, to_clip=to_clip)
        return read | {"pools": list(POOLS)}

    def prepare(self, clip: Clip, feature_set: FeatureSet) -> np.ndarray:
        return pretrained.prepare_clip(clip, find(feature_set.model))

    def load(self, feature_set: FeatureSet, how: Load) -> Extractor:
        return pretrained.load(find(feature_set.model), how, to_clip=how.encoder_window == TO_CLIP)


def choose_layers(feature_set: FeatureSet, layers: int) -> tuple[tuple[int, int], ...]:
    """Bands of layers of a set whose encoder has so many, layer 0 included: first and last of each, whose mean is taken.

    Examples
    --------
    >>> from core.features import parse_set
    >>> [choose_layers(parse_set(name), 13) for name in ("wavlm", "wavlm@L3", "wavlm@L3+5")]
    [((7, 8),), ((3, 3),), ((3, 3), (5, 5))]

    Raises
    ------
    ParameterError
        The encoder has no such layer.
    """
    bands = _named_layers(feature_set)
    if bands is None:
        first, last = (round(share * (layers - 1)) for share in _USUAL_LAYERS)
        return ((first, last),)
    if bands[-1][1] >= layers:
        raise ParameterError(f"feature set {feature_set.name!r}: {feature_set.model} has layers 0 to {layers - 1}")
    return bands


def _named_layers(feature_set: FeatureSet) -> tuple[tuple[int, int], ...] | None:
    """The bands that the name of a set says; None where it says nothing of layers."""
    if feature_set.side_by_side:
        return tuple((layer, layer) for layer in feature_set.side_by_side)
    return None if feature_set.layers is None else (feature_set.layers,)


def _read_layers(name: str, encoder: str, text: str) -> tuple[tuple[int, int] | None, tuple[int, ...]]:
    """What stands behind ``@L``: first and last layer of a mean, or else layers side by side.

    Raises
    ------
    ParameterError
        There is another way to write it, which counts.
    """
    numbers = sorted({int(number) for number in re.split("[-+]", text)})
    if "+" in text:
        if text == "+".join(map(str, numbers)):
            return None, tuple(numbers)
        raise ParameterError(
            f"feature set {name!r}: layers side by side are named once each, the lowest first, as in {encoder}@L3+4+6"
        )
    if text == "-".join(map(str, numbers)) and len(numbers) <= 2:
        return (numbers[0], numbers[-1]), ()
    raise ParameterError(f"feature set {name!r}: layers are named from the first to the last, as in {encoder}@L7-8 or {encoder}@L7")


@cache
def _columns(feature_set: FeatureSet, bands: tuple[tuple[int, int], ...] | None, width: int) -> tuple[Column, ...]:
    """Of each band first all means, then all standard deviations, then all mean steps; None stands for the usual layers."""
    family = feature_set.stored if feature_set.stored in ENCODERS else ENCODER
    about = []
    for first, last in bands or ((-1, -1),):
        where = f"layer {first}" if first == last else f"layers {first} to {last}, whose mean is taken,"
        prefix = f"L{first}_" if feature_set.side_by_side else ""
        about += [
            (f"{prefix}{pool}{unit}", f"{_POOLS[pool]} of unit {unit} of {where if bands else 'the usual layers'}")
            for pool in POOLS
            for unit in range(width)
        ]
    return tuple(
        Column(
            feature_set.name,
            index,
            family,
            column,
            "1",
            f"{definition} of {feature_set.model}",
            NEVER,
            f"hidden states of {feature_set.model}",
        )
        for index, (column, definition) in enumerate(about)
    )
