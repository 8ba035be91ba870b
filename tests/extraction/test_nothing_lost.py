"""Kills, full disks, damaged caches and moving files: an error in words or a correct result, and what was reported stays done."""

import contextlib
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from core.cli import commands
from core.errors import DataError
from core.extraction import extract as module
from core.extraction.config import ExtractSettings
from core.extraction.extract import definition_hash, extract_clips, hash_files
from core.runtime.cache import VectorCache, content_hash, file_state, vector_key
from tests.conftest import ROOT, tone, write_clip

ALONE = ExtractSettings(features=("mfcc",), workers=0)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

# Prints the name of each clip once it is reported.
EXTRACT = """
import pathlib, sys
from core.events import ClipExtracted
from core.errors import EarmarkError
from core.extraction.extract import extract_clips
from core.extraction.config import ExtractSettings
def tell(event):
    if isinstance(event, ClipExtracted): print(event.file, flush=True)
clips = sorted(pathlib.Path(sys.argv[1]).iterdir())
settings = ExtractSettings(features=("mfcc",), workers=int(sys.argv[3]))
try:
    done = extract_clips(clips, settings, cache_path=pathlib.Path(sys.argv[2]), notify=tell)
except EarmarkError as error:
    sys.exit(str(error))
assert not done.failures, done.failures
"""


@pytest.fixture
def clips(tmp_path, rng):
    return [write_clip(tmp_path / "clips" / f"{index:02}.wav", 0.1 * rng.normal(size=11025)) for index in range(45)]


@pytest.fixture
def truth(clips, tmp_path):
    """Vectors of an undisturbed run."""
    return extract_clips(clips, ALONE, cache_path=tmp_path / "undisturbed.sqlite").vectors


def start(clips, cache, *, workers=2, limit=""):
    return subprocess.Popen(
        [sys.executable, "-c", limit + EXTRACT, clips[0].parent, cache, str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def stored(clips, cache):
    """What the cache holds, by clip."""
    definition = definition_hash("mfcc", ALONE.max_seconds)
    with VectorCache(cache) as store:
        found = store.get(vector_key(content_hash(path), definition) for path in clips)
    return {path: found[key] for path in clips if (key := vector_key(content_hash(path), definition)) in found}


def same(extraction_or_vectors, truth):
    return all(np.array_equal(extraction_or_vectors[path]["mfcc"], truth[path]["mfcc"]) for path in truth)


def workers_of(pid):
    """Processes that a process has started to work for it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it ended meanwhile
                continue
    return found


def kill_and_go_on(clips, truth, cache, *, rng):
    """One SIGKILL at a random moment, of the parent or of a worker."""
    process = start(clips, cache)
    reported = [process.stdout.readline().strip()]
    time.sleep(rng.uniform(0, 0.25))
    victim = process.pid
    if rng.random() < 0.5 and (workers := workers_of(process.pid)):
        victim = rng.choice(workers)
    with contextlib.suppress(ProcessLookupError):  # it was done before
        os.kill(victim, signal.SIGKILL)
    rest, _ = process.communicate(timeout=120)
    reported += rest.split()
    there = stored(clips, cache)
    assert {name for name in reported if name} <= {path.name for path in there}
    assert all(np.array_equal(vector, truth[path]["mfcc"]) for path, vector in there.items())
    if victim != process.pid:
        assert process.returncode == 0  # the clip of the dead worker was tried once more
        assert len(there) == len(clips)


def check_kills(clips, truth, tmp_path, *, kills):
    rng = random.Random(kills)
    for number in range(kills):
        kill_and_go_on(clips, truth, tmp_path / f"cache-{number}.sqlite", rng=rng)
    # Work resumes in the last workspace.
    extraction = extract_clips(clips, ALONE, cache_path=tmp_path / f"cache-{kills - 1}.sqlite")
    assert same(extraction.vectors, truth)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_what_was_reported_survives_twelve_kills(clips, truth, tmp_path):
    check_kills(clips, truth, tmp_path, kills=12)


def test_a_limit_on_the_size_of_files_stops_with_words_and_the_next_run_goes_on(clips, truth, tmp_path):
    cache = tmp_path / "cache.sqlite"
    with VectorCache(cache):
        pass
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))\n"
    process = start(clips, cache, workers=0, limit=limit)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.startswith("feature cache")
    assert "Free disk space" in err
    assert "Traceback" not in err
    reported = out.split()
    assert 0 < len(reported) < len(clips)
    assert set(reported) <= {path.name for path in stored(clips, cache)}
    extraction = extract_clips(clips, ALONE, cache_path=cache)
    assert extraction.computed <= len(clips) - len(reported)
    assert same(extraction.vectors, truth)


def test_a_full_database_stops_with_words_and_the_next_run_goes_on(clips, truth, tmp_path, monkeypatch):
    cache = tmp_path / "cache.sqlite"
    enter = VectorCache.__enter__

    def with_few_pages(self):
        store = enter(self)
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        return store

    told = []
    with monkeypatch.context() as patch:
        patch.setattr(VectorCache, "__enter__", with_few_pages)
        with pytest.raises(DataError, match=r"database or disk is full.*Free disk space"):
            extract_clips(clips, ALONE, cache_path=cache, notify=told.append)
    reported = {event.file for event in told if hasattr(event, "seconds")}
    assert 0 < len(reported) < len(clips)
    assert reported == {path.name for path in stored(clips, cache)}
    assert same(extract_clips(clips, ALONE, cache_path=cache).vectors, truth)


def test_a_disk_that_is_full_at_the_export_is_told_and_the_features_stay(make_dataset, tmp_path, monkeypatch, capsys):
    line = ["extract", str(make_dataset()), "--features", "metadata", "--workspace", str(tmp_path / "w")]
    fsync = os.fsync

    def full(descriptor):
        if "features" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert commands.main(line) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert commands.main(line) == 0
    assert "0 computed now, 15 cached" in capsys.readouterr().out
    assert not list((tmp_path / "w/features").rglob(".*"))  # no half of a file is left


READ_ONLY = """
import os, pathlib, sys
from core import cli
from core.errors import EarmarkError
from core.extraction.extract import extract_clips
from core.extraction.config import ExtractSettings
data, workspace, place = map(pathlib.Path, sys.argv[1:])
line = ["extract", str(data), "--features", "metadata", "--workspace"]
assert cli.main([*line, str(workspace)]) == 0  # imports all that another user may not
for path in (workspace, *workspace.rglob("*")):
    path.chmod(0o555 if path.is_dir() else 0o444)
if os.getuid() == 0:  # to whom every file is open
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    extract_clips(list(data.rglob("*.wav")), ExtractSettings(features=("mfcc",), workers=0), cache_path=place / "cache.sqlite")
except EarmarkError as error:
    print(error, file=sys.stderr)
sys.exit(cli.main([*line, str(place), "--rehash"]))
"""


@pytest.mark.parametrize("place", ["w", "w/inside/it"])
def test_a_workspace_that_may_not_be_written_is_told_in_words(place, make_dataset):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to other users
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(make_dataset(), folder / "data")
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, folder / "data", folder / "w", folder / place],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        for path in (folder / "w", *(folder / "w").rglob("*")):
            path.chmod(0o755)
    assert done.returncode == 1
    *_, library, command = done.stderr.splitlines()
    assert re.search("cache.sqlite: attempt to write a readonly database.*Make the workspace writable|Permission denied", library)
    assert re.search(f"^earmark: .*{folder}/w.*Permission denied", command)
    assert "Traceback" not in done.stderr


def damage(kind, path, rng):
    """Do something to the cache file that disks and editors do."""
    data = bytearray(path.read_bytes())
    if kind == "empty":
        data = bytearray()
    elif kind == "text":
        data = bytearray(b"not a database\n" * 500)
    elif kind == "half":
        del data[len(data) // 2 :]
    elif kind == "odd length":
        del data[-777:]
    elif kind == "header":
        data[16:100] = rng.randbytes(84)
    elif kind == "zeros":
        data[4096:] = bytes(len(data) - 4096)
    else:  # some bytes anywhere
        for _ in range(200):
            data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)


DAMAGES = ["empty", "text", "half", "odd length", "header", "zeros", *(f"random {seed}" for seed in range(12))]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_cache_gives_an_error_in_words_or_the_right_vectors(kind, clips, truth, tmp_path):
    cache = tmp_path / "cache.sqlite"
    shutil.copy(tmp_path / "undisturbed.sqlite", cache)
    damage(kind, cache, random.Random(kind))
    with contextlib.suppress(DataError):
        assert same(extract_clips(clips, ALONE, cache_path=cache).vectors, truth)
        return
    with pytest.raises(DataError, match=r"cache\.sqlite.*move it away"):
        extract_clips(clips, ALONE, cache_path=cache)


def test_random_bytes_in_the_log_of_the_cache_are_ignored(clips, truth, tmp_path):
    cache = tmp_path / "cache.sqlite"
    shutil.copy(tmp_path / "undisturbed.sqlite", cache)
    Path(f"{cache}-wal").write_bytes(random.Random(0).randbytes(100_000))
    assert same(extract_clips(clips, ALONE, cache_path=cache).vectors, truth)


@pytest.mark.slow
def test_two_extractions_share_a_workspace(clips, truth, tmp_path):
    cache = tmp_path / "new" / "cache.sqlite"
    both = [start(clips, cache, workers=0) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    extraction = extract_clips(clips, ALONE, cache_path=cache)
    assert extraction.computed == 0
    assert same(extraction.vectors, truth)


def test_a_file_that_changes_while_it_is_read_is_set_aside(clips, tmp_path, monkeypatch):
    read_clip = module.read_clip

    def and_change(path, **options):
        clip = read_clip(path, **options)
        if path == clips[3]:
            write_clip(path, tone(300, seconds=0.5))
        return clip

    monkeypatch.setattr(module, "read_clip", and_change)
    extraction = extract_clips(clips, ALONE, cache_path=tmp_path / "cache.sqlite")
    assert extraction.failures == {clips[3]: "the file changed while it was read; run again"}
    monkeypatch.undo()
    again = extract_clips(clips, ALONE, cache_path=tmp_path / "cache.sqlite")
    alone = extract_clips(clips[3:4], ALONE, cache_path=tmp_path / "other.sqlite")
    assert again.computed == 1
    assert np.array_equal(again.vectors[clips[3]]["mfcc"], alone.vectors[clips[3]]["mfcc"])


def test_a_file_that_disappears_in_mid_run_is_set_aside(clips, tmp_path, monkeypatch):
    read_clip = module.read_clip

    def and_delete_the_next(path, **options):
        clips[5].unlink(missing_ok=True)
        return read_clip(path, **options)

    monkeypatch.setattr(module, "read_clip", and_delete_the_next)
    extraction = extract_clips(clips, ALONE, cache_path=tmp_path / "cache.sqlite")
    assert extraction.failures == {clips[5]: "no such file"}
    assert len(extraction.vectors) == len(clips) - 1


def test_a_known_file_is_not_read_again_and_rehash_reads_it(clips, tmp_path, monkeypatch):
    cache = tmp_path / "cache.sqlite"
    later = lambda: time.time_ns() + 10**10  # noqa: E731
    first = extract_clips(clips, ALONE, cache_path=cache, now_ns=later)
    read = []
    monkeypatch.setattr("core.extraction.contents.content_hash", lambda path: read.append(path) or content_hash(path))
    assert extract_clips(clips, ALONE, cache_path=cache, now_ns=later).contents == first.contents
    assert read == []
    anew = ExtractSettings(features=("mfcc",), workers=0, rehash=True)
    assert extract_clips(clips, anew, cache_path=cache, now_ns=later).contents == first.contents
    assert read == clips


def test_a_wrong_entry_of_the_index_is_put_right_by_rehash(clips, tmp_path):
    cache = tmp_path / "cache.sqlite"
    with VectorCache(cache) as store:
        store.put_contents({file_state(clips[0].stat()): b"x" * 16})
        assert hash_files(clips[:1], store) == {clips[0]: b"x" * 16}
        later = time.time_ns() + 10**10
        assert hash_files(clips[:1], store, rehash=True, now_ns=lambda: later) == {clips[0]: content_hash(clips[0])}
        assert hash_files(clips[:1], store) == {clips[0]: content_hash(clips[0])}


def test_a_wrong_entry_of_the_index_costs_one_run(clips, truth, tmp_path):
    """A clip that is not what the index says is set aside, and read again the next time."""
    cache = tmp_path / "cache.sqlite"
    with VectorCache(cache) as store:
        store.put_contents({file_state(clips[0].stat()): b"x" * 16})
    assert set(extract_clips(clips, ALONE, cache_path=cache).failures) == {clips[0]}
    assert same(extract_clips(clips, ALONE, cache_path=cache).vectors, truth)


@pytest.mark.parametrize(
    ("age_s", "known"),
    [(0.0, False), (1.9, False), (2.1, True), (3600.0, True), (-3600.0, False)],
    ids=["now", "just now", "settled", "old", "from the future: the clock was set back"],
)
def test_only_a_file_that_has_settled_is_known_by_its_state(age_s, known, clips, tmp_path):
    """A file system's clock ticks in steps: a second change within one leaves size and times as they were."""
    status = clips[0].stat()
    changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
    with VectorCache(tmp_path / "cache.sqlite") as store:
        hash_files(clips[:1], store, now_ns=lambda: changed_ns + int(1e9 * age_s))
        assert bool(store.contents([file_state(status)])) == known


def test_a_change_of_size_time_or_inode_is_another_state(clips, tmp_path):
    seen = {file_state(clips[0].stat())}
    os.utime(clips[0], ns=(0, 1))
    seen.add(file_state(clips[0].stat()))
    with clips[0].open("ab") as file:
        file.write(b"x")
    os.utime(clips[0], ns=(0, 1))
    seen.add(file_state(clips[0].stat()))
    shutil.copy2(clips[0], tmp_path / "copy")
    os.replace(tmp_path / "copy", clips[0])
    seen.add(file_state(clips[0].stat()))
    assert len(seen) == 4
