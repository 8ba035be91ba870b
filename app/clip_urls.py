"""Addresses of clips for the browser: opaque ids that only name files which a page has shown, never paths."""

import hashlib
import os
from pathlib import Path

from core.data.treatment import AS_RECORDED, Treatment

_clips: dict[str, tuple[Path, Treatment]] = {}
_routed = False


def serve() -> None:
    """Say that this server answers ``/api/clip/<id>``; `streamlit run` has no such route."""
    global _routed
    _routed = True


def routed() -> bool:
    """Whether addresses work here."""
    return _routed


def address(path: Path, treatment: Treatment = AS_RECORDED) -> str:
    """Where the browser finds a clip, as it is analysed."""
    name = os.fsencode(path) + (b"" if treatment.is_plain else f"\0{treatment.words}".encode())
    clip_id = hashlib.blake2b(name, digest_size=12).hexdigest()
    _clips[clip_id] = path, treatment
    return f"/api/clip/{clip_id}"


def find(clip_id: str) -> tuple[Path, Treatment] | None:
    """The clip of an id and how it is analysed, if a page has shown it."""
    return _clips.get(clip_id)
