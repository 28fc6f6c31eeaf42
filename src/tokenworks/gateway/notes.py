"""What is written down of a request: the entry, the bodies beside the log, and who asked what, for later feedback."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Protocol

from tokenworks.core.entropy import random_bytes
from tokenworks.core.errors import StoreError
from tokenworks.gateway.exchange import Exchange
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import Entry, RequestEntry, Transfer
from tokenworks.ledger.inflight import FREE, KILLED, Inflight, Slot
from tokenworks.ledger.position import Position
from tokenworks.ledger.vault import Subject

REMEMBERED = 65_536
SMALL_BYTES = 64 << 10  # a write of less costs less than the way to a thread and back
_NO_ROOM = frozenset({"overloaded", "shutting_down"})  # refused by us, though the status is a 503


class Writer(Protocol):
    """The ledger as the gateway needs it."""

    def enqueue(self, entry: Entry) -> asyncio.Future[Position]:
        """Return what holds its place once the entry is durable, or a `StoreError` when it cannot be."""
        ...

    def enqueue_told(self, entry: Entry, tell: Callable[[Position | StoreError], None]) -> None:
        """Call `tell` with its place once the entry is durable, or a `StoreError` when it cannot be."""
        ...

    async def record(self, entry: Entry) -> Position:
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
        return self._inflight.begin(_if_killed(exchange), rates)

    def receipt(self, entry: RequestEntry, position: Position) -> str:
        """Return the signed promise that the entry stands there."""
        return self._ledger.receipt(entry, position, entry.request_id)

    async def find(self, request_id: str, tenant: str) -> RequestEntry | None:
        """Return the entry of a tenant's request, however long ago."""
        return self._recent.get((request_id, tenant)) or await asyncio.to_thread(self._find, request_id, tenant)


def _subject(entry: RequestEntry) -> Subject:
    return Subject(entry.tenant, entry.user, entry.label)


def entry_of(exchange: Exchange, *, outcome: str, status: int, code: str, answer: bytes) -> RequestEntry:
    """Return the ledger entry of an exchange that has ended."""
    principal, asked, usage, spent = exchange.principal, exchange.asked, exchange.usage, exchange.spent
    salt = random_bytes(16)
    ruling = exchange.ruling
    entry = RequestEntry(
        at=exchange.at,
        request_id=exchange.request_id,
        endpoint=exchange.endpoint,
        face=exchange.face,
        stored=exchange.stored,
        outcome=outcome,
        status=status,
        tenant=principal.tenant if principal else "",
        key_id=principal.key_id if principal else "",
        project=principal.project if principal else "",
        grant=principal.grant if principal else "",
        model=asked.model if asked else "",
        version=exchange.version,
        engine=exchange.engine,
        label=str(exchange.label) if exchange.label is not None else "",
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        thinking_tokens=usage.thinking_tokens,
        replays=exchange.replays,
        price_micro=exchange.price_micro(),
        cost_micro=exchange.cost_micro() or 0,
        ttft_s=_to_microseconds(exchange.ttft_s),
        latency_s=_to_microseconds(time.monotonic() - exchange.started_s),
        salt=salt.hex(),
        prompt_digest=hashlib.sha256(salt + exchange.body).hexdigest() if exchange.body else "",
        answer_digest=hashlib.sha256(salt + answer).hexdigest() if answer else "",
        error=code,
        user=exchange.user,
        conversation=exchange.conversation,
        learn=exchange.may_learn,
        arm=exchange.arm,
        sent=tuple(exchange.sent),
        resumed=exchange.resumed,
        transfers=_transfers(exchange),
        policies=ruling.digest if ruling is not None else "",
        denied_by=ruling.denied_by if ruling is not None else "",
        engine_s=spent.engine_s,
        joules=spent.joules,
        joules_error=spent.joules_error,
        meter=spent.meter,
    )
    return entry if exchange.thought is None else exchange.thought.mark(entry)


def _to_microseconds(seconds: float) -> float:
    """Return what `round(seconds, 6)` returns, at a fifth of its cost."""
    return int(seconds * 1e6 + 0.5) / 1e6


def _transfers(exchange: Exchange) -> tuple[Transfer, ...] | None:
    """Return what each attempt came to; None where an engine was called and nobody counted: that is no proof."""
    if not exchange.traffic:
        return () if exchange.call is None else None
    label = str(exchange.outgoing)
    return tuple(
        [
            Transfer(
                one.destination.name, one.destination.region, one.address, label, one.sent_bytes, one.received_bytes
            )
            for one in exchange.traffic
        ]
    )


def _if_killed(exchange: Exchange) -> RequestEntry:
    """Return the entry that a stream gets when the gateway is killed under it."""
    principal, asked, ruling = exchange.principal, exchange.asked, exchange.ruling
    return RequestEntry(
        at=exchange.at,
        request_id=exchange.request_id,
        endpoint=exchange.endpoint,
        face=exchange.face,
        outcome="failed",
        status=500,
        tenant=principal.tenant if principal else "",
        key_id=principal.key_id if principal else "",
        project=principal.project if principal else "",
        grant=principal.grant if principal else "",
        model=asked.model if asked else "",
        version=exchange.version,
        engine=exchange.engine,
        label=str(exchange.label) if exchange.label is not None else "",
        error=KILLED,
        user=exchange.user,
        conversation=exchange.conversation,
        learn=False,
        arm=exchange.arm,
        transfers=None,  # what will have been received nobody knows yet
        policies=ruling.digest if ruling is not None else "",
    )


def outcome_of(status: int, code: str) -> str:
    """Return the ledger's word for how a request ended."""
    if status < 400:
        return "ok"
    if status == 499:
        return "cancelled"
    return "refused" if status < 500 or code in _NO_ROOM else "failed"
