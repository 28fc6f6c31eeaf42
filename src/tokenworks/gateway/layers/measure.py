"""What it took: tokens, engine time and joules from the engine's own usage, seconds from our clock."""

from __future__ import annotations

import time

import msgspec

from tokenworks.core.destination import HERE
from tokenworks.core.errors import EngineError
from tokenworks.core.usage import Usage
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.meter import StreamMeter, figures_of, reckoned, usage_of
from tokenworks.serving.answer import Chunks, Passing

REMOTE = "remote"  # the engine that is none of ours
GENERATES = ("chat.completions", "completions")
NOTHING_STATED = Usage()


async def measure(exchange: Exchange, proceed: Handle) -> Reply:
    """Set usage, engine and time to the first token; hide usage events that the caller did not ask for."""
    reply = await proceed(exchange)
    if isinstance(reply.body, bytes):
        take_whole(exchange, reply.engine, reply.status, reply.body)
        return reply
    exchange.engine = reply.engine
    likely = 0 if _ours(exchange) else exchange.what.size.prompt_likely
    meter = StreamMeter(keep_usage=exchange.what.include_usage, prompt=likely)
    metered = _Metered(exchange, reply.body, meter)
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
            if exchange.usage == NOTHING_STATED and exchange.endpoint in GENERATES:
                exchange.usage = reckoned(body, exchange.what.size.prompt_likely)
            _take_far(exchange)
    elif status < 400:  # nobody would count its tokens
        raise EngineError(f"the engine answered with status {status}, which is no answer to what it was asked")


class _Metered(Passing):
    """A stream without its final [DONE], which is for the outermost layer to say. Cut short, it raises."""

    def __init__(self, exchange: Exchange, chunks: Chunks, meter: StreamMeter) -> None:
        super().__init__(chunks)
        self._exchange = exchange
        self._meter = meter
        self._resumed = exchange.resumed

    def at_hand(self) -> bytes | None:
        """Return the events that are here."""
        chunk = super().at_hand()
        return self._metered(chunk) if chunk else chunk

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
            if passed := self._metered(chunk):
                return passed

    async def aclose(self) -> None:
        """Want no more."""
        self._note_spent()
        await self._chunks.aclose()

    def _metered(self, chunk: bytes) -> bytes:
        """Return what passes of `chunk`, with its figures set."""
        exchange = self._exchange
        if exchange.resumed != self._resumed:
            self._resumed = exchange.resumed
            self._meter.taken_up()
        passed = self._meter.feed(chunk)
        exchange.usage = self._meter.usage
        if passed and not exchange.ttft_s:
            exchange.ttft_s = time.monotonic() - exchange.started_s
        return passed

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
