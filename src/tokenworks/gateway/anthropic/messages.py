"""/v1/messages and its count_tokens: Anthropic's API in front of the stack."""

from __future__ import annotations

import msgspec

from tokenworks.gateway.anthropic.answers import message_of, refusal_of
from tokenworks.gateway.anthropic.asking import chat_of, counted_of
from tokenworks.gateway.anthropic.fields import Counted, Wanted
from tokenworks.gateway.anthropic.streaming import Events
from tokenworks.gateway.errors import bad_request
from tokenworks.gateway.exchange import Exchange
from tokenworks.gateway.openai.bodies import decode, refuse_duplicates


class _Form:
    """What both have: Anthropic's errors, and the header in which its client looks for the request's id."""

    face = "messages"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def refusal(self, status: int, body: bytes) -> bytes:
        """Return Anthropic's error object."""
        return refusal_of(status, body, self._exchange.request_id)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the request's id once more."""
        return (("request-id", self._exchange.request_id),)

    def _check(self, body: bytes) -> None:
        refuse_duplicates(body)
        if self._exchange.beta:
            raise bad_request(
                f"header anthropic-beta asks for {self._exchange.beta[:200]!r}: no beta feature is offered here; "
                "leave the header out",
                param="anthropic-beta",
                code="unsupported_parameter",
            )


class Messages(_Form):
    """One request to /v1/messages."""

    endpoint = "chat.completions"

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._events = Events(exchange.request_id, lambda: exchange.usage.prompt_tokens)

    async def ask(self, body: bytes) -> bytes:
        """Return the chat."""
        wanted = decode(Wanted, body)
        self._check(body)
        return msgspec.json.encode(chat_of(wanted))

    async def answer(self, body: bytes) -> bytes:
        """Return the message."""
        return message_of(body)

    async def event(self, event: bytes) -> bytes:
        """Return the events that an event of the chat becomes."""
        return self._events.feed(event)


class _Count(msgspec.Struct):
    count: int


class CountTokens(_Form):
    """One request to /v1/messages/count_tokens."""

    endpoint = "tokenize"

    async def ask(self, body: bytes) -> bytes:
        """Return what counts a chat."""
        wanted = decode(Counted, body)
        self._check(body)
        return msgspec.json.encode(counted_of(wanted))

    async def answer(self, body: bytes) -> bytes:
        """Return the count."""
        return msgspec.json.encode({"input_tokens": msgspec.json.decode(body, type=_Count).count})

    async def event(self, event: bytes) -> bytes:
        """Return nothing: there is no stream."""
        return b""
