"""Damaged files of jobs and runs: every page goes on, and says which file it cannot read."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st

from core.runs import describe_run, list_runs
from tests.app.conftest import PAGES, Place, render, text
from tests.damage import FILES, WAYS, damage


@pytest.fixture(scope="module")
def scored_once(finished_once: Path) -> Path:
    """The folder of ``finished`` with a name for its run, and with clips scored."""
    now, kept = finished_once / "now", finished_once / "scored"
    shutil.rmtree(now)
    shutil.copytree(finished_once / "kept", now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EARMARK_WORKSPACE", str(now / "workspace"))
        place = Place(now / "workspace", now / "loudness")
        job = place.predict(sorted(place.dataset.glob("audios/test/*"))[0])
        (job.folder / "predicted").touch()  # by which tests find it again
        describe_run(list_runs(place.root / "jobs")[0], name="first try")
    shutil.copytree(now, kept)
    return finished_once


@pytest.fixture
def scored(scored_once: Path, monkeypatch: pytest.MonkeyPatch, no_workers: list[object]) -> Iterator[Callable[[], Place]]:
    """Puts everything back to how it was before the damage."""
    now = scored_once / "now"
    monkeypatch.setenv("EARMARK_WORKSPACE", str(now / "workspace"))

    def restore() -> Place:
        shutil.rmtree(now)
        shutil.copytree(scored_once / "scored", now)
        st.cache_resource.clear()
        st.cache_data.clear()
        return Place(now / "workspace", now / "loudness")

    yield restore
    st.cache_resource.clear()


def every_page_goes_on(place: Place, file: str, way: str) -> str:
    paths = sorted(place.root.glob(f"jobs/*/{file}"))
    assert paths
    for path in paths:
        damage(path, way)
    said = []
    [scoring] = [path.name for path in place.root.glob("jobs/*") if (path / "predicted").exists()]
    for page in PAGES:
        at = render(page, **({"job": scoring} if page == "predict" else {}))
        assert at.title, (page, file, way)
        assert "error of Earmark itself" not in text(at), (page, file, way, text(at))
        said.append(text(at))
    return "\n".join(said)


@pytest.mark.parametrize("file", FILES)
def test_a_field_of_the_wrong_type_breaks_no_page(scored, file):
    said = every_page_goes_on(scored(), file, "the wrong type")
    if file == "run.json":
        assert "run.json: expected a number at scores.oof_rmse" in said
    if file == "result.json":
        assert "result.json: the result is damaged at run_id" in said


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("file", FILES)
def test_no_damage_breaks_a_page(scored, file, way):
    every_page_goes_on(scored(), file, way)


@pytest.mark.parametrize(("page", "field"), [("dataset", "table"), ("dataset", "problems"), ("predict", "predictions")])
def test_rows_that_are_no_rows_are_named_on_the_page_that_shows_them(scored, page, field):
    owner = "predictions" if page == "predict" else "table"
    [(path, result)] = [
        (path, result) for path in scored().root.glob("jobs/*/result.json") if owner in (result := json.loads(path.read_text()))
    ]
    path.write_text(json.dumps(result | {field: [5, None]}))
    assert "result.json: the result is damaged" in text(render(page, **({"job": path.parent.name} if page == "predict" else {})))
