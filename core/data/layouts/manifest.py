"""JSON lines manifests, as NeMo reads them: an object a clip, with ``audio_filepath``, ``duration`` and whatever was labelled."""

import json
from pathlib import Path

from core.data.layouts.records import read_json_lines
from core.data.layouts.source import Source, clip_folders
from core.errors import DataError

NAME = "JSON lines manifest"
FILENAME = "audio_filepath"
DEFINED = frozenset({"duration", "offset", "text"})


def read(root: Path) -> Source | None:
    """As ``Reader.read``. Of several manifests, the names say which one is for training and which one for the test."""
    manifests = sorted(path for path in root.iterdir() if path.suffix.lower() in (".json", ".jsonl") and _is_manifest(path))
    if not manifests:
        return None
    tests = [path for path in manifests if "test" in path.stem.lower()]
    others = [path for path in manifests if path not in tests]
    trains = [path for path in others if "train" in path.stem.lower()] or others
    if len(trains) != 1 or len(tests) > 1:
        found = ", ".join(path.name for path in manifests[:5])
        raise DataError(
            f"{root}: expected one manifest for training and at most one for the test, found {found}; name them with --train and "
            "--test, or beside the path in the app"
        )
    train, test = read_json_lines(trains[0]), read_json_lines(tests[0]) if tests else None
    return Source(NAME, train, *clip_folders(root, train, test), test, filename=FILENAME, defined=DEFINED)


def _is_manifest(path: Path) -> bool:
    """Whether the first line is an object that names a clip."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and FILENAME in value
