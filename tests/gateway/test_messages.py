"""Anthropic's official client against the whole gateway: real engine processes, real sockets, a real ledger."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import anthropic
import openai
import pytest

from tokenworks.core.label import Label
from tokenworks.ledger.bodies import named
from tokenworks.serving.engine import Options

if TYPE_CHECKING:
    from .conftest import House

SAME: dict[str, Any] = {"model": "complete", "max_tokens": 8}
ASKED: dict[str, Any] = {**SAME, "extra_body": {"temperature": 0.0}}  # the client of today no longer names it
USER = [{"role": "user", "content": "how do I reset my password"}]
TOOL = {
    "name": "weather",
    "description": "The weather somewhere.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
KEPT = {"type", "text", "id", "name", "input"}


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[anthropic.Anthropic]:
    with make(house) as made:
        yield made


def make(house: House, secret: str = "") -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=house.server.address, api_key=secret or house.secret, max_retries=0)


def chat(house: House, **more: Any) -> Any:
    messages = more.pop("messages", USER)
    return house.openai().chat.completions.create(messages=messages, temperature=0.0, **SAME, **more)


def test_a_message_is_the_chat_that_it_stands_for(house: House, client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(messages=USER, **ASKED)
    said, same = raw.parse(), chat(house)
    assert (said.type, said.role, said.model) == ("message", "assistant", "complete@1")
    assert "".join(part.text for part in said.content) == same.choices[0].message.content
    assert said.stop_reason == "max_tokens"
    entry = house.entry(raw.headers["x-request-id"])
    assert (entry.endpoint, entry.face, entry.outcome, entry.label) == (
        "chat.completions",
        "messages",
        "ok",
        "internal",
    )
    assert said.usage.output_tokens == entry.completion_tokens == 8
    assert said.usage.input_tokens + said.usage.cache_read_input_tokens == entry.prompt_tokens
    assert entry.prompt_tokens == same.usage.prompt_tokens
    assert raw.headers["x-tokenworks-label"] == "internal"
    assert said._request_id == entry.request_id


def test_the_system_prompt_and_blocks_of_text_are_part_of_the_prompt(house: House, client: anthropic.Anthropic) -> None:
    blocks = [
        {"type": "text", "text": "a card"},
        {"type": "text", "text": "was lost", "cache_control": {"type": "ephemeral"}},
    ]
    said = client.messages.create(
        messages=[{"role": "user", "content": blocks}], system=[{"type": "text", "text": "the mail"}], **ASKED
    )
    messages = [{"role": "system", "content": "the mail"}, {"role": "user", "content": "a card\n\nwas lost"}]
    same = chat(house, messages=messages)
    assert said.content[0].text == same.choices[0].message.content
    assert said.usage.input_tokens + said.usage.cache_read_input_tokens == same.usage.prompt_tokens


def test_a_stream_says_what_the_whole_message_says(house: House, client: anthropic.Anthropic) -> None:
    whole = client.messages.create(messages=USER, **ASKED)
    with client.messages.stream(messages=USER, **ASKED) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert streamed.content[0].text == whole.content[0].text
    assert (streamed.stop_reason, streamed.usage.output_tokens) == ("max_tokens", 8)
    assert (
        streamed.usage.input_tokens + (streamed.usage.cache_read_input_tokens or 0)
        == house.entry(stream.response.headers["x-request-id"]).prompt_tokens
    )
    published = [kind for kind in kinds if kind != "text"]  # `text` is the client's own
    assert published[:2] == ["message_start", "content_block_start"]
    assert published[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    entry = house.entry(stream.response.headers["x-request-id"])
    assert (entry.outcome, entry.completion_tokens, entry.face) == ("ok", 8, "messages")


def test_the_count_of_a_stream_is_known_when_it_begins(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model="complete", messages=USER)
    events = client.messages.create(messages=USER, stream=True, **ASKED)
    first = next(iter(events))
    events.close()
    assert first.message.usage.input_tokens == counted.input_tokens > 0


def test_count_tokens_says_what_the_prompt_will_cost(house: House, client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.count_tokens(model="complete", messages=USER, system="be brief")
    said = client.messages.create(messages=USER, system="be brief", **ASKED)
    assert raw.parse().input_tokens == said.usage.input_tokens + said.usage.cache_read_input_tokens
    entry = house.entry(raw.headers["x-request-id"])
    assert (entry.endpoint, entry.face, entry.outcome, entry.completion_tokens) == ("tokenize", "messages", "ok", 0)


def test_a_stop_sequence_ends_the_answer_and_is_named(house: House, client: anthropic.Anthropic) -> None:
    text = chat(house).choices[0].message.content
    stop = text[len(text) // 2 :][:3]
    for said in (
        client.messages.create(messages=USER, stop_sequences=["never said", stop], **ASKED),
        client.messages.stream(messages=USER, stop_sequences=["never said", stop], **ASKED)
        .__enter__()
        .get_final_message(),
    ):
        assert (said.stop_reason, said.stop_sequence) == ("stop_sequence", stop)
        assert "".join(part.text for part in said.content) == text[: text.index(stop)]


async def test_the_async_client_streams_too(house: House) -> None:
    async with anthropic.AsyncAnthropic(base_url=house.server.address, auth_token=house.secret) as client:
        async with client.messages.stream(messages=USER, **ASKED) as stream:
            texts = [text async for text in stream.text_stream]
        assert "".join(texts) == (await stream.get_final_message()).content[0].text


def test_who_hangs_up_leaves_one_entry_with_what_was_delivered(house: House, client: anthropic.Anthropic) -> None:
    wanted = ASKED | {"max_tokens": 1500}
    with client.messages.stream(messages=USER, **wanted) as stream:
        for number, _ in enumerate(stream.text_stream):
            if number == 2:
                break
        request_id = stream.response.headers["x-request-id"]
    entry = house.entry(request_id)
    assert entry.outcome in ("cancelled", "ok")  # a random model may have said its end of text
    assert entry.completion_tokens < 1500


def refused(client: anthropic.Anthropic, **wrong: Any) -> anthropic.APIStatusError:
    with pytest.raises(anthropic.APIStatusError) as refusal:
        client.post("/v1/messages", body={**SAME, "messages": USER, **wrong}, cast_to=object)
    error = refusal.value.body
    assert error["type"] == "error"
    assert error["request_id"] == refusal.value.response.headers["request-id"]
    return refusal.value


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"temprature": 1}, "invalid_request_error", "did you mean 'temperature'"),
        ({"max_tokens": 0}, "invalid_request_error", "max_tokens"),
        ({"temperature": 1.5}, "invalid_request_error", "temperature"),
        ({"model": "nothing"}, "not_found_error", "model 'nothing' does not exist"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "invalid_request_error", "thinking"),
        ({"messages": [*USER, {"role": "assistant", "content": "Yes"}]}, "invalid_request_error", "not continued here"),
        ({"tools": [TOOL]}, "invalid_request_error", "tools is not supported here"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "invalid_request_error", "tools"),
        ({"tool_choice": {"type": "auto"}}, "invalid_request_error", "tool_choice needs tools"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "invalid_request_error", "document"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "invalid_request_error", "role"),
        ({"container": "x"}, "invalid_request_error", "unknown field 'container'"),
        ({"max_tokens": 100_000}, "invalid_request_error", "max_tokens"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_anthropics_words(
    house: House, client: anthropic.Anthropic, wrong: dict[str, Any], kind: str, words: str
) -> None:
    error = refused(client, **wrong)
    assert error.body["error"]["type"] == kind
    assert words in error.body["error"]["message"]
    entry = house.entry(error.body["request_id"])
    assert (entry.outcome, entry.face) == ("refused", "messages")


def test_errors_become_the_exceptions_of_the_client(house: House, client: anthropic.Anthropic) -> None:
    assert isinstance(refused(make(house, "tw-nobody")), anthropic.AuthenticationError)
    assert isinstance(refused(client, model="nothing"), anthropic.NotFoundError)
    secret, _ = house.keys.create("default", scopes={"search"})
    assert isinstance(refused(make(house, secret)), anthropic.PermissionDeniedError)
    assert isinstance(refused(client, system="x" * 13_000_000), anthropic.RequestTooLargeError)


def test_a_beta_feature_is_not_silently_left_out(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="anthropic-beta"):
        client.beta.messages.create(messages=USER, betas=["context-1m-2025-08-07"], **ASKED)


def test_a_broken_engine_is_an_error_of_the_server(client: anthropic.Anthropic) -> None:
    error = refused(client, model="broken")
    assert isinstance(error, anthropic.InternalServerError)
    assert (error.status_code, error.body["error"]["type"]) == (503, "overloaded_error")


class Elsewhere(BaseHTTPRequestHandler):
    """A server elsewhere whose model uses tools: it writes down what it was asked."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(body)
        head = {"id": "chatcmpl-1", "created": 1, "model": "far"}
        used = {
            "prompt_tokens": 20,
            "completion_tokens": 9,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 4},
        }
        function = {"name": "weather", "arguments": '{"city": "Ulm"}'}
        message = {
            "role": "assistant", "content": "I look.",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        }  # fmt: skip
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            return self._send(
                "application/json", [{**head, "object": "chat.completion", "choices": [choice], "usage": used}]
            )
        deltas: list[dict[str, Any]] = [
            {"role": "assistant", "content": "I "},
            {"content": "look."},
            {
                "tool_calls": [
                    {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
                ]
            },
            *({"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in ('{"city"', ': "Ulm"}')),
        ]
        events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        events += [
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
            {"choices": [], "usage": used},
        ]
        self._send("text/event-stream", [{**head, "object": "chat.completion.chunk", **event} for event in events])
        return None

    def _send(self, kind: str, parts: list[dict[str, Any]]) -> None:
        bodies = [json.dumps(part).encode() for part in parts]
        data = bodies[0]
        if kind == "text/event-stream":
            data = b"".join(b"data: " + body + b"\n\n" for body in [*bodies, b"[DONE]"])
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def far(house: House) -> Iterator[list[dict[str, Any]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = Options(url=f"http://127.0.0.1:{server.server_port}/v1")
    house.run(house.pool.add_remote("far@1", options, model="far"))
    house.release("far", label="restricted", kind="chat")  # unseen by the keys of other tests
    yield Elsewhere.asked
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def cleared(house: House) -> Iterator[anthropic.Anthropic]:
    secret, _ = house.keys.create("default", clearance=Label.RESTRICTED)
    with make(house, secret) as made:
        yield made


def test_tools_go_to_an_engine_that_has_them_and_come_back(
    house: House, cleared: anthropic.Anthropic, far: list[dict[str, Any]]
) -> None:
    asked: dict[str, Any] = {"model": "far", "max_tokens": 50, "tools": [TOOL], "messages": USER}
    whole = cleared.messages.create(tool_choice={"type": "any", "disable_parallel_tool_use": True}, **asked)
    sent = far[-1]
    assert sent["tools"][0]["function"] == {
        "name": "weather", "parameters": TOOL["input_schema"], "description": "The weather somewhere.",
    }  # fmt: skip
    assert (sent["tool_choice"], sent["parallel_tool_calls"], sent["max_tokens"]) == ("required", False, 50)
    with cleared.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    for said in (whole, streamed):
        assert [part.type for part in said.content] == ["text", "tool_use"]
        assert (said.content[0].text, said.stop_reason) == ("I look.", "tool_use")
        assert (said.content[1].id, said.content[1].name, said.content[1].input) == (
            "call_1",
            "weather",
            {"city": "Ulm"},
        )
        assert (said.usage.input_tokens, said.usage.cache_read_input_tokens, said.usage.output_tokens) == (16, 4, 9)
    used = cleared.messages.create(
        **asked
        | {
            "messages": [
                *USER,
                {"role": "assistant", "content": [part.model_dump(include=KEPT) for part in whole.content]},
                {"role": "user", "content": [
                    {"type": "text", "text": "well?"},
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "rain", "is_error": False},
                ]},
            ]
        }
    )  # fmt: skip
    assert used.usage.output_tokens == 9
    calls = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}]
    assert far[-1]["messages"][1:] == [
        {"role": "assistant", "content": "I look.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "user", "content": "well?"},
    ]


def test_the_form_of_the_answer_is_passed_on(cleared: anthropic.Anthropic, far: list[dict[str, Any]]) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    wanted = {"format": {"type": "json_schema", "schema": schema}, "effort": "low"}
    cleared.messages.create(model="far", max_tokens=5, messages=USER, output_config=wanted)
    assert far[-1]["response_format"]["json_schema"]["schema"] == schema
    assert far[-1]["reasoning_effort"] == "low"


def test_pictures_are_passed_on_as_addresses(cleared: anthropic.Anthropic, far: list[dict[str, Any]]) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": "what is this?"}]
    cleared.messages.create(model="far", max_tokens=5, messages=[{"role": "user", "content": parts}])
    assert far[-1]["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "text", "text": "what is this?"},
    ]


def test_what_was_asked_in_these_words_can_be_judged_like_any(house: House, client: anthropic.Anthropic) -> None:
    said = client.messages.create(messages=USER, **ASKED)
    answer = house.http().post("/v1/feedback", json={"request_id": said._request_id, "rating": 1})
    assert answer.status_code == 201
    prompt, kept = house.bodies.get(named("default", str(said._request_id)))
    assert json.loads(prompt)["messages"] == USER
    assert json.loads(kept)["choices"][0]["message"]["content"] == said.content[0].text


def test_the_openai_client_is_answered_as_before(house: House) -> None:
    with pytest.raises(openai.BadRequestError, match="unknown field 'system'"):
        house.openai().chat.completions.create(messages=USER, extra_body={"system": "x"}, **SAME)
