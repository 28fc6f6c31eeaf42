"""What a plain request needs a task for: streams, going on as the list does, and ending where nobody waits any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.measure import measure
from tokenworks.gateway.layers.record import Record
from tokenworks.gateway.layers.route import explained
from tokenworks.gateway.layers.schedule import in_slot
from tokenworks.gateway.openai.wire import Conversation
from tokenworks.gateway.route.places import Place
from tokenworks.gateway.route.router import Router
from tokenworks.serving.answer import EngineAnswer, EngineCall
from tokenworks.serving.awaited import answered
from tokenworks.serving.connection import LostError
from tokenworks.serving.link import Link

log = structlog.get_logger()


class Underway(Protocol):
    """A plain request that has been sent."""

    exchange: Exchange
    conversation: Conversation
    entered: bool  # whether its task has begun: cancelled before, a task does nothing at all
    unwanted: bool  # whether nobody waits any more

    def leave(self, *, cut: bool) -> None:
        """Let others have the place and the slot, once."""
        ...


async def go_on(run: Underway, record: Record, again: Handle, answer: EngineAnswer | Exception) -> None:
    """Do with `answer` what the list does; `again` asks the engines once more."""

    async def said() -> Reply:
        if isinstance(answer, Exception):
            raise answer
        return answer

    await follow(run, record, again, said)


async def follow(run: Underway, record: Record, again: Handle, said: Callable[[], Awaitable[Reply]]) -> None:
    """Do with what the engine `said` what the list does; `again` asks the engines once more."""
    run.entered = True
    if run.unwanted and (own := asyncio.current_task()) is not None:
        own.cancel()  # where it first waits, as it would have been by now

    async def engine(exchange: Exchange) -> Reply:
        try:
            return await said()
        except LostError as error:
            if error.answered:
                raise
            return await again(exchange)  # a kept connection that was none any more

    def held(exchange: Exchange, proceed: Handle) -> Awaitable[Reply]:
        return in_slot(run, proceed)

    try:
        reply = await fold([record, held, explained, measure], engine)(run.exchange)
        await run.conversation.answer(reply)
    except asyncio.CancelledError:
        await _farewell(run.conversation)
        return
    except Exception:
        log.exception("a request could not be answered", request_id=run.exchange.request_id)
    run.conversation.incoming.answered()


async def streamed(
    router: Router, exchange: Exchange, call: EngineCall, link: Link, sent: asyncio.Future[None], place: Place
) -> Reply:
    """Return the answer of `place` to `call`, which `link` sent."""
    return router.passed_on(exchange, call, await answered(link, call, sent), place)


async def abandon(run: Underway, record: Record) -> None:
    """Write down that the caller is gone, or that the server had to stop."""
    run.entered = True
    await record.abandon(run.exchange, b"")
    await _farewell(run.conversation)


async def _farewell(conversation: Conversation) -> None:
    if not conversation.gone:
        await conversation.cut_off()
    conversation.incoming.answered()
