"""Files in, hashes of their bytes out: what is known by its size and times is not read again."""

import stat
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from core.runtime.cache import VectorCache, content_hash, file_state, is_settled


def hash_files(
    paths: Sequence[Path], store: VectorCache, *, rehash: bool = False, now_ns: Callable[[], int] = time.time_ns
) -> dict[Path, bytes]:
    """Content hashes of files; one that is in a state in which it was hashed before is not read.

    Parameters
    ----------
    paths : of files
    store : VectorCache, which keeps the hashes
    rehash : bool, read every file
    now_ns : the clock, in nanoseconds since 1970

    Returns
    -------
    contents : dict of path to hash; what is no regular file or cannot be read is not in it
    """
    states = _states(paths)
    known = {} if rehash else store.contents(set(states.values()))
    contents, learnt = {}, {}
    for path, state in states.items():
        try:
            if state in known:
                contents[path] = known[state]
                continue
            settled = is_settled(path.stat(), now_ns())
            contents[path] = content_hash(path)
            if settled and file_state(path.stat()) == state:
                learnt[state] = contents[path]
        except OSError:
            continue
    store.put_contents(learnt)
    return contents


def forget_files(paths: Iterable[Path], store: VectorCache) -> None:
    """Read files again the next time, whatever their size and times say."""
    store.forget(_states(paths).values())


def _states(paths: Iterable[Path]) -> dict[Path, bytes]:
    """State of each regular file that is there."""
    states = {}
    for path in paths:
        try:
            status = path.stat()
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(status.st_mode):
            states[path] = file_state(status)
    return states
