"""Answers of engines, as they are awaited once the request is sent."""

from __future__ import annotations

import asyncio

from tokenworks.serving.answer import EngineAnswer, EngineCall, Watched
from tokenworks.serving.link import Link
from tokenworks.serving.member import Member
from tokenworks.serving.upstream import Response


async def answered(link: Link, call: EngineCall, sent: asyncio.Future[None]) -> EngineAnswer:
    """Return the answer to `call`, which `link` sent; raise why there is none. Cancelled, hang up."""
    try:
        await sent
    except BaseException:
        link.connection.close()
        link.upstream.done(link.connection)
        link.member.exit()
        raise
    return await answer_of(call, Response(link.connection, link.upstream), link.member)


async def answer_of(call: EngineCall, response: Response, member: Member) -> EngineAnswer:
    """Return what `member` answers to `call`, whole or as it streams; it is under way to the end of that."""
    kind = response.headers.get(b"content-type", b"application/json").decode("latin-1")
    headers = (("content-type", kind),)
    if call.stream and response.status == 200 and kind.startswith("text/event-stream"):
        body = Watched(response, member.exit)
        return EngineAnswer(status=response.status, body=body, headers=headers, engine=member.engine)
    try:
        whole = await response.read()
    finally:
        member.exit()
    return EngineAnswer(status=response.status, body=whole, headers=headers, engine=member.engine)
