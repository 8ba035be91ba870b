"""The sets of what is recognised against a text: ``recognition:MODEL`` or ``recognition:MODEL@en``, with ``:column=NAME``.

What a Whisper makes of the clip of a row without its text, compared with that text (``recognitions``).
"""

from collections.abc import Sequence
from typing import Any

from core.encoders import recognitions
from core.encoders.source import TO_CLIP, Extractor, Load
from core.encoders.text_sets import COLUMN, TextSource
from core.features.sets import RECOGNITION, FeatureSet
from core.runtime.device import Device
from core.runtime.weights import find


class Recognitions(TextSource):
    """What a recogniser makes of a clip, against the text of the table."""

    base = RECOGNITION
    usage = (
        f"{RECOGNITION}:MODEL is what a Whisper recognises, against the text of the table "
        f"({RECOGNITION}:MODEL{COLUMN}NAME: that of a column)"
    )
    model_words = "a Whisper"
    nan_when = "no text, a clip of over 30 s, or nothing that the value could be of: no word in the text, none that is recognised"
    reference = "errors: jiwer; times: find_alignment of openai/whisper (timing.py)"

    def listed(self) -> Sequence[tuple[str, str, str]]:
        return recognitions.COLUMNS

    def version(self, feature_set: FeatureSet) -> int:
        return recognitions.VERSION

    def definition(self, feature_set: FeatureSet, *, device: Device, encoder_window: str = TO_CLIP) -> dict[str, Any]:
        return recognitions.definition(
            find(feature_set.model),
            precision=device.precision,
            to_clip=encoder_window == TO_CLIP,
            language=feature_set.language or None,
        )

    def load(self, feature_set: FeatureSet, how: Load) -> Extractor:
        to_clip = how.encoder_window == TO_CLIP
        return recognitions.load(find(feature_set.model), how, to_clip=to_clip, language=feature_set.language or None)
