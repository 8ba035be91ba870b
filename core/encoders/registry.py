"""The kinds of sets that PyTorch computes, by their base: a further kind is a module beside this one, and a line here."""

from core.encoders.encoder_sets import EncoderLayers
from core.encoders.pronunciation_sets import Pronunciations
from core.encoders.reading_sets import Readings
from core.encoders.recognition_sets import Recognitions
from core.encoders.source import FeatureSource
from core.encoders.torch200 import Torch200
from core.encoders.transcript_sets import Transcripts
from core.encoders.voices import Voices
from core.features import parse_set

_ALL: tuple[FeatureSource, ...] = (
    Torch200(),
    Voices(),
    EncoderLayers(),
    Transcripts(),
    Readings(),
    Recognitions(),
    Pronunciations(),
)
SOURCES: dict[str, FeatureSource] = {source.base: source for source in _ALL}


def source_of(set_name: str) -> FeatureSource:
    """The kind of a set that is of no table and not handcrafted."""
    return SOURCES[parse_set(set_name).base]
