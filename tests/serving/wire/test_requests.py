"""Request bodies: what is taken, and how what is wrong is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.serving.engine import Sampling
from tokenworks.serving.wire.bodies import ChatBody, CompletionBody, EmbeddingBody, parse, texts
from tokenworks.serving.wire.problem import Problem
from tokenworks.serving.wire.sampling import chat_sampling, completion_sampling

ALL = frozenset(
    {"logprobs", "top_logprobs", "seed", "penalties", "json_schema", "ignore_eos", "n", "stop", "top_k", "adapters"}
)
TALK = [{"role": "user", "content": "x"}]


def chat(supports: frozenset[str] = ALL, room: int = 100, **fields: Any) -> Sampling:
    return chat_sampling(parse(json.dumps({"messages": TALK, **fields}).encode(), ChatBody), supports, room)


def complete(supports: frozenset[str] = ALL, room: int = 100, **fields: Any) -> Sampling:
    body = parse(json.dumps({"prompt": "x", **fields}).encode(), CompletionBody)
    return completion_sampling(body, supports, room)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", 2.1),
        ("top_p", -1),
        ("top_p", 0),
        ("top_p", float("nan")),
        ("top_k", -1),
        ("presence_penalty", 3),
        ("frequency_penalty", float("-inf")),
        ("repetition_penalty", 0),
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("max_tokens", 101),
        ("n", 0),
        ("n", 1000),
        ("seed", "x"),
        ("stop", ["a"] * 17),
        ("stop", ""),
        ("temperature", "hot"),
        ("logprobs", -1),
        ("tools", [{}]),
        ("logit_bias", {"5": 1}),
        ("echo", True),
        ("best_of", 3),
        ("suffix", "x"),
        ("response_format", {"type": "xml"}),
        ("response_format", {"type": "json_schema"}),
        ("temprature", 1),
    ],
)
def test_every_wrong_value_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(Problem) as caught:
        complete(**{field: value})
    assert (caught.value.status, caught.value.param) == (400, field)
    error = json.loads(caught.value.body())["error"]
    assert error["param"] == field
    assert field in error["message"]


def test_an_unknown_field_names_the_nearest_known_one() -> None:
    with pytest.raises(Problem, match="did you mean 'max_tokens'"):
        complete(max_token=5)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(Problem, match="lacks 'messages'"):
        parse(b"{}", ChatBody)


@given(data=st.binary(max_size=60))
def test_any_bytes_give_a_body_or_a_clear_refusal(data: bytes) -> None:
    try:
        assert parse(data, CompletionBody).prompt is not None
    except Problem as problem:
        refused = (problem.status, bool(problem.message))
    else:
        return
    assert refused == (400, True)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(Problem):
        parse(b'{"prompt":' + b"[" * 100_000, CompletionBody)


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"seed": 1}, "seed"),
        ({"n": 2}, "n"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"adapter": "mine"}, "adapter"),
        ({"logprobs": 0}, "logprobs"),
        ({"top_k": 5}, "top_k"),
    ],
)
def test_what_the_engine_cannot_do_is_refused_by_name(fields: dict[str, Any], feature: str) -> None:
    with pytest.raises(Problem) as caught:
        complete(frozenset({"stop"}), **fields)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", feature)


def test_alternatives_are_refused_where_only_the_chosen_token_is_known() -> None:
    assert chat(ALL - {"top_logprobs"}, logprobs=True).logprobs == 0
    with pytest.raises(Problem, match="top_logprobs"):
        chat(ALL - {"top_logprobs"}, logprobs=True, top_logprobs=2)
    with pytest.raises(Problem, match="needs logprobs"):
        chat(top_logprobs=2)


def test_defaults_are_those_of_the_api() -> None:
    assert chat(room=77) == Sampling(max_tokens=77, unwatched=True)
    assert complete(room=77) == Sampling(max_tokens=16, unwatched=True)
    assert complete(room=5) == Sampling(max_tokens=5, unwatched=True)


def test_everything_understood_arrives() -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    found = chat(
        max_completion_tokens=9, temperature=0, top_p=0.5, top_k=3, seed=-4, n=2, stop="x", presence_penalty=1,
        frequency_penalty=-1, repetition_penalty=1.1, logprobs=True, top_logprobs=3, response_format=form,
        ignore_eos=True, user="me", metadata={"a": "b"}, tools=[], tool_choice="none",
    )  # fmt: skip
    assert found == Sampling(
        unwatched=True,
        max_tokens=9, temperature=0, top_p=0.5, top_k=3, seed=-4, n=2, stop=("x",), presence_penalty=1,
        frequency_penalty=-1, repetition_penalty=1.1, logprobs=3, json_schema=schema, ignore_eos=True,
    )  # fmt: skip


def test_inputs_of_encoders_are_texts() -> None:
    assert texts(parse(b'{"input":"a"}', EmbeddingBody)) == ["a"]
    assert texts(parse(b'{"input":["a","b"]}', EmbeddingBody)) == ["a", "b"]
    for wrong in (b'{"input":[]}', b'{"input":[1,2]}', b'{"input":[[1]]}'):
        with pytest.raises(Problem, match="input"):
            texts(parse(wrong, EmbeddingBody))


def test_a_stream_is_watched() -> None:
    assert chat(room=77, stream=True) == Sampling(max_tokens=77)
