"""A streamed answer put together into the whole one it stands for: for callers inside the process."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenworks.gateway.sse import DONE, Splitter, payload
from tokenworks.serving.answer import Chunks


async def assemble(endpoint: str, chunks: Chunks) -> tuple[int, dict[str, Any]]:
    """Return status and body of the whole answer; an error event gives 502 and its error object."""
    splitter = Splitter()
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    async for chunk in chunks:
        for event in splitter.feed(chunk):
            if event == DONE or not event.startswith(b"data:"):
                continue
            part = msgspec.json.decode(payload(event))
            if "error" in part:
                return 502, part
            _take(endpoint, part, whole, choices)
    whole["choices"] = [choices[index] for index in sorted(choices)]
    return 200, whole


def _take(endpoint: str, part: dict[str, Any], whole: dict[str, Any], choices: dict[int, dict[str, Any]]) -> None:
    for name, value in part.items():
        if name == "usage":
            whole["usage"] = value or whole.get("usage")
        elif name == "object":
            whole["object"] = str(value).removesuffix(".chunk")
        elif name != "choices":
            whole.setdefault(name, value)
    for piece in part.get("choices", ()):
        index = piece.get("index", 0)
        if endpoint == "chat.completions":
            choice = choices.setdefault(index, {"index": index, "message": {"role": "assistant", "content": ""}})
            choice["message"]["content"] += piece.get("delta", {}).get("content") or ""
        else:
            choice = choices.setdefault(index, {"index": index, "text": ""})
            choice["text"] += piece.get("text") or ""
        if piece.get("finish_reason") or "finish_reason" not in choice:
            choice["finish_reason"] = piece.get("finish_reason")
        if piece.get("logprobs"):
            _join_logprobs(choice.setdefault("logprobs", {}), piece["logprobs"])


def _join_logprobs(whole: dict[str, Any], part: dict[str, Any]) -> None:
    """Append the lists of `part` to those of `whole`, whatever the endpoint calls them."""
    for name, value in part.items():
        if isinstance(value, list):
            whole.setdefault(name, []).extend(value)
