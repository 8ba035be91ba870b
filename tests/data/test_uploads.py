"""Archives as people and attackers make them."""

import io
import os
import stat
import time
import zipfile

import pytest

from core.data import uploads as module
from core.data.dataset import read_batch, read_dataset
from core.data.kinds import SUFFIXES
from core.data.layouts.layout import Layout
from core.data.uploads import unpack
from core.errors import DataError
from tests.conftest import write_dataset
from tests.data.layouts.made import MADE


def packed(entries, *, method=zipfile.ZIP_DEFLATED):
    """A zip of (name or ZipInfo, content) in memory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    file.seek(0)
    return file


def zip_folder(folder, inside=""):
    return packed(
        [(inside + path.relative_to(folder).as_posix(), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
    )


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize("inside", ["", "loudness/", "a/b/"])
def test_a_packed_data_set_reads_as_it_did_with_or_without_a_folder_around_it(tmp_path, inside):
    folder = write_dataset(tmp_path / "loudness", 6, test=2, seconds=0.1)
    done = unpack(zip_folder(folder, inside), tmp_path / "goal" / "mine")
    ours, theirs = read_dataset(folder), read_dataset(done.folder)
    assert [(row.name, row.label) for row in theirs.train] == [(row.name, row.label) for row in ours.train]
    assert len(theirs.test) == 2
    assert theirs.problems == ours.problems
    assert (done.files, done.skipped) == (10, ())
    assert [path.name for path in (tmp_path / "goal").iterdir()] == ["mine"]
    assert stat.S_IMODE(done.folder.stat().st_mode) & 0o055 == 0o055


def test_only_clips_and_tables_are_taken_and_the_rest_is_named(tmp_path):
    entries = [
        ("t.csv", "a"),
        ("A.WAV", "b"),
        ("run.exe", "c"),
        ("notes/read.me", "d"),
        ("__MACOSX/._A.wav", "e"),
        (".DS_Store", "f"),
    ]
    done = unpack(packed(entries), tmp_path / "x")
    assert left_in(tmp_path / "x") == ["A.WAV", "t.csv"]
    assert done.skipped == ("run.exe", "notes/read.me")


@pytest.mark.parametrize("name", ["../evil.wav", "/etc/evil.wav", "a/../../evil.wav", "C:\\evil.wav", "..\\evil.wav", "\\evil.wav"])
def test_an_entry_that_leads_out_of_the_folder_is_refused_with_all_the_rest(tmp_path, name):
    with pytest.raises(DataError, match="leads out of its folder; nothing was unpacked"):
        unpack(packed([("good.wav", b"x"), (name, b"x")]), tmp_path / "in" / "goal")
    assert left_in(tmp_path) == ["in"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_named_and_not_made(tmp_path, kind):
    info = zipfile.ZipInfo("link.wav")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    done = unpack(packed([("t.csv", "a"), (info, "/etc/passwd")]), tmp_path / "x")
    assert done.skipped == ("link.wav",)
    assert left_in(tmp_path / "x") == ["t.csv"]


def test_what_comes_out_is_counted_whatever_the_header_says(tmp_path):
    file = packed([("a.wav", bytes(300_000))])
    raw = bytearray(file.getvalue())
    for magic, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):  # both headers say that it holds 10 bytes
        place = raw.index(magic) + at
        raw[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(DataError, match="damaged"):
        unpack(io.BytesIO(bytes(raw)), tmp_path / "in" / "x")
    with pytest.raises(DataError, match=r"more than 0\.0 GB"):
        unpack(file, tmp_path / "in" / "x", max_bytes=200_000)
    assert left_in(tmp_path) == ["in"]


def test_a_bomb_is_refused_by_its_ratio_and_silence_is_not(tmp_path, monkeypatch):
    bomb = packed([(f"{number}.wav", bytes(1_000_000)) for number in range(3)])
    assert unpack(bomb, tmp_path / "silence").files == 3
    monkeypatch.setattr(module, "RATIO_FROM_BYTES", 2_000_000)
    with pytest.raises(DataError, match="200 times its size"):
        unpack(bomb, tmp_path / "in" / "x")
    assert left_in(tmp_path / "in") == []


def test_a_full_disk_is_no_place_to_unpack_to(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RESERVE_BYTES", 10**18)
    with pytest.raises(DataError, match="all that it may"):
        unpack(packed([("a.wav", b"x")]), tmp_path / "x")


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([(f"{number}.wav", b"") for number in range(9)], "9 entries, at most 8"),
        ([("/".join("abcdefghijklmn") + ".wav", b"")], "folders 13 deep"),
        ([("a.wav", b""), ("a.wav/b.wav", b"")], "a file and a folder of one name"),
        ([("a.txt", b""), ("inner.zip", b"")], "no clips and no tables"),
        ([("x" * 300 + ".wav", b"")], "cannot be written"),
        ([], "no clips and no tables"),
    ],
)
def test_what_is_no_data_set_is_told_in_words(tmp_path, monkeypatch, entries, says):
    monkeypatch.setattr(module, "MAX_ENTRIES", 8)
    with pytest.raises(DataError, match=says):
        unpack(packed(entries), tmp_path / "in" / "x")
    assert left_in(tmp_path) == ["in"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"'a\.wav' twice"):
        unpack(packed([("a.wav", b"1"), ("a.wav", b"2")]), tmp_path / "x")


def test_no_zip_a_cut_one_a_damaged_one_and_an_encrypted_one_are_told_in_words(tmp_path):
    whole = packed([("a.wav", os.urandom(5000))], method=zipfile.ZIP_STORED).getvalue()
    damaged = bytearray(whole)
    damaged[2000] ^= 0xFF
    encrypted = bytearray(whole)
    for magic, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        encrypted[whole.index(magic) + at] |= 1
    for content, says in [
        (b"RIFF", "no zip archive"),
        (whole[:3000], "no zip archive"),
        (bytes(damaged), "'a.wav' in the zip is damaged.*CRC"),
        (bytes(encrypted), "'a.wav' in the zip is encrypted"),
    ]:
        with pytest.raises(DataError, match=says):
            unpack(io.BytesIO(content), tmp_path / "in" / "x")
    assert left_in(tmp_path) == ["in"]


def test_utf_8_that_does_not_say_so_is_read_as_utf_8(tmp_path):
    name = "Übung/ä.wav"
    raw = packed([(name.encode().decode("latin-1").encode("ascii", "replace").decode(), b"x")]).getvalue()
    raw = raw.replace(name.encode().decode("latin-1").encode("ascii", "replace"), name.encode())
    unpack(io.BytesIO(raw), tmp_path / "x")
    assert left_in(tmp_path / "x") == ["ä.wav"]


def test_the_same_zip_is_unpacked_once_and_what_a_killed_process_left_is_removed(tmp_path):
    file = packed([("a.wav", b"x")])
    left = tmp_path / "in" / ".unpacking-old"
    left.mkdir(parents=True)
    os.utime(left, (0, time.time() - 7200))
    first = unpack(file, tmp_path / "in" / "x")
    assert not left.exists()
    before = (first.folder / "a.wav").stat().st_mtime_ns
    assert unpack(io.BytesIO(b"not looked at"), tmp_path / "in" / "x").files == 1
    assert (first.folder / "a.wav").stat().st_mtime_ns == before


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_zip_of_any_layout_reads_as_its_folder(tmp_path, make):
    made_set = make(tmp_path / "set")
    done = unpack(zip_folder(made_set.root, "around/"), tmp_path / "goal")
    ours, theirs = (read_dataset(root, Layout(**made_set.settings)) for root in (made_set.root, done.folder))
    assert done.skipped == ()
    assert theirs.recognised == ours.recognised
    assert [(row.name, row.label, row.columns) for row in theirs.train] == [
        (row.name, row.label, row.columns) for row in ours.train
    ]
    assert theirs.submission == ours.submission


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_recording_counts_in_zips_folders_and_tables_alike(tmp_path, suffix):
    done = unpack(packed([("my set/t.csv", b"filename,label\nclip,1\n"), (f"my set/clip{suffix.upper()}", b"x")]), tmp_path / "set")
    assert (done.files, done.skipped) == (2, ())
    clip = done.folder / f"clip{suffix.upper()}"
    assert [row.path for row in read_dataset(done.folder).train] == [clip]
    assert [row.path for row in read_batch(done.folder / "t.csv")[0]] == [clip]
    (done.folder / "t.csv").unlink()
    assert [row.path for row in read_batch(done.folder)[0]] == [clip]
