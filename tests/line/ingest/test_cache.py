from __future__ import annotations

import sqlite3

from tokenworks.line.ingest.cache import Cache, CacheReader


def test_a_result_counts_only_when_it_is_finished(tmp_path):
    cache = Cache(tmp_path)
    cache.put_chunk("k", 0, b"one")
    cache.commit()
    assert not cache.complete("k")
    cache.put_chunk("k", 1, b"two")
    cache.finish("k", 2)
    cache.commit()
    assert list(cache.chunks("k")) == [b"one", b"two"]
    assert CacheReader(str(cache.path)).complete("k")


def test_an_unchanged_file_is_recalled_and_a_changed_one_is_not(tmp_path):
    cache = Cache(tmp_path)
    cache.remember(b"/a", 10, 99, "config", "k")
    assert cache.recall(b"/a", 10, 99, "config") == ""  # its result is not there
    cache.finish("k", 0)
    assert cache.recall(b"/a", 10, 99, "config") == "k"
    assert cache.recall(b"/a", 11, 99, "config") == ""
    assert cache.recall(b"/a", 10, 98, "config") == ""
    assert cache.recall(b"/a", 10, 99, "other") == ""


def test_what_is_written_twice_is_there_once(tmp_path):
    cache = Cache(tmp_path)
    for _ in range(2):
        cache.put_chunk("k", 0, b"same")
        cache.finish("k", 1)
    assert list(cache.chunks("k")) == [b"same"]


def test_closing_keeps_everything_for_the_next_run(tmp_path):
    cache = Cache(tmp_path)
    cache.put_chunk("k", 0, b"data")
    cache.finish("k", 1)
    cache.close()
    assert list(Cache(tmp_path).chunks("k")) == [b"data"]


def test_a_reader_of_an_unusable_cache_finds_nothing(tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()
    (tmp_path / "empty.db").touch()
    assert not CacheReader(str(tmp_path / "empty.db")).complete("k")
