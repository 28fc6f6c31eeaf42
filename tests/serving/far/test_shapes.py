"""Servers with words of their own: what they are asked, and what their answers become. Real sockets, both ways."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tokenworks.core.errors import ConfigError, EngineError
from tokenworks.serving.answer import EngineCall
from tokenworks.serving.far.server import Far, Site, UnspokenError

CHAT = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "description": "It."}}]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather in Ulm?"},
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "t1", "content": "rain"},
    {"role": "user", "content": [{"type": "text", "text": "and "}, {"type": "text", "text": "now?"}]},
]


class Provider(ThreadingHTTPServer):
    """Answers every request with the same bytes, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.status, self.kind, self.data = 200, "application/json", b"{}"
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def says(self, body: Any, status: int = 200) -> None:
        self.status, self.kind, self.data = status, "application/json", json.dumps(body).encode()

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.asked[-1][2]))


class Answering(BaseHTTPRequestHandler):
    server: Provider
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("content-type", self.server.kind)
        self.send_header("content-length", str(len(self.server.data)))
        self.end_headers()
        self.wfile.write(self.server.data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    server = Provider()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def call(*, path: str = CHAT, stream: bool = False, **fields: Any) -> EngineCall:
    body = {"model": "alias", "messages": TALK, "stream": stream, **fields}
    return EngineCall(ref="far@0", path=path, body=json.dumps(body).encode(), stream=stream)


async def events(far: Far, **fields: Any) -> list[dict[str, Any]]:
    answer = await far.generate(call(stream=True, **fields))
    assert not isinstance(answer.body, bytes)
    data = b"".join([chunk async for chunk in answer.body])
    assert data.endswith(b"data: [DONE]\n\n")
    return [json.loads(event[6:]) for event in data.split(b"\n\n")[:-2]]


def said(parts: list[dict[str, Any]]) -> tuple[str, str, str, str]:
    """Return text, tool, arguments and reason of a stream."""
    choices = [part["choices"][0] for part in parts if part["choices"]]
    text = "".join(one["delta"].get("content") or "" for one in choices)
    functions = [used["function"] for one in choices for used in one["delta"].get("tool_calls", ())]
    name = "".join(one.get("name", "") for one in functions)
    return text, name, "".join(one["arguments"] for one in functions), choices[-1]["finish_reason"]


USED = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17, "prompt_tokens_details": {"cached_tokens": 2}}
MESSAGE = {
    "id": "msg_1",
    "model": "claude",
    "content": [
        {"type": "text", "text": "Rain."},
        {"type": "tool_use", "id": "t2", "name": "weather", "input": {"a": 1}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 5},
}


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[Site], Far]]:
    made: list[Far] = []

    def make(site: Site) -> Far:
        made.append(Far(site))
        return made[-1]

    yield make
    for far in made:
        far.close()
    await asyncio.sleep(0)


async def test_anthropic_is_asked_and_answers_in_its_own_words(
    provider: Provider, opened: Callable[[Site], Far]
) -> None:
    far = opened(Site(name="a", url=f"{provider.url}/v1", shape="anthropic", key="sk-ant", model="claude"))
    provider.says(MESSAGE)
    answer = await far.generate(
        call(tools=TOOLS, tool_choice="required", stop="END", temperature=1.5, max_tokens=9, user="u", seed=None)
    )
    path, headers, _ = provider.asked[-1]
    assert (path, headers["x-api-key"], headers["anthropic-version"]) == ("/v1/messages", "sk-ant", "2023-06-01")
    assert "authorization" not in headers
    assert provider.body == {
        "model": "claude",
        "max_tokens": 9,
        "system": "Be brief.",
        "temperature": 1.0,
        "stop_sequences": ["END"],
        "tools": [{"name": "weather", "input_schema": {"type": "object"}, "description": "It."}],
        "tool_choice": {"type": "any"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather in Ulm?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Ulm"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "rain"},
                    {"type": "text", "text": "and now?"},
                ],
            },
        ],
    }
    whole = json.loads(answer.body)  # type: ignore[arg-type]
    choice = whole["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"], whole["usage"]) == ("Rain.", "tool_calls", USED)
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"a":1}'}


async def test_anthropics_stream_becomes_a_chats(provider: Provider, opened: Callable[[Site], Far]) -> None:
    start = {**MESSAGE, "content": [], "usage": {"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 1}}
    told = [
        {"type": "message_start", "message": start},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Ra"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "in."}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "t2", "name": "weather"},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    provider.kind = "text/event-stream"
    provider.data = b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told)
    far = opened(Site(name="a", url=provider.url, shape="anthropic", key="sk-ant", model="claude"))
    parts = await events(far)
    assert said(parts) == ("Rain.", "weather", '{"a":1}', "tool_calls")
    assert parts[-1]["usage"] == USED
    assert provider.body["stream"] is True
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    provider.data = (
        provider.data[:300].rpartition(b"event")[0] + f"event: error\ndata: {json.dumps(error)}\n\n".encode()
    )
    with pytest.raises(EngineError, match="Overloaded"):
        await events(far)
    provider.data = b'data: {"choices":[]}\n\n'
    with pytest.raises(EngineError, match="does not stream in Anthropic's words"):
        await events(far)


async def test_azure_has_the_deployment_in_its_path_and_a_header_for_the_key(
    provider: Provider, opened: Callable[[Site], Far]
) -> None:
    far = Far(
        Site(name="z", url=provider.url, shape="azure", key="k1", model="my deployment", api_version="2025-01-01")
    )
    provider.says({"id": "x"})
    answer = await far.generate(call(stream_options={"include_usage": True, "continuous_usage_stats": True}))
    path, headers, _ = provider.asked[-1]
    assert path == "/openai/deployments/my%20deployment/chat/completions?api-version=2025-01-01"
    assert (headers["api-key"], "authorization" in headers, answer.body) == ("k1", False, b'{"id": "x"}')
    assert provider.body["stream_options"] == {"include_usage": True}


def frame(kind: str, event: dict[str, Any], message_type: str = "event") -> bytes:
    """Return a frame of application/vnd.amazon.eventstream, from its description."""
    names = {":message-type": message_type, f":{message_type}-type": kind}
    head = b"".join(
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for name, value in names.items()
    )
    data = json.dumps(event).encode()
    prelude = struct.pack(">II", 16 + len(head) + len(data), len(head))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + data
    return whole + struct.pack(">I", zlib.crc32(whole))


@pytest.fixture
def bedrock(provider: Provider, opened: Callable[[Site], Far]) -> Callable[[], Far]:
    pytest.importorskip("botocore", reason="Bedrock needs the extra s3")
    site = Site(
        name="b",
        url=provider.url,
        shape="bedrock",
        key="AKID:secret",
        model="anthropic.claude:0",
        region="eu-central-1",
    )
    return lambda: opened(site)


async def test_bedrock_gets_a_signature_that_holds(provider: Provider, bedrock: Callable[[], Far]) -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    provider.says(
        {
            "output": {
                "message": {"content": [{"text": "Rain."}, {"toolUse": {"toolUseId": "t", "name": "w", "input": {}}}]}
            },
            "stopReason": "tool_use",
            "usage": {"inputTokens": 10, "cacheReadInputTokens": 2, "outputTokens": 5},
        }
    )
    answer = await bedrock().generate(call(tools=TOOLS, max_tokens=9, top_p=0.5))
    path, headers, body = provider.asked[-1]
    assert path == "/model/anthropic.claude%3A0/converse"
    signed = {name: headers[name] for name in ("content-type", "host", "x-amz-date")}
    again = AWSRequest(method="POST", url=provider.url + path, data=body, headers=signed)
    again.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials("AKID", "secret"), "bedrock", "eu-central-1")
    expected = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    assert headers["authorization"].endswith(f"Signature={expected}")
    assert provider.body["inferenceConfig"] == {"maxTokens": 9, "topP": 0.5}
    assert provider.body["system"] == [{"text": "Be brief."}]
    assert [turn["role"] for turn in provider.body["messages"]] == ["user", "assistant", "user"]
    whole = json.loads(answer.body)  # type: ignore[arg-type]
    assert (whole["choices"][0]["message"]["content"], whole["usage"]) == ("Rain.", USED)


async def test_bedrocks_frames_become_a_chats_stream(provider: Provider, bedrock: Callable[[], Far]) -> None:
    provider.kind = "application/vnd.amazon.eventstream"
    provider.data = b"".join(
        frame(kind, event)
        for kind, event in [
            ("messageStart", {"role": "assistant"}),
            ("contentBlockDelta", {"delta": {"text": "Rain."}, "contentBlockIndex": 0}),
            (
                "contentBlockStart",
                {"start": {"toolUse": {"toolUseId": "t", "name": "weather"}}, "contentBlockIndex": 1},
            ),
            ("contentBlockDelta", {"delta": {"toolUse": {"input": '{"a":1}'}}, "contentBlockIndex": 1}),
            ("contentBlockStop", {"contentBlockIndex": 1}),
            ("messageStop", {"stopReason": "tool_use"}),
            ("metadata", {"usage": {"inputTokens": 10, "cacheReadInputTokens": 2, "outputTokens": 5}}),
        ]
    )
    parts = await events(bedrock())
    assert said(parts) == ("Rain.", "weather", '{"a":1}', "tool_calls")
    assert parts[-1]["usage"] == USED
    provider.data = frame("throttlingException", {"message": "too many"}, "exception")
    with pytest.raises(EngineError, match="too many"):
        await events(bedrock())
    provider.data = b"\x00" * 40
    with pytest.raises(EngineError, match="does not stream as Converse does"):
        await events(bedrock())


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"seed": 7}, "seed"),
        ({"n": 2}, "n: it writes one"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
        ({"path": "/v1/embeddings"}, "chats alone"),
    ],
)
async def test_what_has_no_words_there_is_refused_by_name(
    provider: Provider, opened: Callable[[Site], Far], fields: dict[str, Any], why: str
) -> None:
    far = opened(Site(name="a", url=provider.url, shape="anthropic", key="k", model="claude"))
    with pytest.raises(UnspokenError, match=why):
        await far.generate(call(**fields))
    assert provider.asked == []


@pytest.mark.parametrize("shape", ["anthropic", "bedrock"])
async def test_refusals_and_nonsense_come_back_as_errors(
    provider: Provider, opened: Callable[[Site], Far], shape: str
) -> None:
    key, more = ("AKID:secret", {"region": "eu-central-1"}) if shape == "bedrock" else ("k", {})
    far = opened(Site(name="far", url=provider.url, shape=shape, key=key, model="m", **more))
    provider.says({"error": {"message": "too long"}, "message": "too long"}, status=400)
    answer = await far.generate(call())
    assert (answer.status, json.loads(answer.body)["error"]["message"]) == (400, "too long")  # type: ignore[arg-type]
    provider.says([], status=500)
    assert (await far.generate(call())).status == 500
    provider.says({"id": "x"})
    with pytest.raises(EngineError, match="did not answer"):
        await far.generate(call())


@pytest.mark.parametrize(
    ("site", "why"),
    [
        ({"url": "file:///etc/passwd"}, r"not an http\(s\) URL"),
        ({"url": "gopher://x"}, r"not an http\(s\) URL"),
        ({"url": "https://user:secret@host/v1"}, "may hold no user"),
        ({"url": "https://host/v1?key=x"}, "may hold no user, query"),
        ({"url": "https://host:99999/v1"}, "Port out of range"),
        ({"shape": "opnai"}, "openai"),
        ({"shape": "azure"}, "deployment"),
        ({"shape": "bedrock", "model": "m"}, "ID:SECRET"),
        ({"key": "with\nline"}, "line ends"),
    ],
)
def test_a_site_that_cannot_be_meant_is_refused_at_the_start(site: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Far(Site(**{"name": "far", "url": "http://127.0.0.1:1", **site}))
