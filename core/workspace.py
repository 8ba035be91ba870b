"""The folder that holds everything Earmark computes, and the safe way to write a file into it.

cache.sqlite                       feature vectors, by content of the audio and definition of the set
cache/audio_<hash>.npy             what a fine-tuning hears of a clip: frames of an encoder, or the waveform
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
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.errors import ParameterError


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
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def submissions(self) -> Path:
        return self.root / "submissions"


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; a refusal by the system is told in words."""
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
