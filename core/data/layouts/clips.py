"""The files of a folder in, the clips that a table names out."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from core.data.audio import SUFFIXES
from core.data.layouts.layout import Layout
from core.data.layouts.similar import SimilarNames
from core.data.layouts.table import is_missing
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


@dataclass(frozen=True, slots=True)
class NoClip:
    """Why a name has no clip: half a sentence; and whether a similar name may be meant."""

    reason: str
    may_be_similar: bool = False


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

    @cached_property
    def similar(self) -> SimilarNames:
        """The same files, for names that are nearly theirs."""
        return SimilarNames({name: path for name, path in self.by_name.items() if name not in self.several})

    def match(self, names: Sequence[str]) -> tuple[list[Path | str], str | None]:
        """The clips that a table names.

        Names that are nearly those of clips are taken for them only all together: where each name that no file has is nearly that
        of one clip, which no other name means. Else the messages offer the clips.

        Parameters
        ----------
        names : sequence of str [n], the cells of a column

        Returns
        -------
        clips : list [n], the clip of each, or half a sentence on why there is none
        note : what was taken for something else, or would be; or None
        """
        found = {name: self.look(name) for name in names}
        exact = {clip for clip in found.values() if isinstance(clip, Path)}
        wrong = [name for name, clip in found.items() if isinstance(clip, NoClip) and clip.may_be_similar]
        taken = self.named | exact
        near = {name: clip for name in wrong if (clip := self.similar.find(name)) is not None and clip not in taken}
        meant = Counter(near[name] for name in {plain_name(name): name for name in near}.values())
        near = {name: clip for name, clip in near.items() if meant[clip] == 1}
        taken_all = len(near) == len(wrong)
        clips = [near.get(name, found[name]) if taken_all else found[name] for name in names]
        self.named.update(clip for clip in clips if isinstance(clip, Path))
        said = [
            clip if isinstance(clip, Path) else self._reason(clip, near.get(name)) for name, clip in zip(names, clips, strict=True)
        ]
        return said, self._note(near, [name for name in wrong if name not in near]) if near else None

    def _note(self, near: Mapping[str, Path], others: Sequence[str]) -> str:
        name, clip = next(iter(near.items()))
        example = f"such as {name!r} for {self._shown(clip)}"
        if not others:
            return f"{len(near)} names are taken for similar names of clips, {example}"
        return (
            f"{len(near)} names are like similar names of clips, {example}, and none is taken, because not all are: others are "
            f"{len(others)}, the first {others[0]!r}; bring their clips or remove their rows"
        )

    def _reason(self, clip: NoClip, similar: Path | None) -> str:
        return clip.reason if similar is None else f"{clip.reason}; there is {self._shown(similar)}"

    def _shown(self, clip: Path) -> str:
        return clip.relative_to(self.folder).as_posix() if clip.is_relative_to(self.folder) else clip.name

    def look(self, name: str) -> Path | NoClip:
        """The clip of exactly this name, with or without extension."""
        if not name.strip():
            return NoClip("the row names no file")
        if "\0" in name:
            return NoClip("not a file name: it holds a zero byte")
        pure = PurePosixPath(name.strip())
        if pure.is_absolute() or PureWindowsPath(name.strip()).is_absolute() or ".." in re.split(r"[\\/]", name):
            return NoClip(f"the name leaves the folder {self.folder.name}; name files inside it", may_be_similar=True)
        plain = plain_name(name)
        if plain in self.several:
            return NoClip(f"the name fits several files called {PurePosixPath(plain).name}")
        if plain in self.by_name:
            return self.by_name[plain]
        paths = self.by_stem.get(plain, [])
        if len(paths) > 1:
            paths = [path for path in paths if path.suffix.lower() in SUFFIXES] or paths
        if len(paths) == 1:
            return paths[0]
        if paths:
            return NoClip(f"the name fits several files: {', '.join(sorted(path.name for path in paths))}")
        if is_missing(name):
            return NoClip("the row names no file")
        return NoClip(f"missing: no such file {self.where}", may_be_similar=True)

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
