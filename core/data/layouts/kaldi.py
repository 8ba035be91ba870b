"""A data folder of Kaldi: ``wav.scp`` with a path for each utterance, ``utt2spk``, and the labels in a file such as ``utt2score``.

A file ``utt2NAME`` becomes the column NAME, ``text`` the column of that name.
"""

from pathlib import Path

from core.data.layouts.delimited import read_text
from core.data.layouts.source import Source, clip_folders
from core.data.layouts.table import Line, Table
from core.errors import DataError

NAME = "Kaldi data folder"
IDS, FILENAME = "utterance", "wav"
DEFINED = frozenset({"dur", "num_frames", "uniq", "lang", "text", "speaker"})


def has_file(name: str) -> bool:
    """Whether a file of this name is one of a data folder."""
    return name in ("wav.scp", "segments", "text") or name.startswith("utt2")


def read(root: Path) -> Source | None:
    """As ``Reader.read``. A folder of its own for each split, ``train`` and ``test``, or one folder of training clips."""
    folders = (root / "train", root / "data" / "train", root)
    folder = next((folder for folder in folders if (folder / "wav.scp").is_file()), None)
    if folder is None:
        return None
    train, beside = _table(folder), folder.with_name("test")
    test = _table(beside) if folder != root and (beside / "wav.scp").is_file() else None
    return Source(NAME, train, *clip_folders(root, train, test), test, filename=FILENAME, ids=IDS, defined=DEFINED)


def _table(folder: Path) -> Table:
    """The files of a folder side by side: a row for each utterance that any of them names."""
    files = {FILENAME: folder / "wav.scp"}
    files |= {_column(path): path for path in sorted(folder.glob("utt2*")) if path.is_file()}
    files |= {"text": folder / "text"} if (folder / "text").is_file() else {}
    columns = {name: _entries(path) for name, path in files.items()}
    for name, (number, path) in columns[FILENAME].items():
        if path.startswith("|") or path.endswith("|"):
            raise DataError(
                f"{folder / 'wav.scp'}, line {number}: {path[:60]!r} is a command, and Earmark runs none; write the clip of "
                f"{name} to a file, and name that"
            )
    if (folder / "segments").is_file():
        columns |= _segments(folder / "segments", columns[FILENAME])
    first_lines: dict[str, int] = {}
    for entries in columns.values():
        for utterance, (number, _) in entries.items():
            first_lines.setdefault(utterance, number)
    lines = tuple(
        Line(number, {IDS: utterance} | {name: entries.get(utterance, (0, ""))[1] for name, entries in columns.items()})
        for utterance, number in first_lines.items()
    )
    return Table(folder / "wav.scp", (IDS, *columns), lines)


def _segments(path: Path, recordings: dict[str, tuple[int, str]]) -> dict[str, dict[str, tuple[int, str]]]:
    """The columns of a file with recording, start and end of each utterance, in seconds."""
    columns: dict[str, dict[str, tuple[int, str]]] = {FILENAME: {}, "start": {}, "end": {}}
    for utterance, (number, text) in _entries(path).items():
        recording, *times = text.split()
        if len(times) != 2 or recording not in recordings:
            raise DataError(f"{path}, line {number}: expected utterance, a recording of wav.scp, start and end; found {text!r}")
        for name, cell in zip(columns, (recordings[recording][1], *times), strict=True):
            columns[name][utterance] = number, cell
    return columns


def _column(path: Path) -> str:
    name = path.name.removeprefix("utt2")
    return "speaker" if name == "spk" else name


def _entries(path: Path) -> dict[str, tuple[int, str]]:
    """What a file says of each utterance, with the number of its line."""
    entries: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(read_text(path)[0].split("\n"), start=1):
        utterance, *rest = line.split(maxsplit=1)[:2] or [""]
        if not utterance:
            continue
        if utterance in entries:
            raise DataError(f"{path}, line {number}: the utterance {utterance!r} stands there twice; remove one")
        entries[utterance] = number, rest[0].strip() if rest else ""
    return entries
