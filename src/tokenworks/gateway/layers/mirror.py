"""A shadow answers what users ask, beside the incumbent, and nobody sees it but the ledger."""

from __future__ import annotations

import asyncio
import os
import time

import msgspec
import structlog

from tokenworks.core.errors import EngineError, StoreError, TokenworksError
from tokenworks.core.label import Label, highest
from tokenworks.gateway.entry import entry_of, outcome_of
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.exchange import Exchange, Handle, Reply, nothing_permitted
from tokenworks.gateway.layers.admit import Admit
from tokenworks.gateway.metrics import Metrics
from tokenworks.gateway.notes import Notes
from tokenworks.gateway.served import Served

SHADOW = "-shadow"  # ends the id of a shadow's request
WAITING = 16  # shadows that wait for a quiet moment; more are dropped
PATIENCE_S = 5.0  # how long they wait for it
PAUSE_S = 0.02
log = structlog.get_logger()


class Mirror:
    """Ask the version on trial too, when the incumbent's answer is on its way and users leave room.

    There is room while fewer than `room` requests are under way: half the cores, and at least one. Who asks when
    there is none for long is answered all the same; only the shadow is dropped, and counted.
    """

    def __init__(self, notes: Notes, metrics: Metrics, admit: Admit, *, room: int = 0) -> None:
        self._notes = notes
        self._metrics = metrics
        self._admit = admit
        self._room = room or max(1, (os.cpu_count() or 1) // 2)
        self._asking = 0
        self._under_way: set[asyncio.Task[None]] = set()

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Answer by the incumbent; the shadow comes later."""
        reply = await proceed(exchange)
        if exchange.beside is not None and reply.status == 200:
            if len(self._under_way) < WAITING + self._room:
                task = asyncio.create_task(self._later(exchange, exchange.beside, proceed))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            else:
                self._metrics.drop_shadow()
        return reply

    async def close(self) -> None:
        """Ask no shadow any more."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _later(self, exchange: Exchange, candidate: Served, proceed: Handle) -> None:
        """Wait for a moment at which no user is delayed; drop the shadow where none comes."""
        until = time.monotonic() + PATIENCE_S
        while self._admit.in_flight >= self._room or self._asking >= self._room:
            if time.monotonic() > until or self._admit.draining:
                self._metrics.drop_shadow()
                return
            await asyncio.sleep(PAUSE_S)
        self._asking += 1
        try:
            await self._ask(exchange, candidate, proceed)
        finally:
            self._asking -= 1

    async def _ask(self, exchange: Exchange, candidate: Served, proceed: Handle) -> None:
        """Ask the same of the candidate, write it down, and let nobody know."""
        shadow = _copy(exchange, candidate)
        status, code, answer = 200, "", b""
        try:
            if exchange.broken:
                raise EngineError("engine_not_started")
            reply = await proceed(shadow)
            status = reply.status
            answer = reply.body if isinstance(reply.body, bytes) else b"".join([chunk async for chunk in reply.body])
        except ApiError as error:
            status, code = error.status, error.code
        except TokenworksError as error:
            status, code = 502, str(error)[:80]
        entry = entry_of(shadow, outcome=outcome_of(status, code), status=status, code=code, answer=answer)
        try:
            await self._notes.write(entry, shadow.body, answer)
            self._metrics.count(entry)
        except StoreError as error:
            log.error("a shadow could not be written down", request_id=shadow.request_id, error=str(error))


def _copy(exchange: Exchange, candidate: Served) -> Exchange:
    """Return the same request as asked of `candidate`, begun now."""
    asked = exchange.what
    ruling = exchange.ruling.of(candidate) if exchange.ruling is not None else None
    return Exchange(
        endpoint=exchange.endpoint,
        face=exchange.face,
        read=exchange.read,
        request_id=f"{exchange.request_id}{SHADOW}",
        at=time.time(),
        started_s=time.monotonic(),
        principal=exchange.principal,
        body=exchange.body,
        asked=msgspec.structs.replace(asked),
        label=highest([exchange.label or Label.PUBLIC, Label.parse(candidate.label)]),
        user=exchange.user,
        conversation=exchange.conversation,
        may_learn=exchange.may_learn,
        permits=ruling or nothing_permitted,
        ruling=ruling,
        outgoing=exchange.outgoing,
        version=candidate.ref,
        arm="shadow",
    )
