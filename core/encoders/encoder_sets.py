"""The sets of pretrained encoders: ``wav2vec2``, ``hubert``, ``wavlm`` and ``encoder:MODEL``, of the usual layers or of ``@L7-8``.

Mean and standard deviation over frames of every layer are stored; a set is the mean of some layers, so that choosing others costs
nothing.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np

from core.data.audio import Clip
from core.encoders import pretrained
from core.encoders.source import TO_CLIP, Extractor, FeatureSource, Load
from core.errors import ParameterError
from core.features.sets import ENCODER, NEVER, Column, FeatureSet, absolute_folder
from core.runtime.device import Device
from core.runtime.weights import encoder_shape, fetch, find

ENCODERS = {"wav2vec2": "facebook/wav2vec2-base", "hubert": "facebook/hubert-base-ls960", "wavlm": "microsoft/wavlm-base"}
MAX_UNITS = 4096  # no layer of an encoder has more

_OF_LAYERS = re.compile(r"(.+)@L([0-9]+)(?:-([0-9]+))?", re.DOTALL)
_USUAL_LAYERS = (7 / 12, 8 / 12)  # of the depth; of a base model layers 7 and 8 grade speech best


class EncoderLayers(FeatureSource):
    """Hidden layers of a pretrained encoder."""

    base = ENCODER
    titles: ClassVar[Mapping[str, str]] = {
        "wav2vec2": "Wav2Vec2 base, layers 7 and 8",
        "hubert": "HuBERT base, layers 7 and 8",
        "wavlm": "WavLM base, layers 7 and 8; of grading speech mostly the best",
    }
    usage = f"{ENCODER}:MODEL is an encoder by its folder or hub id (wavlm@L7-8: its layers 7 to 8)"
    cuts_windows = True

    def parse(self, name: str) -> FeatureSet | None:
        match = _OF_LAYERS.fullmatch(name)
        whole = match[1] if match else name
        kind, _, model = whole.partition(":")
        if kind != ENCODER and whole not in ENCODERS:
            return None
        layers = (int(match[2]), int(match[3] or match[2])) if match else None
        if layers:
            spelt = f"{whole}@L{layers[0]}" + (f"-{layers[1]}" if layers[1] > layers[0] else "")
            if spelt != name or layers[1] < layers[0]:
                raise ParameterError(
                    f"feature set {name!r}: layers are named from the first to the last, as in {whole}@L7-8 or {whole}@L7"
                )
        if kind == ENCODER and (not model or model != model.strip()):
            raise ParameterError(f"feature set {name!r}: write {ENCODER}:MODEL, a folder or an id of the Hugging Face hub")
        model = ENCODERS.get(whole, model)
        return FeatureSet(name, ENCODER, model=model, layers=layers, on_device=True, has_layers=True, stored=whole)

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
        return _columns(feature_set, feature_set.layers, MAX_UNITS)

    def chooser(self, feature_set: FeatureSet) -> Callable[[np.ndarray], np.ndarray]:
        """Takes np.ndarray [shape=(layers * 2 * width,)], of each layer first all means, then all standard deviations."""
        layers, width = encoder_shape(find(feature_set.model))
        first, last = choose_layers(feature_set, layers)

        def mean_of_layers(vector: np.ndarray) -> np.ndarray:
            of_layers = vector.reshape(layers, 2 * width)
            return of_layers[first : last + 1].mean(axis=0, dtype=np.float64).astype(np.float32)

        return mean_of_layers

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
        return pretrained.definition(find(feature_set.model), precision=device.precision, to_clip=to_clip)

    def prepare(self, clip: Clip, feature_set: FeatureSet) -> np.ndarray:
        return pretrained.prepare_clip(clip, find(feature_set.model))

    def load(self, feature_set: FeatureSet, how: Load) -> Extractor:
        return pretrained.load(find(feature_set.model), how, to_clip=how.encoder_window == TO_CLIP)


def choose_layers(feature_set: FeatureSet, layers: int) -> tuple[int, int]:
    """First and last layer of a set of an encoder that has so many, layer 0 included.

    Examples
    --------
    >>> from core.features import parse_set
    >>> choose_layers(parse_set("wavlm"), 13), choose_layers(parse_set("wavlm@L3"), 13)
    ((7, 8), (3, 3))

    Raises
    ------
    ParameterError
        The encoder has no such layer.
    """
    if feature_set.layers is None:
        first, last = (round(share * (layers - 1)) for share in _USUAL_LAYERS)
        return first, last
    if feature_set.layers[1] >= layers:
        raise ParameterError(f"feature set {feature_set.name!r}: {feature_set.model} has layers 0 to {layers - 1}")
    return feature_set.layers


@cache
def _columns(feature_set: FeatureSet, layers: tuple[int, int] | None, width: int) -> tuple[Column, ...]:
    """First all means, then all standard deviations; of the usual layers where it is not known which they are."""
    first, last = layers or (None, None)
    where = f"layer {first}" if first == last else f"layers {first} to {last}, whose mean is taken,"
    where = "the usual layers" if first is None else where
    family = feature_set.stored if feature_set.stored in ENCODERS else ENCODER
    reference = f"hidden states of {feature_set.model}"
    pools = [(pool, words, unit) for pool, words in (("mean", "mean"), ("std", "standard deviation")) for unit in range(width)]
    return tuple(
        Column(
            feature_set.name,
            index,
            family,
            f"{pool}{unit}",
            "1",
            f"{words} over frames of unit {unit} of {where} of {feature_set.model}",
            NEVER,
            reference,
        )
        for index, (pool, words, unit) in enumerate(pools)
    )
