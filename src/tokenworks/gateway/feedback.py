"""What somebody thought of an answer: checked against who asked, written once, however often it is sent."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from tokenworks.core.errors import StoreError
from tokenworks.gateway.errors import ApiError, bad_request
from tokenworks.gateway.exchange import Exchange, Layer, Reply, Routes
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.authorise import require_scope
from tokenworks.gateway.layers.once import check_key
from tokenworks.gateway.layers.record import not_recorded
from tokenworks.gateway.notes import Notes, Writer
from tokenworks.gateway.openai.bodies import check_text, decode, malformed
from tokenworks.governance import opinions
from tokenworks.governance.opinions import NotTakenError, Opinion
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry
from tokenworks.ledger.vault import Subject

MOST_AT_ONCE = 1000
REMEMBERED = 65_536
_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Texts(Protocol):
    """Texts of feedback beside the log."""

    def put_correction(self, feedback_id: str, text: str, subject: Subject) -> None:
        """Keep the text."""
        ...

    def is_erased(self, request: str) -> bool:
        """Return whether what was asked and answered was erased."""
        ...


class Given(Protocol):
    """Feedback that the log has; asked in threads."""

    def about(self, request_id: str, tenant: str) -> list[FeedbackEntry]:
        """Return all feedback on a request, the oldest first."""
        ...


def feedback_face(feedback: Feedback, around: Sequence[Layer]) -> Routes:
    """Return the routes that take feedback, and show it."""
    return {
        ("POST", "/v1/feedback"): ("feedback", fold(around, feedback)),
        ("GET", "/v1/feedback/*"): ("feedback", fold(around, feedback.show)),
    }


class Feedback:
    """Take feedback on requests of the caller's own tenant, one or a list of them."""

    def __init__(self, notes: Notes, ledger: Writer, texts: Texts, given: Given) -> None:
        self._notes = notes
        self._ledger = ledger
        self._texts = texts
        self._given = given
        self._taken: OrderedDict[str, FeedbackEntry] = OrderedDict()
        self._lock = asyncio.Lock()

    async def __call__(self, exchange: Exchange) -> Reply:
        """Answer with the feedback object: 201 when new, 200 when it was sent before. A list is answered by a list."""
        require_scope(exchange.who, "feedback")
        check_key(exchange.idempotency_key)
        exchange.body = await exchange.read()
        if exchange.body.lstrip()[:1] == b"[":
            return await self._many(exchange)
        status, shown = await self._one(exchange, exchange.body, exchange.idempotency_key)
        return Reply(status=status, body=msgspec.json.encode(shown))

    async def show(self, exchange: Exchange) -> Reply:
        """Answer with all feedback on one request of the caller's tenant."""
        require_scope(exchange.who, "feedback")
        await self._own(exchange, exchange.target)
        found = await asyncio.to_thread(self._given.about, exchange.target, exchange.who.tenant)
        body = {"object": "list", "data": [opinions.shown(entry) for entry in found]}
        return Reply(status=200, body=msgspec.json.encode(body))

    async def _many(self, exchange: Exchange) -> Reply:
        """Take each of a list for itself: what cannot be taken is answered with its error, the others are taken."""
        check_text(exchange.body)
        try:
            items = _raw_list(exchange.body)
        except msgspec.DecodeError as error:
            raise malformed(error, exchange.body) from None
        if len(items) > MOST_AT_ONCE:
            raise bad_request(f"{len(items)} items; at most {MOST_AT_ONCE} are taken at once, send the rest after it")
        answers: list[dict[str, Any]] = []
        for number, item in enumerate(items):
            once = f"{exchange.idempotency_key}/{number}" if exchange.idempotency_key else ""
            try:
                status, shown = await self._one(exchange, bytes(item), once)
                answers.append({**shown, "status": status})
            except ApiError as error:
                told = {"message": error.message, "code": error.code, "param": error.param}
                answers.append({"object": "feedback.error", "index": number, "status": error.status, "error": told})
        failed = sum(one["object"] == "feedback.error" for one in answers)
        body = {"object": "list", "data": answers, "taken": len(answers) - failed, "failed": failed}
        return Reply(status=200, body=msgspec.json.encode(body))

    async def _one(self, exchange: Exchange, body: bytes, once: str) -> tuple[int, dict[str, Any]]:
        opinion = decode(Opinion, body)
        try:
            opinions.require_something(opinion)
            asked = await self._own(exchange, opinion.request_id)
            if opinion.preferred_over is not None:
                opinions.require_comparable(asked, await self._own(exchange, opinion.preferred_over))
            async with self._lock:
                return await self._take(exchange, opinion, asked, once)
        except NotTakenError as error:
            raise ApiError(error.status, str(error), code=error.code, param=error.param) from None

    async def _own(self, exchange: Exchange, request_id: str) -> RequestEntry:
        tenant = exchange.who.tenant
        asked = await self._notes.find(request_id, tenant)
        erased = asked is not None and await asyncio.to_thread(self._texts.is_erased, named(tenant, request_id))
        try:
            return opinions.require_own(request_id, asked, tenant=tenant, erased=erased)
        except NotTakenError as error:
            raise ApiError(error.status, str(error), code=error.code, param=error.param) from None

    async def _take(
        self, exchange: Exchange, opinion: Opinion, asked: RequestEntry, once: str
    ) -> tuple[int, dict[str, Any]]:
        who = exchange.who
        name = opinions.feedback_id(opinion, key_id=who.key_id, once=once)
        given = await asyncio.to_thread(self._given.about, opinion.request_id, who.tenant)
        before = self._taken.get(name) or next((entry for entry in given if entry.feedback_id == name), None)
        if before is not None:
            if not opinions.same(before, opinion):
                raise _contradiction()
            return 200, opinions.shown(before)
        opinions.require_room(given, who.key_id)
        entry = opinions.entry_of(opinion, key_id=who.key_id, tenant=who.tenant, once=once)
        try:
            await self._write(opinion, entry, asked.label)
        except StoreError as error:
            raise not_recorded(error) from None
        self._taken[entry.feedback_id] = entry
        if len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)
        return 201, opinions.shown(entry)

    async def _write(self, opinion: Opinion, entry: FeedbackEntry, label: str) -> None:
        """Texts first: an entry never points to a text that is not there."""
        subject = Subject(entry.tenant, entry.user, label)
        for name, text in opinions.texts_of(opinion, entry).items():
            await asyncio.to_thread(self._texts.put_correction, name, text, subject)
        await self._ledger.record(entry)


def _contradiction() -> ApiError:
    return ApiError(
        409,
        "this Idempotency-Key was used for other feedback on the same request; use a new one",
        code="idempotency_conflict",
    )
