"""What people say of a run stands beside its record; deleting takes all of it or nothing."""

import json
import shutil

import pytest
from filelock import FileLock

from core import jobs, runs
from core.errors import ParameterError, RunError
from core.runs import delete_run, describe_run, list_runs, read_run, unreadable_runs
from tests.conftest import write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "workspace" / "jobs" / "20260101-000000-0001")


def test_a_run_is_called_by_its_id_until_it_has_a_name(run):
    assert run.name == run.id
    record = (run.folder / "run.json").read_bytes()
    named = describe_run(run, name="  five   members ", notes="first try\nwith notes\n")
    assert (named.name, named.notes) == ("five members", "first try\nwith notes")
    assert (read_run(run.folder).name, read_run(run.folder).notes) == ("five members", "first try\nwith notes")
    assert describe_run(named, name="").name == run.id
    assert read_run(run.folder).notes == "first try\nwith notes"
    assert (run.folder / "run.json").read_bytes() == record


def test_too_long_a_name_or_note_is_refused_with_its_length(run):
    with pytest.raises(ParameterError, match="the name has 81 characters; at most 80"):
        describe_run(run, name="x" * 81)
    with pytest.raises(ParameterError, match="the notes have 20,001 characters"):
        describe_run(run, notes="x" * 20_001)


@pytest.mark.parametrize("name", ["a\x00b", "a\x1b[31mb", "\u202egnp.exe", "\ud800"])
def test_a_name_with_characters_that_cannot_be_seen_is_refused(run, name):
    with pytest.raises(ParameterError, match="characters that cannot be seen"):
        describe_run(run, name=name)
    assert read_run(run.folder).about == {}


def test_two_who_write_name_and_notes_at_once_keep_both(run):
    """Both have the run as it was before; the one writes its name, the other its notes."""
    describe_run(run, name="five members")
    describe_run(run, notes="first try")
    assert read_run(run.folder).about == {"name": "five members", "notes": "first try"}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"name": 3, "notes": null}', b"\xff\xfe"])
def test_damaged_words_cost_only_the_words(run, damage):
    (run.folder / "about.json").write_bytes(damage)
    assert read_run(run.folder).name == run.id
    assert len(list_runs(run.folder.parent)) == 1


def test_a_deleted_run_is_gone_with_all_its_files_and_its_submission_stays(run):
    submission = run.folder.parents[1] / "submissions" / run.id / "submission.csv"
    submission.parent.mkdir(parents=True)
    submission.write_text("filename,label\n")
    delete_run(run)
    assert list_runs(run.folder.parent) == []
    assert not run.folder.exists()
    assert sorted(path.name for path in run.folder.parents[1].iterdir()) == ["jobs", "submissions"]
    assert submission.is_file()


def test_two_who_delete_at_once_do_no_harm(run):
    delete_run(run)
    delete_run(run)
    assert list_runs(run.folder.parent) == []
    with pytest.raises(RunError, match="somebody deleted it meanwhile"):
        describe_run(run, name="late")


def test_deleting_that_is_stopped_leaves_no_half_run(run, monkeypatch):
    """Whatever removes the files is killed at once: the run is not listed any more, and the next delete clears the rest."""

    def killed(*args, **rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        delete_run(run)
    monkeypatch.undo()
    assert list_runs(run.folder.parent) == []
    assert not run.folder.exists()
    other = write_run(run.folder.parent / "20260101-000000-0002")
    delete_run(other)
    assert [path.name for path in run.folder.parents[1].iterdir()] == ["jobs"]


@pytest.mark.parametrize("kind", ["predict", "explain"])
def test_a_run_that_is_worked_with_is_not_deleted(run, kind):
    job = jobs.claim(kind, {"run": run.id, "clips": []}, run.folder.parent)[0]
    with FileLock(job.lock), pytest.raises(RunError, match=rf"a job \({kind}\) works on it; cancel it first"):
        delete_run(run)
    assert run.folder.is_dir()


def test_a_record_that_cannot_be_read_is_named_with_its_reason(run):
    assert unreadable_runs(run.folder.parent) == []
    path = run.folder / "run.json"
    path.write_text(json.dumps({"run_id": 3}))
    [(folder, reason)] = unreadable_runs(run.folder.parent)
    assert folder == run.id
    assert "expected a text at run_id" in reason
    shutil.rmtree(run.folder)
    assert unreadable_runs(run.folder.parent) == []
