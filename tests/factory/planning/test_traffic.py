"""The ledger's traffic as a trace."""

from __future__ import annotations

import pytest

from tokenworks.core.errors import DataError
from tokenworks.factory.planning.traffic import ledger_traffic
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.signing import open_key
from tokenworks.ledger.writer import Ledger


def home_with(folder, *entries):
    key = open_key(folder / "keys", folder / "ledger")
    with Ledger(folder / "ledger", "gateway-0", key=key) as ledger:
        for one in entries:
            ledger.append(one)
    return folder / "ledger"


def request(at, **changes):
    facts = {
        "request_id": f"r{at}", "endpoint": "chat.completions", "outcome": "ok", "status": 200, "prompt_tokens": 100,
        "completion_tokens": 10, "label": "internal", "model": "m",
    }  # fmt: skip
    return RequestEntry(at=at, **facts | changes)


def test_what_was_generated_counts_in_the_order_it_was_asked(tmp_path):
    root = home_with(
        tmp_path,
        request(5.0, label="public", cached_tokens=50),
        request(2.0),
        request(3.0, outcome="refused"),
        request(4.0, completion_tokens=0),
        request(4.5, replays="r2.0"),
    )
    found = ledger_traffic(root)
    assert found.trace.arrival_s.tolist() == [0.0, 3.0]
    assert found.labels == {"internal": 1, "public": 1}
    assert found.cached_share == pytest.approx(0.25)


def test_since_and_model_narrow_it(tmp_path):
    root = home_with(tmp_path, request(1.0), request(2.0, model="other"), request(3.0))
    assert len(ledger_traffic(root, since=1.5).trace) == 2
    assert len(ledger_traffic(root, model="other").trace) == 1


def test_a_ledger_without_generated_tokens_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="give --trace FILE"):
        ledger_traffic(home_with(tmp_path, request(1.0, completion_tokens=0)))
