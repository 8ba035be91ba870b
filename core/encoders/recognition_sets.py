"""The sets of what is recognised against a text: ``recognition:MODEL`` or ``recognition:MODEL@en``, with ``:column=NAME``.

What a Whisper makes of the clip of a row without its text, compared with that text (``recognitions``).
"""

from core.encoders import recognitions
from core.encoders.text_sets import COLUMN, WhisperTextSource
from core.features.sets import RECOGNITION


class Recognitions(WhisperTextSource):
    """What a recogniser makes of a clip, against the text of the table."""

    base = RECOGNITION
    usage = (
        f"{RECOGNITION}:MODEL is what a Whisper recognises, against the text of the table "
        f"({RECOGNITION}:MODEL{COLUMN}NAME: that of a column)"
    )
    nan_when = "no text, a clip of over 30 s, or nothing that the value could be of: no word in the text, none that is recognised"
    reference = "errors: jiwer; times: find_alignment of openai/whisper (timing.py)"
    numbers = recognitions
