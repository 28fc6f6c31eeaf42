"""A kept connection to an engine that is ready: one request is sent at once.

Its whole answer is told by a call, or awaited (`awaited.py`). What `Pool.generate` does for who can wait, less the
waits before. No coroutine may stand here: it is compiled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tokenworks.core.errors import EngineError
from tokenworks.serving.answer import EngineAnswer, EngineCall
from tokenworks.serving.connection import Connection
from tokenworks.serving.member import Member
from tokenworks.serving.traffic import Traffic
from tokenworks.serving.upstream import Upstream

Told = Callable[[EngineAnswer | EngineError], None]
_JSON = b"application/json"


class Link:
    """Ask once, or give it back unused."""

    __slots__ = ("_told", "connection", "member", "upstream")

    def __init__(self, member: Member, upstream: Upstream, connection: Connection) -> None:
        self.member = member
        self.upstream = upstream
        self.connection = connection
        self._told: Told | None = None
        upstream.busy(connection)

    def give_back(self) -> None:
        """Want nothing of it."""
        self.upstream.done(self.connection)

    def ask(self, call: EngineCall, told: Told) -> None:
        """Send `call`; `told` gets the answer, or why there is none."""
        self._told = told
        head, body, traffic = self._prepared(call)
        patience_s = self.upstream.patience_s
        self.connection.ask(head, body, self._answered, patience_s=patience_s, traffic=traffic)

    def send(self, call: EngineCall) -> asyncio.Future[None]:
        """Send `call`; return what is done when status and headers of its answer are here."""
        head, body, traffic = self._prepared(call)
        return self.connection.send(head, body, patience_s=self.upstream.patience_s, traffic=traffic)

    def hang_up(self) -> None:
        """Want no answer: the engine sees it and stops working."""
        if self._told is not None:
            self._told = None
            self.member.exit()
            self.connection.close()
            self.upstream.done(self.connection)

    def _prepared(self, call: EngineCall) -> tuple[bytes, bytes, Traffic]:
        """Return head and body of the request, and what counts its bytes; from now on it is under way."""
        member = self.member
        headers = (("x-request-id", call.request_id), *call.headers) if call.request_id else call.headers
        body = member.addressed(call)
        traffic = Traffic(member.destination, member.address)
        call.traffic.append(traffic)
        member.enter()
        return self.upstream.head("POST", call.path, len(body), headers), body, traffic

    def _answered(self, error: EngineError | None) -> None:
        told, self._told, connection, member = self._told, None, self.connection, self.member
        if told is None:
            return
        member.exit()
        if error is not None:
            self.upstream.done(connection)
            told(error)
            return
        kind = connection.headers.get(b"content-type", _JSON).decode("latin-1")
        answer = EngineAnswer(
            status=connection.status, body=connection.take(), headers=(("content-type", kind),), engine=member.engine
        )
        self.upstream.done(connection)
        told(answer)
