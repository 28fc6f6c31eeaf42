"""What is asked of /v1/responses, in the words of OpenAI's chat."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenworks.gateway.errors import bad_request
from tokenworks.gateway.openai.bodies import explain
from tokenworks.gateway.responses.fields import (
    Chosen,
    Format,
    FunctionCall,
    FunctionOutput,
    InputImage,
    Item,
    Message,
    Tool,
    Wanted,
)

ROLES = {"developer": "system"}


def chat_of(wanted: Wanted, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the chat request that goes on from the messages in `history`."""
    messages = [*history, *_input(wanted)]
    if wanted.instructions is not None:
        messages.insert(0, {"role": "system", "content": wanted.instructions})
    optional = {
        "max_completion_tokens": wanted.max_output_tokens,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "response_format": _format(wanted.text.format) if wanted.text and wanted.text.format else None,
        "tools": [_tool(tool) for tool in wanted.tools] if wanted.tools else None,
        "tool_choice": _choice(wanted.tool_choice),
        "parallel_tool_calls": wanted.parallel_tool_calls if wanted.tools else None,
        "reasoning_effort": wanted.reasoning.effort if wanted.reasoning else None,
        "metadata": wanted.metadata,
        "user": wanted.user,
        "safety_identifier": wanted.safety_identifier,
        "store": wanted.store,
    }
    chat: dict[str, Any] = {"model": wanted.model, "messages": messages}
    chat |= {name: value for name, value in optional.items() if value is not None}
    if wanted.stream:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat


def _input(wanted: Wanted) -> list[dict[str, Any]]:
    if isinstance(wanted.input, str):
        return [{"role": "user", "content": wanted.input}]
    messages: list[dict[str, Any]] = []
    for place, given in enumerate(wanted.input):
        message = _message(_item(given, place))
        before = messages[-1] if messages else {}
        if "tool_calls" in message and before.get("role") == "assistant":  # a turn says something, and calls
            messages[-1] = {**before, "tool_calls": [*before.get("tool_calls", ()), *message["tool_calls"]]}
        else:
            messages.append(message)
    return messages


def _item(given: dict[str, Any], place: int) -> Item:
    """Return an item of the input; a message need not say that it is one."""
    try:
        return msgspec.convert({"type": "message", **given}, Item)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        wrong = explain(error, Message)
        where = f"input[{place}]" + (f".{wrong.param}" if wrong.param else "")
        raise bad_request(f"{where}: {wrong.message}", param=where, code=wrong.code) from None


def _message(item: Item) -> dict[str, Any]:
    if isinstance(item, FunctionCall):
        function = {"name": item.name, "arguments": item.arguments}
        call = {"id": item.call_id, "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    if isinstance(item, FunctionOutput):
        return {"role": "tool", "tool_call_id": item.call_id, "content": item.output}
    role = ROLES.get(item.role, item.role)
    if isinstance(item.content, str):
        return {"role": role, "content": item.content}
    if not any(isinstance(part, InputImage) for part in item.content):
        return {
            "role": role,
            "content": "\n\n".join(part.text for part in item.content if not isinstance(part, InputImage)),
        }
    parts = [
        {"type": "image_url", "image_url": {"url": part.image_url, "detail": part.detail}}
        if isinstance(part, InputImage)
        else {"type": "text", "text": part.text}
        for part in item.content
    ]
    return {"role": role, "content": parts}


def _format(format: Format) -> dict[str, Any] | None:
    if format.type != "json_schema":
        return None if format.type == "text" else {"type": format.type}
    if format.schema is None or not format.name:
        raise bad_request("a json_schema format needs a name and a schema", param="text.format")
    schema = {"name": format.name, "schema": format.schema, "strict": bool(format.strict)}
    return {"type": "json_schema", "json_schema": schema}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    optional = {"description": tool.description, "strict": tool.strict}
    kept = {name: value for name, value in optional.items() if value is not None}
    return {"type": "function", "function": {**function, **kept}}


def _choice(choice: str | Chosen | None) -> Any:
    return {"type": "function", "function": {"name": choice.name}} if isinstance(choice, Chosen) else choice
