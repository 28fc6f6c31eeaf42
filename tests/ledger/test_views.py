"""Views: recomputed from the log, they are the log's own numbers."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.model import Release
from tokenworks.ledger.entries import FeedbackEntry, ReleaseEntry
from tokenworks.ledger.views import Stats, feedback_since, find_request, percentile, stats
from tokenworks.ledger.writer import Ledger


def _feedback(number: int, at: float, request: str) -> FeedbackEntry:
    return FeedbackEntry(at=at, feedback_id=f"fb-{number}", request_id=request, has_correction=number % 2 == 0)


def test_stats_add_up(tmp_path: Path, entry) -> None:
    latencies = [n / 1000 for n in range(1, 101)]
    random.Random(3).shuffle(latencies)
    release = Release(
        id="r", alias="route", model="route", version=1, action="promote", reason="", by="gate", at=5000.0
    )
    with Ledger(tmp_path, "gateway") as ledger:
        for number, latency in enumerate(latencies):
            facts = {"latency_s": latency, "ttft_s": latency / 2, "tenant": "ab"[number % 2]}
            ledger.submit(entry(number, prompt_tokens=10, cached_tokens=4, completion_tokens=3, **facts))
        ledger.submit(entry(100, outcome="refused", status=401, version="", latency_s=9.0))
        for number in range(3):
            ledger.submit(_feedback(number, 2000.0, f"req-{number}"))
        ledger.append(ReleaseEntry(at=5000.0, release=release))
    assert stats(tmp_path) == Stats(
        requests=101,
        by_outcome={"ok": 100, "refused": 1},
        by_model={"route": 1, "route@1": 100},
        by_tenant={"": 1, "a": 50, "b": 50},
        prompt_tokens=1000,
        cached_tokens=400,
        completion_tokens=300,
        latency_p50_s=0.05,
        latency_p95_s=0.095,
        ttft_p50_s=0.025,
        ttft_p95_s=0.0475,
        feedback=3,
        corrections=2,
        releases=1,
        first_at=1000.0,
        last_at=5000.0,
    )
    assert stats(tmp_path, since=1099.0).requests == 2


def test_nothing_has_no_percentile(tmp_path: Path) -> None:
    assert stats(tmp_path) == Stats()


@given(values=st.lists(st.floats(0, 10), min_size=1), share=st.floats(0, 1))
def test_a_percentile_is_a_value_that_enough_others_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_a_request_is_found_by_its_id(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "one") as one, Ledger(tmp_path, "two") as two:
        one.append(entry(1))
        two.append(entry(2))
    assert find_request(tmp_path, "req-2") == entry(2)
    assert find_request(tmp_path, "req-3") is None


def test_feedback_comes_with_the_request_it_is_about(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway") as ledger:
        for number in range(3):
            ledger.append(entry(number))
        ledger.append(_feedback(0, 1500.0, "req-0"))
        ledger.append(_feedback(1, 2500.0, "req-1"))
        ledger.append(_feedback(2, 2600.0, "lost"))
    found = feedback_since(tmp_path, 2000.0)
    assert [(item.feedback.feedback_id, item.request) for item in found] == [("fb-1", entry(1)), ("fb-2", None)]
    assert found[0].position.index == 4
    assert len(feedback_since(tmp_path)) == 3
    assert feedback_since(tmp_path, 9999.0) == []
