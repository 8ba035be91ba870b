"""Frozen settings from JSON and back: a form, a flag, a settings file and a run's record all mean the same object."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from core.data.layouts.layout import Layout
from core.ensemble.auto import AutoSettings
from core.ensemble.config import EnsembleSettings
from core.errors import ParameterError
from core.extraction.config import ExtractSettings
from core.multimodal.config import FinetuneSettings
from core.renamed import rename_section, rename_sections
from core.section import Section

Settings = TypeVar("Settings", bound=Section)
SECTIONS: dict[str, type[Section]] = {
    kind.section: kind for kind in (Layout, ExtractSettings, EnsembleSettings, FinetuneSettings, AutoSettings)
}


def build(kind: type[Settings], values: Mapping[str, Any], **flags: Any) -> Settings:
    """A settings object from JSON values; flags that are not None override them.

    Raises
    ------
    ParameterError
        A name is not a setting, or a value is not of its type or range.

    Examples
    --------
    >>> build(ExtractSettings, {"features": ["ultra"], "max_seconds": 10}, workers=2).changed()
    {'features': ('ultra',), 'max_seconds': 10.0, 'workers': 2}
    """
    return kind(**rename_section(kind.section, values) | {name: value for name, value in flags.items() if value is not None})


def schema() -> dict[str, Any]:
    """The JSON schema of a settings file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of Earmark",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: kind.model_json_schema() for name, kind in SECTIONS.items()},
    }


def read_settings(path: str | Path) -> dict[str, dict[str, Any]]:
    """The sections of a settings file (any of ``SECTIONS``), each with any of its settings; or those of a run.json.

    Raises
    ------
    ParameterError
        The file cannot be read, or holds something else.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"settings file {path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"settings file {path}: not JSON ({error})") from None
    if isinstance(record, dict) and "settings" in record:
        record = record["settings"]
    if not isinstance(record, dict) or not all(isinstance(section, dict) for section in record.values()):
        raise ParameterError(f"settings file {path}: expected an object with any of {', '.join(SECTIONS)}, each an object")
    if unknown := sorted(set(record) - set(SECTIONS)):
        raise ParameterError(f"settings file {path}: sections {', '.join(unknown)} not among {', '.join(SECTIONS)}")
    renamed: dict[str, dict[str, Any]] = rename_sections(record)
    return renamed
