import os
import sqlite3

import numpy as np
import pytest

from core.errors import DataError
from core.runtime.cache import VectorCache, content_hash, vector_key
from core.runtime.pool import map_unordered


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workspace" / "cache.sqlite"


def key(number):
    return vector_key(bytes([number]) * 16, b"d" * 16)


def test_what_was_put_is_there_for_the_next_one_who_asks(path):
    vector = np.array([1.5, np.nan, -2e-7], np.float32)
    with VectorCache(path) as cache:
        cache.put({key(1): vector})
    with VectorCache(path) as cache:
        assert np.array_equal(cache.get([key(1), key(2)])[key(1)], vector, equal_nan=True)
        assert key(2) not in cache.get([key(2)])


def test_more_keys_than_a_query_takes(path):
    with VectorCache(path) as cache:
        vectors = {number.to_bytes(32, "big"): np.full(3, number, np.float32) for number in range(1200)}
        cache.put(vectors)
        found = cache.get(vectors)
        assert len(found) == 1200
        assert all(np.array_equal(found[name], vectors[name]) for name in vectors)


def test_two_writers_share_one_file(path):
    with VectorCache(path) as one, VectorCache(path) as other:
        one.put({key(1): np.ones(2, np.float32)})
        other.put({key(2): np.zeros(2, np.float32)})
        assert set(one.get([key(1), key(2)])) == {key(1), key(2)}


def open_anew(path):
    with VectorCache(path) as cache:
        cache.put({key(os.getpid() % 256): np.ones(2, np.float32)})


def test_many_processes_may_open_a_new_file_at_once(tmp_path):
    for number in range(5):
        paths = [tmp_path / f"{number}.sqlite"] * 8
        outcomes = list(map_unordered(open_anew, paths, workers=4))
        assert [outcome.error for outcome in outcomes] == [None] * 8


def test_a_damaged_vector_counts_as_missing(path):
    with VectorCache(path) as cache:
        cache.put({key(1): np.ones(2, np.float32), key(2): np.ones(2, np.float32)})
    with sqlite3.connect(path) as database:
        database.execute("UPDATE vectors SET vector = x'0000803f00000040' WHERE key = ?", [key(1)])
    with VectorCache(path) as cache:
        assert set(cache.get([key(1), key(2)])) == {key(2)}


def test_a_file_that_is_no_database_is_told_in_words(path):
    path.parent.mkdir()
    path.write_bytes(b"random bytes, " * 1000)
    with pytest.raises(DataError, match=r"cache\.sqlite: file is not a database.*move it away"), VectorCache(path):
        pass


def test_a_full_disk_is_told_in_words_and_costs_nothing_that_was_stored(path):
    with VectorCache(path) as cache:
        cache.put({key(1): np.ones(2, np.float32)})
        pages = cache._database.execute("PRAGMA page_count").fetchone()[0]
        cache._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DataError, match="database or disk is full"):
            cache.put({key(2): np.ones(100_000, np.float32)})
        assert set(cache.get([key(1), key(2)])) == {key(1)}


def test_the_hash_is_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"sound")
    (tmp_path / "b").write_bytes(b"sound")
    (tmp_path / "c").write_bytes(b"Sound")
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b") != content_hash(tmp_path / "c")


def test_texts_are_stored_as_vectors_are(path):
    texts = {number.to_bytes(32, "big"): f"\u00fcber {number} \u8a9e" for number in range(1200)}
    with VectorCache(path) as cache:
        cache.put_texts(texts)
    with VectorCache(path) as cache:
        assert cache.get_texts([*texts, key(1)]) == texts
        cache.put_texts({key(1): "", (0).to_bytes(32, "big"): "anew"})
        assert cache.get_texts([key(1), (0).to_bytes(32, "big")]) == {key(1): "", (0).to_bytes(32, "big"): "anew"}


def test_a_damaged_text_counts_as_missing_and_its_vector_as_damaged(path):
    with VectorCache(path) as cache:
        cache.put_texts({key(number): "said" for number in (1, 2, 3)})
        cache.put({key(number): np.ones(2, np.float32) for number in (1, 2)})
    with sqlite3.connect(path) as database:
        database.execute("UPDATE texts SET text = x'7361' WHERE key IN (?, ?)", [key(1), key(3)])
    with VectorCache(path) as cache:
        assert cache.get_texts([key(1), key(2), key(3)]) == {key(2): "said"}
        assert cache.damaged() == [key(1)]  # of 3 there is no vector, so that nothing rests on its text
        assert cache.remove(cache.damaged()) == 1
        assert cache.damaged() == []


def test_a_text_goes_with_its_vector(path):
    other = vector_key(bytes([2]) * 16, b"e" * 16)
    with VectorCache(path) as cache:
        for name in (key(1), key(2), other):
            cache.put({name: np.ones(2, np.float32)})
            cache.put_texts({name: "said"})
        cache.remove([key(1)], definitions=[b"e" * 16])
        assert cache.get_texts([key(1), key(2), other]) == {key(2): "said"}


def test_an_older_file_without_texts_is_read_and_gets_its_table_when_it_is_written(path):
    with VectorCache(path) as cache:
        cache.put({key(1): np.ones(2, np.float32)})
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE texts")
    with VectorCache(path, read_only=True) as cache:
        assert cache.damaged() == []
        assert cache.get_texts([key(1)]) == {}
    with VectorCache(path) as cache:
        cache.put_texts({key(1): "said"})
        assert cache.get_texts([key(1)]) == {key(1): "said"}
