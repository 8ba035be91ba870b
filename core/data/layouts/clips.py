"""The files of a folder in, the clip that a table names out."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from core.data.audio import SUFFIXES
from core.data.layouts.layout import Layout
from core.errors import DataError


def audio_folder(root: Path, layout: Layout, usual: Path, split: str) -> Path:
    """Where the clips of a table are. Without a folder there is nothing to train on; test clips are then missing one by one."""
    folder = usual if layout.audio is None else root / layout.audio
    if split == "train" and not folder.is_dir():
        raise DataError(
            f"{folder}: expected a folder with the {split} clips, found none; "
            "name another with --audio DIR, or beside the path in the app"
        )
    return folder


class ClipIndex:
    """The files of a folder by name, with and without extension. Links on the user's own disk are followed."""

    def __init__(self, folder: Path, clips: Sequence[Path] | None = None):
        self.folder = folder
        self.where = f"in {folder.name}" if clips is None else "among the clips"
        self.by_name: dict[str, Path] = {}
        self.by_stem: dict[str, list[Path]] = defaultdict(list)
        self.named: set[Path] = set()
        self.several: set[str] = set()  # names that clips from different places share
        for path in walk(folder) if clips is None else clips:
            name = plain_name(path.relative_to(folder).as_posix() if clips is None else path.name)
            if name in self.by_name:
                self.several.add(name)
            self.by_name[name] = path
            self.by_stem[name[: -len(path.suffix)] if path.suffix else name].append(path)

    def find(self, name: str) -> Path | str:
        """The clip that a table names, or half a sentence on why there is none."""
        found = self.look(name)
        if isinstance(found, Path):
            self.named.add(found)
        return found

    def look(self, name: str) -> Path | str:
        """As ``find``, without keeping in mind that the clip was named."""
        if not name.strip():
            return "the row names no file"
        if "\0" in name:
            return "not a file name: it holds a zero byte"
        pure = PurePosixPath(name.strip())
        if pure.is_absolute() or PureWindowsPath(name.strip()).is_absolute() or ".." in re.split(r"[\\/]", name):
            return f"the name leaves the folder {self.folder.name}; name files inside it"
        plain = plain_name(name)
        if plain in self.several:
            return f"the name fits several files called {PurePosixPath(plain).name}"
        if plain in self.by_name:
            return self.by_name[plain]
        paths = self.by_stem.get(plain, [])
        if len(paths) > 1:
            paths = [path for path in paths if path.suffix.lower() in SUFFIXES] or paths
        if len(paths) == 1:
            return paths[0]
        if paths:
            return f"the name fits several files: {', '.join(sorted(path.name for path in paths))}"
        other = self.by_stem.get(pure.with_suffix("").as_posix(), []) if _has_suffix(name) else []
        hint = f"; there is {other[0].name}" if other else ""
        return f"missing: no such file {self.where}{hint}"

    def unnamed(self) -> list[Path]:
        """The audio files that no row named so far."""
        return sorted(path for path in self.by_name.values() if path.suffix.lower() in SUFFIXES and path not in self.named)


def stem(name: str) -> str:
    """A name without the extension of an audio file."""
    plain = plain_name(name)
    return PurePosixPath(plain).with_suffix("").as_posix() if _has_suffix(plain) else plain


def _has_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def plain_name(name: str) -> str:
    """One spelling for the several that Unicode and paths allow."""
    return unicodedata.normalize("NFC", PurePosixPath(name.strip()).as_posix())


def walk(folder: Path) -> Iterable[Path]:
    """The files below a folder, hidden ones left out; links on the user's own disk are followed."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise DataError(f"{error.filename}: the folder cannot be read ({error.strerror})")

    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        above = {os.path.realpath(parent) for parent in (Path(here), *Path(here).parents)}
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(here, name)) not in above
        )
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(here, name)
