"""Settings of earlier records under the names that they have now; the one place that knows the former names."""

from collections.abc import Mapping
from typing import Any

FORMER: dict[str, dict[str, str]] = {
    "ensemble": {"groups": "group_by"},
    "finetune": {"groups": "group_by", "audio": "audio_encoder", "batch": "batch_clips"},
}


def rename_section(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of one section of the settings, each under its present name.

    Examples
    --------
    >>> rename_section("ensemble", {"groups": "speaker", "folds": 3})
    {'group_by': 'speaker', 'folds': 3}
    """
    former = FORMER.get(section, {})
    return {former.get(name, name): value for name, value in values.items()}


def rename_sections(values: Any) -> Any:
    """The same for each section of a request or record; what is no object is left as it is."""
    if not isinstance(values, dict):
        return values
    return {name: rename_section(name, value) if isinstance(value, dict) else value for name, value in values.items()}
