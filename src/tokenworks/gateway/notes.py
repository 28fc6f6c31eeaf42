"""What is written down of a request: the entry, the bodies beside the log, and who asked what, for later feedback."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from tokenworks.core.errors import StoreError
from tokenworks.gateway.entry import if_killed
from tokenworks.gateway.exchange import Exchange
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import Entry, RequestEntry
from tokenworks.ledger.inflight import FREE, Inflight, Slot
from tokenworks.ledger.position import Position
from tokenworks.ledger.vault import Subject

REMEMBERED = 65_536
SMALL_BYTES = 64 << 10  # a write of less costs less than the way to a thread and back


class Writer(Protocol):
    """The ledger as the gateway needs it."""

    def enqueue(self, entry: Entry) -> asyncio.Future[Position]:
        """Return what holds its place once the entry is durable, or a `StoreError` when it cannot be."""
        ...

    def enqueue_told(self, entry: Entry, tell: Callable[[Position | StoreError], None]) -> None:
        """Call `tell` with its place once the entry is durable, or a `StoreError` when it cannot be."""
        ...

    def record(self, entry: Entry) -> Awaitable[Position]:
        """Return its place once the entry is durable; raise `StoreError` when it cannot be."""
        ...

    def receipt(self, entry: Entry, position: Position, request_id: str) -> str:
        """Return the signed promise that the entry stands there."""
        ...


class BodyStore(Protocol):
    """Prompts and answers beside the log."""

    def put(self, request: str, prompt: bytes, answer: bytes, subject: Subject) -> None:
        """Keep both."""
        ...


FindRequest = Callable[[str, str], RequestEntry | None]  # (id, tenant)


class Notes:
    """Write entries, and remember for a while who asked what. `find` looks up what is no longer remembered."""

    def __init__(
        self, ledger: Writer, *, bodies: BodyStore | None, find: FindRequest, inflight: Inflight | None = None
    ) -> None:
        self._ledger = ledger
        self._bodies = bodies
        self._find = find
        self._inflight = inflight
        self._recent: OrderedDict[tuple[str, str], RequestEntry] = OrderedDict()

    def write(self, entry: RequestEntry, prompt: bytes, answer: bytes) -> asyncio.Future[Position]:
        """Return what holds its place once the entry is durable; raise `StoreError` here or there when it cannot be.

        The bodies of answers that were given are there before it. Whoever waits may stop: it is written all the same.
        """
        bodies = self._kept_by(entry)
        if bodies is not None and len(prompt) + len(answer) > SMALL_BYTES:
            return asyncio.ensure_future(self._write_large(bodies, entry, prompt, answer))
        if bodies is not None:
            bodies.put(named(entry.tenant, entry.request_id), prompt, answer, _subject(entry))
        writing = self._ledger.enqueue(entry)
        writing.add_done_callback(partial(self._remember, entry))
        return writing

    def write_told(
        self, entry: RequestEntry, prompt: bytes, answer: bytes, tell: Callable[[Position | StoreError], None]
    ) -> bool:
        """Do what `write` does and call `tell` with what came of it; return False, with nothing done, for large bodies.

        Raises `StoreError` where that is known at once.
        """
        bodies = self._kept_by(entry)
        if bodies is not None:
            if len(prompt) + len(answer) > SMALL_BYTES:
                return False
            bodies.put(named(entry.tenant, entry.request_id), prompt, answer, _subject(entry))
        self._ledger.enqueue_told(entry, tell)
        return True

    def _kept_by(self, entry: RequestEntry) -> BodyStore | None:
        return self._bodies if entry.outcome == "ok" and (entry.learn or entry.stored) else None

    async def _write_large(self, bodies: BodyStore, entry: RequestEntry, prompt: bytes, answer: bytes) -> Position:
        name = named(entry.tenant, entry.request_id)
        await asyncio.to_thread(bodies.put, name, prompt, answer, _subject(entry))
        writing = self._ledger.enqueue(entry)
        writing.add_done_callback(partial(self._remember, entry))
        return await writing

    def _remember(self, entry: RequestEntry, written: asyncio.Future[Position]) -> None:
        if not written.cancelled() and written.exception() is None:
            self.remember(entry)

    def remember(self, entry: RequestEntry) -> None:
        """Keep at hand, for a while, who asked what."""
        if entry.face == "batch":  # a file of lines would push out everybody who may say something soon
            return
        self._recent[entry.request_id, entry.tenant] = entry
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    def begin(self, exchange: Exchange) -> Slot | None:
        """Return where a stream's tokens are counted so that they outlive a kill."""
        if self._inflight is None:
            return None
        price = exchange.price
        rates = FREE if price is None else (price.input_nano, price.cached_nano, price.output_nano)
        return self._inflight.begin(if_killed(exchange), rates)

    def receipt(self, entry: RequestEntry, position: Position) -> str:
        """Return the signed promise that the entry stands there."""
        return self._ledger.receipt(entry, position, entry.request_id)

    async def find(self, request_id: str, tenant: str) -> RequestEntry | None:
        """Return the entry of a tenant's request, however long ago."""
        return self._recent.get((request_id, tenant)) or await asyncio.to_thread(self._find, request_id, tenant)


def _subject(entry: RequestEntry) -> Subject:
    return Subject(entry.tenant, entry.user, entry.label)
