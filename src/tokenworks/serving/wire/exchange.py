"""One request and its response on the ASGI border."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tokenworks.core.usage import NOTHING_SPENT, Usage
from tokenworks.metering.attribution.timeline import Timeline
from tokenworks.serving.wire.problem import Problem

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
JSON = (b"content-type", b"application/json")
EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class Exchange:
    """Reads one body, sends one response or stream, and knows which of it has happened and what it came to."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._started = False
        self._ended = False
        self.timeline: Timeline | None = None  # where it is traced
        self.usage, self.spent = Usage(), NOTHING_SPENT
        self.error = ""  # the code of what it was refused with

    async def read(self, limit: int) -> bytes:
        """Return the request body; raise `Problem` where it has more than `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise Problem(
                    413, f"the body is larger than {limit} bytes; send less text at once", code="body_too_large"
                )
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)

    async def gone(self) -> None:
        """Return when the client has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(self, status: int, body: bytes) -> None:
        """Send a whole JSON response."""
        headers = [JSON, (b"content-length", str(len(body)).encode())]
        self._started = self._ended = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def event(self, data: bytes, *, last: bool = False) -> None:
        """Send some server-sent events."""
        if not self._started:
            self._started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": EVENTS})
        self._ended = last
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def refuse(self, problem: Problem) -> None:
        """Send an error: as a response, or as the last event of a stream that has begun."""
        self.error = problem.code or str(problem.status)
        if self._ended:
            return
        if self._started:
            await self.event(b"data: " + problem.body() + b"\n\n", last=True)
        else:
            await self.reply(problem.status, problem.body())
