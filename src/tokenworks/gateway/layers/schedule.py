"""Whose turn it is: a slot of the engine for every request, in fair order, and none for longer than anybody listens."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from tokenworks.core.priority import Priority
from tokenworks.gateway.admission.place import Place
from tokenworks.gateway.admission.refusals import cut_off, no_turn
from tokenworks.gateway.admission.ticket import Ticket
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.serving.answer import Chunks, Passing

Slots = Callable[[str], int]


def boundless(ref: str) -> int:
    """Return 0: requests of an engine are not counted."""
    return 0


class Schedule:
    """`slots` says how many requests the engine of a model version works on at a time; 0: nobody waits for it.

    At most `most_waiting` wait for one engine.

    Where a slot is free nothing is awaited; else requests wait in the queue of `gateway.admission`.
    """

    def __init__(self, slots: Slots = boundless, *, most_waiting: int = 512) -> None:
        self._slots = slots
        self._most_waiting = most_waiting
        self._places: dict[str, Place] = {}

    def __call__(self, exchange: Exchange, proceed: Handle) -> Awaitable[Reply]:
        """Refuse with 503 who would wait in vain; end with 504 what takes longer than its deadline."""
        place = self.place(exchange.version)
        if not place.queue.slots and exchange.cut_s is None:
            return proceed(exchange)
        return self._in_turn(exchange, proceed, place)

    def place(self, version: str) -> Place:
        """Return the queue of the engine of `version`."""
        place = self._places.get(version)
        if place is None:
            place = self._places[version] = Place(self._slots(version), most=self._most_waiting)
        return place

    def at_once(self, exchange: Exchange, place: Place) -> Slot | None:
        """Return a slot of `place`, None where it would have to be waited for."""
        ticket = _ticket(exchange, place)
        if place.queue.slots and not place.queue.enter(ticket):
            return None
        return Slot(exchange, place, ticket)

    @property
    def waiting(self) -> int:
        """How many wait for any engine."""
        return sum(place.queue.waiting for place in self._places.values())

    async def _in_turn(self, exchange: Exchange, proceed: Handle, place: Place) -> Reply:
        ticket = _ticket(exchange, place)
        if place.queue.slots and not place.queue.enter(ticket):
            await _turn(place, ticket)
        return await in_slot(Slot(exchange, place, ticket), proceed)


def _ticket(exchange: Exchange, place: Place) -> Ticket:
    size, tenant = exchange.what.size, exchange.who.tenant
    return Ticket(
        tenant=tenant,
        priority=Priority.FLYWHEEL if exchange.arm == "shadow" else exchange.priority,
        expected=place.predictor.expect(tenant, size.prompt_likely, size.answer_most, size.answers),
        at_s=exchange.started_s,
        deadline_s=exchange.deadline_s,
        weight=exchange.weight,
    )


async def _turn(place: Place, ticket: Ticket) -> None:
    """Return when `ticket` has a slot; raise 503 as soon as it is clear that it gets none in time."""
    loop, now_s = asyncio.get_running_loop(), time.monotonic()
    turn: asyncio.Future[bool] = loop.create_future()

    def told(granted: bool) -> bool:
        if turn.done():  # cancelled, and its task has not run since
            return False
        turn.set_result(granted)
        return True

    ticket.told = told
    wait_s = place.queue.wait_s(ticket)
    if not place.queue.wait(ticket, now_s):
        raise no_turn(wait_s)
    in_s = ticket.hopeless_s - now_s
    timer = loop.call_later(max(0.0, in_s), place.queue.refuse, ticket) if in_s < math.inf else None
    try:
        if not await turn:
            raise no_turn(place.queue.wait_s(ticket))
    except asyncio.CancelledError:
        if ticket.waiting:
            place.queue.give_up(ticket)
        elif turn.done() and not turn.cancelled() and turn.result():  # the slot was given in the same moment
            place.queue.leave(ticket, 0.0, time.monotonic())
        raise
    finally:
        if timer is not None:
            timer.cancel()


class Held(Protocol):
    """What a request holds until its answer is over."""

    exchange: Exchange

    def leave(self, *, cut: bool) -> None:
        """Give it back, once; `cut` where the answer did not come to its own end."""
        ...


async def in_slot(slot: Held, proceed: Handle) -> Reply:
    """Answer, and give `slot` back at the end of that, at the latest at the deadline: then raise 504."""
    exchange = slot.exchange
    try:
        if exchange.cut_s is None:
            reply = await proceed(exchange)
        else:
            async with asyncio.timeout_at(exchange.cut_s):
                reply = await proceed(exchange)
    except TimeoutError:
        slot.leave(cut=True)
        raise cut_off(exchange.cut_s, exchange.started_s) from None
    except BaseException:
        slot.leave(cut=True)
        raise
    if isinstance(reply.body, bytes):
        slot.leave(cut=reply.status != 200)
        return reply
    return msgspec.structs.replace(reply, body=_InSlot(reply.body, slot))


class Slot:
    """A slot that is held, and given back once."""

    def __init__(self, exchange: Exchange, place: Place, ticket: Ticket) -> None:
        self.exchange = exchange
        self._place = place
        self._ticket = ticket
        self._began_s = time.monotonic()
        self._held = True

    def leave(self, *, cut: bool) -> None:
        """Give it back, once; `cut` where the answer did not come to its own end."""
        if self._held:
            self._held = False
            self._place.end(self._ticket, self.exchange.usage, time.monotonic(), self._began_s, cut=cut)


class _InSlot(Passing):
    """A stream that holds its slot to its end, and ends at its deadline."""

    def __init__(self, chunks: Chunks, slot: Held) -> None:
        super().__init__(chunks)
        self._slot = slot
        self._cut_s = slot.exchange.cut_s
        self._timer: asyncio.TimerHandle | None = None

    def at_hand(self) -> bytes | None:
        """Return the events that are here, none from the deadline on."""
        if self._cut_s is not None and time.monotonic() >= self._cut_s:
            return None
        return super().at_hand()

    def when_more(self, call: Callable[[], None] | None) -> bool:
        """Have `call` made at the deadline too."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        calls = super().when_more(call)
        if calls and call is not None and self._cut_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self._cut_s - time.monotonic(), call)
        return calls

    async def __anext__(self) -> bytes:
        """Return the next events."""
        try:
            if self._cut_s is None:
                return await self._chunks.__anext__()
            async with asyncio.timeout_at(self._cut_s):
                return await self._chunks.__anext__()
        except StopAsyncIteration:
            self._slot.leave(cut=False)
            raise
        except TimeoutError:
            await self._chunks.aclose()  # the engine first: what it still does is for nobody
            self._slot.leave(cut=True)
            raise cut_off(self._cut_s, self._slot.exchange.started_s) from None
        except BaseException:
            self._slot.leave(cut=True)
            raise

    async def aclose(self) -> None:
        """Want no more."""
        try:
            await self._chunks.aclose()
        finally:
            self._slot.leave(cut=True)
