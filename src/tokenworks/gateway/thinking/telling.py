"""The answer with what it took: in the body, whole or as a stream, and in a header."""

from __future__ import annotations

from typing import Any, Self

import msgspec

from tokenworks.core.usage import Usage
from tokenworks.gateway.exchange import Reply

HEADER = "x-tokenworks-reasoning"
PIECE = 256  # characters of one event
JSON, EVENTS = (("content-type", "application/json"),), (("content-type", "text/event-stream"),)
_encode = msgspec.json.encode


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands under `reasoning` in an answer."""

    strategy: str
    why: str = ""  # it was taken, where the caller left the choice
    samples: int
    failed: int = 0
    stopped: str
    agreement: float | None = None
    score: float | None = None
    answer: str = ""
    thinking_tokens: int
    seconds: float
    engine_s: float = 0.0
    joules: float | None = None
    price: float | None = None
    cost: float | None = None  # to whoever runs the machines
    currency: str = ""
    requests: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def header(self) -> tuple[str, str]:
        """Return the same in short."""
        agreement = "" if self.agreement is None else f"; agreement={self.agreement:.3f}"
        return HEADER, f"{self.strategy}; samples={self.samples}{agreement}; stopped={self.stopped}"


def usage_told(usage: Usage, thinking_tokens: int) -> dict[str, Any]:
    """Return OpenAI's usage object: everything that was made is completion, what is not in the answer is reasoning."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": thinking_tokens},
    }


def whole_body(body: dict[str, Any], text: str | None, usage: dict[str, Any], report: Report, logprobs: bool) -> bytes:
    """Return the chosen sample's body as the answer."""
    choice = dict(body["choices"][0])
    if text is not None and "message" in choice:
        choice["message"] = {**choice["message"], "content": text}
    elif text is not None:
        choice["text"] = text
    if not logprobs or text is not None:
        choice["logprobs"] = None
    return _encode({**body, "choices": [choice], "usage": usage, "reasoning": report})


def reply_of(
    body: bytes, *, stream: bool, include_usage: bool, engine: str, headers: tuple[tuple[str, str], ...]
) -> Reply:
    """Return the answer, as a stream where one was asked for."""
    if not stream:
        return Reply(status=200, body=body, headers=(*JSON, *headers), engine=engine)
    return Reply(
        status=200,
        body=_Events(events(msgspec.json.decode(body), include_usage)),
        headers=(*EVENTS, *headers),
        engine=engine,
    )


def events(body: dict[str, Any], include_usage: bool) -> list[bytes]:
    """Return a whole answer as the events of a stream; the last one with a choice says what it took."""
    choice = body["choices"][0]
    head = {"id": body["id"], "object": body["object"], "created": body["created"], "model": body["model"]}
    chat = "message" in choice
    if chat:
        head["object"] = "chat.completion.chunk"
    text = (choice["message"].get("content") if chat else choice["text"]) or ""
    parts = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]

    def event(delta: dict[str, Any], reason: str | None, **more: Any) -> bytes:
        return (
            b"data: " + _encode({**head, "choices": [{"index": 0, **delta, "finish_reason": reason}], **more}) + b"\n\n"
        )

    opening = [event({"delta": {"role": "assistant", "content": ""}}, None)] if chat else []
    told = [event({"delta": {"content": part}} if chat else {"text": part}, None) for part in parts]
    last = event({"delta": {}} if chat else {"text": ""}, choice["finish_reason"], reasoning=body["reasoning"])
    usage = [b"data: " + _encode({**head, "choices": [], "usage": body["usage"]}) + b"\n\n"] if include_usage else []
    return [*opening, *told, last, *usage]


class _Events:
    """A stream of what is here already."""

    def __init__(self, events: list[bytes]) -> None:
        self._events = events[::-1]

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next event."""
        if not self._events:
            raise StopAsyncIteration
        return self._events.pop()

    async def aclose(self) -> None:
        """Want no more."""
        self._events.clear()
