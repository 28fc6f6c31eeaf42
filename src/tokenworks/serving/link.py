"""A kept connection to an engine that is ready: one request is sent at once.

Its whole answer is told by a call, or awaited. What `Pool.generate` does for who can wait, less the waits before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tokenworks.core.errors import EngineError
from tokenworks.serving.answer import EngineAnswer, EngineCall, Watched
from tokenworks.serving.connection import Connection
from tokenworks.serving.member import Member
from tokenworks.serving.traffic import Traffic
from tokenworks.serving.upstream import Response, Upstream

Told = Callable[[EngineAnswer | EngineError], None]
_JSON = b"application/json"


class Link:
    """Ask once, or give it back unused."""

    __slots__ = ("_connection", "_member", "_told", "_upstream")

    def __init__(self, member: Member, upstream: Upstream, connection: Connection) -> None:
        self._member = member
        self._upstream = upstream
        self._connection = connection
        self._told: Told | None = None
        upstream.busy(connection)

    def give_back(self) -> None:
        """Want nothing of it."""
        self._upstream.done(self._connection)

    def ask(self, call: EngineCall, told: Told) -> None:
        """Send `call`; `told` gets the answer, or why there is none."""
        self._told = told
        head, body, traffic = self._prepared(call)
        patience_s = self._upstream.patience_s
        self._connection.ask(head, body, self._answered, patience_s=patience_s, traffic=traffic)

    def send(self, call: EngineCall) -> asyncio.Future[None]:
        """Send `call`; return what `answer` awaits."""
        head, body, traffic = self._prepared(call)
        return self._connection.send(head, body, patience_s=self._upstream.patience_s, traffic=traffic)

    async def answer(self, call: EngineCall, sent: asyncio.Future[None]) -> EngineAnswer:
        """Return the answer to what was sent, whole or as it streams; raise why there is none. Cancelled, hang up."""
        try:
            await sent
        except BaseException:
            self._connection.close()
            self._upstream.done(self._connection)
            self._member.exit()
            raise
        return await answer_of(call, Response(self._connection, self._upstream), self._member)

    def hang_up(self) -> None:
        """Want no answer: the engine sees it and stops working."""
        if self._told is not None:
            self._told = None
            self._member.exit()
            self._connection.close()
            self._upstream.done(self._connection)

    def _prepared(self, call: EngineCall) -> tuple[bytes, bytes, Traffic]:
        """Return head and body of the request, and what counts its bytes; from now on it is under way."""
        member = self._member
        headers = (("x-request-id", call.request_id), *call.headers) if call.request_id else call.headers
        body = member.addressed(call)
        traffic = Traffic(member.destination, member.address)
        call.traffic.append(traffic)
        member.enter()
        return self._upstream.head("POST", call.path, len(body), headers), body, traffic

    def _answered(self, error: EngineError | None) -> None:
        told, self._told, connection, member = self._told, None, self._connection, self._member
        if told is None:
            return
        member.exit()
        if error is not None:
            self._upstream.done(connection)
            told(error)
            return
        kind = connection.headers.get(b"content-type", _JSON).decode("latin-1")
        answer = EngineAnswer(
            status=connection.status, body=connection.take(), headers=(("content-type", kind),), engine=member.engine
        )
        self._upstream.done(connection)
        told(answer)


async def answer_of(call: EngineCall, response: Response, member: Member) -> EngineAnswer:
    """Return what `member` answers to `call`, which it was sent; it is under way to the end of that."""
    kind = response.headers.get(b"content-type", _JSON).decode("latin-1")
    headers = (("content-type", kind),)
    if call.stream and response.status == 200 and kind.startswith("text/event-stream"):
        body = Watched(response, member.exit)
        return EngineAnswer(status=response.status, body=body, headers=headers, engine=member.engine)
    try:
        whole = await response.read()
    finally:
        member.exit()
    return EngineAnswer(status=response.status, body=whole, headers=headers, engine=member.engine)
