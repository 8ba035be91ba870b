"""A small data set in each layout: twelve labelled clips whose label is their loudness, and three without a label."""

import csv
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import pandas as pd

from tests.conftest import tone, write_clip, write_table

IDS = [f"{number:03d}" for number in range(1, 13)]
LABELS = [0.5 + number % 4 for number in range(12)]
TEST_IDS = ["013", "015", "014"]


@dataclass(frozen=True, slots=True)
class MadeSet:
    """What was made, and what must come of it.

    Attributes
    ----------
    root : Path
    layout : str, the name of its layout
    columns, names : of its submission
    settings : dict of str to str, what has to be named
    """

    root: Path
    layout: str
    columns: tuple[str, str]
    names: tuple[str, ...]
    settings: dict[str, str]


def grade(submission: str | Path, columns: tuple[str, str], names: Sequence[str]) -> None:
    """What a grader looks at before it scores: the columns, each name once and in order, and numbers."""
    with open(submission, newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == columns
    assert [row[0] for row in rows] == list(names)
    assert all(len(row) == 2 and 0 <= float(row[1]) <= 10 for row in rows)


def clips(train: Path, test: Path) -> None:
    """The clips of all layouts."""
    for index, name in enumerate(IDS):
        write_clip(train / f"{name}.wav", 0.2 * LABELS[index] * tone(300 + index, seconds=0.2))
    for index, name in enumerate(TEST_IDS):
        write_clip(test / f"{name}.wav", 0.2 * (1 + index) * tone(400 + index, seconds=0.2))


def write_sheet(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """An Excel file with one sheet; texts are written into their cells."""

    def relation(kind: str, target: str) -> str:
        inside = f'<Relationship Id="a" Type="{kind}" Target="{target}"/>'
        return f'<Relationships xmlns="{formats}/package/2006/relationships">{inside}</Relationships>'

    def cell(value: object) -> str:
        return (
            f"<c><v>{value}</v></c>"
            if isinstance(value, int | float)
            else f'<c t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'
        )

    formats = "http://schemas.openxmlformats.org"
    office, main = f"{formats}/officeDocument/2006/relationships", f'xmlns="{formats}/spreadsheetml/2006/main"'
    sheets = '<sheets><sheet name="s" sheetId="1" r:id="a"/></sheets>'
    rows_of_cells = "".join(f"<row>{''.join(cell(value) for value in row)}</row>" for row in (header, *rows))
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{formats}/package/2006/content-types"/>',
        "_rels/.rels": relation(f"{office}/officeDocument", "xl/workbook.xml"),
        "xl/_rels/workbook.xml.rels": relation(f"{office}/worksheet", "worksheets/sheet1.xml"),
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{office}">{sheets}</workbook>',
        "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{rows_of_cells}</sheetData></worksheet>",
    }
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, content)
    return path


def json_lines(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def standard(root: Path) -> MadeSet:
    clips(root / "audios/train", root / "audios/test")
    write_table(root / "csvs/train.csv", ["filename", "label"], list(zip(IDS, LABELS, strict=True)))
    write_table(root / "csvs/test.csv", ["filename"], [[name] for name in TEST_IDS])
    return MadeSet(root, "csvs/ and audios/", ("filename", "label"), tuple(TEST_IDS), {})


def competition(root: Path, train: str = "train", test: str = "test") -> MadeSet:
    """The sample submission has another order than the test table; the test table is not asked for its length."""
    clips(root / train, root / test)
    seconds = [0.2 + index / 1000 for index in range(12)]
    write_table(root / "train.csv", ["id", "seconds", "score"], list(zip(IDS, seconds, LABELS, strict=True)))
    write_table(root / "test.csv", ["id", "seconds"], [[name, 0.2] for name in TEST_IDS])
    asked = sorted(TEST_IDS)
    write_table(root / "sample_submission.csv", ["id", "score"], [[name, 0] for name in asked])
    return MadeSet(root, "competition folder", ("id", "score"), tuple(asked), {})


def competition_audio(root: Path) -> MadeSet:
    return competition(root, "train_audio", "test_audio")


def competition_one_folder(root: Path) -> MadeSet:
    return competition(root, "clips", "clips")


def competition_sample_alone(root: Path) -> MadeSet:
    made = competition(root)
    (root / "test.csv").unlink()
    write_table(root / "train.csv", ["id", "score"], list(zip(IDS, LABELS, strict=True)))
    return made


def competition_other_ids(root: Path) -> MadeSet:
    """The rows are named by another column than the clips."""
    clips(root / "audio", root / "audio")
    write_table(root / "train.csv", ["row", "path", "score"], list(zip(range(12), IDS, LABELS, strict=True)))
    write_table(root / "test.csv", ["row", "path"], [[f"t{number}", f"{name}.wav"] for number, name in enumerate(TEST_IDS)])
    write_table(root / "sample_submission.csv", ["row", "score"], [["t2", 0], ["t0", 0], ["t1", 0]])
    return MadeSet(root, "competition folder", ("row", "score"), ("t2", "t0", "t1"), {})


def audiofolder(root: Path) -> MadeSet:
    """One table for all; the folders say the split."""
    clips(root / "train", root / "test")
    rows = [(f"train/{name}.wav", label) for name, label in zip(IDS, LABELS, strict=True)]
    write_table(root / "metadata.csv", ["file_name", "score"], [*rows, *((f"test/{name}.wav", "") for name in TEST_IDS)])
    names = tuple(f"test/{name}.wav" for name in TEST_IDS)
    return MadeSet(root, "Hugging Face audiofolder", ("file_name", "score"), names, {})


def audiofolder_splits(root: Path) -> MadeSet:
    """One table a split, in JSON lines."""
    clips(root / "train", root / "test")
    rows = zip(IDS, LABELS, strict=True)
    json_lines(root / "train/metadata.jsonl", [{"file_name": f"{name}.wav", "score": label} for name, label in rows])
    json_lines(root / "test/metadata.jsonl", [{"file_name": f"{name}.wav"} for name in TEST_IDS])
    names = tuple(f"{name}.wav" for name in TEST_IDS)
    return MadeSet(root, "Hugging Face audiofolder", ("file_name", "score"), names, {})


def manifest(root: Path, folder: str = "wavs") -> MadeSet:
    """Two numbers a clip, of which the layout knows one."""
    clips(root / "wavs", root / "wavs")
    rows = zip(IDS, LABELS, strict=True)
    train = [{"audio_filepath": f"{folder}/{name}.wav", "duration": 0.2 + label, "mos": label} for name, label in rows]
    json_lines(root / "train_manifest.json", train)
    json_lines(root / "test_manifest.json", [{"audio_filepath": f"{folder}/{name}.wav", "duration": 0.2} for name in TEST_IDS])
    names = tuple(f"{folder}/{name}.wav" for name in TEST_IDS)
    return MadeSet(root, "JSON lines manifest", ("audio_filepath", "mos"), names, {})


def manifest_of_another_machine(root: Path) -> MadeSet:
    return manifest(root, "/mnt/corpus/audio")


def lost_zeros(root: Path) -> MadeSet:
    """A spreadsheet has read the names as numbers; the sample submission still has them."""
    made = competition(root)
    for name in ("train", "test"):
        header, *rows = [line.split(",") for line in (root / f"{name}.csv").read_text().split()]
        (root / f"{name}.csv").unlink()
        write_sheet(root / f"{name}.xlsx", header, [[float(cell) for cell in row] for row in rows])
    return made


def kaldi(root: Path) -> MadeSet:
    clips(root / "wav", root / "wav")
    for split, names in (("train", IDS), ("test", TEST_IDS)):
        folder = root / "data" / split
        folder.mkdir(parents=True)
        (folder / "wav.scp").write_text("".join(f"utt{name} wav/{name}.wav\n" for name in names))
        (folder / "utt2spk").write_text("".join(f"utt{name} speaker{number % 3}\n" for number, name in enumerate(names)))
    scores = zip(IDS, LABELS, strict=True)
    (root / "data/train/utt2score").write_text("".join(f"utt{name} {label}\n" for name, label in scores))
    (root / "data/train/utt2dur").write_text("".join(f"utt{name} {0.2 + index / 100}\n" for index, name in enumerate(IDS)))
    return MadeSet(root, "Kaldi data folder", ("utterance", "score"), tuple(f"utt{name}" for name in TEST_IDS), {})


def named(root: Path, name: str, write: Callable[[Path, list[str], list[list[object]]], object]) -> MadeSet:
    """Two tables beside a folder of clips, whose names do not say which is which."""
    clips(root / "recordings", root / "recordings")
    rows: list[list[object]] = [[f"{name}.wav", label] for name, label in zip(IDS, LABELS, strict=True)]
    write(root / f"ours.{name}", ["clip", "mark"], rows)
    write(root / f"new.{name}", ["clip"], [[f"{each}.wav"] for each in TEST_IDS])
    names = tuple(f"{each}.wav" for each in TEST_IDS)
    return MadeSet(root, "tables that are named", ("clip", "mark"), names, {"train": f"ours.{name}", "test": f"new.{name}"})


def sheets(root: Path) -> MadeSet:
    return named(root, "xlsx", write_sheet)


def parquet(root: Path) -> MadeSet:
    return named(root, "parquet", lambda path, header, rows: pd.DataFrame(rows, columns=header).to_parquet(path))


def tabs(root: Path) -> MadeSet:
    return named(root, "tsv", lambda path, header, rows: text(path, "\t", "utf-16", header, rows))


def semicolons(root: Path) -> MadeSet:
    """As a spreadsheet in much of Europe saves it."""
    return named(root, "csv", lambda path, header, rows: text(path, ";", "cp1252", header, rows))


def text(path: Path, separator: str, encoding: str, header: list[str], rows: list[list[object]]) -> None:
    above = "sep=;\r\n" if separator == ";" else "# made by hand\r\n"
    cells = [header, *([str(cell) for cell in row] for row in rows)]
    content = above + "".join(separator.join(row) + "\r\n" for row in cells)
    if separator == ";":
        content = re.sub(r"(\d)\.(\d)", r"\1,\2", content)  # decimal commas
    path.write_bytes(content.encode(encoding))


MADE: dict[str, Callable[[Path], MadeSet]] = {
    make.__name__: make
    for make in (
        standard,
        competition,
        competition_audio,
        competition_one_folder,
        competition_sample_alone,
        competition_other_ids,
        audiofolder,
        audiofolder_splits,
        manifest,
        manifest_of_another_machine,
        lost_zeros,
        kaldi,
        sheets,
        parquet,
        tabs,
        semicolons,
    )
}
