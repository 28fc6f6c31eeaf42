"""What is asked of /v1/messages, in the words of OpenAI's chat."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenworks.gateway.anthropic.fields import (
    Base64Source,
    Counted,
    ImagePart,
    OutputConfig,
    TextPart,
    Tool,
    ToolChoice,
    ToolResultPart,
    ToolUsePart,
    Turn,
    Wanted,
)
from tokenworks.gateway.errors import bad_request

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_of(body: Wanted) -> dict[str, Any]:
    """Return the chat request; raise 400 for what a chat cannot say."""
    sampling = {
        "max_tokens": body.max_tokens,
        "stop": body.stop_sequences or None,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "user": body.metadata.user_id if body.metadata else None,
    }
    chat = {**counted_of(body), **{name: value for name, value in sampling.items() if value is not None}}
    if body.tool_choice is not None:
        chat |= _tool_choice(body.tool_choice, body.tools)
    if body.output_config is not None:
        chat |= _output(body.output_config)
    if body.stream:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat


def counted_of(body: Counted) -> dict[str, Any]:
    """Return what makes up the prompt: model, messages and tools."""
    if body.messages[-1].role == "assistant":
        raise bad_request(
            "the last message is the assistant's; answers are not continued here, end with a message of the user",
            param="messages",
        )
    messages: list[dict[str, Any]] = []
    if body.system:
        messages.append({"role": "system", "content": _text(body.system)})
    for place, turn in enumerate(body.messages):
        messages += _messages(turn, f"messages[{place}]")
    asked: dict[str, Any] = {"model": body.model, "messages": messages}
    if body.tools:
        asked["tools"] = [_tool(tool) for tool in body.tools]
    return asked


def _messages(turn: Turn, place: str) -> list[dict[str, Any]]:
    """Return what a turn becomes: results of tools are messages of their own, and come first."""
    if isinstance(turn.content, str):
        return [{"role": turn.role, "content": turn.content}]
    if not turn.content:
        raise bad_request(f"{place}.content is empty; leave the message out", param=f"{place}.content")
    results = [_result(part) for part in turn.content if isinstance(part, ToolResultPart)]
    calls = [_call(part) for part in turn.content if isinstance(part, ToolUsePart)]
    shown = [part for part in turn.content if isinstance(part, TextPart | ImagePart)]
    wrong = (
        "tool_result" if results and turn.role == "assistant" else "tool_use" if calls and turn.role == "user" else ""
    )
    if wrong:
        raise bad_request(f"{place}.content has a {wrong} in a message of the {turn.role}", param=f"{place}.content")
    if not shown and not calls:
        return results
    said: dict[str, Any] = {"role": turn.role, "content": _content(shown) if shown else None}
    return [*results, {**said, "tool_calls": calls} if calls else said]


def _content(parts: list[TextPart | ImagePart]) -> str | list[dict[str, Any]]:
    texts = [part for part in parts if isinstance(part, TextPart)]
    if len(texts) == len(parts):
        return _text(texts)
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": _address(part)}}
        for part in parts
    ]


def _address(part: ImagePart) -> str:
    source = part.source
    return f"data:{source.media_type};base64,{source.data}" if isinstance(source, Base64Source) else source.url


def _text(content: str | list[TextPart]) -> str:
    return content if isinstance(content, str) else "\n\n".join(part.text for part in content)


def _result(part: ToolResultPart) -> dict[str, Any]:
    said = _text(part.content)
    return {"role": "tool", "tool_call_id": part.tool_use_id, "content": f"Error: {said}" if part.is_error else said}


def _call(part: ToolUsePart) -> dict[str, Any]:
    arguments = msgspec.json.encode(part.input).decode()
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": arguments}}


def _tool(tool: Tool) -> dict[str, Any]:
    optional = {"description": tool.description, "strict": tool.strict}
    function = {"name": tool.name, "parameters": tool.input_schema}
    return {
        "type": "function",
        "function": {**function, **{name: value for name, value in optional.items() if value is not None}},
    }


def _output(wanted: OutputConfig) -> dict[str, Any]:
    asked: dict[str, Any] = {} if wanted.effort is None else {"reasoning_effort": wanted.effort}
    if wanted.format is not None:
        schema = {"name": "answer", "schema": wanted.format.schema, "strict": True}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    return asked


def _tool_choice(choice: ToolChoice, tools: list[Tool] | None) -> dict[str, Any]:
    if not tools:
        raise bad_request("tool_choice needs tools; send them, or leave it out", param="tool_choice")
    asked: dict[str, Any] = {}
    if choice.disable_parallel_tool_use is not None:
        asked["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    if choice.type != "tool":
        return {**asked, "tool_choice": _CHOICES[choice.type]}
    if choice.name not in {tool.name for tool in tools}:
        raise bad_request(f"tool_choice names {choice.name!r}, which is not among tools", param="tool_choice.name")
    return {**asked, "tool_choice": {"type": "function", "function": {"name": choice.name}}}
