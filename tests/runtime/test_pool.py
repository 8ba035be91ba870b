import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from core.errors import AudioError, DataError, EarmarkError, JobError
from core.runtime.pool import map_batches, map_unordered
from tests.conftest import ROOT


def square(number):
    return number * number


def fail(number):
    raise AudioError("a.wav", "no reason") if number % 2 else DataError("all wrong")


class Stranger(Exception):
    """As some libraries have them: it cannot be made again from what pickle keeps of it."""

    def __init__(self, code, text):
        super().__init__(text)


def fail_strangely(number):
    raise Stranger(7, "all targets are equal")


def die(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def hang(number):
    while number == 3:
        signal.pause()
    return number


def environment(name):
    return os.environ.get(name)


def die_soon(number):
    """Be killed a few milliseconds later: at work, while the outcome crosses to the parent, or while the next item comes."""
    if number % 2:
        threading.Timer(number / 4000, os.kill, [os.getpid(), signal.SIGKILL]).start()
    return np.full(1_000_000, number)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_item_has_one_outcome(workers):
    outcomes = list(map_unordered(square, range(10), workers=workers))
    assert {outcome.item: outcome.value for outcome in outcomes} == {number: number**2 for number in range(10)}
    assert all(outcome.error is None for outcome in outcomes)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_an_outcome_in_words(workers):
    errors = {outcome.item: outcome.error for outcome in map_unordered(fail, [1, 2], workers=workers)}
    assert errors == {1: "no reason", 2: "all wrong"}
    (outcome,) = map_unordered(square, ["text"], workers=workers)
    assert outcome.error.startswith("TypeError: ")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_that_cannot_be_pickled_is_an_outcome_too(workers):
    outcomes = list(map_unordered(fail_strangely, [1, 2, 3], workers=workers))
    assert [outcome.error for outcome in outcomes] == ["Stranger: all targets are equal"] * 3


def test_no_items_have_no_outcomes():
    assert list(map_unordered(square, [], workers=2)) == []


def test_an_item_that_kills_its_worker_costs_only_itself():
    outcomes = {outcome.item: outcome for outcome in map_unordered(die, range(6), workers=2)}
    assert {number: outcome.value for number, outcome in outcomes.items()} == {0: 0, 1: 1, 2: 2, 3: None, 4: 4, 5: 5}
    assert "worker process died twice" in outcomes[3].error


def test_a_worker_may_be_killed_at_any_moment_also_while_it_answers():
    outcomes = {outcome.item: outcome for outcome in map_unordered(die_soon, range(12), workers=2)}
    assert sorted(outcomes) == list(range(12))
    for number, outcome in outcomes.items():
        assert outcome.error or np.array_equal(outcome.value, np.full(1_000_000, number))


def test_an_item_that_hangs_is_given_up_at_its_deadline():
    outcomes = {outcome.item: outcome for outcome in map_unordered(hang, range(6), workers=2, deadline_s=lambda number: 2.0)}
    assert {number for number, outcome in outcomes.items() if outcome.error} == {3}
    assert "past its deadline of 2 s" in outcomes[3].error


def test_workers_are_told_to_use_one_thread():
    names = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY"]
    values = {outcome.item: outcome.value for outcome in map_unordered(environment, names, workers=1)}
    assert values == {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def note(first):
    """Leave a file that tells who was told what, in the folder that the parent named."""
    folder = Path(os.environ["EARMARK_TEST_NOTES"])
    others = [path.name for path in folder.iterdir()]
    (folder / f"{os.getpid()} {'first' if first else 'after ' + ' '.join(others)}").touch()


def slowly(number):
    time.sleep(0.3)
    return number


def test_one_worker_prepares_before_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("EARMARK_TEST_NOTES", str(tmp_path))
    assert len(list(map_unordered(slowly, range(9), workers=3, prepare=note))) == 9
    notes = sorted(path.name.split(" ", 1) for path in tmp_path.iterdir())
    (leader,) = [pid for pid, told in notes if told == "first"]
    assert len(notes) == 3
    assert all(leader in told for pid, told in notes if pid != leader)


def refuse(first):
    raise DataError("no compiler here")


def die_at_first(first):
    """The first process that starts in the folder dies, as one that runs out of memory."""
    mark = Path(os.environ["EARMARK_TEST_NOTES"]) / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def die_unless_first(first):
    if not first:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_that_cannot_start_end_the_work_with_their_reason(workers):
    with pytest.raises(EarmarkError, match="no compiler here"):
        list(map_unordered(square, range(10), workers=workers, prepare=refuse))


def test_a_worker_that_dies_while_it_starts_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("EARMARK_TEST_NOTES", str(tmp_path))
    outcomes = list(map_unordered(square, range(10), workers=2, prepare=die_at_first))
    assert sorted(outcome.value for outcome in outcomes) == [number**2 for number in range(10)]


def test_workers_that_die_again_and_again_while_they_start_end_the_work():
    """One lives and has enough to do; the others are replaced without end."""
    with pytest.raises(JobError, match="end again and again while they start"):
        list(map_unordered(slowly, range(1000), workers=2, prepare=die_unless_first))


def test_a_worker_that_is_killed_while_it_waits_costs_nothing():
    values = []
    for outcome in map_unordered(square, range(40), workers=2):
        values.append(outcome.value)
        if len(values) == 5:
            time.sleep(0.5)  # all that was asked for is done, and the workers wait
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
            time.sleep(0.5)
    assert sorted(values) == [number**2 for number in range(40)]


def test_results_that_came_while_the_caller_was_busy_come_together():
    sizes = []
    for outcomes in map_batches(square, range(12), workers=2):
        sizes.append(len(outcomes))
        time.sleep(0.2)  # long beside a square
    assert sum(sizes) == 12
    assert max(sizes) > 1


def test_a_plain_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from core.runtime.pool import map_batches, map_unordered\n"
        "import math\n"
        "print(sorted(outcome.value for outcome in map_unordered(math.sqrt, [4, 9], workers=2)))\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.stdout == "[2.0, 3.0]\n", done.stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_a_killed_parent_leaves_no_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from core.runtime.pool import map_batches, map_unordered\n"
        "for outcome in map_unordered(time.sleep, [0.01] * 4 + [600] * 4, workers=2):\n"
        "    print(os.getpid(), flush=True)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path
    )
    parent.stdout.readline()
    workers = children(parent.pid)
    assert workers
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not any(alive(pid) for pid in workers))


def children(pid):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=30):
    import threading
    import time

    end, tick = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        tick.wait(0.05)
