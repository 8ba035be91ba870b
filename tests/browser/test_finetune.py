"""A fine-tuning in a browser: one job for a double click, charts that stay as they are, cancelled and killed, gone on with."""

import os
import shutil
import signal

import pytest

from core import jobs
from core.events import JobStarted, read_events
from core.runs import list_runs
from tests.browser.conftest import Server, click, go, settle
from tests.browser.test_stories import of_kind
from tests.tiny_models import tiny_encoder, tiny_text_encoder

pytestmark = pytest.mark.slow
pytest.importorskip("torch")


@pytest.fixture
def server(extracted, tmp_path, monkeypatch):
    """A server on the extracted bundled set, with tiny models under the names of the usual ones."""
    tiny_encoder("wav2vec2", tmp_path / "models" / "facebook" / "wav2vec2-base")
    tiny_text_encoder("distilbert", tmp_path / "models" / "distilbert" / "distilbert-base-uncased")
    monkeypatch.setenv("EARMARK_MODELS", str(tmp_path / "models"))
    shutil.copytree(extracted, tmp_path / "workspace")
    server = Server(tmp_path / "workspace")
    server.start()
    yield server
    server.kill()


def fill(page, name, value):
    box = page.locator(f".st-key-finetune_{name} input")
    box.fill(str(value))
    box.press("Enter")
    settle(page)


def attempts(job):
    return [one.event for one in read_events(job.events)[0] if isinstance(one.event, JobStarted)]


def test_from_two_encoders_to_a_compared_run_through_a_cancel_and_a_kill(server, open_page):
    page = open_page(server.url)
    go(page, "Fine-tune")
    page.get_by_text(f"weights in {server.workspace.parent}").first.wait_for(state="attached")
    fill(page, "folds", 6)
    fill(page, "epochs", 9)
    page.get_by_text("6 folds of up to 9 epochs").wait_for()
    click(page, "finetune", times=2)
    page.get_by_text("1 of 6", exact=True).wait_for(timeout=240_000)  # folds complete
    [job] = of_kind(server, "finetune")
    chart = "document.querySelector('[data-testid=stVegaLiteChart] svg').dataset.mark"
    page.evaluate(f"{chart} = 'mine'")
    before = page.get_by_text("Fine-tuning: ").first.inner_text()
    page.wait_for_function("was => !document.body.innerText.includes(was)", arg=before)
    assert page.evaluate(chart) == "mine"

    click(page, f"cancel_{job.id}")
    page.get_by_text("It was cancelled").wait_for()
    click(page, f"resume_{job.id}")
    page.get_by_text("Folds complete").wait_for(state="detached")
    page.get_by_text("Folds complete").wait_for(timeout=120_000)
    assert not page.get_by_text("0 of 6", exact=True).count()  # what was finished is not done again
    os.kill(attempts(job)[-1].pid, signal.SIGKILL)
    page.get_by_text("ended without reporting").wait_for()
    click(page, f"resume_{job.id}")
    page.get_by_text("Prediction by label").wait_for(timeout=240_000)
    assert of_kind(server, "finetune") == [job]
    assert len(attempts(job)) == 3
    assert jobs.status(job) == jobs.DONE
    [run] = list_runs(server.workspace / "jobs")
    page.get_by_text(f"{run.scores.oof_rmse:.4f}").first.wait_for()

    click(page, "go_runs")
    page.get_by_role("heading", name="Runs", exact=True).wait_for()
    settle(page)
    page.get_by_text("fine-tuned").first.wait_for(state="attached")
    assert f"run={run.id}" in page.url
