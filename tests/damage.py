"""Ways in which the files of a job or run are damaged, by a disk, an editor or another program."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILES = {  # a field that is read, by file
    "run.json": ("scores", "oof_rmse"),
    "spec.json": ("created",),
    "events.jsonl": ("at",),
    "result.json": ("run_id",),  # of a training or a scoring
    "about.json": ("name",),
}
DEEP = "[" * 60_000
LONG = "9" * 400


def _with_value(text: str, file: str, value: str) -> str:
    """The text with another value in the field that is read; of events, in the last line."""
    *before, last = text.rstrip("\n").split("\n") if file == "events.jsonl" else [text]
    whole: dict[str, Any] = json.loads(last)
    at = whole
    for name in FILES[file][:-1]:
        at = at[name]
    at[FILES[file][-1]] = "here"
    return "\n".join([*before, json.dumps(whole).replace('"here"', value)]) + "\n"


WAYS: dict[str, Callable[[str, str], str]] = {
    "nested without end": lambda text, file: f"{text if file == 'events.jsonl' else ''}{DEEP}\n",
    "a number of 400 digits": lambda text, file: _with_value(text, file, LONG),
    "the wrong type": lambda text, file: _with_value(text, file, '{"of": ["something", null]}'),
    "empty": lambda text, file: "",
    "cut off": lambda text, file: text[: len(text.rstrip()) - 8],
}


def damage(path: Path, way: str) -> None:
    path.write_text(WAYS[way](path.read_text(encoding="utf-8"), path.name), encoding="utf-8")
