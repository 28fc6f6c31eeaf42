"""One HTTP request over ASGI: headers, a body within bounds, an answer whole or streamed, a caller hanging up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from tokenworks.gateway.errors import ApiError, unavailable
from tokenworks.gateway.exchange import Exchange, Reply, request_id_from

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_WANTED = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"anthropic-beta",
        b"x-request-id",
        b"x-tokenworks-label",
        b"x-tokenworks-conversation",
        b"x-tokenworks-learn",
        b"x-tokenworks-receipt",
        b"idempotency-key",
        b"content-length",
        b"content-type",
        b"content-encoding",
    }
)
_STREAM_HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Conversation:
    """A request and the answer to it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, max_body: int) -> None:
        self.gone = False  # whether the caller has hung up
        self._begun = False  # whether an answer is on its way
        self.headers: dict[bytes, bytes] = {name: value for name, value in scope["headers"] if name in _WANTED}
        self.request_id = request_id_from(self._text(b"x-request-id"))
        self._query: bytes = scope.get("query_string", b"")
        self._receive = receive
        self._send = send
        self._max_body = max_body
        self._watcher: asyncio.Task[None] | None = None

    def exchange(self, endpoint: str, *targets: str) -> Exchange:
        """Return the request as the layers see it."""
        scheme, _, credential = self._text(b"authorization").partition(" ")
        return Exchange(
            endpoint=endpoint,
            read=self._read,
            request_id=self.request_id,
            credential=credential.strip() if scheme.lower() == "bearer" else self._text(b"x-api-key"),
            beta=self._text(b"anthropic-beta"),
            declared=self._text(b"x-tokenworks-label"),
            conversation=self._text(b"x-tokenworks-conversation"),
            may_learn=self._text(b"x-tokenworks-learn").lower() not in ("no", "false", "0"),
            wants_receipt=self._text(b"x-tokenworks-receipt").lower() in ("yes", "true", "1"),
            target=targets[0] if targets else "",
            targets=targets,
            query=self._query.decode("latin-1"),
            content_type=self._text(b"content-type"),
            pieces=self._pieces,
            idempotency_key=self._text(b"idempotency-key")[:128],
        )

    async def answer(self, reply: Reply) -> None:
        """Send the answer; a stream is closed whatever happens."""
        self._begun = True
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in reply.headers]
        headers.append((b"x-request-id", self.request_id.encode()))
        if isinstance(reply.body, bytes):
            headers.append((b"content-length", str(len(reply.body)).encode()))
            await self._send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await self._send({"type": "http.response.body", "body": reply.body})
            return
        try:
            await self._send(
                {"type": "http.response.start", "status": reply.status, "headers": headers + _STREAM_HEADERS}
            )
            async for chunk in reply.body:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            await reply.body.aclose()

    async def cut_off(self) -> None:
        """End a conversation that took longer than the server has: say so where nothing has been said yet."""
        if not self._begun:
            error = unavailable(
                "the gateway had to stop before the answer was ready", code="shutting_down", retry_after_s=5
            )
            await self.answer(error.reply(self.request_id))

    def close(self) -> None:
        """Stop listening for the caller."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _read(self) -> bytes:
        """Return the body; raise 413 when it is too large, 415 when it is compressed."""
        parts = [part async for part in self._pieces(self._max_body, setting="server.max_body_mb")]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _pieces(self, most: int, *, setting: str = "platform.max_file_mb") -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raise 413 when it is larger than `most` bytes, which `setting` says."""
        if self.headers.get(b"content-encoding", b"identity") != b"identity":
            message = "compressed request bodies are not accepted; send plain JSON"
            raise ApiError(415, message, code="unsupported_encoding")
        length = self._text(b"content-length")
        if length.isdecimal() and int(length) > most:
            raise _too_large(most, setting)
        size, more = 0, True
        while more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ApiError(499, "the caller hung up before the body was complete", code="client_gone")
            size += len(event.get("body", b""))
            if size > most:
                raise _too_large(most, setting)
            more = event.get("more_body", False)
            if not more:
                self._watcher = asyncio.create_task(self._watch(asyncio.current_task()))
            yield event.get("body", b"")

    async def _watch(self, answering: asyncio.Task[Any] | None) -> None:
        """Cancel the work on the answer when its caller hangs up."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if answering is not None:
            answering.cancel()

    def _text(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1").strip()


def _too_large(most: int, setting: str) -> ApiError:
    message = f"the body is larger than {most / 1e6:g} MB; send less at once, or raise {setting}"
    return ApiError(413, message, code="body_too_large")
