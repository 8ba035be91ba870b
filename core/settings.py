"""Frozen settings from JSON and back: a form, a flag, a settings file and a run's record all mean the same object."""

import dataclasses
import sys
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from core.data.dataset import Layout
from core.ensemble import EnsembleSettings
from core.errors import FileError, ParameterError
from core.extraction.config import ExtractSettings
from core.multimodal.config import FinetuneSettings
from core.workspace import read_json

Settings = TypeVar("Settings", Layout, ExtractSettings, EnsembleSettings, FinetuneSettings)
SECTIONS: dict[str, type] = {
    "layout": Layout,
    "extract": ExtractSettings,
    "ensemble": EnsembleSettings,
    "finetune": FinetuneSettings,
}


def build(kind: type[Settings], values: dict[str, Any], **flags: Any) -> Settings:
    """A settings object from JSON values; flags that are not None override them.

    Raises
    ------
    ParameterError
        A name is not a setting, or a value is not of its type or range.

    Examples
    --------
    >>> build(ExtractSettings, {"features": ["ultra"], "max_seconds": 10}, workers=2)
    ExtractSettings(features=('ultra',), max_seconds=10.0, workers=2, rehash=False, device='auto', batch=None)
    """
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(values) - set(hints)):
        raise ParameterError(f"settings {', '.join(unknown)} not among {', '.join(hints)}")
    merged = values | {name: value for name, value in flags.items() if value is not None}
    return kind(**{name: _typed(name, value, hints[name]) for name, value in merged.items()})


def read_settings(path: str | Path) -> dict[str, dict[str, Any]]:
    """The sections of a settings file (any of ``SECTIONS``), each with any of its settings; or those of a run.json.

    Raises
    ------
    ParameterError
        The file cannot be read, or holds something else.
    """
    try:
        record = read_json(Path(path))
    except FileNotFoundError:
        raise ParameterError(f"settings file {path}: cannot be read (there is no such file)") from None
    except FileError as error:
        raise ParameterError(f"settings file {path}: {error.reason}") from None
    if isinstance(record, dict) and "settings" in record:
        record = record["settings"]
    if not isinstance(record, dict) or not all(isinstance(section, dict) for section in record.values()):
        raise ParameterError(f"settings file {path}: expected an object with any of {', '.join(SECTIONS)}, each an object")
    if unknown := sorted(set(record) - set(SECTIONS)):
        raise ParameterError(f"settings file {path}: sections {', '.join(unknown)} not among {', '.join(SECTIONS)}")
    return record


def changed(settings: Any) -> dict[str, Any]:
    """The settings that differ from their defaults, by name."""
    usual = type(settings)()
    names = [field.name for field in dataclasses.fields(settings)]
    return {name: getattr(settings, name) for name in names if getattr(settings, name) != getattr(usual, name)}


def _typed(name: str, value: Any, hint: Any) -> Any:
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for choice in choices:
        if typing.get_origin(choice) is tuple:
            if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
                return tuple(value)
        elif choice is float:
            if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
                return float(value)
        elif isinstance(value, choice) and (choice is bool or not isinstance(value, bool)):
            return value
    raise ParameterError(f"{name}={value!r} must be {' or '.join(_in_words(choice) for choice in choices)}")


def _in_words(choice: Any) -> str:
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}.get(
        choice, "a list of names"
    )
