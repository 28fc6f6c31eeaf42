"""Servers elsewhere that mean harm: no answer gives credit, is free, has no end, or breaks more than itself."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tokenworks.ledger.spending import charged, charged_micro
from tokenworks.serving import connection, upstream

from .conftest import HEAD, WORDS, Rogue, Routed

ROUTED = Callable[..., Routed]
LIKELY = 3  # tokens of the prompt that these tests send, at four bytes each
CHOICE = {"index": 0, "text": "".join(WORDS), "logprobs": None, "finish_reason": "stop"}


class Hostile(Rogue):
    """Says the same bytes to whoever asks; a list of them is said over and over, until nobody listens."""

    def __init__(self, said: bytes, over: bytes = b"") -> None:
        super().__init__("says")
        self.said, self.over = said, over

    def _says(self, client: socket.socket, body: dict[str, Any]) -> None:
        client.sendall(self.said)
        while self.over:
            client.sendall(self.over)


@pytest.fixture
def hostile() -> Iterator[Callable[..., Hostile]]:
    opened: list[Hostile] = []

    def make(said: bytes, over: bytes = b"") -> Hostile:
        opened.append(Hostile(said, over))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


HOSTILE = Callable[..., Hostile]


def to(routed: ROUTED, server: Rogue, shape: str = "openai") -> Routed:
    """Return a gateway that sends everything for the model `complete`, which has a price, to `server`."""
    remote = {"name": "far", "url": server.url, "label": "public", "shape": shape, "model": "m", "region": "eu"}
    return routed(remotes=[remote], routes={"complete": {"order": ["far"]}})


def whole(body: Any, status: int = 200, more: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n{more}\r\n"
    return head.encode() + data


def events(*parts: dict[str, Any]) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    return head + b"".join(b"data: " + json.dumps({**HEAD, **part}).encode() + b"\n\n" for part in parts)


WRONG = [
    {"prompt_tokens": -1_000_000, "completion_tokens": 4},
    {"prompt_tokens": 3, "completion_tokens": -1_000_000},
    {"prompt_tokens": 3, "completion_tokens": 10**30},
    {"prompt_tokens": 2**40, "completion_tokens": 4},
    {"prompt_tokens": 3, "completion_tokens": 1.5},
    {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": -50_000}},
    {"prompt_tokens": "many", "completion_tokens": 4},
]


@pytest.mark.parametrize("usage", WRONG, ids=json.dumps)
def test_figures_that_cannot_be_meant_are_no_answer(routed: ROUTED, hostile: HOSTILE, usage: dict[str, Any]) -> None:
    gate = to(routed, hostile(whole({**HEAD, "choices": [CHOICE], "usage": usage})))
    answer = gate.ask("complete")
    entry = gate.entry(answer)
    assert (answer.status_code, entry.outcome) == (502, "failed")
    assert (charged(entry), charged_micro(entry)) == (0, 0)


@pytest.mark.parametrize("usage", [*WRONG, {}, {"prompt_tokens": 3}], ids=json.dumps)
@pytest.mark.parametrize("first", [True, False])
def test_a_stream_with_such_figures_is_counted_by_what_was_delivered(
    routed: ROUTED, hostile: HOSTILE, usage: dict[str, Any], first: bool
) -> None:
    pieces: list[dict[str, Any]] = [{"choices": [{**CHOICE, "text": word}]} for word in WORDS]
    figures = {"choices": [], "usage": usage}
    pieces.insert(0 if first else len(pieces), figures)
    gate = to(routed, hostile(events(*pieces) + b"data: [DONE]\n\n"))
    entry = gate.entry(gate.ask("complete", stream=True))
    assert (entry.prompt_tokens, entry.completion_tokens) == (LIKELY, len(WORDS))
    assert charged_micro(entry) == LIKELY * 1000 + len(WORDS) * 3000


def test_who_hangs_up_before_the_figures_come_has_not_had_the_prompt_for_nothing(
    routed: ROUTED, hostile: HOSTILE
) -> None:
    pieces = [{"choices": [{**CHOICE, "text": word}]} for word in WORDS]
    gate = to(routed, hostile(events(*pieces), b": still there\n\n"))
    body = {"model": "complete", "prompt": "the quick " * 1000, "max_tokens": 6, "stream": True}
    with gate.http.stream("POST", "/v1/completions", json=body, headers={"x-tokenworks-label": "public"}) as answer:
        next(chunk for chunk in answer.iter_raw() if WORDS[-1].encode() in chunk)
    entry = gate.house.entry(answer.headers["x-request-id"])
    assert (entry.outcome, entry.prompt_tokens, entry.completion_tokens) == ("cancelled", 2501, len(WORDS))


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": {}}], ids=json.dumps)
def test_an_answer_without_figures_is_not_free(routed: ROUTED, hostile: HOSTILE, usage: dict[str, Any]) -> None:
    gate = to(routed, hostile(whole({**HEAD, "choices": [CHOICE], **usage})))
    entry = gate.entry(gate.ask("complete"))
    assert (entry.prompt_tokens, entry.completion_tokens) == (LIKELY, 5)  # 18 bytes at four a token


def test_figures_on_each_piece_of_a_stream_do_not_make_it_free(routed: ROUTED, hostile: HOSTILE) -> None:
    pieces = [{"choices": [{**CHOICE, "text": word}], "usage": {"completion_tokens": "x"}} for word in WORDS]
    gate = to(routed, hostile(events(*pieces) + b"data: [DONE]\n\n"))
    assert gate.entry(gate.ask("complete", stream=True)).completion_tokens == len(WORDS)


def test_more_cached_or_thought_than_there_was_gives_nothing_back(routed: ROUTED, hostile: HOSTILE) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 9_000}}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 9_000}}
    gate = to(routed, hostile(whole({**HEAD, "choices": [CHOICE], "usage": usage})))
    entry = gate.entry(gate.ask("complete"))
    assert (entry.cached_tokens, entry.thinking_tokens) == (3, 4)
    assert charged_micro(entry) == 3 * 100 + 4 * 3000


@pytest.mark.parametrize("status", [201, 206, 299])
def test_an_answer_under_another_name_is_not_free(routed: ROUTED, hostile: HOSTILE, status: int) -> None:
    body = {**HEAD, "choices": [CHOICE], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    gate = to(routed, hostile(whole(body, status)))
    answer = gate.ask("complete")
    assert (answer.status_code, gate.entry(answer).outcome) == (502, "failed")
    assert WORDS[0] not in answer.text


@pytest.mark.parametrize(
    ("said", "over"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x-a: " + b"a" * 4000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nx-a: ", b"a" * 4000),
        (b"HTTP/1.1 200 O", b"K" * 4000),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;a=", b"e" * 4000),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"x-a: " + b"a" * 4000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", b" " * 4000),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"fa0\r\n" + b" " * 4000 + b"\r\n"),
    ],
    ids=["headers", "header", "status", "interim", "extension", "trailers", "body", "chunks"],
)
def test_an_answer_without_end_is_hung_up_on(
    routed: ROUTED, hostile: HOSTILE, said: bytes, over: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(upstream, "WHOLE_BYTES", 1 << 20)
    gate = to(routed, hostile(said, over))
    answer = gate.ask("complete")
    entry = gate.entry(answer)
    assert (answer.status_code, entry.outcome) == (502, "failed")
    assert sum(one.received_bytes for one in entry.transfers) < 8 << 20


def test_a_redirect_to_the_inside_is_not_followed(routed: ROUTED, hostile: HOSTILE) -> None:
    inside = hostile(whole({**HEAD, "choices": [CHOICE], "usage": {}}))
    for status in (301, 302, 303, 307, 308):
        gate = to(routed, hostile(whole(b"", status, f"location: {inside.url}/completions\r\n")))
        answer = gate.ask("complete")
        assert answer.status_code == 502
        assert "location" not in answer.headers
    assert inside.requests == []


SPOILT = [
    {"choices": [{"message": 7, "text": 7}]},
    {"choices": []},
    {"choices": [{}]},
    {"choices": [{"message": {"content": "x", "tool_calls": [{"function": 7}]}}]},
    {"data": 7},
    {"data": []},
    {"data": [{"index": 0, "embedding": "!"}, {"index": 1, "embedding": [1.0]}]},
    {"data": [{"index": 0, "embedding": [1.0, 2.0]}, {"index": 1, "embedding": [1.0]}]},
    {"data": [{"index": 1, "embedding": []}, {"index": 1, "embedding": []}]},
]
FORMS: dict[str, dict[str, Any]] = {
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 4},
    "/v1/rerank": {"query": "x", "documents": ["y"]},
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 4,
        "reasoning": {"strategy": "self-consistency", "budget": {"samples": 2}},
    },
}


@pytest.mark.parametrize("path", FORMS)
def test_an_answer_of_another_form_is_a_fault_of_the_server(routed: ROUTED, hostile: HOSTILE, path: str) -> None:
    server = hostile(b"")
    gate = to(routed, server)
    for said in SPOILT:
        server.said = whole({**said, "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
        body, label = {"model": "complete", **FORMS[path]}, {"x-tokenworks-label": "public"}
        answer = gate.http.post(path, json=body, headers=label)
        assert answer.status_code in (200, 502), (said, answer.text)
        assert gate.entry(answer)


def test_a_stream_of_another_form_ends_with_an_error_in_the_callers_words(routed: ROUTED, hostile: HOSTILE) -> None:
    path = "/v1/messages"
    gate = to(routed, hostile(events({"choices": [{"delta": {"content": "one"}}]}, {"choices": [{"delta": 7}]})))
    body, label = {"model": "complete", "stream": True, **FORMS[path]}, {"x-tokenworks-label": "public"}
    answer = gate.http.post(path, json=body, headers=label)
    assert answer.status_code == 200
    assert "one" in answer.text
    assert "did not answer in OpenAI's words" in answer.text
    assert gate.entry(answer).completion_tokens == 1
