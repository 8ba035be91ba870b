"""A kind of job or of run is one module and one line of a registry: nobody else asks which it is."""

import json
import re

import pytest

from app.session import PAGES
from core import jobs
from core.cli import main
from core.errors import ParameterError, RunError
from core.jobs.runner import perform
from core.runs import list_runs
from core.runs.kinds import RUN_KINDS, run_kind
from core.tasks.kinds import JOB_KINDS, job_kind, work
from core.workspace import Workspace
from tests import toys
from tests.conftest import ROOT


@pytest.fixture
def toy_kinds(monkeypatch):
    """The line in each registry, and nothing else."""
    monkeypatch.setitem(JOB_KINDS, "toy", "tests.toys")
    monkeypatch.setitem(RUN_KINDS, "toy", "tests.toys")
    yield
    job_kind.cache_clear()
    run_kind.cache_clear()


@pytest.mark.parametrize("name", JOB_KINDS)
def test_a_kind_of_job_has_its_name_its_words_and_a_page_that_is_there(name):
    kind = job_kind(name)
    assert kind.name == name
    assert kind.page in PAGES
    assert all((kind.verb, kind.noun, kind.result.model_fields))


@pytest.mark.parametrize("name", RUN_KINDS)
def test_a_kind_of_run_has_its_name_its_words_and_a_page_that_is_there(name):
    kind = run_kind(name)
    assert kind.name == name
    assert kind.page in PAGES
    assert all((kind.command, kind.noun, kind.whole_noun, kind.submission_name.endswith(".csv")))


def test_kinds_that_are_not_there_are_named_with_those_that_are():
    with pytest.raises(ParameterError, match="job kind 'dance' is not among check, probe, extract"):
        job_kind("dance")
    with pytest.raises(RunError, match="kind='dance' not among ensemble, finetune, blend"):
        run_kind("dance")


def test_a_new_kind_of_run_is_trained_listed_and_predicted_with(toy_kinds, tmp_path, piano, capsys):
    workspace = Workspace(tmp_path)
    job, _ = jobs.claim("toy", {}, workspace.jobs)
    assert perform(job, work) == {"run_id": job.id}
    [run] = list_runs(workspace.jobs)
    assert run.kind.label == "guessed"
    [clip, *_] = sorted(piano.glob("audios/test/*"))
    assert main(["predict", "latest", str(clip), "--workspace", str(tmp_path), "--json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["prediction"] == toys.ANSWER
    assert main(["runs", "--workspace", str(tmp_path)]) == 0
    assert job.id in capsys.readouterr().out
    assert main(["explain", "latest", "--workspace", str(tmp_path)]) == 1
    assert "cannot be explained by features: it is a guess" in capsys.readouterr().err


ASKED = re.compile(r"""== ["'](finetune|blend)["']|is_finetuned""")


def test_nobody_but_the_registries_asks_for_a_kind_by_its_name():
    asking = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("core", "app", "pages")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if ASKED.search(line)
    ]
    assert asking == []
