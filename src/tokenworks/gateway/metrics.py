"""Prometheus figures of the gateway, folded from the same entries as the ledger so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from tokenworks.core.destination import HERE
from tokenworks.gateway.counts import Counts
from tokenworks.gateway.genai import operation
from tokenworks.gateway.tally import Distribution, counter, histogram
from tokenworks.serving.supervisor import EngineStatus, State

DURABLE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
BY_MODEL = ("endpoint", "version")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts requests by endpoint, model, and outcome. Its own registry: two gateways in a process do not mix."""

    def __init__(self) -> None:
        self.waiting = 0  # entries that are not durable yet
        self.durable = Distribution(DURABLE_S)
        self._counts = Counts()
        self.count = self._counts.count
        self._dropped = 0
        self._in_flight: Callable[[], int] = int
        self._in_line: Callable[[], int] = int
        self._engines: Mapping[str, EngineStatus] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def drop_shadow(self) -> None:
        """Take in a shadow that was not asked."""
        self._dropped += 1

    def watch(self, in_flight: Callable[[], int], in_line: Callable[[], int] = int) -> None:
        """Show the number of requests under way, and of those that wait their turn at an engine."""
        self._in_flight, self._in_line = in_flight, in_line

    def text(self, engines: Mapping[str, EngineStatus]) -> bytes:
        """Return everything in Prometheus text format."""
        self._engines = engines
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every family, as `prometheus_client` asks for them."""
        yield from self._of_requests()
        yield from self._of_models()
        yield from self._of_places()
        yield from self._of_engines()
        waiting = GaugeMetricFamily("tokenworks_ledger_waiting", "Entries that are not durable yet")
        waiting.add_metric((), self.waiting)
        yield waiting
        yield histogram("tokenworks_ledger_durable_seconds", "Until an entry is durable", (), [((), self.durable)])

    def _of_requests(self) -> Iterator[Metric]:
        labels = (*BY_MODEL, "outcome", "status")
        yield counter(
            "tokenworks_requests",
            "Requests by how they ended",
            labels,
            (((*key[:3], str(key[3])), amount) for key, amount in self._counts.requests.items()),
        )
        refusals = (((code,), amount) for code, amount in self._counts.refusals.items())
        yield counter("tokenworks_refusals", "Requests refused, by the reason's code", ("code",), refusals)
        under_way = GaugeMetricFamily("tokenworks_requests_in_flight", "Requests under way")
        under_way.add_metric((), self._in_flight())
        yield under_way
        in_line = GaugeMetricFamily("tokenworks_requests_waiting", "Requests that wait their turn at an engine")
        in_line.add_metric((), self._in_line())
        yield in_line
        yield counter(
            "tokenworks_shadows_dropped", "Shadows not asked, for users left no room", (), [((), self._dropped)]
        )

    def _of_models(self) -> Iterator[Metric]:
        models = list(self._counts.models.items())
        yield counter(
            "tokenworks_tokens",
            "Tokens by direction",
            (*BY_MODEL, "direction"),
            (
                ((*key, direction), getattr(model, direction))
                for key, model in models
                for direction in ("prompt", "cached", "completion")
            ),
        )
        genai = ("gen_ai_operation_name", "gen_ai_response_model")
        for name, says, field in (
            ("gen_ai_server_request_duration_seconds", "Whole answers", "duration"),
            ("gen_ai_server_time_to_first_token_seconds", "First tokens", "ttft"),
            ("gen_ai_server_time_per_output_token_seconds", "Each token after the first", "per_token"),
        ):
            yield histogram(
                name, says, genai, (((operation(key[0]), key[1]), getattr(model, field)) for key, model in models)
            )

    def _of_places(self) -> Iterator[Metric]:
        labels, places = ("destination", "region"), list(self._counts.places.items())
        attempts = ((key, place.attempts) for key, place in places)
        yield counter("tokenworks_upstream_attempts", "Attempts to be answered there", labels, attempts)
        failures = ((key, place.failures) for key, place in places)
        yield counter("tokenworks_upstream_failures", "Attempts that failed", labels, failures)
        sent = (((*key, way), getattr(place, f"{way}_bytes")) for key, place in places for way in ("sent", "received"))
        yield counter("tokenworks_upstream_bytes", "Bytes of HTTP", (*labels, "direction"), sent)
        left = sum(place.sent_bytes for (_, region), place in places if region != HERE)
        yield counter("tokenworks_left_site_bytes", "Bytes sent off the site", (), [((), left)])

    def _of_engines(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("tokenworks_engine_up", "1 while the engine is ready", labels=["version"])
        restarts = GaugeMetricFamily("tokenworks_engine_restarts", "Ends of the engine", labels=["version"])
        states = GaugeMetricFamily("tokenworks_engine_state", "1 for the state it is in", labels=["version", "state"])
        for ref, status in self._engines.items():
            up.add_metric((ref,), status.state == "ready")
            restarts.add_metric((ref,), status.restarts)
            for state in get_args(State):
                states.add_metric((ref, state), status.state == state)
        yield from (up, restarts, states)
