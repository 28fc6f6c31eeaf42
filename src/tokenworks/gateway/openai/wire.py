"""A request as the layers see it: headers, a body within bounds, an answer whole or streamed, a caller hanging up."""

from __future__ import annotations

from typing import Self

from tokenworks.gateway.errors import ApiError, unavailable
from tokenworks.gateway.exchange import Exchange, Reply, request_id_from
from tokenworks.gateway.http.incoming import BrokenError, GoneError, Incoming
from tokenworks.gateway.http.pump import flow
from tokenworks.serving.answer import Flowing

PATIENCE = frozenset({b"x-stainless-read-timeout", b"x-stainless-timeout"})  # of official clients, with each request
RARE = PATIENCE | frozenset(
    {
        b"anthropic-beta",
        b"traceparent",
        b"x-tokenworks-label",
        b"x-tokenworks-conversation",
        b"x-tokenworks-learn",
        b"x-tokenworks-receipt",
        b"idempotency-key",
        b"x-tokenworks-priority",
        b"x-tokenworks-deadline-ms",
    }
)
_STREAM_HEADERS = (("cache-control", "no-cache"), ("x-accel-buffering", "no"))


class Conversation:
    """A request and the answer to it."""

    def __init__(self, incoming: Incoming, *, max_body: int) -> None:
        self.incoming = incoming
        self.headers = incoming.headers
        self.request_id = request_id_from(self._text(b"x-request-id"))
        self._max_body = max_body

    @property
    def gone(self) -> bool:
        """Whether the caller has hung up."""
        return self.incoming.gone

    def exchange(self, endpoint: str, *targets: str) -> Exchange:
        """Return the request as the layers see it."""
        exchange = Exchange(
            endpoint=endpoint,
            read=self._read,
            request_id=self.request_id,
            credential=self.credential,
            target=targets[0] if targets else "",
            targets=targets,
            query=self.incoming.query,
            content_type=self._text(b"content-type"),
            pieces=self._pieces,
        )
        if not RARE.isdisjoint(self.headers):
            self._take_rare(exchange)
        return exchange

    @property
    def credential(self) -> str:
        """The key or token that was sent, empty without one."""
        scheme, _, credential = self._text(b"authorization").partition(" ")
        return credential.strip() if scheme.lower() == "bearer" else self._text(b"x-api-key")

    @property
    def patience(self) -> str:
        """How long the caller's SDK listens in vain, as it says; empty without one."""
        return self._text(b"x-stainless-read-timeout") or self._text(b"x-stainless-timeout")

    def _take_rare(self, exchange: Exchange) -> None:
        """Take in the headers that most requests do without."""
        exchange.beta = self._text(b"anthropic-beta")
        exchange.traceparent = self.headers.get(b"traceparent", b"")
        exchange.declared = self._text(b"x-tokenworks-label")
        exchange.conversation = self._text(b"x-tokenworks-conversation")
        exchange.may_learn = self._text(b"x-tokenworks-learn").lower() not in ("no", "false", "0")
        exchange.wants_receipt = self._text(b"x-tokenworks-receipt").lower() in ("yes", "true", "1")
        exchange.idempotency_key = self._text(b"idempotency-key")[:256]
        exchange.urgency = self._text(b"x-tokenworks-priority")
        exchange.due_ms = self._text(b"x-tokenworks-deadline-ms")
        exchange.patience = self.patience

    async def answer(self, reply: Reply) -> None:
        """Send the answer; a stream is closed whatever happens."""
        incoming = self.incoming
        headers = (*reply.headers, ("x-request-id", self.request_id))
        if isinstance(reply.body, bytes):
            incoming.send(reply.status, headers, reply.body)
            return
        try:
            incoming.begin(reply.status, headers + _STREAM_HEADERS)
            if isinstance(reply.body, Flowing):
                await flow(reply.body, incoming)
                return
            incoming.flush()
            async for chunk in reply.body:
                drained = incoming.write(chunk)
                if drained is not None:
                    await drained
            incoming.finish()
        finally:
            await reply.body.aclose()

    async def cut_off(self) -> None:
        """End a conversation that took longer than the server has: say so where nothing has been said yet."""
        if not self.incoming.begun:
            error = unavailable(
                "the gateway had to stop before the answer was ready", code="shutting_down", retry_after_s=5
            )
            await self.answer(error.reply(self.request_id))

    async def _read(self) -> bytes:
        """Return the body; raise 413 when it is too large, 415 when it is compressed."""
        incoming = self.incoming
        if incoming.complete and incoming.size <= self._max_body:  # as most are: here before anybody asks for them
            self._plain()
            return incoming.take_all()
        parts = [part async for part in self._pieces(self._max_body, setting="server.max_body_mb")]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pieces(self, most: int, *, setting: str = "platform.max_file_mb") -> _Pieces:
        """Return the body as it arrives; it raises 413 when it is larger than `most` bytes, which `setting` says."""
        self._plain()
        length = self._text(b"content-length")
        if length.isdecimal() and int(length) > most:
            raise _too_large(most, setting)
        return _Pieces(self.incoming, most, setting)

    def _plain(self) -> None:
        """Raise 415 where the body is encoded in any way."""
        encoding = self.headers.get(b"content-encoding", b"identity")
        transfer = self.headers.get(b"transfer-encoding", b"chunked")
        if encoding != b"identity" or (transfer != b"chunked" and transfer.lower() != b"chunked"):
            message = "compressed request bodies are not accepted; send plain JSON"
            raise ApiError(415, message, code="unsupported_encoding")

    def _text(self, name: bytes) -> str:
        value = self.headers.get(name)
        return "" if value is None else value.decode("latin-1").strip()


class _Pieces:
    """A body as it arrives."""

    def __init__(self, incoming: Incoming, most: int, setting: str) -> None:
        self._incoming = incoming
        self._most = most
        self._setting = setting
        self._size = 0

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next part."""
        try:
            while (part := self._incoming.arrived()) is None:
                await self._incoming.more()
        except GoneError:
            raise ApiError(499, "the caller hung up before the body was complete", code="client_gone") from None
        except BrokenError as error:
            raise ApiError(error.status, str(error), code="body_broken") from None
        if not part:
            raise StopAsyncIteration
        self._size += len(part)
        if self._size > self._most:
            raise _too_large(self._most, self._setting)
        return part


def _too_large(most: int, setting: str) -> ApiError:
    message = f"the body is larger than {most / 1e6:g} MB; send less at once, or raise {setting}"
    return ApiError(413, message, code="body_too_large")
