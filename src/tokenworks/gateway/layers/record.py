"""The outermost layer: one durable ledger entry for each request, before its answer ends, however it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import structlog

from tokenworks.core.errors import EngineError, StoreError
from tokenworks.gateway.entry import entry_of, outcome_of
from tokenworks.gateway.errors import ApiError, engine_failed, internal, unavailable
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.layers.border import answered
from tokenworks.gateway.metrics import Metrics
from tokenworks.gateway.notes import Notes
from tokenworks.gateway.sse import DONE
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.position import Position
from tokenworks.serving.answer import Chunks, Passing

Tell = Callable[[StoreError | None], None]
GONE = (499, "cancelled")  # the caller hung up, or we had to stop; servers customarily log this status
RECEIPT = "x-tokenworks-receipt"
log = structlog.get_logger()


@dataclass(frozen=True)
class Record:
    """Catch everything, write it down, then let the answer end."""

    notes: Notes
    metrics: Metrics

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Return an answer whatever happens inside; errors become OpenAI error objects here."""
        try:
            reply, code = await answered(exchange, proceed)
        except asyncio.CancelledError:
            await self.abandon(exchange, b"")
            raise
        reply = msgspec.structs.replace(reply, headers=(*reply.headers, *_marks(exchange)))
        if not isinstance(reply.body, bytes):
            return msgspec.structs.replace(reply, body=_Recorded(self, exchange, reply.body))
        try:
            receipt = await self.end(exchange, reply.status, code, reply.body)
        except StoreError as error:
            return not_recorded(error).reply(exchange.request_id)
        if receipt:
            reply = msgspec.structs.replace(reply, headers=(*reply.headers, (RECEIPT, receipt)))
        return reply

    async def end(self, exchange: Exchange, status: int, code: str, answer: bytes) -> str:
        """Write the entry; return when it is durable, with the receipt if one was asked for.

        It is written even when the caller stops waiting.
        """
        entry = entry_of(exchange, outcome=outcome_of(status, code), status=status, code=code, answer=answer)
        position = await asyncio.shield(self._writing(exchange, entry, answer))
        return self.notes.receipt(entry, position) if exchange.wants_receipt else ""

    def end_told(self, exchange: Exchange, answer: bytes, tell: Tell) -> bool:
        """Write the entry of an answer that is about to be given, and `tell` when it is durable, or why it is not.

        Returns False, with nothing done, for bodies that only a thread can keep.
        """
        entry = entry_of(exchange, outcome="ok", status=200, code="", answer=answer)
        self.metrics.waiting += 1
        try:
            if self.notes.write_told(entry, exchange.body, answer, partial(self._told, exchange, entry, tell)):
                return True
        except StoreError as error:
            self._told(exchange, entry, tell, error)
            return True
        self.metrics.waiting -= 1
        return False

    def _told(self, exchange: Exchange, entry: RequestEntry, tell: Tell, result: Position | StoreError) -> None:
        self.metrics.waiting -= 1
        _settle(exchange, entry)
        if isinstance(result, StoreError):
            tell(result)
            return
        self.notes.remember(entry)
        self._durable(exchange, entry)
        tell(None)

    def _durable(self, exchange: Exchange, entry: RequestEntry) -> None:
        exchange.entry = entry
        self.metrics.durable.observe(time.monotonic() - exchange.started_s - entry.latency_s)
        self.metrics.count(entry)

    def _writing(self, exchange: Exchange, entry: RequestEntry, answer: bytes) -> asyncio.Future[Position]:
        try:
            writing = self.notes.write(entry, exchange.body, answer)
        except Exception as error:
            _settle(exchange, entry)
            if isinstance(error, StoreError):
                raise
            log.exception("entry could not be written", request_id=entry.request_id)
            raise StoreError(f"entry of {entry.request_id} could not be written: {error}") from error
        writing.add_done_callback(partial(self._written, exchange, entry))
        self.metrics.waiting += 1
        return writing

    def _written(self, exchange: Exchange, entry: RequestEntry, writing: asyncio.Future[Position]) -> None:
        self.metrics.waiting -= 1
        _settle(exchange, entry)
        if not writing.cancelled() and writing.exception() is None:
            self._durable(exchange, entry)

    async def abandon(self, exchange: Exchange, answer: bytes) -> bool:
        """Write the entry of a request whose caller is gone; return whether it could be, for nobody is left to tell."""
        status, code = GONE
        try:
            await self.end(exchange, status, code, answer)
        except StoreError as error:
            not_recorded(error)
            return False
        return True


class _Recorded(Passing):
    """A stream whose last event is held back until its entry is durable."""

    def __init__(self, record: Record, exchange: Exchange, chunks: Chunks) -> None:
        super().__init__(chunks)
        self._record = record
        self._exchange = exchange
        self._passed: list[bytes] = []
        self._over = False
        self._failed: Exception | None = None  # what went wrong while nobody awaited it
        self._slot = record.notes.begin(exchange)

    @property
    def over(self) -> bool:
        """Whether the last event of all was said."""
        return self._over

    def at_hand(self) -> bytes | None:
        """Return the events that are here; the last of all is not among them."""
        if self._over or self._failed is not None:
            return None
        try:
            chunk = super().at_hand()
        except Exception as error:  # noqa: BLE001  # told where every other one is, as soon as this is awaited
            self._failed = error
            return None
        return self._noted(chunk) if chunk else chunk

    async def __anext__(self) -> bytes:
        """Return the next events; the last of all says [DONE], or what went wrong."""
        if self._over:
            raise StopAsyncIteration
        try:
            if self._failed is not None:
                raise self._failed
            chunk = await self._chunks.__anext__()
        except StopAsyncIteration:
            return await self._last(DONE)
        except asyncio.CancelledError:
            await self._abandon()
            raise
        except ApiError as error:
            return await self._last_error(error)
        except EngineError as error:
            log.warning("engine broke off", request_id=self._exchange.request_id, error=str(error))
            return await self._last_error(engine_failed(f"{error}; the answer is not complete, ask again"))
        except Exception:
            log.exception("stream failed", request_id=self._exchange.request_id)
            return await self._last_error(internal(self._exchange.request_id))
        return self._noted(chunk)

    def _noted(self, chunk: bytes) -> bytes:
        self._passed.append(chunk)
        if self._slot is not None:
            self._slot.note(self._exchange.usage)
        return chunk

    async def aclose(self) -> None:
        """The caller is gone: stop the engine first, then write down what the caller had got."""
        await self._chunks.aclose()
        await self._abandon()

    async def _abandon(self) -> None:
        if not self._over:
            self._over = True
            if await self._record.abandon(self._exchange, b"".join(self._passed)):
                self._written()

    def _written(self) -> None:
        if self._slot is not None:
            self._slot.end()

    async def _last(self, event: bytes, status: int = 200, code: str = "") -> bytes:
        self._over = True
        try:
            receipt = await self._record.end(self._exchange, status, code, b"".join(self._passed))
        except StoreError as failure:
            return self._event(not_recorded(failure))  # its slot stays: what was delivered is written at the next start
        self._written()
        # As a comment, which clients of event streams skip: its head had left before there was an entry.
        return f": {RECEIPT}: {receipt}\n".encode() + event if receipt else event

    async def _last_error(self, error: ApiError) -> bytes:
        return await self._last(self._event(error), error.status, error.code)

    def _event(self, error: ApiError) -> bytes:
        return b"data: " + error.body(self._exchange.request_id) + b"\n\n"


def not_recorded(error: StoreError) -> ApiError:
    """Nothing leaves unaccounted: an answer that cannot be written down is not given."""
    log.error("ledger cannot be written", error=str(error))
    message = "the ledger cannot be written, so no answer may leave; the operator finds the reason in the log"
    return unavailable(message, code="ledger_unavailable", retry_after_s=30)


def _settle(exchange: Exchange, entry: RequestEntry) -> None:
    """Charge what was delivered: also where the disk failed, since part of a stream may have been."""
    if exchange.settle is not None:
        exchange.settle(entry)
    if exchange.written is not None:
        exchange.written(entry)


def _marks(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    """Return what the caller is told about the answer besides the answer."""
    label = () if exchange.label is None else (("x-tokenworks-label", str(exchange.label)),)
    if answered_by := next((one.to for one in reversed(exchange.sent) if one.ended == "ok"), ""):
        label = (*label, ("x-tokenworks-destination", answered_by))
    if not exchange.version:
        return (*exchange.told, *label)
    return (
        *exchange.told,
        ("x-tokenworks-version", exchange.version),
        *label,
        ("link", f'</v1/feedback/{exchange.request_id}>; rel="feedback"'),
    )
