"""What somebody thought of an answer: checked against who asked, written once, however often it is sent."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from tokenworks.core.errors import StoreError
from tokenworks.core.ids import content_id
from tokenworks.gateway.errors import ApiError, bad_request, not_found
from tokenworks.gateway.exchange import Exchange, Reply
from tokenworks.gateway.layers.authorise import require_scope
from tokenworks.gateway.layers.record import not_recorded
from tokenworks.gateway.notes import Notes, Writer
from tokenworks.gateway.openai.bodies import decode
from tokenworks.ledger.entries import FeedbackEntry

MOST_CHARACTERS = 1 << 20


class FeedbackBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/feedback."""

    request_id: Annotated[str, Meta(min_length=1, max_length=64)]
    rating: Annotated[int, Meta(ge=-1, le=1)] | None = None
    correction: Annotated[str, Meta(min_length=1, max_length=MOST_CHARACTERS)] | None = None
    comment: Annotated[str, Meta(min_length=1, max_length=MOST_CHARACTERS)] | None = None


class CorrectionStore(Protocol):
    """Texts of feedback beside the log."""

    def put_correction(self, feedback_id: str, text: str) -> None:
        """Keep the text."""
        ...


class Feedback:
    """Take feedback on requests of the caller's own tenant. `known` gives what was taken before this process began."""

    def __init__(
        self,
        notes: Notes,
        ledger: Writer,
        texts: CorrectionStore,
        *,
        known: Callable[[], Iterable[FeedbackEntry]],
    ) -> None:
        self._notes = notes
        self._ledger = ledger
        self._texts = texts
        self._known = known
        self._taken: dict[str, FeedbackEntry] | None = None
        self._lock = asyncio.Lock()

    async def __call__(self, exchange: Exchange) -> Reply:
        """Answer with the feedback object: 201 when new, 200 when it was sent before."""
        require_scope(exchange.who, "feedback")
        exchange.body = await exchange.read()
        body = decode(FeedbackBody, exchange.body)
        if body.rating is None and body.correction is None and body.comment is None:
            raise bad_request("there is nothing in this feedback; send rating (-1, 0, 1), correction or comment")
        asked = await self._notes.find(body.request_id)
        if asked is None or asked.tenant != exchange.who.tenant:
            message = (
                f"request {body.request_id!r} is not known here; send the x-request-id of an answer you were given"
            )
            raise not_found(message, code="request_not_found", param="request_id")
        async with self._lock:
            return await self._take(exchange, body)

    async def _take(self, exchange: Exchange, body: FeedbackBody) -> Reply:
        if self._taken is None:
            self._taken = await asyncio.to_thread(lambda: {entry.feedback_id: entry for entry in self._known()})
        entry = _entry(exchange, body)
        before = self._taken.get(entry.feedback_id)
        if before is not None:
            return _reply(before, 200) if _same(before, body) else _contradiction()
        try:
            await self._write(entry, body)
        except StoreError as error:
            raise not_recorded(error) from None
        self._taken[entry.feedback_id] = entry
        return _reply(entry, 201)

    async def _write(self, entry: FeedbackEntry, body: FeedbackBody) -> None:
        """Texts first: an entry never points to a text that is not there."""
        if body.correction is not None:
            await asyncio.to_thread(self._texts.put_correction, entry.feedback_id, body.correction)
        if body.comment is not None:
            await asyncio.to_thread(self._texts.put_correction, f"{entry.feedback_id}.comment", body.comment)
        await self._ledger.record(entry)


def _entry(exchange: Exchange, body: FeedbackBody) -> FeedbackEntry:
    """Return the entry; its id is the same for the same words of the same key, or for the same Idempotency-Key."""
    who = exchange.who
    once = exchange.idempotency_key or content_id(body)
    salt = os.urandom(16)
    return FeedbackEntry(
        at=time.time(),
        feedback_id="fb-" + content_id([who.key_id, body.request_id, once])[:32],
        request_id=body.request_id,
        key_id=who.key_id,
        tenant=who.tenant,
        rating=body.rating,
        has_correction=body.correction is not None,
        salt=salt.hex() if body.correction is not None else "",
        correction_digest=_digest(salt, body.correction),
    )


def _same(before: FeedbackEntry, body: FeedbackBody) -> bool:
    return before.rating == body.rating and before.correction_digest == _digest(
        bytes.fromhex(before.salt), body.correction
    )


def _digest(salt: bytes, text: str | None) -> str:
    return hashlib.sha256(salt + text.encode()).hexdigest() if text is not None else ""


def _contradiction() -> Reply:
    raise ApiError(
        409,
        "this Idempotency-Key was used for other feedback on the same request; use a new one",
        code="idempotency_conflict",
    )


def _reply(entry: FeedbackEntry, status: int) -> Reply:
    shown = {
        "id": entry.feedback_id,
        "object": "feedback",
        "request_id": entry.request_id,
        "created_at": int(entry.at),
        "rating": entry.rating,
        "has_correction": entry.has_correction,
    }
    return Reply(status=status, body=msgspec.json.encode(shown))
