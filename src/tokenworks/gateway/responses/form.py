"""One request to /v1/responses: put into the words of a chat, and the answer back; or accepted, for later."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from tokenworks.core.ids import new_id
from tokenworks.core.label import Label, highest
from tokenworks.gateway.errors import bad_request
from tokenworks.gateway.exchange import Exchange, Reply
from tokenworks.gateway.openai.bodies import decode, refuse_duplicates
from tokenworks.gateway.openai.spoken import read_chat
from tokenworks.gateway.responses.asking import chat_of
from tokenworks.gateway.responses.fields import Wanted
from tokenworks.gateway.responses.kept import Kept, digest_of
from tokenworks.gateway.responses.outcome import Outcome
from tokenworks.gateway.responses.responses import Responses
from tokenworks.gateway.responses.shown import response
from tokenworks.gateway.responses.streaming import Events
from tokenworks.gateway.responses.waiting import Waiting
from tokenworks.gateway.ruling import Least
from tokenworks.gateway.sse import DONE, payload

ACCEPTED = "background"  # the face of a request that is only accepted
JSON = (("content-type", "application/json"),)
_json = msgspec.json.Decoder(dict[str, Any]).decode


class Form:
    """One request to create a response."""

    face = "responses"
    endpoint = "chat.completions"

    def __init__(self, responses: Responses, exchange: Exchange) -> None:
        self._responses = responses
        self._exchange = exchange
        self._id = new_id("resp")
        self._chat: dict[str, Any] = {}
        self._kept = Kept(request_id=exchange.request_id, label="")
        self._events: Events | None = None
        self._passed: list[bytes] = []
        self._before = ("", False)  # conversation and leave to learn, as the caller said them

    async def ask(self, body: bytes) -> bytes:
        """Return the chat, with the conversation that it goes on from."""
        wanted = decode(Wanted, body)
        refuse_duplicates(body)
        self._exchange.stored = self._responses.keeping(wanted.store)
        if wanted.background:
            self._put_off(wanted)
        history = await self._history(wanted.previous_response_id)
        self._chat = {**chat_of(wanted, history), "store": self._exchange.stored}
        self._kept = msgspec.structs.replace(
            self._kept,
            instructed=wanted.instructions is not None,
            previous_response_id=wanted.previous_response_id,
            background=bool(wanted.background),
            status="queued" if wanted.background else "",
        )
        self._events = Events(self._id, self._exchange.at, self._kept, self._chat)
        return msgspec.json.encode(self._chat)

    async def answer(self, body: bytes) -> bytes:
        """Return the response; it is found again before it is given."""
        if self._exchange.later is not None:
            await self._accept(body)
            return body
        outcome = Outcome()
        outcome.take(read_chat(body))
        await self._keep(body)
        return msgspec.json.encode(response(self._id, self._exchange.at, self._kept, self._chat, outcome))

    async def event(self, event: bytes) -> bytes:
        """Return the events that an event of the chat becomes."""
        assert self._events is not None, "what was asked is known before it is answered"
        if event == DONE:
            await self._keep(b"".join(self._passed))
            return self._events.end()
        data = payload(event)
        if data.startswith(b'{"error"'):
            return self._events.fail(_json(data)["error"])
        if self._exchange.stored:
            self._passed.append(event)
        return self._events.feed(data)

    def refusal(self, status: int, body: bytes) -> bytes:
        """Return the error as it is."""
        return body

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return none."""
        return ()

    async def _history(self, previous: str | None) -> list[dict[str, Any]]:
        """Return the messages up to and with the previous answer; what is asked now carries at least its label."""
        if previous is None:
            return []
        find = self._responses.find
        _, kept, chat, outcome = await asyncio.to_thread(find, self._exchange.who, previous, "previous_response_id")
        if outcome is None:
            status = kept.status.replace("_", " ")
            message = f"response {previous!r} is {status}; only one that has an answer can be continued"
            raise bad_request(message, param="previous_response_id", code="response_not_completed")
        self._exchange.least = Least(Label.parse(kept.label), Label.parse(kept.outgoing))
        calls = [
            {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
            for _, one in sorted(outcome.calls.items())
        ]
        said: dict[str, Any] = {"role": "assistant", "content": outcome.text or (None if calls else "")}
        return [*chat["messages"][kept.instructed :], {**said, "tool_calls": calls} if calls else said]

    async def _keep(self, answer: bytes) -> None:
        if self._exchange.stored:
            await self._responses.keep(self._id, self._exchange, self._kept, answer)

    def _put_off(self, wanted: Wanted) -> None:
        """Have the request only accepted; raise 400 where it could not be found again."""
        if not self._exchange.stored:
            kept = "store: false" if wanted.store is False else "a house that keeps no texts (ledger.keep_bodies)"
            message = f"background: true needs a stored response, and this one is not, by {kept}"
            raise bad_request(message, param="background", code="background_requires_store")
        if wanted.stream:
            message = (
                "stream: true together with background: true is not supported here; "
                "leave stream out and ask GET /v1/responses/{id} until it is completed"
            )
            raise bad_request(message, param="stream", code="unsupported_parameter")
        self._before = (self._exchange.conversation, self._exchange.may_learn)
        self._exchange.face, self._exchange.later = ACCEPTED, self._queued

    async def _queued(self) -> Reply:
        """Return the response as it is accepted; it is in the catalog before the caller is given it."""
        await asyncio.to_thread(self._responses.check_room, self._exchange.who)
        shown = response(self._id, self._exchange.at, self._kept, self._chat, None)
        return Reply(status=200, body=msgspec.json.encode(shown), headers=JSON)

    async def _accept(self, body: bytes) -> None:
        """Have it answered later. Given again under an idempotency key, it is the one of then."""
        exchange, said, (conversation, may_learn) = self._exchange, _json(body), self._before
        label = exchange.label or Label.PUBLIC
        kept = msgspec.structs.replace(
            self._kept,
            request_id=exchange.replays or exchange.request_id,
            label=str(label),
            outgoing=str(highest([label, exchange.outgoing])),
            digest=digest_of(said["id"], exchange.body, body),
        )
        waiting = Waiting(
            kept=kept,
            tenant=exchange.who.tenant,
            home=self._responses.home,
            key_id=exchange.who.credential_id,
            declared=exchange.declared,
            inside=str(exchange.least.inside),
            outside=str(exchange.least.outside),
            conversation=conversation,
            may_learn=may_learn,
            urgency=exchange.urgency,
            due_ms=exchange.due_ms,
        )
        await self._responses.accept(said["id"], waiting, float(said["created_at"]))
