"""Addresses of clips for the browser: opaque ids that only name files which a page has shown, never paths."""

import hashlib
import os
from pathlib import Path

_paths: dict[str, Path] = {}
_routed = False


def serve() -> None:
    """Say that this server answers ``/api/clip/<id>``; `streamlit run` has no such route."""
    global _routed
    _routed = True


def routed() -> bool:
    """Whether addresses work here."""
    return _routed


def address(path: Path) -> str:
    """Where the browser finds a clip."""
    clip_id = hashlib.blake2b(os.fsencode(path), digest_size=12).hexdigest()
    _paths[clip_id] = path
    return f"/api/clip/{clip_id}"


def find(clip_id: str) -> Path | None:
    """The clip of an id, if a page has shown it."""
    return _paths.get(clip_id)
