"""Anthropic's form: /v1/messages and its count_tokens."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from tokenworks.gateway.anthropic.fields import Counted, Wanted
from tokenworks.gateway.openapi.operation import TOKENS, Error, Operation, Shown
from tokenworks.gateway.openapi.tokens import HEADERS


class Refusal(Shown, frozen=True, kw_only=True):
    """Anthropic's error object; `param` and `code` are ours."""

    type: Literal["error"]
    error: Error
    request_id: str


class Usage(Shown, frozen=True, kw_only=True):
    """Tokens as Anthropic counts them: `input_tokens` are those that no cache had."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class Text(Shown, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """What is said."""

    text: str


class ToolUse(Shown, frozen=True, kw_only=True, tag_field="type", tag="tool_use"):
    """What a tool is to do."""

    id: str
    name: str
    input: dict[str, Any]


Block = Text | ToolUse


class Message(Shown, frozen=True, kw_only=True):
    """An answer; at the start of a stream, one that is still empty."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Block]
    stop_reason: str | None
    stop_sequence: str | None
    usage: Usage


class Ending(Shown, frozen=True, kw_only=True):
    """Why an answer ended."""

    stop_reason: str
    stop_sequence: str | None


class TextDelta(Shown, frozen=True, kw_only=True, tag_field="type", tag="text_delta"):
    """A piece of text."""

    text: str


class InputDelta(Shown, frozen=True, kw_only=True, tag_field="type", tag="input_json_delta"):
    """A piece of what a tool is given."""

    partial_json: str


class Start(Shown, frozen=True, kw_only=True, tag_field="type", tag="message_start"):
    """The answer begins."""

    message: Message


class BlockStart(Shown, frozen=True, kw_only=True, tag_field="type", tag="content_block_start"):
    """A block begins."""

    index: int
    content_block: Block


class BlockDelta(Shown, frozen=True, kw_only=True, tag_field="type", tag="content_block_delta"):
    """A block goes on."""

    index: int
    delta: TextDelta | InputDelta


class BlockStop(Shown, frozen=True, kw_only=True, tag_field="type", tag="content_block_stop"):
    """A block is over."""

    index: int


class Delta(Shown, frozen=True, kw_only=True, tag_field="type", tag="message_delta"):
    """Why the answer ends, and what it took."""

    delta: Ending
    usage: Usage


class Stop(Shown, frozen=True, kw_only=True, tag_field="type", tag="message_stop"):
    """The answer is over."""


class Failed(Shown, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """The answer broke off."""

    error: Error
    request_id: str


class Count(Shown, frozen=True, kw_only=True):
    """What the same prompt would be charged."""

    input_tokens: int


Event = Start | BlockStart | BlockDelta | BlockStop | Delta | Stop | Failed
_asked = partial(
    Operation,
    method="POST",
    tag="Messages",
    family="Messages",
    refusals=TOKENS,
    refusal=Refusal,
    headers=HEADERS,
    answered=("request-id",),
)
OPERATIONS = (
    _asked(
        path="/v1/messages",
        id="createMessage",
        summary="Answer a conversation, in Anthropic's form",
        body=Wanted,
        answer=Message,
        events=Event,
    ),
    _asked(
        path="/v1/messages/count_tokens",
        id="countMessageTokens",
        summary="Count the tokens of a conversation",
        body=Counted,
        answer=Count,
    ),
)
