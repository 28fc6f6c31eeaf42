"""Conversations in the OpenAI fine-tuning format, checked line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.line.train._lines import read_lines

SHAPE = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
ROLES = ("system", "developer", "user", "assistant", "tool")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. `weight` 0 keeps an assistant turn out of the loss, as OpenAI's format has it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str
    weight: Literal[0, 1] = 1

    @property
    def trained(self) -> bool:
        """Whether the model learns to say this."""
        return self.role == "assistant" and self.weight == 1


Conversation = tuple[Message, ...]
_decode = msgspec.json.Decoder().decode


def read_conversations(
    data: bytes, *, check: Callable[[Conversation], Conversation] | None = None
) -> list[Conversation]:
    """Return the conversations of JSONL `data`; raise `DataError` naming the first bad lines and the way out.

    `check` may refuse (raise `DataError`) or rewrite a conversation: the line is named in front of its message.
    """

    def read(line: bytes) -> Conversation:
        conversation = _conversation(line)
        return check(conversation) if check else conversation

    return read_lines(data, read, what="training examples", shape=SHAPE)


def as_dicts(conversation: Sequence[Message]) -> list[dict[str, str]]:
    """Return the turns as a chat template takes them."""
    return [{"role": message.role, "content": message.content} for message in conversation]


def prompt_of(row: dict[str, Any]) -> Conversation:
    """Return the turns in `row` that ask for an answer, none of them learnt; raise `DataError` where nobody asks."""
    turns = row.get("messages")
    if not isinstance(turns, list) or not turns:
        raise DataError('there is no list "messages" with the prompt; end it with what the user asked')
    messages = tuple(msgspec.structs.replace(_message(turn, place), weight=0) for place, turn in enumerate(turns))
    if any(message.role in ("system", "developer") for message in messages[1:]):
        raise DataError("a system message stands after the first place; put it first, or merge the two")
    if messages[-1].role == "assistant":
        raise DataError("the prompt ends with an assistant's answer; the answers stand beside it")
    return messages


def _conversation(line: bytes) -> Conversation:
    try:
        row = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not JSON ({error}); one object on each line: {SHAPE}") from None
    turns = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns:
        raise DataError(f'there is no list "messages"; the line must look like {SHAPE}')
    messages = tuple(_message(turn, place) for place, turn in enumerate(turns))
    if not any(message.trained for message in messages):
        raise DataError("no assistant message to learn from; end the conversation with the answer that is wanted")
    if any(message.role in ("system", "developer") for message in messages[1:]):
        raise DataError("a system message stands after the first place; put it first, or merge the two")
    if messages[-1].role != "assistant":
        raise DataError(f"it ends with role {messages[-1].role!r}; end it with the assistant's answer")
    return messages


def _message(turn: Any, place: int) -> Message:
    where = f"messages[{place}]"
    if not isinstance(turn, dict):
        raise DataError(f"{where} is a {type(turn).__name__}; it must be an object with role and content")
    if turn.get("role") not in ROLES:
        raise DataError(f"{where} has role {turn.get('role')!r}; the roles are {', '.join(ROLES)}")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise DataError(f"{where} calls a tool, which cannot be learnt yet; leave such conversations out")
    try:
        message = msgspec.convert({key: turn[key] for key in ("role", "content", "weight") if key in turn}, Message)
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: {error}; content must be a text, weight 0 or 1") from None
    if message.role == "assistant" and not message.content.strip():
        raise DataError(f"{where} is an empty answer; fill it in or leave the conversation out")
    return message
