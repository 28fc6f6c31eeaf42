"""/v1/responses: asked through the stack as a chat; where the caller wants it kept, found again by its id."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from tokenworks.core.label import Label, highest
from tokenworks.gateway.errors import ApiError, bad_request, not_found
from tokenworks.gateway.exchange import Exchange
from tokenworks.gateway.platform.call import Call
from tokenworks.gateway.platform.elsewhere import Runner
from tokenworks.gateway.platform.pages import page
from tokenworks.gateway.platform.shelf import add_once
from tokenworks.gateway.responses.kept import KIND, Kept, KeptTexts, digest_of
from tokenworks.gateway.responses.outcome import Outcome, outcome_of
from tokenworks.gateway.responses.shown import input_items, response
from tokenworks.gateway.responses.waiting import WAITING, Waiting, end, forget, kept_in
from tokenworks.governance.keys import Principal
from tokenworks.ledger.bodies import named
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

MOST_WAITING = 1000  # of one tenant
_json = msgspec.json.Decoder(dict[str, Any]).decode


class Responses:
    """The responses of all tenants. `texts` is None in a house that keeps none: then nothing is remembered.

    `runner` works on those that nobody waits for.
    """

    def __init__(self, objects: Objects, texts: KeptTexts | None, runner: Runner, home: str) -> None:
        self.home = home
        self._objects = objects
        self._texts = texts
        self._runner = runner

    def get(self, call: Call) -> Any:
        """Return a response as it was."""
        call.known()
        found, kept, chat, outcome = self.find(call.who, call.targets[0])
        return response(found.id, found.created_at, kept, chat, outcome)

    def delete(self, call: Call) -> Any:
        """Forget a response, and its texts; one that is under way is stopped."""
        call.known()
        found, kept, _, _ = self.find(call.who, call.targets[0])
        assert self._texts is not None, "something was found"
        if found.kind == WAITING:
            if (gone := forget(self._objects, found.id)) is None:  # it came to its end just now
                return self.delete(call)
            kept = gone.kept
            self._runner.end(found.id)
        requests = [one for one in (kept.request_id, kept.accepted_as) if one]
        self._texts.erase_requests([named(call.who.tenant, one) for one in requests])
        self._objects.delete(KIND, found.id)
        return {"id": found.id, "object": "response", "deleted": True}

    def cancel(self, call: Call) -> Any:
        """Stop a response that nobody waits for; one that was cancelled before is returned as it is."""
        call.known()
        found, kept, _, _ = self.find(call.who, call.targets[0])
        if not kept.background:
            message = f"response {found.id} was not created with background: true; only such a one can be cancelled"
            raise bad_request(message, code="response_not_cancellable")
        if end(self._objects, found.id, lambda kept: msgspec.structs.replace(kept, status="cancelled")):
            self._runner.end(found.id)
        found, kept, chat, outcome = self.find(call.who, found.id)
        shown = response(found.id, found.created_at, kept, chat, outcome)
        if kept.status != "cancelled":
            message = f"response {found.id} is {shown['status']}; it cannot be cancelled"
            raise bad_request(message, code="response_not_cancellable")
        return shown

    def items(self, call: Call) -> Any:
        """Return what was asked, in pages."""
        call.known("after", "limit", "order")
        found, kept, chat, _ = self.find(call.who, call.targets[0])
        items = input_items(found.id, kept, chat)
        listed = [Object(kind=KIND, id=one["id"], scope="", body=one, created_at=0.0) for one in items]
        return page(call, listed, lambda one: one.body)

    def find(
        self, who: Principal, id: str, param: str | None = None
    ) -> tuple[Object, Kept, dict[str, Any], Outcome | None]:
        """Return a response with its texts; another tenant's, or one above the clearance, does not exist."""
        found = self._objects.get(WAITING, id) or self._objects.get(KIND, id)  # in the order in which it moves
        kept = kept_in(found) if found is not None else None
        texts = None
        if found and kept and found.scope == who.tenant and Label.parse(kept.label) <= who.clearance and self._texts:
            texts = self._texts.get(named(who.tenant, kept.request_id))
        if found is None or kept is None or texts is None or digest_of(id, *texts) != kept.digest:
            raise not_found(
                f"response {id!r} does not exist, is no longer kept, or is not yours",
                code="response_not_found",
                param=param,
            )
        return found, kept, _json(texts[0]), None if kept.status else outcome_of(texts[1])

    def keeping(self, store: bool | None) -> bool:
        """Return whether a response is kept; raise 400 where that is asked for and nothing is kept here."""
        if self._texts is None and store:
            raise bad_request("this house keeps no texts (ledger.keep_bodies); send store: false", param="store")
        return self._texts is not None and store is not False

    async def keep(self, id: str, exchange: Exchange, kept: Kept, answer: bytes) -> None:
        """Have the response found from now on."""
        digest = digest_of(id, exchange.body, answer)
        label = exchange.label or Label.PUBLIC
        outgoing = highest([label, exchange.outgoing])
        kept = msgspec.structs.replace(kept, label=str(label), outgoing=str(outgoing), digest=digest)
        body = msgspec.to_builtins(kept)
        found = Object(kind=KIND, id=id, scope=exchange.who.tenant, body=body, created_at=exchange.at)
        await asyncio.to_thread(self._objects.add, found)

    async def accept(self, id: str, waiting: Waiting, at: float) -> None:
        """Have the response found, and answered later; one that was accepted before stays as it is."""
        await asyncio.to_thread(self._accept, id, waiting, at)
        self._runner.begin(id)

    def _accept(self, id: str, waiting: Waiting, at: float) -> None:
        if self._objects.get(WAITING, id) is None and self._objects.get(KIND, id) is None:
            body = msgspec.to_builtins(waiting)
            add_once(self._objects, Object(kind=WAITING, id=id, scope=waiting.tenant, body=body, created_at=at))

    def check_room(self, who: Principal) -> None:
        """Raise 429 where too many of the tenant's responses wait already."""
        if len(self._objects.of(WAITING, who.tenant)) >= MOST_WAITING:
            message = f"{MOST_WAITING} background responses wait already; ask again when some are completed"
            raise ApiError(429, message, code="too_many_background_responses", headers=(("retry-after", "30"),))
