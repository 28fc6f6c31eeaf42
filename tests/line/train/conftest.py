"""Small examples in the store of a bench."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import pytest

from tokenworks.core.stage import Bench


@pytest.fixture
def put_rows(bench: Bench) -> Callable[[Iterable[tuple[str, str]]], str]:
    """Store labelled texts as JSONL; return the digest."""

    def put(rows: Iterable[tuple[str, str]]) -> str:
        lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
        return bench.artifacts.put_bytes("".join(lines).encode())

    return put
