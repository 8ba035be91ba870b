"""The sets of texts that are read out: ``reading:MODEL`` or ``reading:MODEL@en``, with ``:column=NAME`` for the column of the text.

How likely a Whisper finds the text of a row in its clip, token by token (``readings``).
"""

from collections.abc import Sequence
from typing import Any

from core.encoders import readings
from core.encoders.source import TO_CLIP, Extractor, Load
from core.encoders.text_sets import COLUMN, TextSource
from core.features.sets import READING, FeatureSet
from core.runtime.device import Device
from core.runtime.weights import find


class Readings(TextSource):
    """How well a recogniser expects the text of the table."""

    base = READING
    usage = f"{READING}:MODEL is how likely a Whisper finds the text of the table ({READING}:MODEL{COLUMN}NAME: that of a column)"
    model_words = "a Whisper"
    nan_when = "no text, a clip of over 30 s, or more tokens than the decoder reads"
    unread = "they last over 30 s or their text has more tokens than the decoder reads; cut them into segments to have them read"

    def listed(self) -> Sequence[tuple[str, str, str]]:
        return readings.COLUMNS

    def version(self, feature_set: FeatureSet) -> int:
        return readings.VERSION

    def definition(self, feature_set: FeatureSet, *, device: Device, encoder_window: str = TO_CLIP) -> dict[str, Any]:
        return readings.definition(
            find(feature_set.model),
            precision=device.precision,
            to_clip=encoder_window == TO_CLIP,
            language=feature_set.language or None,
        )

    def load(self, feature_set: FeatureSet, how: Load) -> Extractor:
        to_clip = how.encoder_window == TO_CLIP
        return readings.load(find(feature_set.model), how, to_clip=to_clip, language=feature_set.language or None)
