import math
import os

import pytest

from core.events import ClipChecked, EventLog, FitFinished, FoldScored, JobDone, JobFailed, JobStarted, last_job_event, read_events

FACTS = [JobStarted(7, "here"), ClipChecked("a\nb.wav"), FitFinished("xgboost", 0, 0.5, None, 1.25, 0.5, 0.9), JobFailed("why")]


def test_what_is_appended_is_read_back_in_order(tmp_path):
    with EventLog(tmp_path / "events.jsonl") as log:
        for fact in FACTS:
            log.append(fact)
    recorded, offset = read_events(tmp_path / "events.jsonl")
    assert [one.event for one in recorded] == FACTS
    assert offset == (tmp_path / "events.jsonl").stat().st_size
    assert [one.at for one in recorded] == sorted(one.at for one in recorded)


def test_a_follower_reads_each_event_once_and_no_half_line(tmp_path):
    path = tmp_path / "events.jsonl"
    assert read_events(path) == ([], 0)
    with EventLog(path) as log:
        log.append(FACTS[0])
        _, offset = read_events(path)
        with path.open("ab") as file:
            file.write(b'{"at": 1, "event": "Cli')
        assert read_events(path, offset) == ([], offset)
        with path.open("ab") as file:
            file.write(b'pChecked", "file": "x"}\n')
        recorded, _ = read_events(path, offset)
    assert [one.event for one in recorded] == [ClipChecked("x")]


DAMAGED = [
    b'{"at": 1, "event": "Cl',
    b"\x00\xff",
    b'{"at": 1, "event": "Unheard"}',
    b"[]",
    b'{"at": 1}',
    b"[" * 60_000,
    b'{"at": ' + b"9" * 400 + b', "event": "JobDone"}',
    b'{"at": 1e400, "event": "JobDone"}',
    b'{"at": 1, "event": "JobStarted", "pid": ' + b"9" * 400 + b', "host": "here"}',
    b'{"at": 1, "event": "JobFailed", "reason": 5}',
    b'{"at": 1, "event": "JobFailed", "reason": "x", "more": 1}',
    b'{"at": 1, "event": ["JobDone"]}',
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_line_costs_itself_only(tmp_path, damage):
    path = tmp_path / "events.jsonl"
    for fact in FACTS[:2]:
        with EventLog(path) as log:
            log.append(fact)
        with path.open("ab") as file:
            file.write(damage)
    recorded, _ = read_events(path)
    assert [one.event for one in recorded] == FACTS[:2]
    assert last_job_event(path)[0] == FACTS[0]


def test_the_last_word_is_found_behind_thousands_of_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    assert last_job_event(path) == (None, 0.0)
    with EventLog(path) as log:
        log.append(JobStarted(os.getpid(), "here"))
        assert last_job_event(path)[0] == JobStarted(os.getpid(), "here")
        for number in range(3000):
            log.append(ClipChecked(f"clip {number}"))
        log.append(JobDone())
    assert last_job_event(path)[0] == JobDone()


def test_a_figure_that_was_no_number_is_read_back_as_none(tmp_path):
    with EventLog(tmp_path / "events.jsonl") as log:
        log.append(FoldScored(0, math.nan))
    [[recorded], _] = read_events(tmp_path / "events.jsonl")
    assert math.isnan(recorded.event.rmse)


def test_a_folder_in_place_of_the_file_holds_no_events(tmp_path):
    assert read_events(tmp_path) == ([], 0)
    assert last_job_event(tmp_path) == (None, 0.0)
