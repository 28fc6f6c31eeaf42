"""The same request twice under one idempotency key, through the gateway's own socket."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.conftest import House
from tokenworks.core.ids import new_id
from tokenworks.gateway.admission import remembered
from tokenworks.gateway.admission.remembered import KEPT_S, Remembered
from tokenworks.ledger.bodies import named
from tokenworks.settings import ServerSettings

BODY = {"model": "complete", "prompt": "a card was lost", "max_tokens": 6, "temperature": 1.5, "ignore_eos": True}


@pytest.fixture(scope="module")
def once(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("once"), {"complete@1": tiny_llama}, ServerSettings())
    try:
        house.release("complete")
        house.run(house.pool.ready("complete@1"))
        yield house
    finally:
        house.close()


def ask(house: House, key: str, secret: str | None = None, **changes: Any) -> httpx.Response:
    return house.http(secret).post("/v1/completions", json=BODY | changes, headers={"idempotency-key": key})


def test_the_same_request_is_answered_once_and_charged_once(once: House) -> None:
    key = new_id("idem")
    first, second = ask(once, key), ask(once, key)
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["x-tokenworks-version"] == first.headers["x-tokenworks-version"]
    entry = once.entry(second.headers["x-request-id"])
    assert entry.replays == first.headers["x-request-id"]
    assert (entry.outcome, entry.prompt_tokens, entry.completion_tokens, entry.price_micro) == ("ok", 0, 0, 0)
    assert not entry.learn
    assert once.bodies.get(entry.request_id) is None
    assert ask(once, new_id("idem")).content != first.content


def test_a_stream_is_given_again_as_a_stream(once: House) -> None:
    key = new_id("idem")
    first, second = (ask(once, key, stream=True) for _ in range(2))
    assert first.headers["content-type"].startswith("text/event-stream")
    assert second.headers["content-type"].startswith("text/event-stream")
    assert first.text == second.text
    assert second.text.endswith("data: [DONE]\n\n")
    assert once.entry(second.headers["x-request-id"]).replays == first.headers["x-request-id"]


def test_another_request_under_the_same_key_is_refused(once: House) -> None:
    key = new_id("idem")
    ask(once, key)
    other = ask(once, key, max_tokens=7)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert ask(once, "x" * 256).status_code == 400


def test_keys_of_others_are_others(once: House) -> None:
    key, (secret, _) = new_id("idem"), once.keys.create("other")
    first, other = ask(once, key), ask(once, key, secret, max_tokens=7)
    assert (first.status_code, other.status_code) == (200, 200)
    assert "idempotency-replayed" not in other.headers


async def test_of_many_at_once_one_is_asked_and_the_others_wait_for_it(once: House) -> None:
    headers = {"authorization": f"Bearer {once.secret}", "idempotency-key": new_id("idem")}
    async with httpx.AsyncClient(base_url=once.server.address, headers=headers, timeout=60) as client:
        answers = await asyncio.gather(*(client.post("/v1/completions", json=BODY) for _ in range(12)))
    assert len({answer.content for answer in answers}) == 1
    entries = [once.entry(answer.headers["x-request-id"]) for answer in answers]
    assert sum(not entry.replays for entry in entries) == 1
    assert sum(entry.completion_tokens for entry in entries) == 6


def test_what_failed_or_was_given_up_is_asked_anew(once: House) -> None:
    key = new_id("idem")
    refused = ask(once, key, prompt="x" * 9000)
    assert refused.status_code == 400
    headers = {"idempotency-key": key, "x-tokenworks-deadline-ms": "1"}
    long = BODY | {"prompt": "x" * 9000}
    cut = once.http().post("/v1/completions", json=long, headers=headers)
    assert cut.status_code in (400, 504)
    again = ask(once, key, prompt="x" * 9000)
    assert (again.status_code, "idempotency-replayed" in again.headers) == (400, False)


def test_an_answer_that_may_not_be_kept_is_not_given_again_nor_asked_again(once: House) -> None:
    for changes, erased in (({"store": False}, False), ({}, True)):
        key = new_id("idem")
        first = ask(once, key, **changes)
        if erased:
            once.bodies.erase_requests([named("default", first.headers["x-request-id"])])
        second = ask(once, key, **changes)
        assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_answer_not_kept")
        assert first.headers["x-request-id"] in second.json()["error"]["message"]


def test_keys_outlive_the_process_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tokenworks.gateway.admission.remembered import Remembered\n"
        "kept = Remembered(Path(sys.argv[1])); assert kept.claim('t/k', 'key', 'digest', 'req-1', at=1000.0) is None\n"
        "print(kept.owner, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, check=False)
    owner = killed.stdout.decode().strip()
    kept = Remembered(tmp_path)
    first = kept.claim("t/k", "key", "digest", "req-2", at=1001.0)
    assert first is not None
    assert first == ("digest", "req-1", owner)
    assert not kept.lives(owner)
    assert kept.lives(kept.owner)
    assert kept.take_over("t/k", "key", first, "req-2", at=1001.0)
    assert not kept.take_over("t/k", "key", first, "req-3", at=1001.0)
    assert kept.claim("t/k", "key", "digest", "req-4", at=1001.0 + KEPT_S + 1) is None
    kept.close()


def test_what_a_killed_process_left_unanswered_is_asked_and_what_it_answered_is_not(once: House) -> None:
    other = Remembered(once.home / "idempotency")
    key = new_id("idem")
    answered = ask(once, key)
    began_s = time.monotonic()
    other.close()  # an owner whose lock is gone is a process that is gone
    assert ask(once, key).content == answered.content
    assert time.monotonic() - began_s < 10


def test_nobody_pushes_out_the_keys_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST", 20)
    monkeypatch.setattr(remembered, "SWEEP", 2)
    kept = Remembered(tmp_path)
    assert kept.claim("quiet/k", "key", "digest", "first", at=1000.0) is None
    for number in range(100):
        assert kept.claim("loud/k", f"key {number}", "digest", f"req-{number}", at=1001.0 + number) is None
    found = kept.claim("quiet/k", "key", "digest", "second", at=1200.0)
    assert found is not None
    assert found.request_id == "first"
    assert kept.claim("loud/k", "key 0", "digest", "again", at=1200.0) is None  # forgotten
    kept.close()
