"""What it took: tokens, engine time and joules from the engine's own usage, seconds from our clock."""

from __future__ import annotations

import time
from typing import Self

import msgspec

from tokenworks.core.destination import HERE
from tokenworks.core.errors import EngineError
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.meter import StreamMeter, figures_of, usage_of
from tokenworks.serving.answer import Chunks

REMOTE = "remote"  # the engine that is none of ours


async def measure(exchange: Exchange, proceed: Handle) -> Reply:
    """Set usage, engine and time to the first token; hide usage events that the caller did not ask for."""
    reply = await proceed(exchange)
    if isinstance(reply.body, bytes):
        take_whole(exchange, reply.engine, reply.status, reply.body)
        return reply
    exchange.engine = reply.engine
    metered = _Metered(exchange, reply.body, StreamMeter(keep_usage=exchange.what.include_usage))
    return msgspec.structs.replace(reply, body=metered)


def take_whole(exchange: Exchange, engine: str, status: int, body: bytes) -> None:
    """Set what a whole answer of `engine` took; raise `EngineError` where it is none."""
    exchange.engine = engine
    exchange.ttft_s = time.monotonic() - exchange.started_s
    if status == 200:
        if _ours(exchange):
            exchange.usage, exchange.spent = figures_of(body)
        else:
            exchange.usage = usage_of(body)
            _take_far(exchange)


class _Metered:
    """A stream without its final [DONE], which is for the outermost layer to say. Cut short, it raises."""

    def __init__(self, exchange: Exchange, chunks: Chunks, meter: StreamMeter) -> None:
        self._exchange = exchange
        self._chunks = chunks
        self._meter = meter
        self._resumed = exchange.resumed

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next events."""
        while True:
            try:
                chunk = await self._chunks.__anext__()
            except BaseException as error:
                self._note_spent()
                if isinstance(error, StopAsyncIteration) and not self._meter.done:
                    raise EngineError("the engine's stream ended before it was complete") from None
                raise
            if self._exchange.resumed != self._resumed:
                self._resumed = self._exchange.resumed
                self._meter.taken_up()
            passed = self._meter.feed(chunk)
            self._exchange.usage = self._meter.usage
            if passed:
                if not self._exchange.ttft_s:
                    self._exchange.ttft_s = time.monotonic() - self._exchange.started_s
                return passed

    async def aclose(self) -> None:
        """Want no more."""
        self._note_spent()
        await self._chunks.aclose()

    def _note_spent(self) -> None:
        if _ours(self._exchange):
            self._exchange.spent = self._meter.spent
        else:
            _take_far(self._exchange)


def _take_far(exchange: Exchange) -> None:
    """Set what the server elsewhere that answered took, where its energy is metered; others were asked in vain."""
    works = exchange.call.works if exchange.call is not None else ()
    if works:
        place = next((one.to for one in reversed(exchange.sent) if one.ended == "ok"), "")
        for work in works:
            if work.name == place:
                exchange.spent = work.tell(exchange.usage)
            else:
                work.drop()


def _ours(exchange: Exchange) -> bool:
    """Return whether an engine of this machine answered: what others say that they spent is not ours."""
    if exchange.engine == REMOTE:
        return False
    return next((one.to == HERE for one in reversed(exchange.sent) if one.ended == "ok"), True)
