"""What a chat answers, whole or piece by piece, as far as other wire forms have words for it."""

from __future__ import annotations

import msgspec


class Function(msgspec.Struct):
    """What a tool is to do; in a stream, a part of it."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    """A call of a tool; in a stream, a part of it."""

    index: int = 0
    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Said(msgspec.Struct):
    """What the assistant says; in a stream, a part of it."""

    content: str | None = None
    tool_calls: list[Call] | None = None


class Choice(msgspec.Struct):
    """An answer, or a part of one. `stop_reason` is vLLM's: the stop string that ended it, or a token's number."""

    message: Said = msgspec.field(default_factory=Said)
    delta: Said = msgspec.field(default_factory=Said)
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class Details(msgspec.Struct):
    """What of a prompt was there already."""

    cached_tokens: int | None = None


class Made(msgspec.Struct):
    """What of an answer was thrown away."""

    reasoning_tokens: int | None = None


class Used(msgspec.Struct):
    """Tokens as OpenAI counts them."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Made | None = None

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the answer that were only thought."""
        return (self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else 0) or 0

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that a cache had."""
        return (self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else 0) or 0


class Chat(msgspec.Struct):
    """A chat completion, or an event of one."""

    id: str = ""
    model: str = ""
    choices: list[Choice] = []
    usage: Used | None = None


read_chat = msgspec.json.Decoder(Chat).decode
