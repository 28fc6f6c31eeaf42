"""A shadow answers what users ask, beside the incumbent, and nobody sees it but the ledger."""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog

from tokenworks.core.errors import StoreError, TokenworksError
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.layers.admit import Admit
from tokenworks.gateway.notes import Notes, entry_of, outcome_of
from tokenworks.gateway.served import Served

SHADOW = "-shadow"  # ends the id of a shadow's request
AT_ONCE = 4
BUSY = 16  # with so many requests under way there is no room for shadows
log = structlog.get_logger()


class Mirror:
    """Ask the version on trial too, after the incumbent's answer is on its way, and only where there is room."""

    def __init__(self, notes: Notes, admit: Admit) -> None:
        self.dropped = 0
        self._notes = notes
        self._admit = admit
        self._under_way: set[asyncio.Task[None]] = set()

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Answer by the incumbent; the shadow comes later."""
        reply = await proceed(exchange)
        if exchange.beside is not None and reply.status == 200:
            if len(self._under_way) < AT_ONCE and self._admit.in_flight < BUSY:
                task = asyncio.create_task(self._ask(exchange, exchange.beside, proceed))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            else:
                self.dropped += 1
        return reply

    async def settle(self) -> None:
        """Wait until no shadow is being asked."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _ask(self, exchange: Exchange, candidate: Served, proceed: Handle) -> None:
        """Ask the same of the candidate, write it down, and let nobody know."""
        shadow = _copy(exchange, candidate)
        status, code, answer = 200, "", b""
        try:
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
        except StoreError as error:
            log.error("a shadow could not be written down", request_id=shadow.request_id, error=str(error))


def _copy(exchange: Exchange, candidate: Served) -> Exchange:
    """Return the same request as asked of `candidate`, begun now."""
    asked = exchange.what
    return Exchange(
        endpoint=exchange.endpoint,
        read=exchange.read,
        request_id=f"{exchange.request_id}{SHADOW}",
        at=time.time(),
        started_s=time.monotonic(),
        principal=exchange.principal,
        body=exchange.body,
        asked=msgspec.structs.replace(asked),
        label=exchange.label,
        user=exchange.user,
        conversation=exchange.conversation,
        may_learn=exchange.may_learn,
        version=candidate.ref,
        arm="shadow",
    )
