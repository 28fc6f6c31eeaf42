"""Answers of a chat in the words of /v1/messages: whole, and their errors."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenworks.gateway.openai.spoken import Call, Chat, Choice, Used, read_chat

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


_problem = msgspec.json.Decoder(dict[str, Any]).decode


def message_of(body: bytes) -> bytes:
    """Return the message that a chat completion is."""
    chat = read_chat(body)
    choice = chat.choices[0]
    content: list[dict[str, Any]] = []
    if choice.message.content:
        content.append({"type": "text", "text": choice.message.content})
    content += [tool_use(call) for call in choice.message.tool_calls or ()]
    return msgspec.json.encode(
        {**head(chat), "content": content, **ending(choice), "usage": usage(chat.usage or Used())}
    )


def head(chat: Chat) -> dict[str, Any]:
    """Return what a message begins with."""
    return {"id": f"msg_{chat.id}", "type": "message", "role": "assistant", "model": chat.model}


def ending(choice: Choice) -> dict[str, Any]:
    """Return why the answer ended."""
    if isinstance(choice.stop_reason, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": choice.stop_reason}
    return {"stop_reason": REASONS.get(choice.finish_reason or "stop", "end_turn"), "stop_sequence": None}


def usage(used: Used) -> dict[str, int]:
    """Return the tokens as Anthropic counts them: `input_tokens` are those that no cache had."""
    return {
        "input_tokens": used.prompt_tokens - used.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": used.cached_tokens,
        "output_tokens": used.completion_tokens or 0,
    }


def tool_use(call: Call) -> dict[str, Any]:
    """Return a call of a tool as a part of the content; arguments that are no object fail the answer."""
    arguments = _problem((call.function.arguments or "{}").encode())
    return {"type": "tool_use", "id": call.id, "name": call.function.name, "input": arguments}


def refusal_of(status: int, body: bytes, request_id: str) -> bytes:
    """Return Anthropic's error object for OpenAI's; `param` and `code` stay, and harm nobody."""
    try:
        error = _problem(body).get("error")
    except msgspec.DecodeError:  # a server elsewhere, in words of its own
        error = None
    found = error if isinstance(error, dict) else {"message": body[:300].decode(errors="replace")}
    told = {name: found[name] for name in ("param", "code") if found.get(name) is not None}
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
    said = {"type": kind, "message": str(found.get("message", "")), **told}
    return msgspec.json.encode({"type": "error", "error": said, "request_id": request_id})
