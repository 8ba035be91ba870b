"""A name that no file has in, the one file out whose name is nearly that.

Programs change names on their way: spreadsheets take the zeros from ``007``, annotation tools put a hash and a dash in front,
exports have folders of another machine or addresses, clips were converted to another format. What is left when all that is taken
off is compared; where several files are left, the folders decide, then the spelling.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.data.audio import SUFFIXES

_AUDIO = (*SUFFIXES, ".m4a", ".aac", ".opus", ".aif", ".aiff", ".wma", ".webm", ".mp4")  # what a table may name before a conversion
_HASH = re.compile(r"[0-9a-f]{8,64}-(?=.)")
_DIGITS = re.compile(r"0*(\d+)(\.0)?")  # a number that a program read as one


class SimilarNames:
    """Files by what is left of their names.

    Parameters
    ----------
    files : dict of str to Path, by name in the folder of the clips, with slashes
    """

    def __init__(self, files: Mapping[str, Path]):
        self.parts = {path: _parts(name) for name, path in files.items()}
        self.by_core: dict[str, list[Path]] = defaultdict(list)
        self.by_core_without_hash: dict[str, list[Path]] = defaultdict(list)
        for path, parts in self.parts.items():
            if path.suffix.lower() in ("", *SUFFIXES):
                self.by_core[core(parts[-1])].append(path)
                self.by_core_without_hash[core(_without_hash(parts[-1]))].append(path)

    def find(self, name: str) -> Path | None:
        """The file of a name that is nearly its own; None where there is none, or several are as near."""
        parts = _parts(name)
        if not parts:
            return None
        own = core(parts[-1])
        paths = self.by_core.get(own) or self.by_core.get(core(_without_hash(parts[-1]))) or self.by_core_without_hash.get(own, [])
        nearest = max((_closeness(parts, self.parts[path]) for path in paths), default=None)
        best = [path for path in paths if _closeness(parts, self.parts[path]) == nearest]
        return best[0] if len(best) == 1 else None


def _parts(name: str) -> list[str]:
    path = unquote(urlsplit(name).path) if "://" in name else name
    return [part for part in re.split(r"[\\/]+", path.strip()) if part not in ("", ".", "..")]


def core(last: str) -> str:
    """A name, or the last part of a path, without case, extension and leading zeros.

    Examples
    --------
    >>> core("007.WAV"), core("7.0"), core("Take 2.m4a")
    ('7', '7', 'take 2')
    """
    name = last.casefold()
    name = next((name.removesuffix(suffix) for suffix in _AUDIO if name.endswith(suffix)), name)
    digits = _DIGITS.fullmatch(name)
    return digits[1] if digits else name


def _without_hash(last: str) -> str:
    return _HASH.sub("", last, count=1) if _HASH.match(last) else last


def _closeness(name: list[str], file: list[str]) -> tuple[int, bool, bool]:
    """How many folders above the last part are the same, and whether the last part is, with and without case."""
    same = 0
    for ours, theirs in zip(reversed(name[:-1]), reversed(file[:-1]), strict=False):
        if ours.casefold() != theirs.casefold():
            break
        same += 1
    return same, name[-1] == file[-1], name[-1].casefold() == file[-1].casefold()
