"""A job has one status, told by its files alone; these tests play the process that works on it."""

import fcntl
import os
import signal
import threading
import time

import pytest

from core import jobs
from core.errors import DataError, JobError
from core.events import ClipChecked, EventLog, JobCancelled, JobDone, JobStarted
from core.jobs.runner import Cancelled, perform

REQUEST = {"dataset": "/somewhere", "folds": 5}


@pytest.fixture
def job(tmp_path):
    return jobs.claim("train", REQUEST, tmp_path)[0]


def test_a_job_is_queued_then_running_then_done(job):
    seen = []

    def work(job, tell):
        seen.append(jobs.status(job))
        tell(ClipChecked("a.wav"))
        return {"answer": 42}

    assert jobs.status(job) == "queued"
    assert perform(job, work) == {"answer": 42}
    assert seen == ["running"]
    assert jobs.status(job) == "done"
    assert jobs.result(job) == {"answer": 42}
    assert [type(one.event).__name__ for one in jobs.follow(job)] == ["JobQueued", "JobStarted", "ClipChecked", "JobDone"]
    assert jobs.read_job(job.folder) == job


def test_asking_twice_is_one_job_and_asking_for_something_else_another(job, tmp_path):
    assert jobs.claim("train", REQUEST, tmp_path) == (job, False)
    other, mine = jobs.claim("train", REQUEST | {"folds": 4}, tmp_path)
    assert mine
    assert [one.id for one in jobs.list_jobs(tmp_path)] == [other.id, job.id]


def test_ten_clicks_at_once_start_one_job(tmp_path):
    claimed = []
    clicks = [threading.Thread(target=lambda: claimed.append(jobs.claim("extract", REQUEST, tmp_path))) for _ in range(10)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert len({job.id for job, _ in claimed}) == 1
    assert sum(mine for _, mine in claimed) == 1


def test_a_job_that_did_not_end_well_is_gone_on_with_and_one_that_did_is_not(job, tmp_path):
    def fail(job, tell):
        raise DataError("labels: none")

    with pytest.raises(DataError):
        perform(job, fail)
    assert jobs.status(job) == "failed"
    assert jobs.why_failed(job) == "labels: none"
    assert jobs.claim("train", REQUEST, tmp_path) == (job, True)
    assert jobs.status(job) == "queued"
    perform(job, lambda job, tell: {})
    again, mine = jobs.claim("train", REQUEST, tmp_path)
    assert mine
    assert again.id != job.id


def test_a_full_disk_and_an_error_of_ours_are_told_in_words(job, tmp_path, capsys):
    def full(job, tell):
        raise OSError(28, "No space left on device", "/w/cache.sqlite")

    def broken(job, tell):
        return 1 // 0

    with pytest.raises(OSError, match="No space"):
        perform(job, full)
    assert jobs.why_failed(job).startswith("the system refused /w/cache.sqlite: No space left on device")
    jobs.claim("train", REQUEST, tmp_path)
    with pytest.raises(JobError, match="ZeroDivisionError"):
        perform(job, broken)
    assert "ZeroDivisionError" in jobs.why_failed(job)
    assert str(job.log) in jobs.why_failed(job)
    assert "1 // 0" in job.log.read_text()
    assert "Traceback" not in capsys.readouterr().err


def test_cancelling_interrupts_the_work_and_a_resumed_job_forgets_it(job, tmp_path):
    def wait(job, tell):
        jobs.cancel(job)
        time.sleep(30)

    started = time.monotonic()
    with pytest.raises(Cancelled):
        perform(job, wait)
    assert time.monotonic() - started < 15  # of the 30 s that it would have slept
    assert jobs.status(job) == "cancelled"
    assert jobs.claim("train", REQUEST, tmp_path) == (job, True)
    assert perform(job, lambda job, tell: "ran") == "ran"


def test_a_job_that_was_cancelled_before_it_began_does_not_run(job):
    jobs.cancel(job)
    with pytest.raises(Cancelled):
        perform(job, lambda job, tell: time.sleep(30))
    assert jobs.status(job) == "cancelled"


def test_a_process_that_is_gone_without_a_word_leaves_a_lost_job(job, tmp_path):
    child = os.fork()
    if child == 0:
        perform(job, lambda job, tell: time.sleep(60))
    while jobs.status(job) != "running":
        time.sleep(0.05)
    with pytest.raises(JobError, match="another process works on it"):
        perform(job, lambda job, tell: None)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert jobs.status(job) == "lost"
    assert jobs.claim("train", REQUEST, tmp_path) == (job, True)


def test_work_that_does_not_let_go_is_ended_and_says_so(job):
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # as deaf as a library in its own loop
        perform(job, lambda job, tell: time.sleep(60))
    while jobs.status(job) != "running":
        time.sleep(0.05)
    jobs.cancel(job)
    os.waitpid(child, 0)
    assert jobs.status(job) == "cancelled"


def test_a_held_lock_without_a_heartbeat_is_not_believed(job, monkeypatch):
    def look(job, tell):
        monkeypatch.setattr("core.jobs.queue.SILENCE_S", 0.0)
        return jobs.status(job)

    assert perform(job, look) == "lost"


def test_a_started_process_that_never_came_is_lost(job, monkeypatch):
    monkeypatch.setattr("core.jobs.queue.START_S", 0.0)
    assert jobs.status(job) == "lost"
    job.cancel.touch()
    assert jobs.status(job) == "cancelled"


def test_damaged_folders_are_left_out_of_the_list(job, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/spec.json").write_text("{")
    (tmp_path / "y").mkdir()
    assert jobs.list_jobs(tmp_path) == [job]
    with pytest.raises(JobError, match="not the description of a job"):
        jobs.read_job(tmp_path / "x")
    with pytest.raises(JobError, match=r"spec\.json is missing"):
        jobs.read_job(tmp_path / "y")
    with pytest.raises(JobError, match="run the job again"):
        jobs.result(job)


def test_a_worker_process_does_the_job_without_its_parent(make_dataset, tmp_path):
    request = {"dataset": make_dataset(6, test=0), "layout": {}}
    job = jobs.submit("check", request, tmp_path / "w/jobs")
    assert [type(one.event).__name__ for one in jobs.follow(job)][-1] == "JobDone"
    assert jobs.result(job)["clips"] == 6
    started = next(one.event for one in jobs.follow(job) if isinstance(one.event, JobStarted))
    assert os.getsid(os.getpid()) != started.pid != os.getpid()


def test_a_worker_that_meets_an_unknown_kind_or_a_wrong_path_says_why(tmp_path):
    for kind, request, why in [("dance", {}, "kind 'dance'"), ("check", {"dataset": "/nowhere", "layout": {}}, "no such folder")]:
        job = jobs.submit(kind, request, tmp_path / "jobs")
        for _ in jobs.follow(job):
            pass
        assert jobs.status(job) == "failed"
        assert why in jobs.why_failed(job)


def test_events_survive_a_second_attempt(job, tmp_path):
    with EventLog(job.events) as log:
        log.append(ClipChecked("first attempt"))
    perform(job, lambda job, tell: tell(ClipChecked("second")))
    assert [one.event.file for one in jobs.follow(job) if isinstance(one.event, ClipChecked)] == ["first attempt", "second"]


def test_a_job_that_is_done_is_not_done_again(job):
    perform(job, lambda job, tell: {"answer": 42})
    assert perform(job, lambda job, tell: pytest.fail("again")) == {"answer": 42}


def test_those_who_look_do_not_take_each_other_for_the_worker(job):
    job.lock.touch()
    with job.lock.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        with EventLog(job.events) as log:
            log.append(JobStarted(1, "here"))
        assert jobs.status(job) == "lost"


def test_a_job_that_ends_between_two_looks_is_not_lost(job, monkeypatch):
    with EventLog(job.events) as log:
        log.append(JobStarted(1, "here"))

        def end_meanwhile(lock):
            log.append(JobDone())
            return False, 0.0

        monkeypatch.setattr("core.jobs.queue._look_at", end_meanwhile)
        assert jobs.status(job) == "done"


def test_the_job_that_was_asked_for_last_comes_first(job, tmp_path):
    other, _ = jobs.claim("train", REQUEST | {"folds": 4}, tmp_path)
    with EventLog(job.events) as log:
        log.append(JobCancelled())
    os.utime(other.asked, (time.time() - 60, time.time() - 60))
    assert jobs.claim("train", REQUEST, tmp_path) == (job, True)
    assert [one.id for one in jobs.list_jobs(tmp_path)] == [job.id, other.id]


def test_a_worker_that_cannot_begin_says_where_its_reason_stands(tmp_path, monkeypatch):
    monkeypatch.setattr("core.jobs.queue._ROOT", tmp_path)  # from where there is no core.worker to be found
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr("core.jobs.queue.sys.executable", "/bin/false")
    job = jobs.submit("check", {}, tmp_path / "jobs")
    for _ in jobs.follow(job):
        pass
    assert jobs.status(job) == "failed"
    assert "its process ended before the job began" in jobs.why_failed(job)


def test_a_request_that_cannot_be_written_leaves_no_folder(tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.jobs.queue.write_json", full)
    with pytest.raises(OSError, match="No space"):
        jobs.claim("train", REQUEST, tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


DAMAGED = {
    "more than 32 objects": "[" * 60_000,
    "created: expected a finite number, found one of 400 digits": '{"created": ' + "9" * 400 + "}",
    "expected a text at kind": '{"kind": 5, "created": 1.0, "request": {}}',
    "expected seconds since 1970 at created": '{"kind": "train", "created": 1e300, "request": {}}',
    "expected an object at request": '{"kind": "train", "created": 1.0, "request": []}',
    "expected a text at request.dataset": '{"kind": "train", "created": 1.0, "request": {"dataset": 5}}',
    "expected texts at request.runs": '{"kind": "blend", "created": 1.0, "request": {"runs": [5]}}',
    "it is empty": "",
    "not JSON": '{"kind": "tra',
}


@pytest.mark.parametrize(("reason", "content"), DAMAGED.items())
def test_a_damaged_description_is_named_and_hides_no_other_job(job, tmp_path, reason, content):
    other, _ = jobs.claim("check", REQUEST, tmp_path)
    (other.folder / "spec.json").write_text(content)
    with pytest.raises(JobError, match=reason) as caught:
        jobs.read_job(other.folder)
    assert str(caught.value).startswith(f"{other.folder / 'spec.json'}: ")
    assert jobs.list_jobs(tmp_path) == [job]
    assert jobs.claim("check", REQUEST, tmp_path)[1]  # asked for again: a new job


@pytest.mark.parametrize("content", ["[" * 60_000, "9" * 5000, "", '{"a'])
def test_a_damaged_result_is_named_with_what_to_do(job, content):
    (job.folder / "result.json").write_text(content)
    with pytest.raises(JobError, match=r"result\.json: the result cannot be read .* run the job again"):
        jobs.result(job)
