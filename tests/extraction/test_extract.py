import dataclasses
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from core import features
from core.data import augment
from core.data.audio import read_clip
from core.data.fingerprints import fingerprint
from core.errors import AudioError, ParameterError
from core.events import ClipExtracted, ClipSetAside, ExtractionStarted
from core.extraction import extract as module
from core.extraction.config import ExtractSettings
from core.extraction.extract import column_names, definition_hash, extract_clips, find_cached, is_current
from core.runtime.cache import VectorCache, content_hash
from tests.conftest import ROOT, tone, write_clip

QUICK = ExtractSettings(features=("metadata",), workers=0)


@pytest.fixture
def clips(tmp_path):
    return [write_clip(tmp_path / f"{index}.wav", tone(200 + index)) for index in range(4)]


@pytest.fixture
def run(tmp_path):
    """Extract and return the extraction and the counts that were reported."""

    def run(paths, settings=QUICK, **options):
        events = []
        extraction = extract_clips(paths, settings, cache_path=tmp_path / "cache.sqlite", notify=events.append, **options)
        (start,) = [event for event in events if isinstance(event, ExtractionStarted)]
        assert sum(isinstance(event, ClipExtracted | ClipSetAside) for event in events) == start.to_do
        return extraction, (start.clips, start.cached, start.to_do)

    return run


def test_the_second_time_does_no_audio_work(run, clips, monkeypatch):
    first, counts = run(clips)
    assert counts == (4, 0, 4)
    monkeypatch.setattr(module, "read_clip", lambda *args, **options: pytest.fail("audio was decoded"))
    second, counts = run(clips)
    assert counts == (4, 4, 0)
    assert second.computed == 0
    for path in clips:
        assert np.array_equal(first.vectors[path]["metadata"], second.vectors[path]["metadata"], equal_nan=True)


def test_the_cache_knows_content_not_names(run, clips, tmp_path):
    run(clips)
    copy = tmp_path / "elsewhere.wav"
    shutil.copy(clips[0], copy)
    assert run([copy])[1] == (1, 1, 0)
    write_clip(clips[0], tone(999))
    assert run([clips[0]])[1] == (1, 0, 1)


def test_a_new_set_computes_only_itself(run, clips, monkeypatch):
    run(clips[:1])
    asked = []
    whole = features.extract
    monkeypatch.setattr(features, "extract", lambda clip, sets: asked.append(sets) or whole(clip, sets))
    extraction, counts = run(clips[:1], ExtractSettings(features=("metadata", "mfcc"), workers=0))
    assert counts == (1, 0, 1)
    assert asked == [("mfcc",)]
    assert extraction.vectors[clips[0]]["mfcc"].shape == (120,)


def test_another_definition_is_another_vector(monkeypatch):
    before = definition_hash("ultra", 45.0)
    assert before != definition_hash("mfcc", 45.0)
    assert before != definition_hash("ultra", 30.0)
    monkeypatch.setitem(features.SET_VERSIONS, "ultra", 99)
    assert before != definition_hash("ultra", 45.0)


def test_a_set_over_windows_is_of_another_definition_when_its_base_or_its_windows_are(monkeypatch):
    before = definition_hash("ultra@5s", 45.0)
    assert len({before, definition_hash("ultra", 45.0), definition_hash("ultra@10s", 45.0), definition_hash("mfcc@5s", 45.0)}) == 4
    for change in (
        lambda: monkeypatch.setitem(features.SET_VERSIONS, "ultra", 99),
        lambda: monkeypatch.setattr(features, "WINDOWS_VERSION", 99),
    ):
        change()
        assert before != definition_hash("ultra@5s", 45.0)
        monkeypatch.undo()
    assert before == definition_hash("ultra@5s", 45.0)


def test_sets_over_windows_are_stored_beside_the_others_and_known_as_current(run, clips, tmp_path):
    settings = ExtractSettings(features=("mfcc@1s",), workers=0)
    first, counts = run(clips[:1], settings)
    assert counts == (1, 0, 1)
    assert first.vectors[clips[0]]["mfcc@1s"].shape == (240,)
    assert run(clips[:1], settings)[1] == (1, 1, 0)
    assert find_cached(clips, settings, cache_path=tmp_path / "cache.sqlite") == {clips[0]}
    with VectorCache(tmp_path / "cache.sqlite") as store:
        (stored,) = store.stored()
        assert (stored.set_name, is_current(stored)) == ("mfcc@1s", True)
        for name in ("mfcc@2s", "mfcc@1.0s", "other", ""):
            assert not is_current(dataclasses.replace(stored, set_name=name))


COPIED = ExtractSettings(features=("mfcc", "metadata", "mfcc@1s"), workers=0)


def same(first, second):
    return set(first) == set(second) and all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)


def test_copies_are_added_to_what_is_there_and_stay_as_they_were(run, clips, tmp_path, monkeypatch):
    plain, _ = run(clips, COPIED)
    assert plain.copies == {}
    asked, decoded = [], []
    whole, read_clip = features.extract, module.read_clip
    monkeypatch.setattr(features, "extract", lambda clip, sets: asked.append(sets) or whole(clip, sets))
    monkeypatch.setattr(module, "read_clip", lambda path, **options: decoded.append(path) or read_clip(path, **options))
    two, counts = run(clips[:2], COPIED, copies=2)
    assert counts == (2, 0, 2)
    assert asked == [("mfcc", "mfcc@1s")] * 4  # neither the clips themselves nor what is of the file
    assert decoded == clips[:2]
    assert all(same(two.vectors[path], plain.vectors[path]) for path in clips[:2])
    third, counts = run(clips[:2], COPIED, copies=3)
    assert len(asked) == 6
    assert run(clips[:2], COPIED, copies=3)[1] == (2, 2, 0)
    anew = extract_clips(clips[:2], COPIED, cache_path=tmp_path / "other.sqlite", copies=3)
    for path in clips[:2]:
        assert len(third.copies[path]) == 3
        for earlier, later, fresh in zip(two.copies[path], third.copies[path], anew.copies[path], strict=False):
            assert same(earlier, later)
            assert same(later, fresh)
        vectors = [third.vectors[path], *third.copies[path]]
        assert len({vector["mfcc"].tobytes() for vector in vectors}) == 4
        assert all(np.array_equal(vector["metadata"], vectors[0]["metadata"]) for vector in vectors)


def test_each_path_gets_the_copies_that_are_asked_of_it(run, clips, tmp_path):
    twin = tmp_path / "twin.wav"
    shutil.copy(clips[0], twin)
    extraction, counts = run([*clips, twin], COPIED, copies={clips[0]: 1, clips[1]: 2, twin: 3})
    assert counts == (5, 0, 5)
    assert {path: len(copies) for path, copies in extraction.copies.items()} == {clips[0]: 1, clips[1]: 2, twin: 3}
    assert same(extraction.copies[clips[0]][0], extraction.copies[twin][0])
    assert set(extraction.vectors) == {*clips, twin}


def test_a_copy_is_that_of_the_seed_of_its_audio_and_number(run, clips):
    """What is stored is what ``augment`` and ``features`` say of the clip, and length and size stay those of the file."""
    extraction, _ = run(clips[:1], ExtractSettings(features=("ultra",), workers=0), copies=1)
    clip = module.read_clip(clips[0])
    varied = module._copy(clip, content_hash(clips[0]), 1)
    assert (varied.duration_s, varied.file_size_bytes) == (clip.duration_s, clip.file_size_bytes)
    assert varied.seconds != clip.seconds
    expected = features.extract(varied, ("ultra",))["ultra"]
    assert np.array_equal(extraction.copies[clips[0]][0]["ultra"], expected, equal_nan=True)
    assert expected[0] == clip.duration_s


def test_a_copy_that_fails_is_the_failure_of_its_clip(run, clips, monkeypatch):
    whole = module._copy

    def fails(clip, content, copy):
        if copy == 2 and clip.path == clips[1]:
            raise AudioError(clip.path, "too quiet")
        return whole(clip, content, copy)

    monkeypatch.setattr(module, "_copy", fails)
    extraction, _ = run(clips[:2], COPIED, copies=2)
    assert extraction.failures == {clips[1]: "copy 2: too quiet"}
    assert set(extraction.vectors) == set(extraction.copies) == {clips[0]}
    monkeypatch.undo()
    assert run(clips[:2], COPIED, copies=2)[1] == (2, 1, 1)


def test_copies_are_of_another_definition_when_they_are_made_in_another_way(monkeypatch):
    before = definition_hash("mfcc", 45.0, 1)
    assert len({before, definition_hash("mfcc", 45.0), definition_hash("mfcc", 45.0, 2)}) == 3
    monkeypatch.setattr(augment, "AUGMENT_VERSION", 99)
    assert before != definition_hash("mfcc", 45.0, 1)


def test_stored_copies_are_known_as_current(run, clips, tmp_path):
    run(clips, COPIED, copies=1)
    with VectorCache(tmp_path / "cache.sqlite") as store:
        stored = store.stored()
        assert sorted(of.set_name for of in stored) == ["metadata", "mfcc", "mfcc, copy 1", "mfcc@1s", "mfcc@1s, copy 1"]
        assert all(is_current(of) for of in stored)
        assert not is_current(dataclasses.replace(stored[0], set_name="mfcc, copy x"))


def test_columns_of_the_table_need_no_audio_work_but_a_file(run, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "extract", lambda *args: pytest.fail("features were computed"))
    settings = ExtractSettings(features=("table:age",), workers=0)
    extraction, counts = run([*clips, tmp_path / "nowhere.wav"], settings)
    assert counts == (5, 4, 1)
    assert extraction.vectors == {path: {} for path in clips}
    assert extraction.failures == {tmp_path / "nowhere.wav": "no such file"}
    assert find_cached(clips, settings, cache_path=tmp_path / "none.sqlite") == set(clips)


def test_unreadable_clips_are_named_and_cost_no_other(run, clips, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"")
    extraction, counts = run([clips[0], bad, tmp_path / "nowhere.wav", clips[1]])
    assert counts == (4, 0, 4)
    assert extraction.failures == {bad: "the file is empty (0 bytes)", tmp_path / "nowhere.wav": "no such file"}
    assert set(extraction.vectors) == {clips[0], clips[1]}
    assert run([bad])[0].failures == {bad: "the file is empty (0 bytes)"}  # a failure is tried again, never stored as numbers


def test_two_files_of_one_content_are_decoded_once(run, clips, tmp_path, monkeypatch):
    copy = tmp_path / "copy.wav"
    shutil.copy(clips[0], copy)
    decoded = []
    read_clip = module.read_clip
    monkeypatch.setattr(module, "read_clip", lambda path, **options: decoded.append(path) or read_clip(path, **options))
    extraction, _ = run([clips[0], copy])
    assert decoded == [clips[0]]
    assert extraction.computed == 2
    assert np.array_equal(extraction.vectors[clips[0]]["metadata"], extraction.vectors[copy]["metadata"])


def test_processes_and_this_process_give_the_same_bits(run, clips, tmp_path):
    settings = ExtractSettings(workers=2)
    many, _ = run(clips, settings, copies=1)
    alone = extract_clips(clips, ExtractSettings(workers=0), cache_path=tmp_path / "other.sqlite", copies=1)
    for path in clips:
        assert same(many.vectors[path], alone.vectors[path])
        assert same(many.copies[path][0], alone.copies[path][0])


def test_names_of_columns_carry_their_set():
    names = column_names(("ultra", "mfcc", "metadata"))
    assert len(names) == len(set(names)) == 289
    assert names[0] == "ultra.duration_s"
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.") for name in names)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"features": ("ultra", "x")},
            "'x' is not among ultra, mfcc, metadata, .*; ultra and mfcc are also computed over windows, as in ultra@5s",
        ),
        ({"features": ("ultra@5.0s",)}, "write 'ultra@5s'"),
        ({"features": ()}, "name at least one of ultra, mfcc, metadata"),
        ({"features": ("ultra", "ultra")}, "twice"),
        ({"max_seconds": 0.5}, "max_seconds=0.5 must be 1 or more"),
        ({"max_seconds": float("nan")}, "max_seconds=nan"),
        ({"max_seconds": float("inf")}, "max_seconds=inf"),
        ({"workers": -1}, "workers=-1"),
    ],
)
def test_settings_are_checked_at_the_door(options, match):
    with pytest.raises(ParameterError, match=match):
        ExtractSettings(**options)


@pytest.mark.slow
def test_killing_the_extraction_loses_no_clip_that_was_reported(tmp_path, rng, run):
    """SIGKILL after some clips were reported: the next run finds every one of them, with the bits of an undisturbed run."""
    clips = [write_clip(tmp_path / "clips" / f"{index}.wav", 0.1 * rng.normal(size=22050)) for index in range(24)]
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, sys\n"
        "from core.events import ClipExtracted\n"
        "from core.extraction.extract import extract_clips\n"
        "from core.extraction.config import ExtractSettings\n"
        "def tell(event):\n"
        "    if isinstance(event, ClipExtracted): print(event.file, flush=True)\n"
        "clips = sorted(pathlib.Path(sys.argv[1]).iterdir())\n"
        "extract_clips(clips, ExtractSettings(features=('mfcc',), workers=2), cache_path=pathlib.Path(sys.argv[2]), notify=tell)\n"
    )
    settings = ExtractSettings(features=("mfcc",), workers=0)
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "clips", tmp_path / "cache.sqlite"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    reported = {process.stdout.readline().strip() for _ in range(5)}
    process.send_signal(signal.SIGKILL)
    reported |= {line.strip() for line in process.stdout}
    process.wait()
    process.stdout.close()
    assert len(reported - {""}) >= 5
    extraction, (_, cached, _) = run(clips, settings)
    assert cached >= len(reported - {""})
    undisturbed = extract_clips(clips, settings, cache_path=tmp_path / "other.sqlite")
    for path in clips:
        assert np.array_equal(extraction.vectors[path]["mfcc"], undisturbed.vectors[path]["mfcc"])


def test_a_fingerprint_is_of_the_whole_file_kept_in_the_cache_and_only_where_it_is_asked_for(run, clips, tmp_path, monkeypatch):
    settings = ExtractSettings(features=("metadata",), max_seconds=1, workers=0)
    long = write_clip(tmp_path / "long.wav", np.concatenate([tone(300), tone(500)]))
    paths = [*clips, long]
    assert run(paths, settings)[0].fingerprints == {}
    first, counts = run(paths, settings, fingerprints=True, copies=1)
    assert counts == (5, 0, 5)
    assert list(first.fingerprints) == paths
    assert first.fingerprints[long] == pytest.approx(fingerprint(read_clip(long)), abs=1e-6)
    with VectorCache(tmp_path / "cache.sqlite") as store:
        [stored] = [one for one in store.stored() if one.set_name == "fingerprint"]
    assert (stored.vectors, is_current(stored)) == (5, True)
    assert not is_current(dataclasses.replace(stored, definition=bytes(16)))
    monkeypatch.setattr(module, "read_clip", lambda *args, **options: pytest.fail("audio was decoded"))
    again, counts = run(paths, settings.replace(max_seconds=1), fingerprints=True)
    assert counts == (5, 5, 0)
    assert all(np.array_equal(again.fingerprints[path], first.fingerprints[path]) for path in paths)
    of_table = run(paths, ExtractSettings(features=("table:age",), workers=0), fingerprints=True)[0]
    assert of_table.fingerprints == {}


@pytest.fixture
def stereo(tmp_path):
    """A tone of 300 Hz on the left and one of 500 Hz on the right."""
    return write_clip(tmp_path / "stereo.wav", np.column_stack([tone(300), tone(500)]), subtype="FLOAT")


def test_each_channel_has_vectors_of_its_own_in_the_cache_and_copies_too(run, stereo, tmp_path):
    left, right = (QUICK.replace(features=("mfcc",), channel=channel) for channel in ("left", "2"))
    for settings, hz in ((left, 300), (right, 500)):
        alone = write_clip(tmp_path / f"{hz}.wav", tone(hz), subtype="FLOAT")
        expected, _ = run([alone], QUICK.replace(features=("mfcc",)))
        extraction, counts = run([stereo], settings, copies=1)
        assert counts == (1, 0, 1)
        assert np.array_equal(extraction.vectors[stereo]["mfcc"], expected.vectors[alone]["mfcc"])
        assert run([stereo], settings.replace(channel="right" if hz == 500 else "1"), copies=1)[1] == (1, 1, 0)
        assert find_cached([stereo], settings, cache_path=tmp_path / "cache.sqlite") == {stereo}
    with VectorCache(tmp_path / "cache.sqlite", read_only=True) as store:
        assert all(is_current(stored) for stored in store.stored())
        names = {stored.set_name for stored in store.stored()}
    assert {"mfcc", "mfcc, channel left", "mfcc, channel right", "mfcc, channel left, copy 1"} < names


def test_a_clip_without_the_channel_is_set_aside_with_what_it_has(run, stereo, clips):
    extraction, _ = run([stereo, *clips[:1]], QUICK.replace(channel="right"))
    assert list(extraction.vectors) == [stereo]
    assert extraction.failures == {clips[0]: "has 1 channel, so there is no channel 2; choose another with --channel"}


def test_a_slowed_clip_lasts_longer_and_its_fingerprint_stays(run, clips):
    plain, _ = run(clips[:1], fingerprints=True)
    slowed, counts = run(clips[:1], QUICK.replace(slow_down=10), fingerprints=True)
    assert counts == (1, 0, 1)
    [path] = slowed.vectors
    duration = features.names("metadata").index("duration_s")
    assert slowed.vectors[path]["metadata"][duration] == pytest.approx(10 * plain.vectors[path]["metadata"][duration])
    assert np.array_equal(slowed.fingerprints[path], plain.fingerprints[path])


def test_settings_name_channels_in_one_way():
    assert ExtractSettings(channel="1") == ExtractSettings(channel="LEFT")
    with pytest.raises(ParameterError, match="channel='both' must be mix, left, right, loudest, or the number of a channel"):
        ExtractSettings(channel="both")
    with pytest.raises(ParameterError, match=r"slow_down=0.5 must be 1 or more"):
        ExtractSettings(slow_down=0.5)
