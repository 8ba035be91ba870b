"""The folder that holds everything Earmark computes, and the safe way to write a file into it.

cache.sqlite                       feature vectors, by content of the audio and definition of the set
cache/audio_<hash>.npy             what a fine-tuning hears of a clip: frames of an encoder, or the waveform
segments/<recording>/              segments of long recordings, cut out once
jobs/<id>/                         one finished run: run.json, predictions, models
features/<dataset>-<fingerprint>/  exported matrices
submissions/<run_id>/              submission of a run; the latest is copied to submissions/
"""

import csv
import dataclasses
import io
import json
import math
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.errors import FileError, ParameterError

LARGEST_JSON_BYTES = 1 << 28  # a record of 100,000 clips has some 10 MB, the result of scoring them some 100 MB
_DEEPEST = 32  # objects and lists inside each other; what Earmark writes has 8
_LONGEST_INTEGER = 20  # digits and sign: what a double or a database can hold


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths inside a workspace; nothing is created before it is needed."""

    root: Path

    @classmethod
    def resolve(cls, root: str | Path | None = None) -> "Workspace":
        """The folder named, else that of ``EARMARK_WORKSPACE``, else ``./workspace``; absolute from here on."""
        path = Path(root or os.environ.get("EARMARK_WORKSPACE") or "workspace").absolute()
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise ParameterError(f"workspace {os.fsencode(path)!r}: the name is not text (UTF-8); name another folder") from None
        if path.exists() and not path.is_dir():
            raise ParameterError(f"workspace {path} is a file; name a folder")
        return cls(path)

    @property
    def cache(self) -> Path:
        return self.root / "cache.sqlite"

    @property
    def frames(self) -> Path:
        return self.root / "cache"

    @property
    def segments(self) -> Path:
        return self.root / "segments"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def submissions(self) -> Path:
        return self.root / "submissions"


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; an error of the system has a readable message."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"cannot create {path}: {error.strerror}; name another folder with --workspace") from None
    return path


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    Parameters
    ----------
    path : where the file is to stand; its folder is created
    write : called with a binary file that is open for writing
    """
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes files that only their owner may read
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write_json(path: Path, value: object) -> None:
    """Write a record as indented JSON, whole or not at all."""
    text = json.dumps(to_json(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def read_json(path: Path, *, most_bytes: int = LARGEST_JSON_BYTES) -> Any:
    """A file that ``write_json`` wrote, whatever has become of it since.

    Parameters
    ----------
    path : Path
    most_bytes : int, larger files are refused before they are read

    Returns
    -------
    value : dict, list, str, int, float, bool or None; each number fits into a float, and nesting is shallow, so that whoever
        walks through it, compares or converts it meets no surprise

    Raises
    ------
    FileNotFoundError
    FileError
        It is not a file, cannot be read, is too large, is not JSON, or holds what Earmark never writes: NaN, a number that no
        float can hold (its field is named), objects in objects without end.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise FileError(path, "expected a file, found a folder" if path.is_dir() else "expected a file, found something else")
        if found.st_size > most_bytes:
            raise FileError(path, f"{found.st_size:,} bytes are more than the {most_bytes:,} that are read")
        text = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})") from None
    try:
        return parse_json(text)
    except ValueError as error:
        raise FileError(path, str(error)) from None


def parse_json(text: bytes) -> Any:
    """The value of a JSON text, as ``read_json`` returns it.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> parse_json(b'{"scores": [0.5, 1e999]}')
    Traceback (most recent call last):
    ValueError: scores.1: expected a finite number, found 1e999
    """
    if not text.strip():
        raise ValueError("it is empty")
    refused: list[_Refused] = []

    def refuse(number: str) -> "_Refused":
        refused.append(_Refused(number))
        return refused[-1]

    def whole(digits: str) -> Any:
        return int(digits) if len(digits) <= _LONGEST_INTEGER else refuse(digits)

    def real(digits: str) -> Any:
        return value if math.isfinite(value := float(digits)) else refuse(digits)

    try:
        value = json.loads(text.decode(), parse_int=whole, parse_float=real, parse_constant=refuse)
    except RecursionError:
        raise ValueError(f"not JSON of Earmark: more than {_DEEPEST} objects or lists inside each other") from None
    except UnicodeDecodeError:
        raise ValueError("not JSON: it is not text (UTF-8)") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    level = [value]
    for _ in range(_DEEPEST):
        level = [item for parent in level for _, item in _items(parent)]
        if not level:
            break
    else:
        raise ValueError(f"not JSON of Earmark: more than {_DEEPEST} objects or lists inside each other")
    if refused:
        digits = refused[0] if len(refused[0]) <= _LONGEST_INTEGER else f"one of {len(refused[0])} digits"
        raise ValueError(f"{_name_of(refused[0], value)}expected a finite number, found {digits}")
    return value


class _Refused(str):
    """The digits of an invalid number."""


def _items(value: Any) -> Iterable[tuple[object, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()


def _name_of(refused: _Refused, value: Any) -> str:
    """The name of the field in which a refused number stands, and a colon."""
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        path, item = left.pop()
        if item is refused:
            return f"{path}: " if path else ""
        left.extend((f"{path}.{name}" if path else str(name), child) for name, child in _items(item))
    return ""  # the same name was written twice, and the second value counts


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all. Floats are written so that they read back equal."""

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_whole(path, lambda file: file.write(text.getvalue().encode()))


def to_json(value: Any) -> Any:
    """What ``json`` can write: records as objects, NaN as null, paths absolute.

    Examples
    --------
    >>> to_json({"rmse": float("nan"), "folds": (1, 2)})
    {'rmse': None, 'folds': [1, 2]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(type(value), "model_fields"):  # of pydantic, which need not be imported for it
        return {name: to_json(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value.absolute())
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return to_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
