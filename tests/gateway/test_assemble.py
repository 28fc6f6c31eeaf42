"""A stream put together says what the whole answer would have said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from tokenworks.gateway.openai.assemble import assemble


async def stream(*parts: dict[str, Any]) -> AsyncIterator[bytes]:
    for part in parts:
        yield b"data: " + json.dumps(part).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def chat(index: int, finish: str | None = None, **delta: str) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


async def test_chat_choices_are_joined_each_by_itself() -> None:
    parts = [
        chat(1, role="assistant", content=""),
        chat(0, content="a"),
        chat(1, content="x"),
        chat(0, "stop", content="b"),
    ]
    status, body = await assemble("chat.completions", stream(*parts, {"choices": [], "usage": {"prompt_tokens": 3}}))
    assert status == 200
    assert [choice["message"]["content"] for choice in body["choices"]] == ["ab", "x"]
    assert [choice["finish_reason"] for choice in body["choices"]] == ["stop", None]
    assert (body["object"], body["id"], body["usage"]) == ("chat.completion", "c", {"prompt_tokens": 3})


async def test_logprobs_of_completions_are_joined() -> None:
    def piece(text: str, value: float) -> dict[str, Any]:
        logprobs = {"tokens": [text], "token_logprobs": [value], "top_logprobs": None}
        return {"object": "text_completion", "choices": [{"index": 0, "text": text, "logprobs": logprobs}]}

    _, body = await assemble("completions", stream(piece("a", -1.0), piece("b", -2.0)))
    assert body["choices"][0]["text"] == "ab"
    assert body["choices"][0]["logprobs"] == {"tokens": ["a", "b"], "token_logprobs": [-1.0, -2.0]}


async def test_an_error_event_is_the_answer() -> None:
    status, body = await assemble("completions", stream({"error": {"message": "broke off"}}))
    assert (status, body["error"]["message"]) == (502, "broke off")
