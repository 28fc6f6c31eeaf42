"""Prometheus figures of the gateway, folded from the same entries as the ledger so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tokenworks.ledger.entries import RequestEntry
from tokenworks.serving.supervisor import EngineStatus

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Series(NamedTuple):
    requests: Counter
    prompt: Counter
    cached: Counter
    completion: Counter
    latency: Histogram
    ttft: Histogram


class Metrics:
    """Counts requests by endpoint, model, and outcome. Its own registry: two gateways in a process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("endpoint", "version", "outcome", "status")
        by_model = ("endpoint", "version")
        self._requests = Counter("tokenworks_requests", "Requests by how they ended", labels, registry=self._registry)
        self._tokens = Counter(
            "tokenworks_tokens", "Tokens by direction", (*by_model, "direction"), registry=self._registry
        )
        self._latency = Histogram(
            "tokenworks_request_seconds", "Whole answers", by_model, buckets=SECONDS, registry=self._registry
        )
        self._ttft = Histogram(
            "tokenworks_first_token_seconds", "First tokens", by_model, buckets=SECONDS, registry=self._registry
        )
        self._in_flight = Gauge("tokenworks_requests_in_flight", "Requests under way", registry=self._registry)
        self._up = Gauge("tokenworks_engine_up", "1 while the engine is ready", ("version",), registry=self._registry)
        self._restarts = Gauge(
            "tokenworks_engine_restarts", "Ends of the engine", ("version",), registry=self._registry
        )
        self._dropped = Counter(
            "tokenworks_shadows_dropped", "Shadows not asked, for users left no room", registry=self._registry
        )
        self._known: dict[tuple[str, str, str, int], _Series] = {}

    def count(self, entry: RequestEntry) -> None:
        """Take in a request that has ended. Names that a caller made up are not counted by name: `version` is ours."""
        key = (entry.endpoint, entry.version, entry.outcome, entry.status)
        series = self._known.get(key) or self._open(key)
        series.requests.inc()
        series.prompt.inc(entry.prompt_tokens)
        series.cached.inc(entry.cached_tokens)
        series.completion.inc(entry.completion_tokens)
        if entry.outcome == "ok":
            series.latency.observe(entry.latency_s)
            series.ttft.observe(entry.ttft_s)

    def drop_shadow(self) -> None:
        """Take in a shadow that was not asked."""
        self._dropped.inc()

    def watch(self, in_flight: Callable[[], int]) -> None:
        """Show the number of requests under way."""
        self._in_flight.set_function(in_flight)

    def text(self, engines: Mapping[str, EngineStatus]) -> bytes:
        """Return everything in Prometheus text format."""
        self._up.clear()
        self._restarts.clear()
        for ref, status in engines.items():
            self._up.labels(ref).set(status.state == "ready")
            self._restarts.labels(ref).set(status.restarts)
        return generate_latest(self._registry)

    def _open(self, key: tuple[str, str, str, int]) -> _Series:
        endpoint, version, ended, status = key
        series = self._known[key] = _Series(
            self._requests.labels(endpoint, version, ended, str(status)),
            self._tokens.labels(endpoint, version, "prompt"),
            self._tokens.labels(endpoint, version, "cached"),
            self._tokens.labels(endpoint, version, "completion"),
            self._latency.labels(endpoint, version),
            self._ttft.labels(endpoint, version),
        )
        return series
