"""Rows of a table in, what is read of each out: a cell, what a recogniser heard, or the clip's acoustics in words."""

from collections.abc import Sequence
from dataclasses import replace

from core.data.dataset import Row
from core.encoders import transcripts
from core.extraction.config import FEATURE_SETS, ExtractSettings
from core.extraction.extract import Extraction, stored_texts
from core.features import names
from core.multimodal.config import FinetuneSettings
from core.workspace import Workspace


def features_for(settings: FinetuneSettings, extract: ExtractSettings) -> ExtractSettings:
    """The feature sets that groups are found by and clips are described from; with a recogniser also its transcript."""
    heard = () if settings.recogniser is None else (f"transcript:whisper={settings.recogniser}",)
    return replace(extract, features=(*FEATURE_SETS, *heard), device=settings.device)


def read_texts(
    rows: Sequence[Row], settings: FinetuneSettings, extract: ExtractSettings, extraction: Extraction, workspace: Workspace
) -> list[str]:
    """What is read of each row: an empty text where its column is empty or, for a clip without a table, missing.

    Parameters
    ----------
    rows : sequence of Row, whose clips were extracted
    settings : FinetuneSettings
    extract : as ``features_for`` gives it
    extraction : Extraction
    workspace : Workspace
    """
    if settings.column is not None:
        return [" ".join(row.columns.get(settings.column, "").split()) for row in rows]
    if settings.recogniser is not None:
        said = stored_texts([row.path for row in rows], extract.features[-1], extract, extraction, cache_path=workspace.cache)
        return [transcripts.text_of(transcripts.words_from_json(said[row.path])) for row in rows]
    if settings.reads:
        return [
            transcripts.describe(dict(zip(names("ultra"), extraction.vectors[row.path]["ultra"].tolist(), strict=True)))
            for row in rows
        ]
    return [""] * len(rows)
