"""Whatever a server elsewhere puts where something else belongs, it is an answer or an error of that server's."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks import parts
from tokenworks.core.errors import EngineError
from tokenworks.serving.far.server import ROOM, Retold, Shape, Site

from .test_shapes import MESSAGE, frame

CONVERSED = {
    "output": {"message": {"content": [{"text": "Rain."}, {"toolUse": {"toolUseId": "t", "name": "w", "input": {}}}]}},
    "stopReason": "tool_use",
    "usage": {"inputTokens": 10, "cacheReadInputTokens": 2, "outputTokens": 5},
}
TOLD = [
    {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 10, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "w"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Rain."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "error", "error": {"message": "overloaded"}},
    {"type": "message_stop"},
]
FRAMED: list[tuple[str, dict[str, Any]]] = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockStart", {"start": {"toolUse": {"toolUseId": "t", "name": "w"}}}),
    ("contentBlockDelta", {"delta": {"text": "Rain."}}),
    ("contentBlockDelta", {"delta": {"toolUse": {"input": "{}"}}}),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": {"inputTokens": 10, "outputTokens": 5}}),
]
ODD = [None, True, -1, 2.5, "x", [], [7], [[]], {}, {"type": 7}, "deep"]


def shape(name: str) -> Shape:
    if name == "bedrock":
        pytest.importorskip("botocore", reason="Bedrock needs the extra s3")
    site = Site(name="far", url="http://127.0.0.1:1", shape=name, key="AKID:secret", model="m", region="eu-central-1")
    spoken: Shape = parts.load(ROOM, name).speak(site)
    return spoken


def spoilt(value: Any) -> Iterator[Any]:
    """Yield `value` with each part of it replaced by each odd one, or left out."""
    yield from ODD
    if isinstance(value, dict):
        for name in value:
            yield {other: value[other] for other in value if other != name}
    if isinstance(value, dict | list):
        for place in value if isinstance(value, dict) else range(len(value)):
            for odd in spoilt(value[place]):
                changed = copy.deepcopy(value)
                changed[place] = odd
                yield changed


def as_json(value: Any) -> bytes:
    return json.dumps(value).replace('"deep"', "[" * 3000 + "]" * 3000).encode()


def fed(retold: Retold | None, data: bytes) -> None:
    assert retold is not None
    with contextlib.suppress(EngineError):
        retold.feed(data)


@pytest.mark.parametrize(("name", "good"), [("anthropic", MESSAGE), ("bedrock", CONVERSED)])
@pytest.mark.parametrize("status", [200, 400])
def test_a_whole_answer_spoilt_anywhere_is_an_answer_or_an_error(name: str, good: Any, status: int) -> None:
    spoken = shape(name)
    assert b"Rain." in spoken.answer(200, as_json(good))
    for odd in spoilt(good if status == 200 else {"error": {"message": "no"}, "message": "no"}):
        try:
            assert isinstance(json.loads(spoken.answer(status, as_json(odd))), dict)
        except EngineError:
            assert status == 200


def test_a_stream_spoilt_anywhere_goes_on_or_ends_with_an_error() -> None:
    spoken = shape("anthropic")
    for event in TOLD:
        for odd in spoilt(event):
            fed(spoken.retell(), b"data: " + as_json(odd) + b"\n\n")


def test_frames_spoilt_anywhere_go_on_or_end_with_an_error() -> None:
    spoken = shape("bedrock")
    for kind, event in FRAMED:
        for odd in spoilt(event):
            if odd != "deep":
                fed(spoken.retell(), frame(kind, odd))


@pytest.fixture(scope="module", params=["anthropic", "bedrock"])
def spoken(request: pytest.FixtureRequest) -> Shape:
    return shape(request.param)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_are_an_error_of_the_server(spoken: Shape, data: bytes) -> None:
    fed(spoken.retell(), data + b"\n\n")
    with pytest.raises(EngineError):
        spoken.answer(200, data)
