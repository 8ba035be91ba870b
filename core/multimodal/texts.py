"""Rows of a table in, what is read of each out: a cell, what a recogniser heard, or the clip's acoustics in words."""

from collections.abc import Sequence

from core.data.rows import Row
from core.encoders.descriptions import describe
from core.encoders.words import text_of, words_from_json
from core.extraction.config import FEATURE_SETS, ExtractSettings
from core.extraction.extract import Extraction, extract_clips, find_cached, stored_texts
from core.features import names
from core.multimodal.config import FinetuneSettings
from core.workspace import Workspace

_SEARCHED = 40  # clips among which a preview looks for extracted ones


def features_for(settings: FinetuneSettings, extract: ExtractSettings) -> ExtractSettings:
    """The feature sets that groups are found by and clips are described from; with a recogniser also its transcript."""
    words = () if settings.transcript is None else (settings.transcript,)
    return extract.replace(features=(*FEATURE_SETS, *words), device=settings.device)


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
    if settings.transcript is not None:
        said = stored_texts([row.path for row in rows], settings.transcript, extract, extraction, cache_path=workspace.cache)
        return [text_of(words_from_json(said[row.path])) for row in rows]
    if settings.uses_text:
        return [describe(dict(zip(names("ultra"), extraction.vectors[row.path]["ultra"].tolist(), strict=True))) for row in rows]
    return [""] * len(rows)


def preview_texts(
    rows: Sequence[Row], settings: FinetuneSettings, extract: ExtractSettings, workspace: Workspace, *, most: int = 5
) -> list[tuple[str, str]]:
    """Name and text of a few rows, evenly spaced; nothing is extracted for it.

    Parameters
    ----------
    rows : sequence of Row; one whose text comes from its audio is left out where the clip is not in the cache
    settings : FinetuneSettings
    extract : as ``features_for`` gives it
    workspace : Workspace
    most : int >= 1, rows

    Raises
    ------
    DataError
        The cache is damaged.
    """
    sample = list(rows[:: max(1, len(rows) // _SEARCHED)])
    extraction = Extraction({}, {}, {}, 0)
    if settings.column is None:
        cached = find_cached([row.path for row in sample], extract, cache_path=workspace.cache)
        sample = [row for row in sample if row.path in cached]
    sample = sample[:: max(1, len(sample) // most)][:most]
    if sample and settings.column is None:  # all of it is in the cache
        extraction = extract_clips([row.path for row in sample], extract, cache_path=workspace.cache)
    return list(zip([row.name for row in sample], read_texts(sample, settings, extract, extraction, workspace), strict=True))
