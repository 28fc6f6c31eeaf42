"""What was asked, what was answered and what people said of it: one row a request, as it lies in the artifact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec


class Given(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One feedback entry with its texts."""

    feedback_id: str
    at: float
    principal: str
    rating: int | None = None
    correction: str | None = None
    outcome: float | None = None
    signal: str = ""
    preferred_over: str = ""  # the request with the worse answer
    other_answer: str | None = None  # that answer, where it may be used


class Signal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request that may be learned from, and all feedback on it."""

    request_id: str
    at: float
    principal: str  # who asked: key, or key/user
    user: str = ""
    conversation: str = ""
    label: str = "public"
    version: str = ""
    search: bool = False
    text: str = ""  # classify, embed, search: what was asked
    messages: tuple[dict[str, Any], ...] = ()  # chat, extract
    tools: tuple[dict[str, Any], ...] = ()
    answer: str = ""  # the label, the text, or the first document found
    confidence: float | None = None
    feedback: tuple[Given, ...] = ()


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of the artifact: what was looked through, and what was left out by rule."""

    task: str
    until: float
    requests: int  # of the task, answered
    feedback: int  # on requests of the task
    unknown: int  # feedback on requests that are not in the log, or of another task
    set_aside: dict[str, int]  # requests with feedback that may not be used, by reason
    label: str  # the highest of the signals
    principals: int


def principal_of(key_id: str, user: str) -> str:
    """Return the name of who speaks: the key, and the end user behind it where one is named."""
    return f"{key_id}/{user}" if user else key_id


def key_of(principal: str) -> str:
    """Return the key of a principal."""
    return principal.partition("/")[0]


def read_signals(file: BinaryIO) -> tuple[Collected, Iterator[Signal]]:
    """Return the head of the artifact and its rows."""
    head = msgspec.json.decode(file.readline(), type=Collected)
    decode = msgspec.json.Decoder(Signal).decode
    return head, (decode(line) for line in file)
