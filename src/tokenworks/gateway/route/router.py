"""Asks one destination after another until one answers.

Never one that policy forbids, and none after a byte of an answer was passed on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from tokenworks.core.destination import Destination
from tokenworks.gateway.errors import ApiError, bad_request, forbidden, unavailable
from tokenworks.gateway.exchange import Exchange, Reply
from tokenworks.gateway.route.affinity import in_turn, prefix_key
from tokenworks.gateway.route.again import again
from tokenworks.gateway.route.attempt import attempt
from tokenworks.gateway.route.choosing import Draw, chosen
from tokenworks.gateway.route.failing import NOTHING_SENT, FailedError
from tokenworks.gateway.route.finishing import Finishing, Patience, resumable
from tokenworks.gateway.route.hedge import Hedge
from tokenworks.gateway.route.permitted import forbids
from tokenworks.gateway.route.places import Ask, Place
from tokenworks.gateway.route.routes import HERE_ONLY, Route
from tokenworks.gateway.route.stalling import Stalling
from tokenworks.ledger.entries import Sent
from tokenworks.serving.answer import Chunks, EngineCall
from tokenworks.serving.connection import LostError
from tokenworks.serving.upstream import UnreachedError

PATIENCE_S = 600.0  # a long prompt on a slow machine of ours is silent for minutes
TRIED = ("canary", "shadow")  # what is on trial is asked itself, and nobody instead of it
log = structlog.get_logger()


class Router:
    """Stands where the engines stood: the innermost of the stack.

    `ask` is the pool of this site, `count` says how many engines it has of a version (0: none yet), `routes` say by
    alias who else may be asked. Without replicas and routes a request costs one question to policy, no more.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        count: Callable[[str], int] | None = None,
        routes: Mapping[str, Route] | None = None,
        patience: Patience | None = None,
        hedge_percent: float = 0.0,
        draw: Draw = random.random,
    ) -> None:
        self._draw = draw
        self._hedge = Hedge(hedge_percent)
        self._ask = ask
        self._patience = patience or Patience()
        self._count = count
        self._routes = dict(routes or {})
        self._here: dict[str, tuple[Place, ...]] = {}

    async def __call__(self, exchange: Exchange) -> Reply:
        """Return the first answer; raise what the last destination failed with where there is none."""
        call = exchange.call
        assert call is not None, "no layer has made the call"
        tried = exchange.arm in TRIED
        route = HERE_ONLY if tried else self._routes.get(exchange.what.model, HERE_ONLY)
        here = self._here.get(call.ref) or self._open(call.ref)
        if not tried:
            call = self.prepared(exchange, call)
        if len(here) == 1 and not route.leaves:
            if why := forbids(exchange, here[0]):
                raise _forbidden([why])
            reply, place = await self._alone(exchange, call, here[0]), here[0]
        else:
            reply, place = await self._first(exchange, call, self._order(exchange, route, here))
        return self.passed_on(exchange, call, reply, place)

    def prepared(self, exchange: Exchange, call: EngineCall) -> EngineCall:
        """Return `call` such that another engine can finish what the first begins, where that is possible."""
        if call.stream and self._patience.resume_s and exchange.what.size.answers == 1:
            return msgspec.structs.replace(call, resume=resumable())
        return call

    def passed_on(self, exchange: Exchange, call: EngineCall, reply: Reply, place: Place) -> Reply:
        """Return what `place` answers to `call`; a stream goes on where its engine dies, and ends where it is mute."""
        if isinstance(reply.body, bytes):
            return reply
        body: Chunks
        if not place.here:
            body = Stalling(reply.body, place.name, max(self._patience.stall_s, place.first_byte_s))
            return msgspec.structs.replace(reply, body=body)
        if not call.resume:
            return reply
        here = self._here.get(call.ref) or self._open(call.ref)
        body = Finishing(exchange, call, reply.body, place, here, self._patience)
        return msgspec.structs.replace(reply, body=body)

    def alone(self, alias: str, ref: str) -> Place | None:
        """Return the one destination that may be asked for `alias`, None where there is a choice."""
        here = self._here.get(ref) or self._open(ref)
        return here[0] if len(here) == 1 and not self._routes.get(alias, HERE_ONLY).leaves else None

    def places(self) -> list[Place]:
        """Return every destination that was asked or may be."""
        far = {place.name: place for route in self._routes.values() for place in route.far}
        return [*(place for here in self._here.values() for place in here), *far.values()]

    async def _alone(self, exchange: Exchange, call: EngineCall, place: Place) -> Reply:
        """Ask the one engine there is; where it dies before a word of its answer, ask again when it is back."""
        try:
            return await self._ask(call)
        except (LostError, UnreachedError) as error:
            if not place.here:
                raise
            return await again(exchange, call, place, error, self._patience.resume_s)

    def _open(self, ref: str) -> tuple[Place, ...]:
        count = 1 if self._count is None else self._count(ref)
        made = tuple(
            Place(Destination(name=ref), self._ask, first_byte_s=PATIENCE_S, replica=number)
            for number in range(max(1, count))
        )
        if count:  # else it is being opened, and how many there will be is not known
            self._here[ref] = made
        return made

    def _order(self, exchange: Exchange, route: Route, here: Sequence[Place]) -> list[Place]:
        """Return whom to ask in turn, as the route says."""
        near = in_turn(here, prefix_key(exchange)) if len(here) > 1 and route.here_at >= 0 else here
        return chosen(exchange, route, near, self._draw)

    async def _first(self, exchange: Exchange, call: EngineCall, order: Sequence[Place]) -> tuple[Reply, Place]:
        """Ask in turn; what is not awake is waited for only where nobody else answers."""
        failures: list[FailedError] = []
        refused: list[str] = []
        starting = None
        after_s = self._hedge.after_s(exchange) if len(order) > 1 else None
        left = deque(order)
        resting: set[Place] = set()
        while left:
            place = left.popleft()
            if why := forbids(exchange, place):
                refused.append(why)
            elif place.here and place not in resting and not place.breaker.closed:
                resting.add(place)  # our own engines are asked in the end: who restarts them knows better
                left.append(place)
            elif place in resting or place.breaker.take():
                try:
                    if after_s is None:
                        return await self._try(exchange, place, call, wait_s=0.0), place
                    return await self._twice(exchange, place, call, left, after_s)
                except FailedError as error:
                    failures.append(error)
                    starting = place if error.how == "starting" and starting is None else starting
        if len(refused) == len(order):
            raise _forbidden(refused)
        if starting is not None and call.wait_s != 0.0 and not forbids(exchange, starting):
            try:
                return await self._try(exchange, starting, call, wait_s=call.wait_s), starting
            except FailedError as error:
                failures.append(error)
        return _last(failures, order), order[-1]

    async def _twice(
        self, exchange: Exchange, place: Place, call: EngineCall, others: deque[Place], after_s: float
    ) -> tuple[Reply, Place]:
        """Ask `place`, and one of `others` as well where it takes longer than `after_s`; return who is first."""
        asking = {asyncio.create_task(self._try(exchange, place, call, wait_s=0.0)): place}
        try:
            done, _ = await asyncio.wait(asking, timeout=after_s)
            if not done and (second := self._second(exchange, others)) is not None:
                asking[asyncio.create_task(self._try(exchange, second, call, wait_s=0.0))] = second
            while True:
                done, left = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                answered = next((task for task in done if task.exception() is None), None)
                if answered is not None:
                    return answered.result(), asking[answered]
                if not left:
                    return next(iter(done)).result(), place
                for task in done:
                    del asking[task]
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    def _second(self, exchange: Exchange, others: deque[Place]) -> Place | None:
        """Return who else may be asked now, where the budget has room."""
        for place in others:
            if not forbids(exchange, place) and place.breaker.closed and self._hedge.take():
                others.remove(place)
                return place
        return None

    async def _try(self, exchange: Exchange, place: Place, call: EngineCall, *, wait_s: float | None) -> Reply:
        """Ask one destination, and note that it was sent the text."""
        began_s = time.monotonic()
        left_s = exchange.deadline_s - began_s
        if left_s <= 0:
            place.breaker.dropped()
            raise FailedError("the deadline of the request is over", how="late")
        asked = msgspec.structs.replace(call, replica=max(0, place.replica), wait_s=wait_s)
        note = Sent(to=place.name, region=place.destination.region, size_bytes=len(call.body), ended="dropped")
        try:
            reply = await attempt(place, asked, within_s=min(place.first_byte_s, left_s))
            note = msgspec.structs.replace(note, ended="ok")
        except FailedError as error:
            note = msgspec.structs.replace(note, ended=error.how)
            told = {"request_id": call.request_id, "destination": place.name, "how": error.how}
            log.warning("destination failed", **told, error=str(error))
            raise
        finally:
            if note.ended not in NOTHING_SENT:
                exchange.sent.append(note)
        self._hedge.took(exchange, time.monotonic() - began_s)
        return reply


def _forbidden(refused: Sequence[str]) -> ApiError:
    message = f"no destination may see this text: {'; '.join(dict.fromkeys(refused))}"
    return forbidden(message, code="destination_not_permitted", param="model")


def _last(failures: Sequence[FailedError], order: Sequence[Place]) -> Reply:
    """Return what the last destination said, or raise why there is no answer."""
    if not failures:
        wait_s = min(place.breaker.wait_s for place in order)
        names = ", ".join(dict.fromkeys(place.name for place in order))
        message = f"every destination that may answer ({names}) has failed of late; ask again in a moment"
        raise unavailable(message, code="destinations_resting", retry_after_s=wait_s)
    last = failures[-1]
    if last.how == "unspoken":
        raise bad_request(str(last), code="unsupported_parameter")
    if last.how == "late":
        raise unavailable(str(last), code="deadline_exceeded", retry_after_s=1.0)
    if last.how == "starting":
        raise unavailable(str(last), code="engine_starting", retry_after_s=last.retry_after_s or 1.0)
    if last.answer is not None and last.how != "refused":
        return last.answer
    raise last
