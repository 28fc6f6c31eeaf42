"""Figures of several processes, merged into those of one."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tokenworks.gateway.merging import lasting, merged
from tokenworks.gateway.metrics import Metrics
from tokenworks.ledger.entries import RequestEntry
from tokenworks.serving.supervisor import EngineStatus

ENGINES = {"m@1": EngineStatus(state="ready", restarts=3)}


def worker(requests: int, in_flight: int) -> bytes:
    metrics = Metrics()
    metrics.watch(lambda: in_flight)
    for _ in range(requests):
        metrics.count(
            RequestEntry(
                at=1.0,
                request_id="r",
                endpoint="completions",
                outcome="ok",
                status=200,
                version='m"\\@1',
                prompt_tokens=7,
                completion_tokens=2,
                latency_s=0.02,
            )
        )
    return metrics.text(ENGINES)


def values(text: bytes) -> dict[str, float]:
    """Return each series summed over its labels."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def test_counts_are_summed_and_engines_are_not() -> None:
    found = values(merged([worker(3, 1), worker(4, 2), worker(0, 0)]))
    assert found["tokenworks_requests_total"] == 7
    assert found["tokenworks_tokens_total"] == 7 * 9
    assert found["gen_ai_server_request_duration_seconds_count"] == 7
    assert found["tokenworks_requests_in_flight"] == 3
    assert found["tokenworks_engine_up"] == 1
    assert found["tokenworks_engine_restarts"] == 3


def test_what_an_ended_process_counted_stays_and_how_it_stood_does_not() -> None:
    ended = merged([lasting(worker(3, 5)), lasting(worker(1, 5))])
    found = values(merged([worker(2, 1), ended]))
    assert found["tokenworks_requests_total"] == 6
    assert found["tokenworks_requests_in_flight"] == 1
    assert values(merged([b"", lasting(b"")])) == {}
