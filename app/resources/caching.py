"""A function in, the same function with its results kept out. Only modules of this folder keep anything between two renders."""

from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import streamlit as st

P = ParamSpec("P")
R = TypeVar("R")


def cached(by: Callable[..., object], *, most: int, spinner: str | bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep the results of a function, shared by all sessions of the server.

    Parameters
    ----------
    by : makes the cache key from the arguments of the function; keys are equal where their ``repr`` is
    most : int >= 1, results that are kept; beyond that the oldest goes
    spinner : text to show while the function works, or False

    Returns
    -------
    decorate : callable; an exception of the function is passed on and not kept
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        def keep(key: str, _make: Callable[[], R]) -> R:
            return _make()

        keep.__module__, keep.__qualname__ = function.__module__, function.__qualname__  # Streamlit tells caches apart by these
        kept = st.cache_resource(max_entries=most, show_spinner=spinner)(keep)

        @wraps(function)
        def read(*args: P.args, **kwargs: P.kwargs) -> R:
            return kept(repr(by(*args, **kwargs)), partial(function, *args, **kwargs))

        return read

    return decorate


def version(*paths: Path) -> tuple[tuple[int, int], ...]:
    """Time and size of each file, so that a file that was written again is seen; (0, -1) where there is none."""
    return tuple(map(_version, paths))


def _version(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return 0, -1
    return facts.st_mtime_ns, facts.st_size
