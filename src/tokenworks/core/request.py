"""A request for tokens and its answer, as they travel between rooms (the wire forms live in the gateway)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from tokenworks.core.usage import NOTHING_SPENT, Spent, Usage

Endpoint = Literal["chat.completions", "completions", "embeddings", "classify"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants an answer. `body` is the OpenAI request object, `model` included."""

    endpoint: Endpoint
    body: dict[str, Any]
    key: str = ""  # the API key presented
    label: str = ""  # the data class declared by the caller, empty when not declared
    face: str = ""  # what it is part of: batch
    priority: str = ""  # interactive | standard | batch | flywheel; empty: as whose work it is

    @property
    def model(self) -> str:
        """The release asked for, or `name@version` for one exact model version."""
        return str(self.body.get("model", ""))


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. `body` is the OpenAI response object; `status` is the HTTP status."""

    request_id: str
    status: int
    body: dict[str, Any]
    usage: Usage = Usage()
    model_version: str = ""
    latency_s: float = 0.0
    label: str = ""  # of the answer
    spent: Spent = NOTHING_SPENT  # of the machines, as far as engines of ours say
    ttft_s: float = 0.0  # seconds to the first token; equal to latency_s where nothing streams

    @property
    def ok(self) -> bool:
        """Whether an answer was given."""
        return self.status == 200


Answerer = Callable[[Request], Awaitable[Answer]]
