"""Feature vectors by content: what was computed once for the bytes of a file and the definition of a set stays computed.

SQLite in WAL mode with ``synchronous=FULL``: a vector that was put is there after a kill or a power cut. Each has a checksum; one
that does not fit counts as missing. Vectors are float32. Not for network file systems (WAL needs shared memory).

Beside the vectors stand the texts that some of them were made of, such as the words of a clip; and what the content of a file was
when it had a certain state (device, inode, size, times): a file in that state need not be read to know its content.
"""

import hashlib
import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from core.errors import DataError
from core.workspace import make_folder

_BUSY_S = 30.0
_KEYS_PER_QUERY = 500
_HASH_BLOCK = 1 << 20
_SETTLED_NS = 2_000_000_000  # clocks of file systems tick in steps of up to two seconds: a change within one step is not seen

_TABLES = """
CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER);
CREATE TABLE IF NOT EXISTS definitions (definition BLOB PRIMARY KEY, set_name TEXT NOT NULL, max_seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS texts (key BLOB PRIMARY KEY, text BLOB NOT NULL, checksum INTEGER);
CREATE TABLE IF NOT EXISTS files (state BLOB PRIMARY KEY, content BLOB NOT NULL, checksum INTEGER);
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """The vectors of one definition.

    Attributes
    ----------
    definition : bytes
    set_name : str, empty for vectors of a version that did not note it
    max_seconds : float
    vectors : int
    bytes : int, of the numbers alone
    """

    definition: bytes
    set_name: str
    max_seconds: float
    vectors: int
    bytes: int


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


def file_state(status: os.stat_result) -> bytes:
    """What tells a changed file from the same one: device, inode, size, time of its last change and of that of its inode."""
    return struct.pack("<QQQqq", status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def is_settled(status: os.stat_result, now_ns: int) -> bool:
    """Whether a file is old enough to be known by its state: what changed within the last two seconds may change unseen.

    A file from the future, as after a clock was set back, is not settled either.
    """
    return now_ns - max(status.st_mtime_ns, status.st_ctime_ns) >= _SETTLED_NS


def vector_key(content: bytes, definition: bytes) -> bytes:
    """Key of the vector of a file under a definition [32 bytes]."""
    return content + definition


class VectorCache:
    """The store of a workspace; use it as a context.

    Parameters
    ----------
    path : of the SQLite file; it and its folder are created when missing
    read_only : bool, only look: nothing is created or changed
    """

    def __init__(self, path: Path, *, read_only: bool = False):
        self.path = path
        self.read_only = read_only

    def __enter__(self) -> "VectorCache":
        if self.read_only:
            # In a folder where the log cannot be opened nobody can be writing one.
            alone = "" if os.access(self.path.parent, os.W_OK) else "&immutable=1"
            with self._told():
                self._database = sqlite3.connect(f"{self.path.as_uri()}?mode=ro{alone}", uri=True, timeout=_BUSY_S)
            return self
        make_folder(self.path.parent)
        with self._told():
            self._database = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            self._set_up()
        return self

    def _set_up(self) -> None:
        """Settings and tables. SQLite does not wait for another process that is doing the same, so it is tried again."""
        give_up = time.monotonic() + _BUSY_S
        while True:
            try:
                self._database.execute("PRAGMA page_size=16384")
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=FULL")
                self._database.executescript(_TABLES)
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.02)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """The stored vectors among these keys.

        Returns
        -------
        vectors : dict of key to np.ndarray [shape=(d,)], float32
        """
        return {key: np.frombuffer(blob, "<f4").astype(np.float32) for key, blob in self._select("vectors", "key, vector", keys)}

    def present(self, keys: Iterable[bytes]) -> set[bytes]:
        """Which of these keys have a vector, whole or not: quicker than ``get``, for a count."""
        keys, found = list(keys), set()
        with self._told():
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                some = keys[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(some))
                found |= {key for (key,) in self._database.execute(f"SELECT key FROM vectors WHERE key IN ({marks})", some)}
        return found

    def put(self, vectors: dict[bytes, np.ndarray]) -> None:
        """Store vectors in one transaction; when this returns they are on the disk."""
        self._insert("vectors", {key: np.asarray(vector, "<f4").tobytes() for key, vector in vectors.items()})

    def get_texts(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """The stored texts among these keys, such as what was said in a clip."""
        with self._told():
            there = self._has_texts()
        return {key: blob.decode() for key, blob in self._select("texts", "key, text", keys)} if there else {}

    def put_texts(self, texts: dict[bytes, str]) -> None:
        """Store texts in one transaction, under the keys of the vectors that were made of them."""
        self._insert("texts", {key: text.encode() for key, text in texts.items()})

    def contents(self, states: Iterable[bytes]) -> dict[bytes, bytes]:
        """Content hashes of files that were seen in these states."""
        return dict(self._select("files", "state, content", states))

    def put_contents(self, contents: dict[bytes, bytes]) -> None:
        """Store the content hashes of files by their state."""
        self._insert("files", contents)

    def forget(self, states: Iterable[bytes]) -> None:
        """Forget the content of files in these states: they are read again."""
        with self._transaction():
            self._database.executemany("DELETE FROM files WHERE state = ?", [(state,) for state in states])

    def definitions(self) -> set[bytes]:
        """Definitions of which vectors were to be stored."""
        with self._told():
            return {definition for (definition,) in self._database.execute("SELECT definition FROM definitions")}

    def put_definition(self, definition: bytes, set_name: str, max_seconds: float) -> None:
        """Note what a definition is of."""
        with self._transaction():
            self._database.execute("INSERT OR REPLACE INTO definitions VALUES (?, ?, ?)", (definition, set_name, max_seconds))

    def stored(self) -> list[Stored]:
        """What is stored, by definition, the largest first."""
        query = (
            "SELECT substr(key, 17), ifnull(set_name, ''), ifnull(max_seconds, 0), count(*), sum(length(vector)) FROM vectors "
            "LEFT JOIN definitions ON definition = substr(key, 17) GROUP BY substr(key, 17) ORDER BY 5 DESC"
        )
        with self._told():
            return [Stored(*row) for row in self._database.execute(query)]

    def damaged(self) -> list[bytes]:
        """Keys of vectors whose checksum does not fit, or that of the text which they were made of.

        Raises
        ------
        DataError
            The file itself is damaged: SQLite's own check finds something.
        """
        with self._told():
            verdict = self._database.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            rows = self._database.execute("SELECT key, vector, checksum FROM vectors")
            damaged = {key: None for key, blob, checksum in rows if not _is_whole(key, blob, checksum)}
            if self._has_texts():
                rows = self._database.execute("SELECT key, text, checksum FROM texts WHERE key IN (SELECT key FROM vectors)")
                damaged |= {key: None for key, blob, checksum in rows if not _is_whole(key, blob, checksum)}
            return list(damaged)

    def remove(self, keys: Iterable[bytes] = (), *, definitions: Iterable[bytes] = ()) -> int:
        """Remove vectors by key and all vectors of definitions, forget files without any, and give their room back to the disk.

        Returns
        -------
        removed : int, vectors
        """
        with self._transaction():
            removed = self._database.executemany("DELETE FROM vectors WHERE key = ?", [(key,) for key in keys]).rowcount
            for definition in definitions:
                removed += self._database.execute("DELETE FROM vectors WHERE substr(key, 17) = ?", (definition,)).rowcount
                self._database.execute("DELETE FROM definitions WHERE definition = ?", (definition,))
            self._database.execute("DELETE FROM texts WHERE key NOT IN (SELECT key FROM vectors)")
            self._database.execute("DELETE FROM files WHERE content NOT IN (SELECT substr(key, 1, 16) FROM vectors)")
        with self._told():
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return max(0, removed)

    def _has_texts(self) -> bool:
        """Whether there is a table of texts: an older file has none until it is opened to write."""
        return bool(self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'texts'").fetchall())

    def _select(self, table: str, columns: str, keys: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose checksum fits."""
        keys = list(keys)
        with self._told():
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                some = keys[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(some))
                query = f"SELECT {columns}, checksum FROM {table} WHERE {columns.split(',')[0]} IN ({marks})"
                for key, blob, checksum in self._database.execute(query, some):
                    if _is_whole(key, blob, checksum):
                        yield key, blob

    def _insert(self, table: str, blobs: dict[bytes, bytes]) -> None:
        if not blobs:
            return
        rows = [(key, blob, zlib.crc32(key + blob)) for key, blob in blobs.items()]
        with self._transaction():
            self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._told():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter where names of tables are damaged
            raise DataError(f"feature cache {self.path}: {error}. {_way_out(str(error))}") from None


def _way_out(error: str) -> str:
    """What a user can do about an error of SQLite."""
    if "full" in error or "I/O" in error:
        return "Free disk space and run it again: what was stored before is kept"
    if "readonly" in error or "unable to open" in error:
        return "Make the workspace writable, or name another with --workspace: what was stored before is kept"
    if "locked" in error:
        return "Another process has been writing to it for half a minute: wait for it or end it, then run it again"
    return "The file is damaged: move it away, and its features are computed anew"


def _is_whole(key: object, blob: object, checksum: object) -> bool:
    """Whether a row is as it was written: in a damaged file a value can come back as of another type."""
    return isinstance(key, bytes) and isinstance(blob, bytes) and zlib.crc32(key + blob) == checksum
