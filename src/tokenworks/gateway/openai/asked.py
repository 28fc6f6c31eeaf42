"""What the layers need to know of a request: its fields as far as the gateway minds them, and its size."""

from __future__ import annotations

import msgspec

from tokenworks.gateway.openai.fields import Reasoning


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on a request's tokens. A byte of text is at most a token of it, in every tokenizer that falls to bytes."""

    prompt_most: int = 0
    prompt_likely: int = 0
    answers: int = 0  # how many are written
    answer_most: int | None = None  # tokens of one; None: as many as the context has room for


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the layers need to know of a request."""

    model: str
    stream: bool = False
    include_usage: bool = False  # whether the caller wants the usage event of a stream
    user: str = ""  # whom the caller asks for
    conversation: str = ""
    store: bool = True  # False: the caller wants nothing kept of it
    size: Size = Size()
    tier: str = ""  # OpenAI's service_tier
    reasoning: Reasoning | None = None  # how it is thought about; None: not at all
