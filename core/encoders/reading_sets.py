"""The sets of texts that are read out: ``reading:MODEL`` or ``reading:MODEL@en``, with ``:column=NAME`` for the column of the text.

How likely a Whisper finds the text of a row in its clip, token by token (``readings``).
"""

from core.encoders import readings
from core.encoders.text_sets import COLUMN, WhisperTextSource
from core.features.sets import READING


class Readings(WhisperTextSource):
    """How well a recogniser expects the text of the table."""

    base = READING
    usage = f"{READING}:MODEL is how likely a Whisper finds the text of the table ({READING}:MODEL{COLUMN}NAME: that of a column)"
    nan_when = "no text, a clip of over 30 s, or more tokens than the decoder reads"
    unread = "they last over 30 s or their text has more tokens than the decoder reads; cut them into segments to have them read"
    numbers = readings
