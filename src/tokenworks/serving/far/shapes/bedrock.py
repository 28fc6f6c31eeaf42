"""Amazon Bedrock's Converse, signed with SigV4 by botocore. Source: the Bedrock Runtime API reference, Converse.

The key is `ACCESS_KEY_ID:SECRET_ACCESS_KEY`, with a session token after another colon where there is one.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import msgspec

from tokenworks.core.errors import ConfigError, EngineError, MissingExtraError
from tokenworks.serving.address import parse_address
from tokenworks.serving.answer import EngineCall
from tokenworks.serving.far.chat import NOT_ITS_WORDS, REASONS, Answer, Asked, Message, asked_of, error_of, tool_call
from tokenworks.serving.far.server import Letter, Site, UnspokenError

_AWS_REGION = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.")


def speak(site: Site) -> Bedrock:
    """Return the shape for one model in one region; raise `MissingExtraError` without botocore."""
    try:
        import botocore  # noqa: F401 - comes with the extra for S3, and is heavy
    except ImportError:
        raise MissingExtraError("asking Bedrock", "s3") from None
    if not site.model or site.key.count(":") not in (1, 2):
        raise ConfigError(
            f"engines.remotes {site.name!r}: bedrock needs `model` and a key ID:SECRET or ID:SECRET:TOKEN"
        )
    return Bedrock(site)


class Bedrock:
    """Puts chats into Converse and back, signing each."""

    def __init__(self, site: Site) -> None:
        from botocore.credentials import Credentials  # checked by `speak`

        found = _AWS_REGION.search(site.url)
        self._site = site
        self._aws_region = found[1] if found else site.region
        self._address = parse_address(site.url)
        self._credentials = Credentials(*site.key.split(":"))

    def ask(self, call: EngineCall) -> Letter:
        """Return the signed request."""
        asked = asked_of(call)
        inference = {
            "maxTokens": asked.most,
            "temperature": asked.temperature,
            "topP": asked.top_p,
            "stopSequences": asked.stops or None,
        }
        if asked.top_k and asked.top_k > 0:
            raise UnspokenError("top_k cannot be put into its words; leave it out")
        body: dict[str, Any] = {"messages": _turns(asked)}
        body["inferenceConfig"] = {name: value for name, value in inference.items() if value is not None}
        if asked.system:
            body["system"] = [{"text": asked.system}]
        path = f"/model/{quote(self._site.model, safe='')}/{'converse-stream' if call.stream else 'converse'}"
        encoded = msgspec.json.encode(body | _tools(asked))
        return Letter(path=path, body=encoded, headers=self._signature(path, encoded))

    def answer(self, status: int, body: bytes) -> bytes:
        """Return a whole answer, or an error, in OpenAI's words."""
        try:
            said = msgspec.json.decode(body, type=dict[str, Any])
            if status != 200:
                return error_of(status, str(said.get("message") or said.get("Message") or f"status {status}"))
            answer = Answer("chatcmpl-bedrock", self._site.model)
            _count(answer, said["usage"])
            parts = said["output"]["message"]["content"]
            text = "".join(part.get("text", "") for part in parts)
            used = [part["toolUse"] for part in parts if "toolUse" in part]
            calls = [
                tool_call(one["toolUseId"], one["name"], msgspec.json.encode(one["input"]).decode()) for one in used
            ]
            return answer.whole(text, calls, REASONS.get(said["stopReason"], "stop"))
        except (msgspec.MsgspecError, *NOT_ITS_WORDS) as error:
            if status != 200:
                return error_of(status, f"{self._site.name} answered {status}")
            raise EngineError(f"{self._site.name} did not answer as Converse does ({error!r})") from None

    def retell(self) -> Events:
        """Return what puts a stream into OpenAI's words."""
        return Events(self._site)

    def _signature(self, path: str, body: bytes) -> tuple[tuple[str, str], ...]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        scheme = "https" if self._address.tls else "http"
        url = f"{scheme}://{self._address.netloc}{self._address.prefix}{path}"
        kind = {"content-type": "application/json", "host": self._address.netloc}
        request = AWSRequest(method="POST", url=url, data=body, headers=kind)
        SigV4Auth(self._credentials, "bedrock", self._aws_region).add_auth(request)
        return tuple((name, value) for name, value in request.headers.items() if name.lower() not in kind)


class Events:
    """One stream, in frames of application/vnd.amazon.eventstream."""

    def __init__(self, site: Site) -> None:
        from botocore.eventstream import EventStreamBuffer

        self._name = site.name
        self._frames = EventStreamBuffer()
        self._answer = Answer("chatcmpl-bedrock", site.model)
        self._calls = -1
        self._reason = "stop"

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that `chunk` completes; raise `EngineError` where one is an error or not understood."""
        from botocore.eventstream import ParserError

        made = b""
        try:
            self._frames.add_data(chunk)
            for frame in self._frames:
                kind = frame.headers.get(":event-type") or frame.headers.get(":exception-type") or ""
                event = msgspec.json.decode(frame.payload, type=dict[str, Any])
                if frame.headers.get(":message-type") != "event":
                    raise EngineError(f"{self._name} broke off: {kind} {event.get('message', '')}")
                made += self._retold(kind, event)
        except (ParserError, msgspec.MsgspecError, *NOT_ITS_WORDS) as error:
            raise EngineError(f"{self._name} does not stream as Converse does ({error!r})") from None
        return made

    def _retold(self, kind: str, event: dict[str, Any]) -> bytes:
        if kind == "messageStart":
            return self._answer.event({"role": "assistant", "content": ""})
        if kind == "contentBlockStart" and "toolUse" in event["start"]:
            self._calls += 1
            used = event["start"]["toolUse"]
            return self._answer.event({"tool_calls": [tool_call(used["toolUseId"], used["name"], "", self._calls)]})
        if kind == "contentBlockDelta":
            delta = event["delta"]
            if "text" in delta:
                return self._answer.event({"content": delta["text"]})
            if "toolUse" in delta:
                part = {"index": self._calls, "function": {"arguments": delta["toolUse"]["input"]}}
                return self._answer.event({"tool_calls": [part]})
        if kind == "messageStop":
            self._reason = REASONS.get(event["stopReason"], "stop")
            return self._answer.event({}, self._reason)
        if kind == "metadata":  # the last of all
            _count(self._answer, event["usage"])
            return self._answer.end()
        return b""


def _turns(asked: Asked) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    for one in asked.turns:
        role = "assistant" if one.role == "assistant" else "user"
        if said and said[-1]["role"] == role:
            said[-1]["content"] += _parts(one)
        else:
            said.append({"role": role, "content": _parts(one)})
    return said


def _parts(one: Message) -> list[dict[str, Any]]:
    if one.role == "tool":
        return [{"toolResult": {"toolUseId": one.tool_call_id, "content": [{"text": one.text}]}}]
    parts: list[dict[str, Any]] = [{"text": one.text}] if one.text else []
    for call in one.tool_calls or ():
        parts.append({"toolUse": {"toolUseId": call.id, "name": call.function.name, "input": call.input}})
    return parts


def _tools(asked: Asked) -> dict[str, Any]:
    if not asked.tools or asked.tool_choice == "none":
        return {}
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    told = []
    for tool in asked.tools:
        spec: dict[str, Any] = {
            "name": tool.function.name,
            "inputSchema": {"json": tool.function.parameters or schema},
        }
        if tool.function.description:
            spec["description"] = tool.function.description
        told.append({"toolSpec": spec})
    config: dict[str, Any] = {"tools": told}
    if isinstance(asked.tool_choice, dict):
        config["toolChoice"] = {"tool": {"name": str(asked.tool_choice.get("function", {}).get("name", ""))}}
    elif asked.tool_choice == "required":
        config["toolChoice"] = {"any": {}}
    return {"toolConfig": config}


def _count(answer: Answer, usage: dict[str, Any]) -> None:
    cached = usage.get("cacheReadInputTokens") or 0
    answer.prompt_tokens, answer.cached_tokens = usage["inputTokens"] + cached, cached
    answer.completion_tokens = usage["outputTokens"]
