"""What a plain request needs a task for: going on as the list does, and ending where nobody waits any more."""

from __future__ import annotations

import asyncio
from typing import Protocol

from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.measure import measure
from tokenworks.gateway.layers.record import Record
from tokenworks.gateway.layers.route import route
from tokenworks.gateway.openai.wire import Conversation
from tokenworks.serving.answer import EngineAnswer
from tokenworks.serving.connection import LostError


class Underway(Protocol):
    """A plain request that has been sent."""

    exchange: Exchange
    conversation: Conversation

    def leave(self, *, cut: bool) -> None:
        """Let others have the place and the slot, once."""
        ...


async def go_on(run: Underway, record: Record, again: Handle, answer: EngineAnswer | Exception) -> None:
    """Do with `answer` what the list does; `again` asks the engines once more."""

    async def engine(exchange: Exchange) -> Reply:
        if isinstance(answer, LostError) and not answer.answered:  # a kept connection that was none any more
            return await again(exchange)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def inside(exchange: Exchange, proceed: Handle) -> Reply:
        cut = True
        try:
            reply = await proceed(exchange)
            cut = reply.status != 200
        finally:
            run.leave(cut=cut)
        return reply

    try:
        reply = await fold([record, inside, route, measure], engine)(run.exchange)
    except asyncio.CancelledError:
        await _farewell(run.conversation)
        return
    await run.conversation.answer(reply)
    run.conversation.incoming.answered()


async def abandon(run: Underway, record: Record) -> None:
    """Write down that the caller is gone, or that the server had to stop."""
    await record.abandon(run.exchange, b"")
    await _farewell(run.conversation)


async def _farewell(conversation: Conversation) -> None:
    if not conversation.gone:
        await conversation.cut_off()
    conversation.incoming.answered()
