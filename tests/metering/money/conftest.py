"""A costs file as a person would write it, and entries as the gateway writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from metering.costs import COSTS, OCTOBER
from tokenworks.core.toml import parse_toml
from tokenworks.ledger.entries import RequestEntry
from tokenworks.metering.money.costs_file import CostFile, Sheet


@pytest.fixture
def sheet() -> Callable[..., Sheet]:
    """Make a sheet of text, by default of the worked node; what is given is replaced in it first."""

    def make(text: str = COSTS, **replaced: str) -> Sheet:
        for old, new in replaced.items():
            assert f"{old} = " in text, old
            lines = [f"{old} = {new}" if line.startswith(f"{old} = ") else line for line in text.splitlines()]
            text = "\n".join(lines)
        return Sheet(parse_toml(text, CostFile, where="costs.toml"))

    return make


@pytest.fixture
def request_entry() -> Callable[..., RequestEntry]:
    """Make an entry; what is not given is a plain answered request of October."""
    made = iter(range(1_000_000))

    def make(**given: Any) -> RequestEntry:
        known = {"at": OCTOBER + 10.0, "request_id": f"req-{next(made)}", "endpoint": "completions", "outcome": "ok"}
        known |= {"status": 200, "tenant": "acme", "model": "complete", "version": "complete@1"}
        return RequestEntry(**{**known, **given})

    return make
