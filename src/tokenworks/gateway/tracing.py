"""OpenTelemetry spans of a request, as layers that stand in the stack only where tracing is configured.

Names and attributes: OpenTelemetry semantic conventions for generative AI. Never a prompt, an answer or a key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tokenworks.core.ids import pseudonym
from tokenworks.gateway.exchange import Exchange, Handle, Layer, Reply
from tokenworks.gateway.genai import operation
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.layers.measure import measure
from tokenworks.gateway.traced import Traced
from tokenworks.ledger.entries import RequestEntry
from tokenworks.serving.answer import Chunks, Watched

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """Spans by `tracer`: the request, the wait for an engine, the call of it, the entry on the ledger."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def around(self, layers: Sequence[Layer]) -> list[Layer]:
        """Return `layers` with those that trace among them."""
        waiting = next(number for number, layer in enumerate(layers) if isinstance(layer, Limit))
        measured = layers.index(measure)
        return [self.request, *layers[:waiting], self.waits, *layers[waiting:measured], self.call, *layers[measured:]]

    async def request(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Open the root span, as a child of the caller's where it sent one; end it with the answer."""
        given = exchange.traceparent.decode("latin-1")
        parent = _propagator.extract({"traceparent": given}, Context()) if given else Context()
        began = _ns(exchange, exchange.started_s)
        root = self._tracer.start_span(exchange.endpoint, parent, SpanKind.SERVER, start_time=began)
        exchange.traced = Traced(self._tracer, root)
        try:
            reply = await proceed(exchange)
        except BaseException:
            _end(exchange, root)
            raise
        if isinstance(reply.body, bytes):
            _end(exchange, root)
            return reply
        return msgspec.structs.replace(reply, body=Watched(reply.body, partial(_end, exchange, root)))

    async def waits(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Note since when the request has been ready to be answered."""
        if exchange.traced is not None:
            exchange.traced.waits_s = time.monotonic()
        return await proceed(exchange)

    async def call(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Trace the engine call, and tell the engine the trace; a shadow is nobody's request and is not traced."""
        traced, call = exchange.traced, exchange.call
        if traced is None or call is None:
            return await proceed(exchange)
        parent, now = set_span_in_context(traced.root, Context()), _ns(exchange, time.monotonic())
        waited = self._tracer.start_span("wait for an engine", parent, start_time=_ns(exchange, traced.waits_s))
        waited.end(now)
        span = self._tracer.start_span(
            _name(exchange), parent, SpanKind.CLIENT, attributes=_operation(exchange), start_time=now
        )
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, set_span_in_context(span, Context()))
        others = [header for header in call.headers if header[0] not in carrier]  # of an earlier attempt
        exchange.call = msgspec.structs.replace(call, headers=(*others, *carrier.items()))
        tries = len(exchange.traffic)
        ended = partial(_end_call, exchange, span, tries)
        try:
            reply = await proceed(exchange)
        except BaseException as error:
            ended(type(error).__name__)
            raise
        if isinstance(reply.body, bytes):
            ended("" if reply.status < 400 else str(reply.status))
            return reply
        return msgspec.structs.replace(reply, body=_Ending(reply.body, ended))


class _Ending:
    """Chunks that tell once how they ended: with the name of an error, or without one."""

    def __init__(self, chunks: Chunks, ended: Callable[[str], None]) -> None:
        self._chunks = chunks
        self._ended: Callable[[str], None] | None = ended

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return some more bytes."""
        try:
            return await self._chunks.__anext__()
        except StopAsyncIteration:
            self._end("")
            raise
        except BaseException as error:
            self._end(type(error).__name__)
            raise

    async def aclose(self) -> None:
        """Want no more."""
        try:
            await self._chunks.aclose()
        finally:
            self._end("")

    def _end(self, error: str) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(error)


def _end_call(exchange: Exchange, span: Span, tries: int, error: str = "") -> None:
    """End the span of an engine call, with an event for its first token and for each attempt before the last."""
    for one in exchange.traffic[tries:]:
        place = {
            "server.address": one.address.rpartition(":")[0] or "127.0.0.1",
            "tokenworks.region": one.destination.region,
        }
        span.set_attributes({**place, "tokenworks.destination": one.destination.name})
        if one is not exchange.traffic[-1]:
            span.add_event("attempt failed", place)
    if exchange.ttft_s:
        span.add_event("first token", timestamp=_ns(exchange, exchange.started_s + exchange.ttft_s))
    usage = exchange.usage
    span.set_attributes(
        {
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
        }
    )
    _fail(span, error)
    span.end(_ns(exchange, time.monotonic()))


def _end(exchange: Exchange, root: Span) -> None:
    """End the root span with what the ledger was told, so that traces and ledger cannot disagree."""
    entry = exchange.entry
    now = time.monotonic()
    if entry is not None:
        parent = set_span_in_context(root, Context())
        assert exchange.traced is not None, "it was set when the root began"
        written = exchange.traced.tracer.start_span(
            "record", parent, start_time=_ns(exchange, exchange.started_s + entry.latency_s)
        )
        written.end(_ns(exchange, now))
        root.update_name(_name(exchange))
        root.set_attributes(_attributes(entry) | _operation(exchange))
        _fail(root, entry.error if entry.status >= 400 else "")
    else:
        _fail(root, "not_recorded")
    root.end(_ns(exchange, now))


def _attributes(entry: RequestEntry) -> dict[str, Any]:
    return {
        "http.response.status_code": entry.status,
        "gen_ai.provider.name": entry.engine or "none",
        "gen_ai.usage.input_tokens": entry.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": entry.cached_tokens,
        "gen_ai.usage.output_tokens": entry.completion_tokens,
        "tokenworks.request_id": entry.request_id,
        "tokenworks.outcome": entry.outcome,
        "tokenworks.label": entry.label,
        "tokenworks.tenant": pseudonym("tenant", entry.tenant),
        "tokenworks.ttft_s": entry.ttft_s,
    }


def _operation(exchange: Exchange) -> dict[str, Any]:
    """Return what is asked of which model; a name that no model has is the caller's text and is left out."""
    named = {"gen_ai.operation.name": operation(exchange.endpoint)}
    if exchange.version:
        named |= {"gen_ai.request.model": exchange.what.model, "gen_ai.response.model": exchange.version}
    return named


def _name(exchange: Exchange) -> str:
    kind = operation(exchange.endpoint)
    return f"{kind} {exchange.what.model}" if exchange.version else kind


def _fail(span: Span, error: str) -> None:
    if error:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))


def _ns(exchange: Exchange, monotonic_s: float) -> int:
    """Return a moment as Unix nanoseconds, counted from the request's start: a clock that jumps bends no span."""
    return int((exchange.at + monotonic_s - exchange.started_s) * 1e9)
