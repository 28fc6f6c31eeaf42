"""The response object as OpenAI publishes it, made of what was asked of the chat and what came of it."""

from __future__ import annotations

from typing import Any

from tokenworks.gateway.openai.spoken import Used
from tokenworks.gateway.responses.kept import Kept
from tokenworks.gateway.responses.outcome import Called, Outcome


def response(id: str, at: float, kept: Kept, chat: dict[str, Any], outcome: Outcome | None) -> dict[str, Any]:
    """Return the response; without an outcome it is in progress, or what `kept` says."""
    short = outcome is not None and outcome.cut_short
    answered = "in_progress" if outcome is None else "incomplete" if short else "completed"
    return {
        "id": id,
        "object": "response",
        "created_at": int(at),
        "status": kept.status or answered,
        "background": kept.background,
        "error": kept.error,
        "incomplete_details": {"reason": "max_output_tokens"} if short else None,
        "instructions": chat["messages"][0]["content"] if kept.instructed else None,
        "max_output_tokens": chat.get("max_completion_tokens"),
        "model": (outcome.model if outcome else "") or chat["model"],
        "output": output(id, outcome) if outcome else [],
        "parallel_tool_calls": chat.get("parallel_tool_calls", True),
        "previous_response_id": kept.previous_response_id,
        "reasoning": {"effort": chat.get("reasoning_effort"), "summary": None},
        "store": chat.get("store", True),
        "temperature": chat.get("temperature", 1.0),
        "text": {"format": _format(chat.get("response_format"))},
        "tool_choice": _choice(chat.get("tool_choice", "auto")),
        "tools": [_tool(tool["function"]) for tool in chat.get("tools", ())],
        "top_p": chat.get("top_p", 1.0),
        "truncation": "disabled",
        "metadata": chat.get("metadata") or {},
        **({"usage": usage(outcome.used)} if outcome and outcome.used else {}),
        **{name: chat[name] for name in ("user", "safety_identifier") if name in chat},
    }


def output(id: str, outcome: Outcome) -> list[dict[str, Any]]:
    """Return the items of an answer: what was said, then what is to be called."""
    status = "incomplete" if outcome.cut_short else "completed"
    items = [message_item(id, outcome.text, status)] if outcome.text or not outcome.calls else []
    return items + [call_item(id, place, outcome.calls[place], status) for place in sorted(outcome.calls)]


def message_item(id: str, text: str | None, status: str) -> dict[str, Any]:
    """Return the item of what was said; with no text, the item that is still empty."""
    content = [] if text is None else [text_part(text)]
    return {"id": f"msg-{_tail(id)}", "type": "message", "status": status, "role": "assistant", "content": content}


def text_part(text: str) -> dict[str, Any]:
    """Return a part of what was said."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(id: str, place: int, called: Called, status: str) -> dict[str, Any]:
    """Return the item of a call."""
    return {
        "id": f"fc-{_tail(id)}-{place}",
        "type": "function_call",
        "call_id": called.id,
        "name": called.name,
        "arguments": called.arguments,
        "status": status,
    }


def usage(used: Used) -> dict[str, Any]:
    """Return the tokens as responses count them."""
    return {
        "input_tokens": used.prompt_tokens,
        "input_tokens_details": {"cached_tokens": used.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": used.completion_tokens or 0,
        "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        "total_tokens": used.prompt_tokens + (used.completion_tokens or 0),
    }


def input_items(id: str, kept: Kept, chat: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was asked, the conversation before it included, oldest first; instructions are no part of it."""
    items: list[dict[str, Any]] = []
    for message in chat["messages"][kept.instructed :]:
        items += [{**item, "status": "completed"} for item in _items(message)]
    return [{"id": f"item-{_tail(id)}-{place:05d}", **item} for place, item in enumerate(items)]


def _items(message: dict[str, Any]) -> list[dict[str, Any]]:
    role, content = message["role"], message.get("content")
    if role == "tool":
        return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": content}]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    said = [{"type": "message", "role": role, "content": [_part(part, role) for part in parts]}] if parts else []
    return said + [
        {
            "type": "function_call",
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"],
        }
        for call in message.get("tool_calls", ())
    ]


def _part(part: dict[str, Any], role: str) -> dict[str, Any]:
    if part["type"] != "text":
        return {"type": "input_image", "image_url": part["image_url"]["url"], "detail": part["image_url"]["detail"]}
    return text_part(part["text"]) if role == "assistant" else {"type": "input_text", "text": part["text"]}


def _format(asked: dict[str, Any] | None) -> dict[str, Any]:
    if asked is None:
        return {"type": "text"}
    return {"type": asked["type"], **asked.get("json_schema", {})}


def _choice(asked: Any) -> Any:
    return {"type": "function", "name": asked["function"]["name"]} if isinstance(asked, dict) else asked


def _tool(function: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "description": None, "strict": None, **function}


def _tail(id: str) -> str:
    return id.partition("-")[2]
