"""The sets of words: ``transcript:column=NAME``, ``transcript:whisper=MODEL`` or ``MODEL@en``, and ``transcript:describe``.

Eight columns of a text: that of a column of the table, what a Whisper recognises (of a language that it is told, or else detects),
or a description of the sound.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from core.data.audio import Clip
from core.encoders import transcripts
from core.encoders.descriptions import describe_clip
from core.encoders.source import TO_CLIP, Extractor, FeatureSource, Load, VectorWithText
from core.encoders.words import text_columns, text_of, words_as_json
from core.errors import ParameterError
from core.features.sets import METADATA, NEVER, SET_VERSIONS, TRANSCRIPT, Column, FeatureSet, absolute_folder
from core.runtime.device import Device
from core.runtime.weights import fetch, find

_LANGUAGES = """
    en=english zh=chinese de=german es=spanish ru=russian ko=korean fr=french ja=japanese pt=portuguese tr=turkish pl=polish
    ca=catalan nl=dutch ar=arabic sv=swedish it=italian id=indonesian hi=hindi fi=finnish vi=vietnamese he=hebrew
    uk=ukrainian el=greek ms=malay cs=czech ro=romanian da=danish hu=hungarian ta=tamil no=norwegian th=thai ur=urdu
    hr=croatian bg=bulgarian lt=lithuanian la=latin mi=maori ml=malayalam cy=welsh sk=slovak te=telugu fa=persian lv=latvian
    bn=bengali sr=serbian az=azerbaijani sl=slovenian kn=kannada et=estonian mk=macedonian br=breton eu=basque is=icelandic
    hy=armenian ne=nepali mn=mongolian bs=bosnian kk=kazakh sq=albanian sw=swahili gl=galician mr=marathi pa=punjabi
    si=sinhala km=khmer sn=shona yo=yoruba so=somali af=afrikaans oc=occitan ka=georgian be=belarusian tg=tajik sd=sindhi
    gu=gujarati am=amharic yi=yiddish lo=lao uz=uzbek fo=faroese ht=haitian ps=pashto tk=turkmen nn=nynorsk mt=maltese
    sa=sanskrit lb=luxembourgish my=myanmar bo=tibetan tl=tagalog mg=malagasy as=assamese tt=tatar haw=hawaiian ln=lingala
    ha=hausa ba=bashkir jw=javanese su=sundanese yue=cantonese
"""
LANGUAGES = dict(pair.split("=") for pair in _LANGUAGES.split())  # of Whisper, by their code
_WHISPER = f"{TRANSCRIPT}:whisper="
_TOLD = re.compile(r"(.+)@([A-Za-z]+)", re.DOTALL)  # a language behind a model
_NO_WORDS = "no words"
_COLUMNS = (  # name, unit, definition and NaN rule of each column of a text
    ("n_words", "1", "words of the text", NEVER),
    ("words_per_s", "1/s", "words over the length of what was said", NEVER),
    ("type_token_ratio", "1", "different words over words", _NO_WORDS),
    ("n_fillers", "1", "um, uh, er and their like, and you know, I mean, sort of, kind of", NEVER),
    ("fillers_per_word", "1", "fillers over words", _NO_WORDS),
    ("n_repetitions", "1", "words, or two in a row, that are said again at once", NEVER),
    ("n_characters", "1", "characters of the text, runs of blanks counted once", NEVER),
    ("mean_word_length", "1", "characters of words over words", _NO_WORDS),
)


class Transcripts(FeatureSource):
    """Words of a clip, whatever they come from."""

    base = TRANSCRIPT
    usage = (
        f"{TRANSCRIPT}:column=NAME, {TRANSCRIPT}:whisper=MODEL (or MODEL@en, for a language) and {TRANSCRIPT}:describe are of words"
    )
    cuts_windows = True

    def parse(self, name: str) -> FeatureSet | None:
        kind, _, source = name.partition(":")
        if kind != TRANSCRIPT:
            return None
        way, _, value = source.partition("=")
        if source == "describe":
            return FeatureSet(name, TRANSCRIPT, is_compiled=True)
        if value and value == value.strip() and way == "column":
            return FeatureSet(name, TRANSCRIPT, column=value, of_text=True, is_compiled=True, stored=METADATA)
        if value and value == value.strip() and way == "whisper":
            model, language = split_language(value)
            if language and language not in LANGUAGES:
                raise unknown_language(name, f"{_WHISPER}{model}", language)
            return FeatureSet(name, TRANSCRIPT, model=model, language=language, on_device=True)
        raise ParameterError(
            f"feature set {name!r}: write {TRANSCRIPT}:column=NAME for a text of the table, {_WHISPER}MODEL for a recogniser by "
            f"its folder or hub id ({_WHISPER}MODEL@en for one that is told the language), or {TRANSCRIPT}:describe for a "
            "description of the sound"
        )

    def canonical(self, name: str) -> str:
        """A folder becomes absolute, and a language is written as its code."""
        if not name.startswith(_WHISPER):
            return name
        return _WHISPER + canonical_model(name.removeprefix(_WHISPER))

    def columns(self, feature_set: FeatureSet) -> tuple[Column, ...]:
        return _columns(feature_set.name)

    def version(self, feature_set: FeatureSet) -> Any:
        return {"ultra": SET_VERSIONS["ultra"], "words": transcripts.VERSION}  # a description is made of ``ultra``

    def check(self, feature_set: FeatureSet) -> None:
        if feature_set.model:
            fetch(feature_set.model)
            self.state(feature_set)

    def state(self, feature_set: FeatureSet) -> str:
        checkpoint = find(feature_set.model)
        if feature_set.language:
            transcripts.require_language(checkpoint, feature_set.language)
        return f"weights in {checkpoint.folder}"

    def definition(self, feature_set: FeatureSet, *, device: Device, encoder_window: str = TO_CLIP) -> dict[str, Any]:
        checkpoint = find(feature_set.model)
        return transcripts.definition(checkpoint, precision=device.precision, language=feature_set.language or None)

    def prepare(self, clip: Clip, feature_set: FeatureSet) -> np.ndarray:
        if feature_set.on_device:
            return transcripts.prepare_clip(clip)
        return text_columns(describe_clip(clip), seconds=clip.seconds)

    def load(self, feature_set: FeatureSet, how: Load) -> Extractor:
        return _Transcriber(transcripts.load(find(feature_set.model), how, language=feature_set.language or None))


def split_language(model: str) -> tuple[str, str]:
    """A recogniser and the language that it is told, as written behind it; empty where there is none.

    Examples
    --------
    >>> split_language("openai/whisper-tiny@de"), split_language("/models/whisper")
    (('openai/whisper-tiny', 'de'), ('/models/whisper', ''))
    """
    match = _TOLD.fullmatch(model)
    return (match[1], match[2]) if match else (model, "")


def canonical_model(model: str) -> str:
    """The one spelling of a recogniser and its language: a folder becomes absolute, and a language is written as its code."""
    model, language = split_language(model)
    code = {known: code for code, known in LANGUAGES.items()}.get(language.lower(), language.lower())
    return absolute_folder(model) + (f"@{code}" if code else "")


def unknown_language(name: str, without: str, language: str) -> ParameterError:
    """Why the language in the name of a set is refused; ``without`` is the name up to the language."""
    codes = {known: code for code, known in LANGUAGES.items()} | {code: code for code in LANGUAGES}
    if language.lower() in codes:
        return ParameterError(f"feature set {name!r}: write {without}@{codes[language.lower()]}")
    return ParameterError(f"feature set {name!r}: Whisper knows no language {language!r}; it knows {', '.join(sorted(LANGUAGES))}")


@cache
def _columns(set_name: str) -> tuple[Column, ...]:
    return tuple(Column(set_name, at, TRANSCRIPT, *words, "") for at, words in enumerate(_COLUMNS))


class _Transcriber:
    """A recogniser as an extractor: of each clip the columns of its words, and the words themselves."""

    def __init__(self, recogniser: transcripts.Recogniser):
        self._recogniser = recogniser
        self.seconds = recogniser.seconds

    def __call__(self, items: Sequence[np.ndarray]) -> list[VectorWithText]:
        return [
            VectorWithText(text_columns(text_of(words), seconds=self.seconds(item)), words_as_json(words))
            for item, words in zip(items, self._recogniser(items), strict=True)
        ]
