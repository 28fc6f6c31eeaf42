"""What engines state of their answers: no more of them than the meter reads."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

# Budgets and bills are sums of these: fewer than none would be credit, and no answer has a billion.
Tokens = Annotated[int, Meta(ge=0, le=10**9)]


class Cached(msgspec.Struct, frozen=True):
    """Of the prompt."""

    cached_tokens: Tokens | None = None


class Made(msgspec.Struct, frozen=True):
    """Of the answer."""

    reasoning_tokens: Tokens | None = None


class Stated(msgspec.Struct, frozen=True):
    """Tokens, and what they took."""

    prompt_tokens: Tokens = 0
    completion_tokens: Tokens | None = None
    completion_tokens_details: Made | None = None
    prompt_tokens_details: Cached | None = None
    spent: msgspec.Raw = msgspec.Raw()  # by an engine of ours; anybody else may call anything so


class Head(msgspec.Struct, frozen=True):
    """An answer or an event of one."""

    usage: Stated | None = None
    choices: list[msgspec.Raw] | None = None
