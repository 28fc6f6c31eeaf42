"""Entries for the ledger's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tokenworks.ledger.entries import RequestEntry

MakeEntry = Callable[..., RequestEntry]


@pytest.fixture
def entry() -> MakeEntry:
    """Make request entries: number, and what shall differ from the usual."""

    def make(number: int = 0, **changes: object) -> RequestEntry:
        facts: dict[str, object] = {
            "at": 1000.0 + number,
            "request_id": f"req-{number}",
            "endpoint": "chat.completions",
            "outcome": "ok",
            "status": 200,
            "model": "route",
            "version": "route@1",
            "salt": f"{number:032x}",
        }
        return RequestEntry(**{**facts, **changes})

    return make
