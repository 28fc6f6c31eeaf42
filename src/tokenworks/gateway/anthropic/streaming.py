"""A chat's stream as the events of /v1/messages: blocks of content that are opened, filled and closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tokenworks.gateway.anthropic.answers import ending, head, refusal_of, usage
from tokenworks.gateway.openai.spoken import Call, Chat, Choice, Used, read_chat
from tokenworks.gateway.sse import DONE, payload

NO_ARGUMENTS = Choice()


class Events:
    """One answer on its way. `prompt_tokens` is asked when it begins: the stack knows by then where an engine says."""

    def __init__(self, request_id: str, prompt_tokens: Callable[[], int]) -> None:
        self._request_id = request_id
        self._prompt_tokens = prompt_tokens
        self._begun = False
        self._blocks = 0
        self._open = ""  # what the open block is: text, or a tool's place
        self._last = NO_ARGUMENTS
        self._used: Used | None = None

    def feed(self, event: bytes) -> bytes:
        """Return what an event of the chat becomes."""
        if event == DONE:
            return self._end()
        data = payload(event)
        if data.startswith(b'{"error"'):
            return b"event: error\ndata: " + refusal_of(_status(data), data, self._request_id) + b"\n\n"
        chat = read_chat(data)
        made = b"" if self._begun else self._begin(chat)
        self._used = chat.usage or self._used
        for choice in chat.choices:
            made += self._text(choice.delta.content) if choice.delta.content else b""
            made += b"".join([self._call(call) for call in choice.delta.tool_calls or ()])
            if choice.finish_reason:
                self._last = choice
        return made

    def _begin(self, chat: Chat) -> bytes:
        self._begun = True
        message = {
            **head(chat),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage(Used(prompt_tokens=self._prompt_tokens())),
        }
        return _event("message_start", message=message)

    def _text(self, text: str) -> bytes:
        opened = self._turn_to("text", {"type": "text", "text": ""})
        return opened + self._delta({"type": "text_delta", "text": text})

    def _call(self, call: Call) -> bytes:
        block: dict[str, Any] = {"type": "tool_use", "id": call.id, "name": call.function.name, "input": {}}
        opened = self._turn_to(f"tool {call.index}", block)
        arguments = call.function.arguments
        return opened + (self._delta({"type": "input_json_delta", "partial_json": arguments}) if arguments else b"")

    def _turn_to(self, what: str, block: dict[str, Any]) -> bytes:
        """Return what closes the open block and opens another, nothing where it is open already."""
        if what == self._open:
            return b""
        closed = self._close()
        self._open = what
        self._blocks += 1
        return closed + _event("content_block_start", index=self._blocks - 1, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._blocks - 1, delta=delta)

    def _close(self) -> bytes:
        return _event("content_block_stop", index=self._blocks - 1) if self._open else b""

    def _end(self) -> bytes:
        told = _event("message_delta", delta=ending(self._last), usage=usage(self._used or Used()))
        return self._close() + told + _event("message_stop")


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"


class _Problem(msgspec.Struct):
    type: str = ""


class _Failure(msgspec.Struct):
    error: _Problem


def _status(data: bytes) -> int:
    """Return the status that an error in a stream would have had."""
    return 400 if msgspec.json.decode(data, type=_Failure).error.type == "invalid_request_error" else 500
