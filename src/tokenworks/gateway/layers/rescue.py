"""No user pays for a trial: where a canary cannot answer, the incumbent does, and the failure is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import structlog

from tokenworks.core.errors import EngineError
from tokenworks.core.label import Label, highest
from tokenworks.core.usage import NOTHING_SPENT, Usage
from tokenworks.gateway.entry import entry_of
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.metrics import Metrics
from tokenworks.gateway.notes import Notes
from tokenworks.gateway.route.begun import begun
from tokenworks.ledger.entries import RequestEntry

FAILED = "-canary"  # ends the id of the entry that a failed canary leaves
log = structlog.get_logger()


class _Failed(NamedTuple):
    status: int
    code: str


@dataclass(frozen=True)
class Rescue:
    """Ask the incumbent where a canary fails before its first byte. Later it is too late: the user has seen it.

    A request that the canary refuses is asked of the incumbent too: only if that one answers was it the canary's fault.
    """

    notes: Notes
    metrics: Metrics

    async def __call__(self, exchange: Exchange, proceed: Handle) -> Reply:
        """Answer, by whoever can."""
        if exchange.instead is None:
            return await proceed(exchange)
        tried = await _tried(exchange, proceed)
        if not isinstance(tried, _Failed):
            return tried
        entry = entry_of(exchange, outcome="failed", status=tried.status, code=tried.code, answer=b"")
        _turn_to_incumbent(exchange)
        tries = len(exchange.traffic)
        if tried.status >= 500:
            await self._note(entry)
            del exchange.traffic[:tries]  # what is written down once is not written twice
            return await proceed(exchange)
        reply = await proceed(exchange)
        if reply.status < 400:
            await self._note(entry)
            del exchange.traffic[:tries]
        return reply

    async def _note(self, entry: RequestEntry) -> None:
        log.warning("canary failed", request_id=entry.request_id, version=entry.version, code=entry.error)
        entry = msgspec.structs.replace(entry, request_id=f"{entry.request_id}{FAILED}", price_micro=0)
        await self.notes.write(entry, b"", b"")
        self.metrics.count(entry)


async def _tried(exchange: Exchange, proceed: Handle) -> Reply | _Failed:
    """Ask the canary; return its answer once that has begun, or how it failed."""
    if exchange.broken:
        return _Failed(503, "engine_not_started")
    try:
        reply = await proceed(exchange)
        return await begun(reply) if reply.status < 400 else _Failed(reply.status, "engine_error")
    except ApiError as error:
        return _Failed(error.status, error.code)
    except EngineError as error:
        return _Failed(502, str(error)[:80])


def _turn_to_incumbent(exchange: Exchange) -> None:
    """Leave the trial: the request counts for neither arm. Its label can only rise."""
    incumbent = exchange.instead
    assert incumbent is not None, "there is an incumbent wherever there is a canary"
    exchange.label = highest([exchange.label or Label.PUBLIC, Label.parse(incumbent.label)])
    if exchange.ruling is not None:
        exchange.permits = exchange.ruling = exchange.ruling.of(incumbent)
    exchange.version, exchange.arm, exchange.instead = incumbent.ref, "", None
    exchange.usage, exchange.ttft_s, exchange.engine, exchange.sent = Usage(), 0.0, "", []
    exchange.spent, exchange.cost = NOTHING_SPENT, None
