"""/v1/responses: asked through the stack as a chat; where the caller wants it kept, found again by its id."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec

from tokenworks.core.ids import new_id, sha256_hex
from tokenworks.core.label import Label, highest
from tokenworks.gateway.errors import bad_request, not_found
from tokenworks.gateway.exchange import Exchange
from tokenworks.gateway.openai.bodies import decode, refuse_duplicates
from tokenworks.gateway.openai.spoken import read_chat
from tokenworks.gateway.platform.call import Call
from tokenworks.gateway.platform.pages import page
from tokenworks.gateway.responses.asking import chat_of
from tokenworks.gateway.responses.fields import Wanted
from tokenworks.gateway.responses.outcome import Outcome, outcome_of
from tokenworks.gateway.responses.shown import Kept, input_items, response
from tokenworks.gateway.responses.streaming import Events
from tokenworks.gateway.ruling import Least
from tokenworks.gateway.sse import DONE, payload
from tokenworks.governance.keys import Principal
from tokenworks.ledger.bodies import named
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

KIND = "response"
_json = msgspec.json.Decoder(dict[str, Any]).decode


class KeptTexts(Protocol):
    """Prompts and answers beside the log, by request."""

    def get(self, request: str) -> tuple[bytes, bytes] | None:
        """Return both, None where they were never kept, or are gone."""
        ...

    def erase_requests(self, request_ids: Any) -> Any:
        """Forget both."""
        ...


class Responses:
    """The responses of all tenants. `texts` is None in a house that keeps none: then nothing is remembered."""

    def __init__(self, objects: Objects, texts: KeptTexts | None) -> None:
        self._objects = objects
        self._texts = texts

    def form(self, exchange: Exchange) -> Form:
        """Return one request to create a response."""
        return Form(self, exchange)

    def get(self, call: Call) -> Any:
        """Return a response as it was."""
        call.known()
        found, kept, chat, outcome = self.find(call.who, call.targets[0])
        return response(found.id, found.created_at, kept, chat, outcome)

    def delete(self, call: Call) -> Any:
        """Forget a response, and its texts."""
        call.known()
        found, kept, _, _ = self.find(call.who, call.targets[0])
        assert self._texts is not None, "something was found"
        self._texts.erase_requests([named(call.who.tenant, kept.request_id)])
        self._objects.delete(KIND, found.id)
        return {"id": found.id, "object": "response", "deleted": True}

    def items(self, call: Call) -> Any:
        """Return what was asked, in pages."""
        call.known("after", "limit", "order")
        found, kept, chat, _ = self.find(call.who, call.targets[0])
        items = input_items(found.id, kept, chat)
        listed = [Object(kind=KIND, id=one["id"], scope="", body=one, created_at=0.0) for one in items]
        part = page(call, listed)
        return part.shown([one.body for one in part.objects])

    def find(self, who: Principal, id: str, param: str | None = None) -> tuple[Object, Kept, dict[str, Any], Outcome]:
        """Return a response with its texts; another tenant's, or one above the clearance, does not exist."""
        found = self._objects.get(KIND, id)
        kept = msgspec.convert(found.body, Kept) if found is not None else None
        texts = None
        if found and kept and found.scope == who.tenant and Label.parse(kept.label) <= who.clearance and self._texts:
            texts = self._texts.get(named(who.tenant, kept.request_id))
        if found is None or kept is None or texts is None or _digest(id, *texts) != kept.digest:
            raise not_found(
                f"response {id!r} does not exist, is no longer kept, or is not yours",
                code="response_not_found",
                param=param,
            )
        return found, kept, _json(texts[0]), outcome_of(texts[1])

    def keeping(self, store: bool | None) -> bool:
        """Return whether a response is kept; raise 400 where that is asked for and nothing is kept here."""
        if self._texts is None and store:
            raise bad_request("this house keeps no texts (ledger.keep_bodies); send store: false", param="store")
        return self._texts is not None and store is not False

    async def keep(self, id: str, exchange: Exchange, kept: Kept, answer: bytes) -> None:
        """Have the response found from now on."""
        digest = _digest(id, exchange.body, answer)
        label = exchange.label or Label.PUBLIC
        outgoing = highest([label, exchange.outgoing])
        kept = msgspec.structs.replace(kept, label=str(label), outgoing=str(outgoing), digest=digest)
        body = msgspec.to_builtins(kept)
        found = Object(kind=KIND, id=id, scope=exchange.who.tenant, body=body, created_at=exchange.at)
        await asyncio.to_thread(self._objects.add, found)


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

    async def ask(self, body: bytes) -> bytes:
        """Return the chat, with the conversation that it goes on from."""
        wanted = decode(Wanted, body)
        refuse_duplicates(body)
        if wanted.background:
            raise bad_request(
                "background is not supported here; leave it out, or send a batch",
                param="background",
                code="unsupported_parameter",
            )
        self._exchange.stored = self._responses.keeping(wanted.store)
        history = await self._history(wanted.previous_response_id)
        self._chat = {**chat_of(wanted, history), "store": self._exchange.stored}
        self._kept = msgspec.structs.replace(
            self._kept,
            instructed=wanted.instructions is not None,
            previous_response_id=wanted.previous_response_id,
        )
        self._events = Events(self._id, self._exchange.at, self._kept, self._chat)
        return msgspec.json.encode(self._chat)

    async def answer(self, body: bytes) -> bytes:
        """Return the response; it is found again before it is given."""
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


def _digest(id: str, prompt: bytes, answer: bytes) -> str:
    return sha256_hex(b"\0".join((id.encode(), prompt, answer)))
