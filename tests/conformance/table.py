"""The checks of the suite as a table: endpoints down, clients across, how many passed in each cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

CLIENTS = {
    "openai-sync": "openai Python",
    "openai-async": "openai Python, async",
    "openai-node": "openai Node",
    "anthropic-sync": "anthropic Python",
    "anthropic-async": "anthropic Python, async",
    "anthropic-node": "anthropic Node",
}


@dataclass(frozen=True)
class Ran:
    """One check by one client."""

    endpoint: str
    client: str
    name: str
    passed: bool = False

    @classmethod
    def of(cls, item: pytest.Item) -> Ran | None:
        """Return what `item` checks, None where it is no check of an endpoint."""
        mark = item.get_closest_marker("conforms")
        found = getattr(item, "callspec", None)
        if mark is None or found is None:
            return None
        client = next(value for value in found.params.values() if value in CLIENTS)
        return cls(str(mark.args[0]), client, item.name)


def lines_of(ran: Iterable[Ran]) -> list[str]:
    """Return the table in Markdown; a cell is "passed of all", or empty where there is no such check."""
    ran = sorted(ran, key=lambda one: list(CLIENTS).index(one.client))
    all_, passed = (
        Counter((one.endpoint, one.client) for one in ran if wanted(one))
        for wanted in (lambda _: True, lambda one: one.passed)
    )
    rows = [f"| {' | '.join(['', *CLIENTS.values()])} |", "|---" * (len(CLIENTS) + 1) + "|"]
    for endpoint in dict.fromkeys(one.endpoint for one in ran):
        cells = [
            f"{passed[endpoint, client]} of {all_[endpoint, client]}" if all_[endpoint, client] else ""
            for client in CLIENTS
        ]
        rows.append(f"| {' | '.join([endpoint, *cells])} |")
    totals = [
        f"{sum(one.passed for one in ran if one.client == c)} of {sum(one.client == c for one in ran)}" for c in CLIENTS
    ]
    return [*rows, f"| all | {' | '.join(totals)} |"]
