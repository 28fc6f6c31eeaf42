"""Anthropic's messages. Source: the Messages API reference, version 2023-06-01, and its streaming events."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenworks.core.errors import EngineError
from tokenworks.core.sse import Splitter, payload
from tokenworks.serving.answer import EngineCall
from tokenworks.serving.far.chat import NOT_ITS_WORDS, REASONS, Answer, Asked, Message, asked_of, error_of, tool_call
from tokenworks.serving.far.server import Letter, Site, UnspokenError

VERSION = "2023-06-01"
MOST = 4096  # tokens of an answer whose caller set no bound: the API wants one
CHOICES = {"auto": "auto", "required": "any", "none": "none"}


def speak(site: Site) -> Anthropic:
    """Return the shape for one server."""
    return Anthropic(site)


class Anthropic:
    """Puts chats into messages and back."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._headers = (("x-api-key", site.key), ("anthropic-version", site.api_version or VERSION))

    def ask(self, call: EngineCall) -> Letter:
        """Return the request."""
        asked = asked_of(call)
        body: dict[str, Any] = {"model": self._site.model or msgspec.json.decode(call.body)["model"]}
        body |= {"max_tokens": asked.most or MOST, "messages": turns(asked)}
        optional = {
            "system": asked.system or None,
            "temperature": None if asked.temperature is None else min(1.0, asked.temperature),
            "top_p": asked.top_p,
            "top_k": asked.top_k if asked.top_k and asked.top_k > 0 else None,
            "stop_sequences": asked.stops or None,
            "stream": call.stream or None,
        }
        body |= {name: value for name, value in optional.items() if value is not None}
        return Letter(path="/v1/messages", body=msgspec.json.encode(body | _tools(asked)), headers=self._headers)

    def answer(self, status: int, body: bytes) -> bytes:
        """Return a whole answer, or an error, in OpenAI's words."""
        try:
            said = msgspec.json.decode(body, type=dict[str, Any])
            if status != 200:
                return error_of(status, str(said["error"]["message"]))
            answer = Answer(said["id"], said["model"])
            _count(answer, said["usage"])
            text = "".join(part["text"] for part in said["content"] if part["type"] == "text")
            calls = [
                tool_call(part["id"], part["name"], msgspec.json.encode(part["input"]).decode())
                for part in said["content"]
                if part["type"] == "tool_use"
            ]
            return answer.whole(text, calls, REASONS.get(said["stop_reason"], "stop"))
        except (msgspec.MsgspecError, *NOT_ITS_WORDS) as error:
            if status != 200:
                return error_of(status, f"{self._site.name} answered {status}")
            raise EngineError(f"{self._site.name} did not answer in Anthropic's words ({error!r})") from None

    def retell(self) -> Events:
        """Return what puts a stream into OpenAI's words."""
        return Events(self._site.name)


class Events:
    """One stream on its way."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._splitter = Splitter()
        self._answer = Answer("", "")
        self._calls = -1
        self._reason = "stop"

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that `chunk` completes; raise `EngineError` where one is an error or not understood."""
        try:
            return b"".join([self._retold(payload(event)) for event in self._splitter.feed(chunk)])
        except (msgspec.MsgspecError, *NOT_ITS_WORDS, ValueError) as error:
            raise EngineError(f"{self._name} does not stream in Anthropic's words ({error!r})") from None

    def _retold(self, data: bytes) -> bytes:
        event = msgspec.json.decode(data, type=dict[str, Any])
        kind = event["type"]
        if kind == "message_start":
            return self._begin(event["message"])
        if kind == "content_block_start" and event["content_block"]["type"] == "tool_use":
            self._calls += 1
            block = event["content_block"]
            return self._answer.event({"tool_calls": [tool_call(block["id"], block["name"], "", self._calls)]})
        if kind == "content_block_delta":
            return self._more(event["delta"])
        if kind == "message_delta":
            _count(self._answer, event.get("usage") or {})
            self._reason = REASONS.get(event["delta"].get("stop_reason"), "stop")
        if kind == "message_stop":
            return self._answer.event({}, self._reason) + self._answer.end()
        if kind == "error":
            raise EngineError(f"{self._name} broke off: {event['error'].get('message', '')}")
        return b""

    def _begin(self, message: dict[str, Any]) -> bytes:
        self._answer = Answer(message["id"], message["model"])
        _count(self._answer, message["usage"])
        return self._answer.event({"role": "assistant", "content": ""})

    def _more(self, delta: dict[str, Any]) -> bytes:
        if delta["type"] == "text_delta":
            return self._answer.event({"content": delta["text"]})
        if delta["type"] == "input_json_delta":
            part = {"index": self._calls, "function": {"arguments": delta["partial_json"]}}
            return self._answer.event({"tool_calls": [part]})
        return b""


def turns(asked: Asked) -> list[dict[str, Any]]:
    """Return the conversation; what tools said belongs to the user's turn."""
    said: list[dict[str, Any]] = []
    for one in asked.turns:
        role = "assistant" if one.role == "assistant" else "user"
        parts = _parts(one)
        if said and said[-1]["role"] == role:
            said[-1]["content"] += parts
        else:
            said.append({"role": role, "content": parts})
    return said


def _parts(one: Message) -> list[dict[str, Any]]:
    if one.role == "tool":
        return [{"type": "tool_result", "tool_use_id": one.tool_call_id, "content": one.text}]
    parts: list[dict[str, Any]] = [{"type": "text", "text": one.text}] if one.text else []
    for call in one.tool_calls or ():
        parts.append({"type": "tool_use", "id": call.id, "name": call.function.name, "input": call.input})
    return parts


def _tools(asked: Asked) -> dict[str, Any]:
    if not asked.tools:
        return {}
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    told: list[dict[str, Any]] = [
        {"name": tool.function.name, "input_schema": tool.function.parameters or schema}
        | ({"description": tool.function.description} if tool.function.description else {})
        for tool in asked.tools
    ]
    return {"tools": told} | ({"tool_choice": _choice(asked.tool_choice)} if asked.tool_choice else {})


def _choice(wanted: str | dict[str, Any]) -> dict[str, str]:
    if isinstance(wanted, dict):
        return {"type": "tool", "name": str(wanted.get("function", {}).get("name", ""))}
    if wanted not in CHOICES:
        raise UnspokenError(f"tool_choice {wanted!r} cannot be put into its words")
    return {"type": CHOICES[wanted]}


def _count(answer: Answer, usage: dict[str, Any]) -> None:
    """Take in the tokens as far as they are told: `input_tokens` are those that no cache had."""
    if "input_tokens" in usage:
        cached = usage.get("cache_read_input_tokens") or 0
        written = usage.get("cache_creation_input_tokens") or 0
        answer.prompt_tokens, answer.cached_tokens = usage["input_tokens"] + cached + written, cached
    answer.completion_tokens = usage.get("output_tokens", answer.completion_tokens)
