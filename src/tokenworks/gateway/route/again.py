"""An only engine that died before a word of its answer is asked again when it has been started anew.

Nothing was passed on, so its caller gets one whole answer, some seconds late.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog

from tokenworks.gateway.exchange import Exchange, Reply
from tokenworks.gateway.route.places import Place
from tokenworks.ledger.entries import Sent
from tokenworks.serving.answer import EngineCall
from tokenworks.serving.connection import LostError
from tokenworks.serving.upstream import UnreachedError

MOST = 2  # deaths that one request may be there for: a prompt that ends every engine must not end them all
PAUSE_S = 0.05  # until it is seen that the engine is gone
log = structlog.get_logger()


async def again(
    exchange: Exchange, call: EngineCall, place: Place, error: LostError | UnreachedError, within_s: float
) -> Reply:
    """Return what `place` answers once it is back; raise what it failed with where that takes longer than `within_s`.

    A request in whose hands engines die is not asked for ever: `error` is the first death, and `MOST` bear it.
    """
    until_s = min(time.monotonic() + within_s, exchange.deadline_s)
    deaths = 0
    while (left_s := until_s - time.monotonic()) > 0:
        if isinstance(error, LostError) or (call.traffic and call.traffic[-1].sent_bytes):
            deaths += 1
            exchange.sent.append(Sent(to=place.name, size_bytes=len(call.body), ended="lost"))
        if deaths == MOST:
            break
        log.info("engine asked again", deaths=deaths, request_id=call.request_id, why=str(error).partition("\n")[0])
        await asyncio.sleep(PAUSE_S)
        try:
            reply = await place.ask(msgspec.structs.replace(call, wait_s=left_s))
        except (LostError, UnreachedError) as failed:
            error = failed
        else:
            exchange.sent.append(Sent(to=place.name, size_bytes=len(call.body)))
            return reply
    raise error
