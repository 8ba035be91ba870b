import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from core import extract as module
from core import features
from core.errors import ParameterError
from core.events import ClipExtracted, ClipSetAside, ExtractionStarted
from core.extract import ExtractSettings, column_names, definition_hash, extract_clips
from tests.conftest import ROOT, tone, write_clip

QUICK = ExtractSettings(features=("metadata",), workers=0)


@pytest.fixture
def clips(tmp_path):
    return [write_clip(tmp_path / f"{index}.wav", tone(200 + index)) for index in range(4)]


@pytest.fixture
def run(tmp_path):
    """Extract and return the extraction and the counts that were reported."""

    def run(paths, settings=QUICK):
        events = []
        extraction = extract_clips(paths, settings, cache_path=tmp_path / "cache.sqlite", notify=events.append)
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
    definition_hash.cache_clear()
    assert before != definition_hash("ultra", 45.0)
    definition_hash.cache_clear()


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
    many, _ = run(clips, settings)
    alone = extract_clips(clips, ExtractSettings(workers=0), cache_path=tmp_path / "other.sqlite")
    for path in clips:
        for name in settings.features:
            assert np.array_equal(many.vectors[path][name], alone.vectors[path][name], equal_nan=True)


def test_names_of_columns_carry_their_set():
    names = column_names(("ultra", "mfcc", "metadata"))
    assert len(names) == len(set(names)) == 289
    assert names[0] == "ultra.duration_s"
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.") for name in names)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"features": ("ultra", "x")}, r"\['x'\] not among ultra, mfcc, metadata"),
        ({"features": ()}, "name at least one of ultra, mfcc, metadata"),
        ({"features": ("ultra", "ultra")}, "twice"),
        ({"max_seconds": 0.5}, "max_seconds=0.5 must be a finite number of 1 or more"),
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
        "from core.extract import ExtractSettings, extract_clips\n"
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
