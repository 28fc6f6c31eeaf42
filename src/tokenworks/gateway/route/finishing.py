"""A stream that another engine finishes where its own breaks off or falls silent, from the tokens already passed on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec
import structlog

from tokenworks.core.errors import EngineError
from tokenworks.gateway.exchange import Exchange
from tokenworks.gateway.route.affinity import by_load
from tokenworks.gateway.route.attempt import attempt
from tokenworks.gateway.route.failing import NOTHING_SENT, FailedError
from tokenworks.gateway.route.permitted import forbids
from tokenworks.gateway.route.places import Place
from tokenworks.gateway.route.silence import Silence
from tokenworks.gateway.route.told import Told
from tokenworks.ledger.entries import Sent
from tokenworks.serving.answer import Chunks, EngineCall, Flowing, Passing

MOST = 8  # times that one stream is taken up: a prompt that ends every engine must not end them all for ever
PAUSE_S = 0.05  # before the same engines are tried again
log = structlog.get_logger()


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long streams are waited for."""

    stall_s: float = 30.0  # between two events
    resume_s: float = 30.0  # for an engine that takes up a broken stream; 0: none does


class _Resume(msgspec.Struct, frozen=True, kw_only=True):
    seed: int
    seen: list[tuple[int, ...]] = []


def resumable() -> bytes:
    """Return what the first engine is told, so that another can go on: a seed, where the caller gave none."""
    return msgspec.json.encode(_Resume(seed=random.getrandbits(62)))


class Finishing(Passing):
    """Chunks that go on when their engine dies. The same engines give the same text, and nobody notices.

    `here` are the engines of the version; the one that failed is asked last, since it has to be started again.
    """

    def __init__(
        self,
        exchange: Exchange,
        call: EngineCall,
        chunks: Chunks,
        place: Place,
        here: Sequence[Place],
        patience: Patience,
    ) -> None:
        super().__init__(chunks)
        self._exchange, self._call = exchange, call
        self._place, self._here, self._patience = place, here, patience
        self._told = Told()
        self._tokens = -1  # when it was last taken up
        self._silence = Silence(patience.stall_s)
        self._failed: EngineError | None = None  # what came without being awaited was nothing to go on with

    def at_hand(self) -> bytes | None:
        """Return the events that are here; None where the engine breaks off, or is silent for too long."""
        told = self._told
        if told.broken or self._failed is not None:
            return None
        chunk = self._silence.told(super().at_hand())
        if not chunk:
            return chunk
        try:
            passed = told.feed(chunk)
        except EngineError as error:
            self._failed = error
            return None
        return passed if passed or not told.broken else None

    def when_more(self, call: Callable[[], None] | None) -> bool:
        """Have `call` made at the end of a silence too."""
        calls = super().when_more(call)
        self._silence.watch(call if calls else None)
        return calls

    async def __anext__(self) -> bytes:
        """Return the next events; raise `EngineError` where no engine goes on."""
        told = self._told
        while True:
            try:
                if self._failed is not None:
                    raise self._failed
                if told.broken:
                    raise EngineError(f"the engine broke off: {told.broken}")
                async with asyncio.timeout(self._silence.left_s()):
                    chunk = await self._chunks.__anext__()
                if passed := told.feed(chunk):
                    return passed
            except TimeoutError:
                await self._go_on(EngineError(f"the engine said nothing for {self._patience.stall_s:g} s"), "silent")
            except StopAsyncIteration:
                if told.complete or not told.resumable:
                    raise
                await self._go_on(EngineError("the engine's stream ended before it was complete"), "lost")
            except EngineError as error:
                await self._go_on(error, "lost")
            if told.ended and not told.complete and self._chunks is _NOTHING:
                return told.feed(told.last_words())

    async def _go_on(self, error: EngineError, how: str) -> None:
        """Set the chunks of another engine, or raise `error` where there is none."""
        told, exchange = self._told, self._exchange
        self._failed = None
        await self._chunks.aclose()
        self._place.breaker.failed()
        if exchange.sent and exchange.sent[-1].ended == "ok":
            exchange.sent[-1] = msgspec.structs.replace(exchange.sent[-1], ended=how)
        elif not exchange.sent:
            exchange.sent.append(Sent(to=self._place.name, size_bytes=len(self._call.body), ended=how))
        if told.ended:
            told.take_up()
            self._chunks = _NOTHING
            return
        tokens = sum(map(len, told.seen))
        if not told.resumable or exchange.resumed >= MOST or tokens == self._tokens:
            raise error
        self._tokens = tokens
        told.take_up()
        self._chunks = await self._taken_up(error)
        exchange.resumed += 1
        log.warning(
            "stream taken up", request_id=self._call.request_id, tokens=tokens, why=str(error).partition("\n")[0]
        )

    async def _taken_up(self, error: EngineError) -> Chunks:
        """Return the rest of the answer from the first engine that gives it; raise `error` where none does in time."""
        resume = msgspec.json.decode(self._call.resume, type=_Resume)
        resume = msgspec.structs.replace(resume, seen=self._told.seen)
        call = msgspec.structs.replace(self._call, resume=msgspec.json.encode(resume))
        until_s = asyncio.get_running_loop().time() + self._patience.resume_s
        while (left_s := until_s - asyncio.get_running_loop().time()) > 0:
            others = by_load([place for place in self._here if place is not self._place])
            for place in (*others, self._place):
                if forbids(self._exchange, place):
                    continue
                wait_s = PAUSE_S if others else left_s
                try:
                    return await self._ask(
                        place, msgspec.structs.replace(call, replica=place.replica, wait_s=wait_s), left_s
                    )
                except FailedError as failure:
                    log.info("stream not taken up", request_id=call.request_id, why=str(failure).partition("\n")[0])
            await asyncio.sleep(PAUSE_S)
        raise error

    async def _ask(self, place: Place, call: EngineCall, left_s: float) -> Chunks:
        note = Sent(to=place.name, region=place.destination.region, size_bytes=len(call.body))
        try:
            answer = await attempt(place, call, within_s=left_s)
        except FailedError as failure:
            if failure.how not in NOTHING_SENT:
                self._exchange.sent.append(msgspec.structs.replace(note, ended=failure.how))
            raise
        if isinstance(answer.body, bytes):
            raise FailedError(f"{place.name} answered {answer.status} instead of going on", how="failed", answer=answer)
        self._exchange.sent.append(note)
        self._place = place
        return answer.body


class _Nothing(Flowing):
    """A stream without any chunk: of an answer that was whole before its end came."""


_NOTHING = _Nothing()
