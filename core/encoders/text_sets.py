"""Sets that compare a clip with a text of the table: ``KIND:MODEL``, with ``:column=NAME`` for the column of the text.

What is stored depends on the clip and on the text, whatever column it stands in. A kind whose model is a Whisper may have a
language behind it, as in ``KIND:MODEL@en``.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from core.data.audio import Clip
from core.encoders import transcripts
from core.encoders.source import TO_CLIP, Extractor, FeatureSource, Load
from core.encoders.transcript_sets import LANGUAGES, canonical_model, split_language, unknown_language
from core.errors import ParameterError
from core.features.sets import Column, FeatureSet, absolute_folder
from core.runtime.device import Device
from core.runtime.weights import fetch, find, require_recogniser

COLUMN = ":column="


class TextSource(FeatureSource):
    """A kind of set that reads a text of the table.

    Attributes
    ----------
    model_words : str, what its model is, in an error
    takes_language : bool, a language may stand behind its model
    reference : str, source of its columns
    nan_when : str, when its columns have no value
    unread : str, why a clip with a text has no values at all, and what to do
    """

    model_words: str
    takes_language: bool = True
    reference: str = ""
    nan_when: str
    unread: str = "they last over 30 s; cut them into segments to have them read"
    cuts_windows = True

    @abstractmethod
    def listed(self) -> Sequence[tuple[str, str, str]]:
        """Name, unit and definition of each column."""
        ...

    def parse(self, name: str) -> FeatureSet | None:
        kind, _, rest = name.partition(":")
        if kind != self.base:
            return None
        told, column = split_column(rest)
        model, language = split_language(told) if self.takes_language else (told, "")
        if not model or model != model.strip() or column != column.strip() or (COLUMN in name and not column):
            of_language = f" ({kind}:MODEL@en for one that is told the language)" if self.takes_language else ""
            raise ParameterError(
                f"feature set {name!r}: write {kind}:MODEL for {self.model_words} by its folder or hub id{of_language}, and "
                f"{kind}:MODEL{COLUMN}NAME for the text in column NAME of the table"
            )
        if language and language not in LANGUAGES:
            raise unknown_language(name, f"{kind}:{model}", language)
        return FeatureSet(
            name,
            kind,
            column=column,
            model=model,
            language=language,
            on_device=True,
            reads_text=True,
            stored=f"{kind}:{told}",
        )

    def canonical(self, name: str) -> str:
        """A folder becomes absolute, and a language is written as its code."""
        kind, _, rest = name.partition(":")
        if kind != self.base or not rest:
            return name
        told, column = split_column(rest)
        model = canonical_model(told) if self.takes_language else absolute_folder(told)
        return f"{kind}:{model}" + (f"{COLUMN}{column}" if column else rest[len(told) :])

    def columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        return _columns(feature_set.name, self.base, tuple(self.listed()), self.nan_when, self.reference)

    def check(self, feature_set: FeatureSet) -> None:
        fetch(feature_set.model)
        self.state(feature_set)

    def state(self, feature_set: FeatureSet) -> str:
        checkpoint = find(feature_set.model)
        require_recogniser(checkpoint)
        if feature_set.language:
            transcripts.require_language(checkpoint, feature_set.language)
        return f"weights in {checkpoint.folder}"

    def prepare(self, clip: Clip, feature_set: FeatureSet) -> np.ndarray:
        return transcripts.prepare_clip(clip)


class WhisperTextSource(TextSource):
    """A kind of set that a Whisper computes.

    Attributes
    ----------
    numbers : module with ``COLUMNS``, ``VERSION``, ``definition`` and ``load``
    """

    model_words = "a Whisper"
    numbers: ModuleType

    def listed(self) -> Sequence[tuple[str, str, str]]:
        columns: Sequence[tuple[str, str, str]] = self.numbers.COLUMNS
        return columns

    def version(self, feature_set: FeatureSet) -> int:
        return int(self.numbers.VERSION)

    def definition(self, feature_set: FeatureSet, *, device: Device, encoder_window: str = TO_CLIP) -> dict[str, Any]:
        defined: dict[str, Any] = self.numbers.definition(
            find(feature_set.model),
            precision=device.precision,
            to_clip=encoder_window == TO_CLIP,
            language=feature_set.language or None,
        )
        return defined

    def load(self, feature_set: FeatureSet, how: Load) -> Extractor:
        to_clip = how.encoder_window == TO_CLIP
        loaded: Extractor = self.numbers.load(find(feature_set.model), how, to_clip=to_clip, language=feature_set.language or None)
        return loaded


def split_column(text: str) -> tuple[str, str]:
    """A model, with its language, and the column behind it; empty where none is named.

    Examples
    --------
    >>> split_column("openai/whisper-base@en:column=said"), split_column("/models/whisper")
    (('openai/whisper-base@en', 'said'), ('/models/whisper', ''))
    """
    told, mark, column = text.rpartition(COLUMN)
    return (told, column) if mark else (column, "")


@cache
def _columns(
    set_name: str, family: str, listed: tuple[tuple[str, str, str], ...], nan_when: str, reference: str
) -> tuple[Column, ...]:
    return tuple(Column(set_name, at, family, *words, nan_when, reference) for at, words in enumerate(listed))
