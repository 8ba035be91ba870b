"""The sets of goodness of pronunciation: ``pronunciation:MODEL``, with ``:column=NAME`` for the column of the text.

How well each letter of the text of a row fits its stretch of the clip, by a model with a CTC head (``pronunciations``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.data.audio import Clip
from core.encoders import pretrained, pronunciations
from core.encoders.source import TO_CLIP, Extractor, Load
from core.encoders.text_sets import COLUMN, TextSource
from core.features.sets import PRONUNCIATION, FeatureSet
from core.runtime.device import Device
from core.runtime.weights import find, require_ctc


class Pronunciations(TextSource):
    """How well the letters of the text of the table fit a clip."""

    base = PRONUNCIATION
    usage = (
        f"{PRONUNCIATION}:MODEL is how well the text of the table is pronounced, by a model with a CTC head "
        f"({PRONUNCIATION}:MODEL{COLUMN}NAME: that of a column)"
    )
    model_words = "a model with a CTC head"
    takes_language = False
    nan_when = "no text, no letter in it that the model knows, or more letters than the clip has frames"
    reference = "Witt & Young 2000, with letters for phones; alignment: Graves et al. 2006"
    unread = "their text has no letter that the model knows, or more letters than the clip has frames"

    def listed(self) -> Sequence[tuple[str, str, str]]:
        return pronunciations.COLUMNS

    def version(self, feature_set: FeatureSet) -> int:
        return pronunciations.VERSION

    def state(self, feature_set: FeatureSet) -> str:
        checkpoint = find(feature_set.model)
        require_ctc(checkpoint)
        pronunciations.read_vocabulary(checkpoint)
        return f"weights in {checkpoint.folder}"

    def definition(self, feature_set: FeatureSet, *, device: Device, encoder_window: str = TO_CLIP) -> dict[str, Any]:
        checkpoint = find(feature_set.model)
        require_ctc(checkpoint)
        return pronunciations.definition(checkpoint, precision=device.precision)

    def prepare(self, clip: Clip, feature_set: FeatureSet) -> np.ndarray:
        return pretrained.prepare_clip(clip, find(feature_set.model))

    def load(self, feature_set: FeatureSet, how: Load) -> Extractor:
        return pronunciations.load(find(feature_set.model), how)
