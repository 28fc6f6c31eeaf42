"""A kept connection to an engine that is ready: one request is sent at once, and its whole answer told by a call.

What `Pool.generate` does for who can wait, less every wait.
"""

from __future__ import annotations

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
        member, upstream = self._member, self._upstream
        self._told = told
        headers = (("x-request-id", call.request_id), *call.headers) if call.request_id else call.headers
        body = member.addressed(call)
        head = upstream.head("POST", call.path, len(body), headers)
        traffic = Traffic(member.destination, member.address)
        call.traffic.append(traffic)
        member.enter()
        self._connection.ask(head, body, self._answered, patience_s=upstream.patience_s, traffic=traffic)

    def hang_up(self) -> None:
        """Want no answer: the engine sees it and stops working."""
        if self._told is not None:
            self._told = None
            self._member.exit()
            self._connection.close()
            self._upstream.done(self._connection)

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
