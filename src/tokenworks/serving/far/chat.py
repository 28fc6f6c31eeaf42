"""A chat in OpenAI's words, typed: what other words are made from, and what answers in other words become."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tokenworks.core.sse import DONE
from tokenworks.serving.answer import EngineCall
from tokenworks.serving.far.server import UnspokenError

REASONS = {"max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}
REASONS |= {"content_filtered": "content_filter", "guardrail_intervened": "content_filter"}
# What has no effect on the answer, or is said otherwise. Whom the caller asks for is nobody's business elsewhere.
UNSAID = frozenset(
    {"model", "stream", "stream_options", "user", "safety_identifier", "metadata", "store", "service_tier"}
    | {"prompt_cache_key", "parallel_tool_calls"}
)
ENDPOINT = "/v1/chat/completions"
# What reading an answer of another form than expected ends in, whatever stands where.
NOT_ITS_WORDS = (KeyError, TypeError, AttributeError, RecursionError)


class Function(msgspec.Struct, frozen=True):
    """A tool, or what one is to do."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    arguments: str = "{}"


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the assistant made."""

    id: str
    function: Function

    @property
    def input(self) -> dict[str, Any]:
        """The arguments; raise `UnspokenError` where they are no object."""
        try:
            return msgspec.json.decode(self.function.arguments or "{}", type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise UnspokenError(f"messages: the arguments of tool call {self.id!r} are no object: {error}") from None


class Tool(msgspec.Struct, frozen=True):
    """A tool that may be called."""

    function: Function


class Message(msgspec.Struct, frozen=True):
    """A turn of the conversation."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        """The content, which these servers get as text alone."""
        if not isinstance(self.content, list):
            return self.content or ""
        other = next((part.get("type") for part in self.content if part.get("type") != "text"), None)
        if other is not None:
            raise UnspokenError(f"messages: a part of type {other!r} cannot be put into its words; send text")
        return "".join(str(part.get("text", "")) for part in self.content)


class Asked(msgspec.Struct, frozen=True):
    """A chat request. What is not named here is refused, unless it has no effect on the answer."""

    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    n: int | None = None

    @property
    def most(self) -> int | None:
        """The most tokens of the answer."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def system(self) -> str:
        """What the system says, all of it."""
        return "\n\n".join(one.text for one in self.messages if one.role in ("system", "developer"))

    @property
    def turns(self) -> list[Message]:
        """What everybody else says."""
        return [one for one in self.messages if one.role not in ("system", "developer")]


def asked_of(call: EngineCall) -> Asked:
    """Return the chat that `call` asks for; raise `UnspokenError` naming what cannot be said."""
    if call.path != ENDPOINT:
        raise UnspokenError(f"it answers chats alone, not {call.path}")
    fields = msgspec.json.decode(call.body)
    known = UNSAID | set(Asked.__struct_fields__)
    left = [name for name, value in fields.items() if name not in known and value not in (None, False, [], {})]
    if left:
        raise UnspokenError(f"{left[0]} cannot be put into its words; leave it out")
    try:
        asked = msgspec.convert(fields, Asked)
    except msgspec.ValidationError as error:
        raise UnspokenError(f"the request cannot be put into its words: {error}") from None
    if asked.n not in (None, 1):
        raise UnspokenError("n: it writes one answer at a time")
    return asked


class Answer:
    """A chat completion while it is told, whole or in events."""

    def __init__(self, answer_id: str, model: str) -> None:
        self.head = {"id": answer_id, "created": int(time.time()), "model": model}
        self.prompt_tokens = self.completion_tokens = self.cached_tokens = 0

    def whole(self, text: str, calls: list[dict[str, Any]], reason: str) -> bytes:
        """Return the completion."""
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return msgspec.json.encode(
            {**self.head, "object": "chat.completion", "choices": [choice], "usage": self.usage()}
        )

    def event(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        """Return an event of the stream."""
        return self._event([{"index": 0, "delta": delta, "finish_reason": reason}])

    def end(self) -> bytes:
        """Return the usage, and that it is the end."""
        return self._event([], usage=self.usage()) + DONE

    def usage(self) -> dict[str, Any]:
        """Return the tokens as OpenAI counts them."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        part = {**self.head, "object": "chat.completion.chunk", "choices": choices, **more}
        return b"data: " + msgspec.json.encode(part) + b"\n\n"


def tool_call(call_id: str, name: str, arguments: str, index: int | None = None) -> dict[str, Any]:
    """Return a call of a tool; in a stream it has a place."""
    said = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return said if index is None else {"index": index, **said}


def error_of(status: int, message: str) -> bytes:
    """Return OpenAI's error object."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": None}})
