"""An estimate rests on clips that were extracted for it, and what they gave is kept."""

import numpy as np
import pytest

from core.data.dataset import read_dataset
from core.errors import DataError
from core.events import ClipExtracted, CompilingStarted, ExtractionStarted, JobStarted, Recorded
from core.extraction import speed as speed_module
from core.extraction.config import ExtractSettings
from core.extraction.extract import Extraction, find_cached
from core.extraction.speed import FEWEST, Speed, probe_size, probe_speed, speed_of_job
from tests.conftest import tone, write_clip

SETTINGS = ExtractSettings(features=("metadata",), workers=0)


@pytest.fixture
def clips(make_dataset):
    dataset = read_dataset(make_dataset(20, test=0))
    return [row.path for row in dataset.train]


def test_a_probe_measures_a_few_clips_and_keeps_what_they_give(clips, tmp_path):
    cache, told = tmp_path / "cache.sqlite", []
    speed = probe_speed(clips, SETTINGS, cache_path=cache, notify=told.append)
    assert speed.clips == FEWEST == probe_size(SETTINGS)
    assert speed.clip_seconds > 0
    assert told[0] == ExtractionStarted(clips=FEWEST, cached=0, to_do=FEWEST)
    assert len(find_cached(clips, SETTINGS, cache_path=cache)) == FEWEST
    probe_speed(clips, SETTINGS, cache_path=cache)
    assert len(find_cached(clips, SETTINGS, cache_path=cache)) == 2 * FEWEST


def test_where_all_is_cached_nothing_is_measured(clips, tmp_path):
    for _ in range(4):  # 6 + 6 + 6 + 2
        probe_speed(clips, SETTINGS, cache_path=tmp_path / "cache.sqlite")
    assert probe_speed(clips, SETTINGS, cache_path=tmp_path / "cache.sqlite").clips == 0


def test_columns_of_the_table_take_no_time(clips, tmp_path):
    assert probe_speed(clips, ExtractSettings(features=("table:age",)), cache_path=tmp_path / "cache.sqlite").clips == 0


def test_a_set_over_windows_is_measured_like_any_other(clips, tmp_path):
    speed = probe_speed(clips, ExtractSettings(features=("mfcc@1s",), workers=0), cache_path=tmp_path / "cache.sqlite")
    assert speed.clips == FEWEST
    assert speed.clip_seconds > 0


def test_time_that_grows_with_length_is_estimated_for_the_lengths_of_the_set(tmp_path, monkeypatch):
    """Most clips last 0.5 s and some 8 s; with 2 s of work for each second of sound, the mean tells what all would take."""
    lengths_s = [0.5] * 30 + [8.0] * 4
    paths = [write_clip(tmp_path / f"{place}.wav", tone(200 + place, seconds=length)) for place, length in enumerate(lengths_s)]

    def pretend(chosen, settings, *, cache_path, texts, notify):
        notify(ExtractionStarted(len(chosen), 0, len(chosen)))
        for path in chosen:
            notify(ClipExtracted(path.name, 2 * lengths_s[int(path.stem)]))
        return Extraction({path: {} for path in chosen}, {}, {}, len(chosen))

    monkeypatch.setattr(speed_module, "extract_clips", pretend)
    speed = probe_speed(paths, SETTINGS, cache_path=tmp_path / "cache.sqlite")
    assert speed.clip_seconds == pytest.approx(2 * np.mean(lengths_s))


def test_clips_that_cannot_be_read_give_no_estimate_but_a_reason(tmp_path):
    paths = []
    for place in range(8):
        paths.append(tmp_path / f"{place}.wav")
        paths[-1].write_bytes(b"rubbish" + bytes([place]))
    with pytest.raises(DataError, match=r"none of the 6 clips that were tried can be read \(first: \d\.wav: not audio"):
        probe_speed(paths, SETTINGS, cache_path=tmp_path / "cache.sqlite")


def test_some_clips_that_cannot_be_read_do_not_spoil_an_estimate(clips, tmp_path):
    for path in clips[:10]:
        path.write_bytes(b"rubbish" + path.name.encode())
    assert 0 < probe_speed(clips, SETTINGS, cache_path=tmp_path / "cache.sqlite").clips <= FEWEST


def test_an_extraction_tells_how_fast_it_went():
    events = [JobStarted(1, "here"), ExtractionStarted(9, 0, 9), *(ClipExtracted(str(place), 2.0) for place in range(FEWEST))]
    recorded = [Recorded(100.0 + at, event) for at, event in zip((0, 1, 6, 6, 8, 8, 10, 10), events, strict=True)]
    compiled = [*recorded[:2], Recorded(101.0, CompilingStarted()), *(Recorded(one.at + 30, one.event) for one in recorded[2:])]
    settings = ExtractSettings(features=("metadata",), workers=2)
    assert speed_of_job(recorded, settings) == Speed(clip_seconds=2.0, start_seconds=4.0, workers=2, clips=FEWEST)
    assert speed_of_job(compiled, settings).start_seconds == 1.0  # it is compiled once
    assert speed_of_job(recorded[:-1], settings) is None
    assert speed_of_job(recorded[1:], settings) is None


def test_clips_wait_for_each_other_only_where_there_are_more_than_processes():
    speed = Speed(clip_seconds=3.0, start_seconds=4.0, workers=4, clips=8)
    assert speed.seconds(0) == 0
    assert speed.seconds(1) == speed.seconds(4) == 7.0
    assert speed.seconds(400) == 304.0
    assert Speed(3.0, 1.0, 0, 6).seconds(2) == 7.0
