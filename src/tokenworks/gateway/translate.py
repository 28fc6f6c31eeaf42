"""Another wire form in front of the stack: what is asked is put into OpenAI's words, and the answer back.

The stack sees, meters and records the request in OpenAI's words: one entry, whatever the face.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol, Self

import msgspec
import structlog

from tokenworks.gateway.errors import ApiError, engine_failed
from tokenworks.gateway.exchange import Exchange, Handle, Reply
from tokenworks.gateway.layers.border import answered
from tokenworks.gateway.sse import Splitter, payload
from tokenworks.serving.answer import Chunks

# What reading an answer that is none in OpenAI's words ends in.
NOT_ITS_WORDS = (msgspec.MsgspecError, struct.error, LookupError, TypeError, ValueError)
log = structlog.get_logger()


class Form(Protocol):
    """One request in another wire form; made anew for each."""

    @property
    def face(self) -> str:
        """What the ledger calls the form."""
        ...

    @property
    def endpoint(self) -> str:
        """What the stack is asked."""
        ...

    async def ask(self, body: bytes) -> bytes:
        """Return the request in OpenAI's words; raise the 400 that explains why it is none."""
        ...

    async def answer(self, body: bytes) -> bytes:
        """Return the whole answer in this form."""
        ...

    async def event(self, event: bytes) -> bytes:
        """Return what an event of OpenAI's stream becomes, nothing where it becomes none."""
        ...

    def refusal(self, status: int, body: bytes) -> bytes:
        """Return OpenAI's error object in this form."""
        ...

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers that callers of this form look for."""
        ...


def translated(handle: Handle, form: Callable[[Exchange], Form]) -> Handle:
    """Return `handle` as it is asked and answers in another form."""

    async def translating(exchange: Exchange) -> Reply:
        words, read = form(exchange), exchange.read
        exchange.endpoint, exchange.face = words.endpoint, words.face

        async def asked() -> bytes:
            return await words.ask(await read())

        async def inner(exchange: Exchange) -> Reply:
            return await _in(words, await handle(exchange), exchange.request_id)

        exchange.read = asked
        reply, code = await answered(exchange, inner)
        if code:  # the answer was given, but not in words that this form has
            assert isinstance(reply.body, bytes), "an error is whole"
            reply = msgspec.structs.replace(reply, body=words.refusal(reply.status, reply.body))
        return msgspec.structs.replace(reply, headers=(*reply.headers, *words.headers()))

    return translating


async def _in(words: Form, reply: Reply, request_id: str) -> Reply:
    if not isinstance(reply.body, bytes):
        return msgspec.structs.replace(reply, body=_Translated(words, reply.body, request_id))
    if reply.status != 200:
        return msgspec.structs.replace(reply, body=words.refusal(reply.status, reply.body))
    try:
        return msgspec.structs.replace(reply, body=await words.answer(reply.body))
    except NOT_ITS_WORDS as error:
        raise _not_understood(error, request_id) from None


def _not_understood(error: Exception, request_id: str) -> ApiError:
    log.warning("answer not understood", request_id=request_id, error=repr(error))
    return engine_failed("the engine did not answer in OpenAI's words; ask again")


class _Translated:
    """A stream in the other form, event by event."""

    def __init__(self, words: Form, chunks: Chunks, request_id: str) -> None:
        self._words = words
        self._chunks = chunks
        self._request_id = request_id
        self._over = False
        self._splitter = Splitter()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next events."""
        while not self._over:
            chunk = await self._chunks.__anext__()
            made: list[bytes] = []
            try:
                for event in self._splitter.feed(chunk):
                    made.append(await self._said(event))
            except NOT_ITS_WORDS as error:
                self._over = True
                wrong = _not_understood(error, self._request_id).body(self._request_id)
                made.append(await self._words.event(b"data: " + wrong + b"\n\n"))
            if told := b"".join(made):
                return told
        raise StopAsyncIteration

    async def _said(self, event: bytes) -> bytes:
        """Return the event in the other form; a comment alone is the same in all."""
        return event if event.startswith(b":") and not payload(event) else await self._words.event(event)

    async def aclose(self) -> None:
        """Want no more."""
        await self._chunks.aclose()
