"""What it took: tokens from the engine's own usage, seconds from our clock."""

from __future__ import annotations

import time
from typing import Self

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.meter import StreamMeter, usage_of
from tokenworks.serving.answer import Chunks


async def measure(exchange: Exchange, proceed: Handle) -> Reply:
    """Set usage, engine and time to the first token; hide usage events that the caller did not ask for."""
    reply = await proceed(exchange)
    exchange.engine = reply.engine
    if isinstance(reply.body, bytes):
        exchange.ttft_s = time.monotonic() - exchange.started_s
        if reply.status == 200:
            exchange.usage = usage_of(reply.body)
        return reply
    metered = _Metered(exchange, reply.body, StreamMeter(keep_usage=exchange.what.include_usage))
    return msgspec.structs.replace(reply, body=metered)


class _Metered:
    """A stream without its final [DONE], which is for the outermost layer to say. Cut short, it raises."""

    def __init__(self, exchange: Exchange, chunks: Chunks, meter: StreamMeter) -> None:
        self._exchange = exchange
        self._chunks = chunks
        self._meter = meter

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next events."""
        while True:
            try:
                chunk = await self._chunks.__anext__()
            except StopAsyncIteration:
                if not self._meter.done:
                    raise EngineError("the engine's stream ended before it was complete") from None
                raise
            passed = self._meter.feed(chunk)
            self._exchange.usage = self._meter.usage
            if passed:
                if not self._exchange.ttft_s:
                    self._exchange.ttft_s = time.monotonic() - self._exchange.started_s
                return passed

    async def aclose(self) -> None:
        """Want no more."""
        await self._chunks.aclose()
