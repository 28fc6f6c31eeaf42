"""A bench with a real artifact store, and small examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tokenworks.core.stage import Bench
from tokenworks.store.artifacts import open_artifacts


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Where a stage works: its own store, scratch and cache, one thread."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    artifacts = open_artifacts(str(tmp_path / "artifacts"), cache=tmp_path / "store-cache")
    return Bench(artifacts=artifacts, scratch=scratch, cache=tmp_path / "cache", threads=1)


@pytest.fixture
def put_rows(bench: Bench) -> Callable[[Iterable[tuple[str, str]]], str]:
    """Store labelled texts as JSONL; return the digest."""

    def put(rows: Iterable[tuple[str, str]]) -> str:
        lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
        return bench.artifacts.put_bytes("".join(lines).encode())

    return put
