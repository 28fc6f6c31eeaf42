"""The same request twice under one idempotency key is answered once: the second is given the first's answer.

What was answered is what the ledger says; its text comes from the bodies that are kept. Nothing is kept here.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, Self

from tokenworks.core.label import Label
from tokenworks.gateway.admission.remembered import Remembered
from tokenworks.gateway.errors import ApiError, bad_request
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import RequestEntry

LONGEST = 255  # characters of a key
PAUSE_S = 0.05  # between two looks at what another process is doing
PATIENCE_S = 60.0
FindEntry = Callable[[str, str], Awaitable[RequestEntry | None]]  # request, tenant
JSON, EVENTS = (("content-type", "application/json"),), (("content-type", "text/event-stream"),)


class Texts(Protocol):
    """Prompts and answers beside the log, by request."""

    def get(self, request: str) -> tuple[bytes, bytes] | None:
        """Return both, None where they were never kept, or are gone."""
        ...


class Once:
    """Without `remembered` every request is asked. `find` looks on the ledger; `texts` is None where none are kept."""

    def __init__(self, remembered: Remembered | None, texts: Texts | None, find: FindEntry) -> None:
        self._remembered = remembered
        self._texts = texts
        self._find = find
        self._under_way: dict[tuple[str, str], asyncio.Event] = {}

    def __call__(self, exchange: Exchange, proceed: Handle) -> Awaitable[Reply]:
        """Ask, or answer as before; raise 422 where the key stands for another request, 409 where nothing is left."""
        if not exchange.idempotency_key or self._remembered is None:
            return proceed(exchange)
        return self._once(exchange, proceed, self._remembered)

    async def _once(self, exchange: Exchange, proceed: Handle, remembered: Remembered) -> Reply:
        check_key(exchange.idempotency_key)
        who, key, digest = _names(exchange)
        until_s = min(exchange.deadline_s, time.monotonic() + PATIENCE_S)
        await self._alone((who, key), exchange, until_s)
        first = await asyncio.to_thread(remembered.claim, who, key, digest, exchange.request_id, at=exchange.at)
        while first is not None:
            if first.digest != digest:
                raise _other_request()
            entry = await self._find(first.request_id, exchange.who.tenant)
            if entry is not None and entry.outcome == "ok":
                return await self._again(exchange, entry)
            over = entry is not None or first.owner == remembered.owner
            if over or not await asyncio.to_thread(remembered.lives, first.owner):
                if await asyncio.to_thread(remembered.take_over, who, key, first, exchange.request_id, at=exchange.at):
                    break
            elif time.monotonic() > until_s:
                raise _under_way()
            await asyncio.sleep(PAUSE_S)
            first = await asyncio.to_thread(remembered.claim, who, key, digest, exchange.request_id, at=exchange.at)
        exchange.stored = exchange.stored or (self._texts is not None and exchange.what.store)
        return await proceed(exchange)

    async def _alone(self, name: tuple[str, str], exchange: Exchange, until_s: float) -> None:
        """Return when no other request of this process is under way under this key; from then on this one is."""
        while (other := self._under_way.get(name)) is not None:
            try:
                async with asyncio.timeout_at(until_s):
                    await other.wait()
            except TimeoutError:
                raise _under_way() from None
        mine = self._under_way[name] = asyncio.Event()

        def written(entry: RequestEntry) -> None:
            self._under_way.pop(name, None)
            mine.set()

        exchange.written = written

    async def _again(self, exchange: Exchange, entry: RequestEntry) -> Reply:
        """Return the answer that was given; it is not learned from, kept, counted or paid for twice."""
        label = Label.parse(entry.label)
        readable = self._texts is not None and label <= exchange.who.clearance
        texts = (
            await asyncio.to_thread(self._texts.get, named(entry.tenant, entry.request_id))
            if self._texts and readable
            else None
        )
        if texts is None:
            raise _not_kept(entry.request_id)
        exchange.replays, exchange.may_learn, exchange.stored = entry.request_id, False, False
        exchange.label, exchange.version, exchange.engine = label, entry.version, entry.engine
        exchange.told = (*exchange.told, ("idempotency-replayed", "true"))
        if exchange.what.stream:
            return Reply(status=200, body=_Kept(texts[1]), headers=EVENTS, engine=entry.engine)
        return Reply(status=200, body=texts[1], headers=JSON, engine=entry.engine)


class _Kept:
    """A stream that was given before, at once."""

    def __init__(self, events: bytes) -> None:
        self._events = events

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return all events."""
        if not self._events:
            raise StopAsyncIteration
        events, self._events = self._events, b""
        return events

    async def aclose(self) -> None:
        """Want no more."""
        self._events = b""


def check_key(key: str) -> None:
    """Raise 400 for a key that is too long: cut short, it could be another's."""
    if len(key) > LONGEST:
        raise bad_request(f"the idempotency key is longer than {LONGEST} characters", param="idempotency-key")


def _names(exchange: Exchange) -> tuple[str, str, str]:
    """Return who asks, and digests of the idempotency key and of what is asked."""
    key = hashlib.sha256(exchange.idempotency_key.encode()).hexdigest()
    asked = hashlib.sha256(f"{exchange.endpoint}\0{exchange.face}\0".encode() + exchange.body).hexdigest()
    return f"{exchange.who.tenant}/{exchange.who.credential_id}", key, asked


def _other_request() -> ApiError:
    message = "this idempotency key was used for another request in the last 24 hours; send a new key with new content"
    return ApiError(422, message, code="idempotency_key_reused", param="idempotency-key")


def _under_way() -> ApiError:
    message = "the first request under this idempotency key is still under way; ask again for its answer"
    headers = (("retry-after", "5"),)
    return ApiError(409, message, code="idempotency_in_progress", param="idempotency-key", headers=headers)


def _not_kept(request_id: str) -> ApiError:
    message = (
        f"the request under this idempotency key was answered, as {request_id}, and its text is not kept: "
        "it was erased, store was false, or this house keeps none; send a new key to ask again"
    )
    headers = (("x-should-retry", "false"),)
    return ApiError(409, message, code="idempotency_answer_not_kept", param="idempotency-key", headers=headers)
