"""What an engine process did for one request, as spans below the one that the gateway opened for its call.

While the request runs, only moments are noted; the spans are made of them when it has ended. Names and attributes:
OpenTelemetry's semantic conventions for generative AI where they have one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tokenworks.core.usage import Usage
from tokenworks.core.version import __version__
from tokenworks.metering.attribution.timeline import Phase, Timeline
from tokenworks.serving.engine import Options
from tokenworks.serving.tracing.export import open_provider
from tokenworks.serving.wire.exchange import Exchange

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/classify": "classify",
}
WRITES = frozenset({"chat", "text_completion"})
_propagator = TraceContextTextMapPropagator()


class EngineTraces:
    """Traces the requests to one engine, called `engine`, that serves `model`."""

    def __init__(self, provider: TracerProvider, model: str, engine: str) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("tokenworks.engine", __version__)
        self._model, self._engine = model, engine

    def begin(self, scope: MutableMapping[str, Any]) -> Traced | None:
        """Return what is to be noted of the request of an ASGI `scope`; None where its caller does not trace it."""
        operation = OPERATIONS.get(scope["path"])
        given = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        if operation is None or not given:
            return None
        parent = _propagator.extract({"traceparent": given.decode("latin-1")}, Context())
        if not get_current_span(parent).get_span_context().trace_flags.sampled:
            return None
        return Traced(self, parent, operation)

    def end(self, traced: Traced, exchange: Exchange) -> None:
        """Make the spans of a request that has ended."""
        now_s, ns = time.monotonic(), traced.ns
        named, said = f"{traced.operation} {self._model}", self._attributes(traced.operation, exchange)
        began_ns = ns(traced.timeline.arrived_s)
        span = self._tracer.start_span(named, traced.parent, SpanKind.SERVER, attributes=said, start_time=began_ns)
        below = set_span_in_context(span, Context())
        for name, began_s, ended_s, part in phases(traced.timeline, traced.operation, exchange.usage, now_s):
            self._tracer.start_span(name, below, attributes=part, start_time=ns(began_s)).end(ns(ended_s))
        if exchange.error:
            span.set_attribute("error.type", exchange.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(ns(now_s))

    async def close(self) -> None:
        """Send what is left, in a thread: a collector that is gone delays the end by seconds."""
        await asyncio.to_thread(self._provider.shutdown)

    def _attributes(self, operation: str, exchange: Exchange) -> dict[str, Any]:
        usage, spent = exchange.usage, exchange.spent
        said: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            "gen_ai.response.model": self._model,
            "gen_ai.provider.name": self._engine,
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
            "tokenworks.engine_s": spent.engine_s,
        }
        if spent.meter:
            said["tokenworks.meter"] = spent.meter
        if spent.joules is not None:
            said |= {"tokenworks.joules": spent.joules, "tokenworks.joules_error": spent.joules_error}
        return said


class Traced:
    """One request under way, and when what happened to it."""

    __slots__ = ("_at", "_traces", "operation", "parent", "timeline")

    def __init__(self, traces: EngineTraces, parent: Context, operation: str) -> None:
        self._traces = traces
        self.parent, self.operation = parent, operation
        self.timeline = Timeline()
        self._at = time.time()

    def end(self, exchange: Exchange) -> None:
        """It has ended; `exchange` knows how, and what it came to."""
        self._traces.end(self, exchange)

    def ns(self, monotonic_s: float) -> int:
        """Return a moment as Unix nanoseconds, counted from its arrival: a clock that jumps bends no span."""
        return int((self._at + monotonic_s - self.timeline.arrived_s) * 1e9)


def phases(
    timeline: Timeline, operation: str, usage: Usage, now_s: float
) -> list[tuple[str, float, float, dict[str, Any]]]:
    """Return name, begin, end and attributes of what a request went through until `now_s`; what never was is left out.

    What is under way at the end was broken off there.
    """
    found: list[tuple[str, float, float, dict[str, Any]]] = []
    if timeline.taken_s or usage.prompt_tokens:
        found.append(("queue", timeline.arrived_s, timeline.taken_s or now_s, {}))
    if timeline.taken_s:
        said = {"gen_ai.usage.input_tokens": usage.prompt_tokens, **_batch(timeline.prefill)}
        name = "prefill" if operation in WRITES else "encode"
        found.append((name, timeline.taken_s, timeline.read_s or now_s, said))
    if timeline.decode.steps:
        said = {"gen_ai.usage.output_tokens": usage.completion_tokens, **_batch(timeline.decode)}
        found.append(("decode", timeline.read_s, max(timeline.written_s, timeline.read_s), said))
    return found


def _batch(phase: Phase) -> dict[str, Any]:
    return {"tokenworks.steps": phase.steps, "tokenworks.batch.mean": phase.batch}


def open_traces(options: Options, model: str, engine: str) -> EngineTraces:
    """Return what traces this process to where `options` say; its headers stand in the environment."""
    return EngineTraces(open_provider(options.otlp_endpoint, service=options.otlp_service), model, engine)
