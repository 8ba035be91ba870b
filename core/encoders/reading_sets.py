"""The sets of texts that are read out: ``reading:MODEL`` or ``reading:MODEL@en``, with ``:column=NAME`` for the column of the text.

How likely a Whisper finds the text of a row in its clip, token by token (``readings``). What is stored depends on the clip and on
the text, whatever column it stands in.
"""

from functools import cache
from typing import Any

import numpy as np

from core.data.audio import Clip
from core.encoders import readings, transcripts
from core.encoders.source import TO_CLIP, Extractor, FeatureSource, Load
from core.encoders.transcript_sets import LANGUAGES, canonical_model, split_language, unknown_language
from core.errors import ParameterError
from core.features.sets import READING, Column, FeatureSet
from core.runtime.device import Device
from core.runtime.weights import fetch, find, require_recogniser

_COLUMN = ":column="
_NAN_WHEN = "no text, a clip of over 30 s, or more tokens than the decoder reads"


class Readings(FeatureSource):
    """How well a recogniser expects the text of the table."""

    base = READING
    usage = f"{READING}:MODEL is how likely a Whisper finds the text of the table ({READING}:MODEL{_COLUMN}NAME: that of a column)"
    cuts_windows = True

    def parse(self, name: str) -> FeatureSet | None:
        kind, _, rest = name.partition(":")
        if kind != READING:
            return None
        told, column = _split_column(rest)
        model, language = split_language(told)
        if not model or model != model.strip() or column != column.strip() or (_COLUMN in name and not column):
            raise ParameterError(
                f"feature set {name!r}: write {READING}:MODEL for a Whisper by its folder or hub id ({READING}:MODEL@en for one "
                f"that is told the language), and {READING}:MODEL{_COLUMN}NAME for the text in column NAME of the table"
            )
        if language and language not in LANGUAGES:
            raise unknown_language(name, f"{READING}:{model}", language)
        return FeatureSet(
            name,
            READING,
            column=column,
            model=model,
            language=language,
            on_device=True,
            reads_text=True,
            stored=f"{READING}:{told}",
        )

    def canonical(self, name: str) -> str:
        """A folder becomes absolute, and a language is written as its code."""
        kind, _, rest = name.partition(":")
        if kind != READING or not rest:
            return name
        told, column = _split_column(rest)
        return f"{READING}:{canonical_model(told)}" + (f"{_COLUMN}{column}" if column else rest[len(told) :])

    def columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        return _columns(feature_set.name)

    def version(self, feature_set: FeatureSet) -> int:
        return readings.VERSION

    def check(self, feature_set: FeatureSet) -> None:
        fetch(feature_set.model)
        self.state(feature_set)

    def state(self, feature_set: FeatureSet) -> str:
        checkpoint = find(feature_set.model)
        require_recogniser(checkpoint)
        if feature_set.language:
            transcripts.require_language(checkpoint, feature_set.language)
        return f"weights in {checkpoint.folder}"

    def definition(self, feature_set: FeatureSet, *, device: Device, encoder_window: str = TO_CLIP) -> dict[str, Any]:
        return readings.definition(
            find(feature_set.model),
            precision=device.precision,
            to_clip=encoder_window == TO_CLIP,
            language=feature_set.language or None,
        )

    def prepare(self, clip: Clip, feature_set: FeatureSet) -> np.ndarray:
        return transcripts.prepare_clip(clip)

    def load(self, feature_set: FeatureSet, how: Load) -> Extractor:
        to_clip = how.encoder_window == TO_CLIP
        return readings.load(find(feature_set.model), how, to_clip=to_clip, language=feature_set.language or None)


def _split_column(text: str) -> tuple[str, str]:
    """A model, with its language, and the column behind it; empty where none is named.

    Examples
    --------
    >>> _split_column("openai/whisper-base@en:column=said"), _split_column("/models/whisper")
    (('openai/whisper-base@en', 'said'), ('/models/whisper', ''))
    """
    told, mark, column = text.rpartition(_COLUMN)
    return (told, column) if mark else (column, "")


@cache
def _columns(set_name: str) -> tuple[Column, ...]:
    return tuple(Column(set_name, at, READING, *words, _NAN_WHEN, "") for at, words in enumerate(readings.COLUMNS))
