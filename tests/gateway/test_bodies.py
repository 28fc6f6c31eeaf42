"""What a request body must be, and how it is told when it is not."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.openai.asked import Asked
from tokenworks.gateway.openai.bodies import BODIES, parse, with_usage

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
DEEP = b"[" * 5000 + b"]" * 5000
COMPLETION = {"model": "m", "prompt": "hi"}


def refused(endpoint: str, body: bytes | dict[str, object]) -> ApiError:
    with pytest.raises(ApiError) as raised:
        parse(endpoint, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert raised.value.status == 400
    return raised.value


def test_model_stream_and_usage_are_what_the_layers_get() -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    chat = parse("chat.completions", json.dumps(body).encode())
    assert chat == Asked(model="m", stream=True, include_usage=True, size=chat.size)
    embedding = parse("embeddings", b'{"model":"m","input":["a"]}')
    assert embedding == Asked(model="m", size=embedding.size)
    assert chat.size.answers == 1
    assert embedding.size.answers == 0


@pytest.mark.parametrize(
    ("endpoint", "params"),
    [
        ("chat.completions", chat_create_params.CompletionCreateParamsBase),
        ("completions", completion_create_params.CompletionCreateParamsBase),
        ("embeddings", embedding_create_params.EmbeddingCreateParams),
    ],
)
def test_every_field_that_the_official_client_can_send_is_known(endpoint: str, params: type) -> None:
    assert set(params.__annotations__) <= set(BODIES[endpoint].__struct_encode_fields__)


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (b"", "empty_body", "send a JSON object"),
        (b"  \n", "empty_body", "send a JSON object"),
        (b"{", "invalid_json", "not valid JSON"),
        (b'{"model":"m","prompt":"x"} extra', "invalid_json", "not valid JSON"),
        (b'{"model":"m","prompt":"\xff\xfe"}', "invalid_utf8", "not UTF-8 at byte 23"),
        (b'{"model":"m","prompt":"x","temperature":NaN}', "invalid_json", "NaN and Infinity are not JSON"),
        (b'{"model":"m","prompt":"x","temperature":-Infinity}', "invalid_json", "NaN and Infinity are not JSON"),
        (b"[]", "invalid_type", "must be a JSON object"),
        (b'"text"', "invalid_type", "must be a JSON object"),
        (
            b'{"model":"m","prompt":"x","response_format":' + b"[" * 5000 + b"]" * 5000 + b"}",
            "invalid_json",
            "not valid JSON",
        ),
    ],
)
def test_what_is_no_json_object_is_told_what_is_wrong(body: bytes, code: str, says: str) -> None:
    error = refused("completions", body)
    assert (error.code, says in error.message) == (code, True), error.message


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"seed": "x"}, "seed"),
        ({"stop": 7}, "stop"),
        ({"stop": [7]}, "stop[0]"),
        ({"presence_penalty": -2.5}, "presence_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"logit_bias": {"5": 101}}, "logit_bias[...]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 3}, "stream": True}, "stream_options.include_usage"),
        ({"model": 7}, "model"),
        ({"model": ""}, "model"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": []}, "prompt"),
    ],
)
def test_a_wrong_value_is_named_by_its_field(change: dict[str, object], param: str) -> None:
    error = refused("completions", {**COMPLETION, **change})
    assert error.param == param
    assert param in error.message


def test_infinity_by_overflow_is_refused() -> None:
    refused("completions", b'{"model":"m","prompt":"x","temperature":1e999}')


@pytest.mark.parametrize(
    "messages", [[], [{"content": "no role"}], ["text"], [{"role": "user", "content": 5}], None, "hi"]
)
def test_messages_that_are_none_are_refused(messages: object) -> None:
    assert refused("chat.completions", {"model": "m", "messages": messages}).param.startswith("messages")


def test_a_missing_field_is_named() -> None:
    error = refused("chat.completions", {"messages": CHAT["messages"]})
    assert (error.param, error.code) == ("model", "missing_required_parameter")


def test_an_unknown_field_is_named_with_the_nearest_known_one() -> None:
    error = refused("completions", {**COMPLETION, "temprature": 0.5})
    assert (error.param, error.code) == ("temprature", "unknown_parameter")
    assert "did you mean 'temperature'?" in error.message


def test_a_field_that_stands_twice_is_refused() -> None:
    error = refused("completions", b'{"model":"cheap","prompt":"x","model":"dear"}')
    assert (error.param, error.code) == ("model", "duplicate_field")


def test_the_same_word_inside_a_text_is_no_field() -> None:
    assert parse("completions", b'{"model":"m","prompt":"\\"model\\": \\"model\\""}').model == "m"
    assert parse(
        "chat.completions", b'{"model":"m","messages":[{"role":"user","content":"model","name":"model"}]}'
    ).model


def test_stream_options_without_stream_are_refused() -> None:
    assert refused("completions", {**COMPLETION, "stream_options": {"include_usage": True}}).param == "stream_options"


def test_asking_for_usage_leaves_the_other_fields_as_they_were() -> None:
    body = b'{"model": "m", "prompt": "caf\\u00e9 \xc3\xa9", "seed": 12345678901234567890, "stream": true}'
    changed = with_usage(body)
    assert b'"caf\\u00e9 \xc3\xa9"' in changed
    assert b"12345678901234567890" in changed
    assert json.loads(changed)["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_asking_for_usage_keeps_other_stream_options() -> None:
    body = b'{"stream_options": {"include_obfuscation": false, "include_usage": false}}'
    options = json.loads(with_usage(body))["stream_options"]
    assert options == {"include_obfuscation": False, "include_usage": True, "continuous_usage_stats": True}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["model", "messages", "prompt", "input", "temperature", "n", "stop", "stream", "junk"])


@given(endpoint=st.sampled_from(sorted(BODIES)), body=st.dictionaries(fields, json_values, max_size=6))
def test_any_body_is_either_understood_or_refused_with_a_reason(endpoint: str, body: dict[str, object]) -> None:
    with contextlib.suppress(ApiError):
        assert parse(endpoint, json.dumps(body).encode()).model


@given(st.binary(max_size=200))
def test_any_bytes_are_either_understood_or_refused(body: bytes) -> None:
    with pytest.raises(ApiError):
        parse("completions", body)


@pytest.mark.parametrize("name", ["max_tokens", "best_of"])
def test_a_bound_that_stands_twice_is_refused(name: str) -> None:
    """One server would write by the first what was reserved for by the last."""
    with pytest.raises(ApiError) as refused:
        parse("completions", f'{{"model":"m","prompt":"x","{name}":900,"{name}":1}}'.encode())
    assert (refused.value.param, refused.value.code) == (name, "duplicate_field")


def test_what_follows_the_gap_of_a_completion_is_of_its_prompt() -> None:
    plain = parse("completions", b'{"model":"m","prompt":"x"}').size
    filled = parse("completions", json.dumps({"model": "m", "prompt": "x", "suffix": "y" * 5000}).encode()).size
    assert filled.prompt_most == plain.prompt_most + 5000
    assert filled.prompt_likely == plain.prompt_likely + 1250
