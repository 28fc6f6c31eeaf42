"""Callers that go, engines that die, disks that fill: what is answered, and what the ledger says of it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from tokenworks.core.errors import StoreError
from tokenworks.core.request import Request
from tokenworks.gateway.route.finishing import Patience
from tokenworks.gateway.route.router import Router
from tokenworks.ledger.entries import Entry

if TYPE_CHECKING:
    from .conftest import House

LONG = {"model": "complete", "prompt": "how do I", "max_tokens": 1900, "temperature": 0, "ignore_eos": True}


@pytest.fixture
def kill(house: House) -> Iterator[Callable[[], None]]:
    """End the engine of `complete@1`; afterwards it has come back."""
    before = house.pool.status()["complete@1"].restarts

    def end() -> None:
        os.kill(house.pool.status()["complete@1"].pid, signal.SIGKILL)

    yield end
    house.wait_until(lambda: house.pool.status()["complete@1"].restarts == before + 1)
    house.wait_until(lambda: house.pool.status()["complete@1"].state == "ready")


def under_way(house: House, ref: str) -> int:
    member = house.pool._members[ref]
    return 0 if member.idle else 1


@pytest.fixture
def alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine takes up the stream of another."""
    handle: Any = house.gateway.handle
    while isinstance(handle, partial):
        handle = handle.args[1]
    assert isinstance(handle, Router)
    monkeypatch.setattr(handle, "_patience", Patience(resume_s=0))


@pytest.mark.usefixtures("alone")
def test_an_engine_killed_mid_stream_ends_the_stream_with_an_error(house: House, kill: Callable[[], None]) -> None:
    with house.http().stream("POST", "/v1/completions", json={**LONG, "stream": True}) as answer:
        parts = answer.iter_bytes()
        seen = next(parts)
        kill()
        seen += b"".join(parts)
    assert b"data: [DONE]" not in seen
    assert b'"code":"engine_error"' in seen.split(b"\n\n")[-2]
    entry = house.entry(answer.headers["x-request-id"])
    assert (entry.outcome, entry.status, entry.error) == ("failed", 502, "engine_error")
    assert 0 < entry.completion_tokens < 1900


@pytest.mark.usefixtures("alone")
def test_the_official_client_raises_when_a_stream_breaks(house: House, kill: Callable[[], None]) -> None:
    stream = house.openai().completions.create(
        model="complete", prompt="how", stream=True, max_tokens=1900, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    kill()
    with pytest.raises(openai.APIError, match="ask again"):
        list(stream)


def test_an_engine_killed_before_it_answered_is_a_502_and_a_retry_succeeds(
    house: House, kill: Callable[[], None]
) -> None:
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(house.http().post("/v1/completions", json=LONG)))
    asking.start()
    house.wait_until(lambda: under_way(house, "complete@1") == 1)
    kill()
    asking.join()
    assert answers[0].status_code in (502, 503)
    assert "retry-after" in answers[0].headers
    entry = house.entry(answers[0].headers["x-request-id"])
    assert (entry.outcome, entry.completion_tokens) == ("failed", 0)
    retrying = house.openai(max_retries=20)
    assert retrying.completions.create(model="complete", prompt="x", max_tokens=1).usage.completion_tokens == 1


def test_a_caller_who_leaves_mid_stream_stops_the_engine_and_is_recorded(house: House) -> None:
    with house.http().stream("POST", "/v1/completions", json={**LONG, "stream": True}) as answer:
        next(answer.iter_bytes())
    house.wait_until(lambda: under_way(house, "complete@1") == 0, 5)
    entry = house.entry(answer.headers["x-request-id"])
    assert (entry.outcome, entry.status, entry.error) == ("cancelled", 499, "cancelled")
    assert 0 < entry.completion_tokens < 1900
    assert entry.prompt_tokens > 0


def test_a_caller_who_leaves_before_the_answer_stops_the_engine_and_is_recorded(house: House) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{house.server.address}/v1/completions",
            json=LONG,
            headers={"authorization": f"Bearer {house.secret}", "x-request-id": "left-before-the-answer"},
            timeout=0.15,
        )
    entry = house.entry("left-before-the-answer")
    assert (entry.outcome, entry.status, entry.answer_digest) == ("cancelled", 499, "")
    house.wait_until(lambda: under_way(house, "complete@1") == 0, 5)


async def test_a_caller_who_leaves_within_the_body_is_recorded(house: House) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    head = (
        f"POST /classify HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {house.secret}\r\nx-request-id: half-a-body\r\n"
    )
    writer.write(head.encode() + b'content-length: 100\r\n\r\n{"model":')
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()
    entry = await asyncio.to_thread(house.entry, "half-a-body")
    assert (entry.outcome, entry.key_id) == ("cancelled", house.key.prefix)


class FullDisk:
    """A ledger that could not write: what the real one raises when the disk is full."""

    def enqueue(self, entry: Entry) -> object:
        raise StoreError("ledger: No space left on device; the entry was not recorded")


@pytest.fixture
def full_disk(house: House) -> Any:
    record = house.gateway.handle.args[0]  # type: ignore[attr-defined]
    working = record.notes._ledger
    record.notes._ledger = FullDisk()
    yield
    record.notes._ledger = working


@pytest.mark.usefixtures("full_disk")
def test_what_cannot_be_written_down_is_not_answered(house: House) -> None:
    answer = house.http().post("/v1/completions", json={**LONG, "max_tokens": 3})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert answer.headers["x-request-id"]
    stream = house.http().post("/v1/completions", json={**LONG, "max_tokens": 3, "stream": True})
    assert b"[DONE]" not in stream.content
    assert b'"code":"ledger_unavailable"' in stream.content


def test_a_crash_of_our_own_is_answered_recorded_and_survived(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(alias: str) -> None:
        raise ZeroDivisionError("a bug")

    def broken_too(alias: str) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(house.releases, "current", broken)
        patch.setattr(house.releases, "at_hand", broken_too)
        answer = house.http().post("/classify", json={"model": "route", "input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "a bug" not in answer.text
    assert house.entry(answer.headers["x-request-id"]).outcome == "failed"
    assert house.http().get("/healthz").status_code == 200


def ask(house: House, **changes: Any) -> Any:
    body = {**LONG, "max_tokens": 4, **changes}
    return house.run(house.gateway.answer(Request(endpoint="completions", body=body, key=house.secret)))


def test_a_call_within_the_process_is_recorded_like_any(house: House) -> None:
    whole, streamed = ask(house), ask(house, stream=True)
    assert whole.ok
    assert streamed.body["choices"][0]["text"] == whole.body["choices"][0]["text"]
    assert streamed.body["choices"][0]["finish_reason"] == "length"
    assert streamed.usage == whole.usage
    assert 0 < streamed.ttft_s <= streamed.latency_s
    for answer in (whole, streamed):
        entry = house.entry(answer.request_id)
        assert (entry.outcome, entry.version, entry.key_id) == ("ok", "complete@1", house.key.prefix)


def test_a_call_within_the_process_is_refused_like_any(house: House) -> None:
    answer = house.run(house.gateway.answer(Request(endpoint="completions", body={"model": "complete"}, key="tw-no")))
    assert (answer.status, answer.body["error"]["code"]) == (401, "invalid_api_key")
    assert house.entry(answer.request_id).outcome == "refused"
