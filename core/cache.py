"""Feature vectors by content: what was computed once for the bytes of a file and the definition of a set stays computed.

SQLite in WAL mode with ``synchronous=FULL``: a vector that was put is there after a kill or a power cut. Each has a checksum; one
that does not fit counts as missing. Vectors are float32. Not for network file systems (WAL needs shared memory).
"""

import hashlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np

from core.errors import DataError
from core.workspace import make_folder

_BUSY_S = 30.0
_KEYS_PER_QUERY = 500
_HASH_BLOCK = 1 << 20


def content_hash(path: Path) -> bytes:
    """Hash of the bytes of a file [16 bytes].

    Raises
    ------
    OSError
        The file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb", buffering=0) as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.digest()


def vector_key(content: bytes, definition: bytes) -> bytes:
    """Key of the vector of a file under a definition [32 bytes]."""
    return content + definition


class VectorCache:
    """The store of a workspace; use it as a context.

    Parameters
    ----------
    path : of the SQLite file; it and its folder are created when missing
    """

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> "VectorCache":
        make_folder(self.path.parent)
        with self._told():
            self._database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            self._database.execute("PRAGMA page_size=16384")
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER)"
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """The stored vectors among these keys.

        Returns
        -------
        vectors : dict of key to np.ndarray [shape=(d,)], float32
        """
        keys = list(keys)
        found = {}
        with self._told():
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                some = keys[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(some))
                for key, vector, checksum in self._database.execute(
                    f"SELECT key, vector, checksum FROM vectors WHERE key IN ({marks})", some
                ):
                    if zlib.crc32(key + vector) == checksum:
                        found[key] = np.frombuffer(vector, "<f4").astype(np.float32)
        return found

    def put(self, vectors: dict[bytes, np.ndarray]) -> None:
        """Store vectors in one transaction; when this returns they are on the disk."""
        rows = []
        for key, vector in vectors.items():
            blob = np.asarray(vector, "<f4").tobytes()
            rows.append((key, blob, zlib.crc32(key + blob)))
        with self._told():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"feature cache {self.path}: {error}. Vectors stored before are kept. Free disk space, make the workspace "
                "writable, or, if the file is damaged, move it away: it is then computed anew"
            ) from None
