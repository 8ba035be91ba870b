"""A kind of sets that is registered stands on the page like any other."""

import numpy as np
import pytest

from core import features
from core.encoders import registry
from core.extraction import machine
from core.jobs.runner import perform
from core.runtime.pool import map_batches
from core.tasks.kinds import work
from tests.app.conftest import render, text
from tests.toy_set import Toy

pytest.importorskip("torch")


@pytest.fixture
def toy(monkeypatch):
    """The kind is registered in this process alone, so clips are decoded here too."""
    monkeypatch.setitem(registry.SOURCES, "toy", Toy())
    monkeypatch.setattr(machine, "map_batches", lambda *args, **options: map_batches(*args, **options | {"workers": 0}))
    yield
    features.parse_set.cache_clear()


def test_a_new_kind_is_offered_chosen_and_extracted(toy, place, no_workers):
    place.do("check")
    at = render("features")
    [pills] = [group for group in at.get("button_group") if group.key == "extract_features"]
    assert "toy · 3" in pills.options
    at = pills.set_value(["metadata", "toy"]).run()
    [table] = [frame.value for frame in at.dataframe if "Computed by" in frame.value.columns]
    row = table.set_index("Set").loc["toy"]
    assert (row["State"], row["Columns"], row["Computed by"]) == ("ready", 3, "PyTorch on cpu (processor, fp32)")
    at.button(key="extract").click().run()
    [job] = no_workers
    assert job.request["extract"]["features"] == ["metadata", "toy"]
    perform(job, work)
    at = render("features")
    assert "has the features of 15 clips" in text(at)
    [written] = (place.root / "features").rglob("toy_train.npz")
    with np.load(written) as file:
        assert file["feature_names"].tolist() == ["toy.peak", "toy.rms", "toy.seconds"]
