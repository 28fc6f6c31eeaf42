"""The list of layers for the plain case, in one go: permitted, granted and sent in one call; answered in another.

A request is plain when it is whole, has none of the headers that few send, and when caller, release, limits, policies,
a slot and a kept connection of the one engine that may answer are all at hand. Whatever else is left to the list,
before anything was reserved or sent; and where an engine does not answer as it should, or streams, what follows is the
list's again. tests/gateway/plain holds both equal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Protocol

import structlog

from tokenworks.core.errors import EngineError, StoreError
from tokenworks.gateway.admission.refusals import cut_off
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.exchange import Exchange, whole
from tokenworks.gateway.http.incoming import Incoming
from tokenworks.gateway.layers.admit import Admit
from tokenworks.gateway.layers.classify import about_whom
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.layers.measure import take_whole
from tokenworks.gateway.layers.record import Record, not_recorded
from tokenworks.gateway.layers.route import call_of
from tokenworks.gateway.layers.schedule import Schedule, Slot
from tokenworks.gateway.layers.terms import be_patient
from tokenworks.gateway.limits.bundle import Granted
from tokenworks.gateway.openai.asked import Asked
from tokenworks.gateway.openai.bodies import parse
from tokenworks.gateway.openai.face import TOKENS
from tokenworks.gateway.openai.wire import PATIENCE, RARE, Conversation
from tokenworks.gateway.plain.plans import Plan, Plans
from tokenworks.gateway.plain.tasks import abandon, follow, go_on, streamed
from tokenworks.gateway.route.router import Router
from tokenworks.serving.answer import EngineAnswer, EngineCall
from tokenworks.serving.link import Link

log = structlog.get_logger()
_ODD = (RARE - PATIENCE) | {b"content-encoding", b"transfer-encoding"}


class Links(Protocol):
    """Engines, as far as they can be asked at once."""

    def link(self, ref: str) -> Link | None:
        """Return a kept connection to the engine of `ref`."""
        ...


class Plain:
    """Answer plain requests of at most `max_body` bytes. `router` asks the engines once more, as the list does."""

    def __init__(
        self,
        plans: Plans,
        links: Links,
        record: Record,
        limit: Limit,
        admit: Admit,
        schedule: Schedule,
        router: Router,
        *,
        max_body: int,
    ) -> None:
        self.record = record
        self.admit = admit
        self.router = router
        self._plans = plans
        self._links = links
        self._limit = limit
        self._schedule = schedule
        self._max_body = max_body
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, incoming: Incoming) -> bool:
        """Answer a whole request, and return True; or return False with nothing done."""
        try:
            return self._begun(incoming)
        except Exception:
            log.exception("the plain case failed, the list answers")
            return False

    def _begun(self, incoming: Incoming) -> bool:
        endpoint = TOKENS.get(incoming.path) if incoming.method == "POST" else None
        if endpoint is None or incoming.size > self._max_body or not _ODD.isdisjoint(incoming.headers):
            return False
        body = incoming.whole()
        if not self.admit.has_room:
            return False
        try:
            asked = parse(endpoint, body)
        except ApiError:  # to be raised again where it is written down
            return False
        conversation = Conversation(incoming, max_body=self._max_body)
        plan = self._plans.of(conversation.credential, asked.model, time.time())
        if plan is None or asked.tier or asked.reasoning is not None or plan.lane.queue.full:
            return False
        link = self._links.link(plan.served.ref)
        if link is None:
            return False
        exchange = _exchange(plan, endpoint, conversation, asked, body)
        granted = self._limit.grant(plan.bundle, exchange)
        if granted is None:
            link.give_back()
            return False
        run = Run(self, plan, conversation, exchange, link, granted)
        try:
            call = exchange.call = call_of(exchange)
            run.slot = self._schedule.at_once(exchange, plan.lane) if plan.lane.queue.slots else None
        except BaseException:
            granted.give_back(0)
            link.give_back()
            raise
        incoming.watcher = run
        self.admit.enter()
        if asked.stream:
            run.stream(call)
            return True
        if exchange.cut_s is not None:
            run.until(exchange.cut_s)
        link.ask(call, run.told)
        return True

    def begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Return a task that is held until its end."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _exchange(plan: Plan, endpoint: str, conversation: Conversation, asked: Asked, body: bytes) -> Exchange:
    """Return the request as it stands behind the layers up to the limits."""
    exchange = Exchange(endpoint=endpoint, read=whole(body), request_id=conversation.request_id)
    door = plan.door
    exchange.principal, exchange.body, exchange.asked = plan.who, body, asked
    exchange.label, exchange.outgoing, exchange.version = door.label, door.outgoing, plan.served.ref
    exchange.ruling = exchange.permits = plan.ruling
    exchange.priority, exchange.weight, exchange.price = plan.priority, plan.weight, plan.price
    exchange.patience = conversation.patience
    if not exchange.patience or not be_patient(exchange):
        exchange.deadline_s = exchange.started_s + plan.deadline_s
    about_whom(exchange, asked.user, asked.conversation, store=asked.store)
    return exchange


class Run:
    """One request under way: at its engine, then at the ledger, then out."""

    __slots__ = (
        "_granted", "_late", "_left", "_link", "_plain", "_plan", "_reply", "_task",
        "conversation", "entered", "exchange", "slot", "unwanted",
    )  # fmt: skip

    def __init__(
        self, plain: Plain, plan: Plan, conversation: Conversation, exchange: Exchange, link: Link, granted: Granted
    ) -> None:
        self.slot: Slot | None = None
        self.entered = self.unwanted = False
        self._plain = plain
        self._plan = plan
        self.conversation = conversation
        self.exchange = exchange
        self._link: Link | None = link
        self._granted = granted
        self._reply: EngineAnswer
        self._left = False
        self._task: asyncio.Task[None] | None = None
        self._late: asyncio.TimerHandle | None = None

    def until(self, cut_s: float) -> None:
        """End it at `cut_s`, answered or not."""
        self._late = asyncio.get_running_loop().call_later(cut_s - time.monotonic(), self._cut)

    def _cut(self) -> None:
        """Its time is over: where it is with the engine, that stops; what waits for its entry alone is let go on."""
        link, self._link = self._link, None
        if link is not None:
            link.hang_up()
            self.leave(cut=True)
            self._as_listed(cut_off(self.exchange.cut_s, self.exchange.started_s))

    def stream(self, call: EngineCall) -> None:
        """Send `call`, and pass on what comes as it comes."""
        plain, exchange, place, link = self._plain, self.exchange, self._plan.place, self._link
        assert link is not None, "nothing was sent yet"
        self._link = None  # a task's from here on, which hangs up when it is cancelled
        call = plain.router.prepared(exchange, call)
        said = partial(streamed, plain.router, exchange, call, link, link.send(call), place)
        self._follow(partial(follow, self, plain.record, plain.router, said))

    # -- the engine, and then the ledger, have something to say

    def told(self, answer: EngineAnswer | EngineError) -> None:
        """The engine has answered, or failed."""
        self._link = None
        try:
            self._take(answer)
        except Exception as error:  # noqa: BLE001  # answered and written down where every other fault of ours is
            self._as_listed(error)

    def _take(self, answer: EngineAnswer | EngineError) -> None:
        exchange = self.exchange
        if isinstance(answer, EngineError) or answer.status != 200:
            self._as_listed(answer)
            return
        body = answer.body
        assert isinstance(body, bytes), "a link tells whole answers"
        try:
            take_whole(exchange, answer.engine, answer.status, body)
        except EngineError as error:
            self._as_listed(error)
            return
        self.leave(cut=False)
        self._reply = answer
        if not self._plain.record.end_told(exchange, body, self._written):
            self._as_listed(answer)

    def _written(self, error: StoreError | None) -> None:
        """The entry is durable, or there is none: then the answer does not leave."""
        incoming = self.conversation.incoming
        try:
            self._send(incoming, error)
        except Exception:
            log.exception("an answer could not be sent", request_id=self.exchange.request_id)
        incoming.answered()  # unfinished, it ends the connection

    def _send(self, incoming: Incoming, error: StoreError | None) -> None:
        reply, id = self._reply, self.exchange.request_id
        if error is not None:
            reply = not_recorded(error).reply(id)
            lines = "".join([f"{name}: {value}\r\n" for name, value in reply.headers])
        else:
            link = f'link: </v1/feedback/{id}>; rel="feedback"\r\n'
            lines = f"content-type: {reply.headers[0][1]}\r\n{self._granted.lines()}{self._plan.marks}{link}"
        assert isinstance(reply.body, bytes), "a link tells whole answers"
        incoming.send_lines(reply.status, f"{lines}x-request-id: {id}\r\n", reply.body)

    # -- the connection has

    def stop(self) -> None:
        """Nobody waits any more, or the server has to stop: so does the engine, and the entry says so.

        What waits for its entry alone is let go on: it is there in a moment.
        """
        self.unwanted = True
        if self._task is not None:
            if self.entered:
                self._task.cancel()
        elif self._link is not None:
            self._link.hang_up()
            self._link = None
            self.leave(cut=True)
            self._task = self._plain.begin(abandon(self, self._plain.record))

    # -- what needs a task

    def _as_listed(self, answer: EngineAnswer | Exception) -> None:
        """Go on as the list does with what the engine said, or with what went wrong here."""
        self._follow(partial(go_on, self, self._plain.record, self._plain.router, answer))

    def _follow(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do the rest in a task, with what the list would know by now."""
        self.exchange.told = self._granted.told()
        self.exchange.ruling = self.exchange.permits = self._plan.ruling.of(self._plan.served)
        self._task = self._plain.begin(work())

    def leave(self, *, cut: bool) -> None:
        """Let others have the place and the slot, once."""
        if not self._left:
            self._left = True
            if self._late is not None:
                self._late.cancel()
            self._plain.admit.leave()
            if self.slot is not None:
                self.slot.leave(cut=cut)
