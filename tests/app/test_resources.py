"""Caches of the pages: what is kept is what a fresh look would give, whatever has changed meanwhile."""

import gc
import os

import numpy as np
import pytest
import streamlit as st

from app import resources
from app.resources.caching import cached, version
from core.data.dataset import Dataset
from core.data.layouts.layout import Layout
from core.data.rows import Row
from core.extraction.config import ExtractSettings
from tests.conftest import tone, write_clip


@pytest.fixture(autouse=True)
def empty_caches():
    st.cache_resource.clear()


def dataset_of(folder, paths, label=1.0):
    rows = tuple(Row(path.stem, path, label) for path in paths)
    return Dataset(folder, folder, Layout(), rows, (), None, ())


def test_a_data_set_at_the_address_of_a_dropped_one_is_counted_anew(tmp_path):
    """Python gives the address of a dropped object to the next one: an address says nothing about what a data set holds."""
    counts, lengths = [], []
    for number in range(1, 9):
        paths = [write_clip(tmp_path / f"{number}_{clip}.wav", tone(440, seconds=0.1 * number)) for clip in range(number)]
        dataset = dataset_of(tmp_path, paths)
        counts.append(resources.without_features(dataset, ExtractSettings(), tmp_path / "cache.sqlite"))
        lengths.append(resources.mean_seconds(dataset, 60.0))
        del dataset
        gc.collect()
    assert counts == list(range(1, 9))
    assert lengths == pytest.approx(0.1 * np.arange(1, 9), abs=1e-3)  # a sample more or less


def test_a_clip_that_is_written_again_is_heard_again(tmp_path):
    path = write_clip(tmp_path / "a.wav", tone(440, seconds=0.5))
    dataset = dataset_of(tmp_path, [path])
    assert resources.mean_seconds(dataset, 60.0) == pytest.approx(0.5)
    assert resources.clip(path).duration_s == pytest.approx(0.5)
    write_clip(path, tone(440, seconds=1.5))
    assert resources.mean_seconds(dataset, 60.0) == pytest.approx(1.5)
    assert resources.clip(path).duration_s == pytest.approx(1.5)
    assert resources.mean_seconds(dataset, 1.0) == pytest.approx(1.0)  # no more than what is analysed


def test_a_file_of_the_same_time_and_another_size_has_another_version(tmp_path):
    path = tmp_path / "a.csv"
    assert version(path) == ((0, -1),)
    versions = []
    for text in ("a", "ab"):
        path.write_text(text)
        os.utime(path, ns=(1, 1))
        versions.append(version(path))
    assert versions == [((1, 1),), ((1, 2),)]


def test_equal_keys_give_the_same_object_and_functions_do_not_share_theirs():
    @cached(lambda number: number, most=4)
    def halves(number: int) -> list[float]:
        return [number / 2]

    @cached(lambda number: number, most=4)
    def doubles(number: int) -> list[float]:
        return [number * 2]

    assert halves(3) is halves(number=3)
    assert (halves(3), doubles(3)) == ([1.5], [6])


def test_what_failed_is_tried_again():
    tries = []

    @cached(lambda: (), most=1)
    def second_try_succeeds() -> str:
        tries.append(1)
        if len(tries) < 2:
            raise ValueError("not yet")
        return "there"

    with pytest.raises(ValueError, match="not yet"):
        second_try_succeeds()
    assert second_try_succeeds() == second_try_succeeds() == "there"
    assert len(tries) == 2


def test_no_more_results_are_kept_than_asked_for():
    computed = []

    @cached(lambda number: number, most=2)
    def square(number: int) -> int:
        computed.append(number)
        return number**2

    for number in (1, 2, 3, 1):
        assert square(number) == number**2
    assert computed == [1, 2, 3, 1]
