"""What a kept request and its answer say: the part of their bodies that can be learned from."""

from __future__ import annotations

from typing import Any

import msgspec


class Said(msgspec.Struct, frozen=True):
    """A request and its answer."""

    text: str = ""
    messages: tuple[dict[str, Any], ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    answer: str = ""
    confidence: float | None = None


class _Asked(msgspec.Struct):
    input: Any = None
    query: Any = None
    prompt: Any = None
    messages: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] = []


class _Class(msgspec.Struct):
    label: str
    probs: list[float] = []


class _Document(msgspec.Struct):
    file_id: str


class _Classes(msgspec.Struct):
    data: list[_Class] = []


class _Documents(msgspec.Struct):
    data: list[_Document] = []


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    text: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []


_asked = msgspec.json.Decoder(_Asked).decode
_classes = msgspec.json.Decoder(_Classes).decode
_documents = msgspec.json.Decoder(_Documents).decode
_completion = msgspec.json.Decoder(_Completion).decode
_EVENT = b"data: "


def said(endpoint: str, prompt: bytes, answer: bytes) -> Said | None:
    """Return what the bodies say; None where nothing can be learned from them: several texts, no text, no JSON."""
    try:
        asked = _asked(prompt)
        if endpoint == "classify":
            return _classified(asked, answer)
        if endpoint == "search":
            return _searched(asked, answer)
        return _chatted(asked, answer)
    except msgspec.DecodeError:
        return None


def answer_of(endpoint: str, answer: bytes) -> str:
    """Return the answer alone, empty where it cannot be read."""
    found = said(endpoint, b'{"input": "-", "query": "-", "messages": [{"role": "user", "content": "-"}]}', answer)
    return found.answer if found is not None else ""


def _classified(asked: _Asked, answer: bytes) -> Said | None:
    text = _one(asked.input)
    if not text:
        return None
    data = _classes(answer).data if answer else []
    if len(data) != 1:
        return Said(text=text)
    best = max(data[0].probs, default=None)
    return Said(text=text, answer=data[0].label, confidence=best)


def _searched(asked: _Asked, answer: bytes) -> Said | None:
    query = _one(asked.query)
    data = _documents(answer).data if answer else []
    return Said(text=query, answer=data[0].file_id if data else "") if query else None


def _chatted(asked: _Asked, answer: bytes) -> Said | None:
    text = _generated(answer) if answer else ""
    if asked.messages:
        return Said(messages=tuple(asked.messages), tools=tuple(asked.tools), answer=text)
    prompt = _one(asked.prompt) or _one(asked.input)
    if not prompt:
        return None
    return Said(text=prompt, messages=({"role": "user", "content": prompt},), answer=text)


def _generated(answer: bytes) -> str:
    """Return the text of a completion, whole or as a stream of events."""
    if not answer.lstrip().startswith(_EVENT):
        return "".join(_content(choice) for choice in _completion(answer).choices[:1])
    events = [line[len(_EVENT) :] for line in answer.splitlines() if line.startswith(_EVENT)]
    pieces = [_completion(event).choices[:1] for event in events if event.strip() != b"[DONE]"]
    return "".join(_content(choice) for piece in pieces for choice in piece)


def _content(choice: _Choice) -> str:
    message = choice.message or choice.delta
    return (message.content if message else choice.text) or ""


def _one(asked: Any) -> str:
    """Return the text where exactly one was sent."""
    if isinstance(asked, list) and len(asked) == 1:
        asked = asked[0]
    return asked if isinstance(asked, str) and asked.strip() else ""
