"""Requests that wait their turn, through the gateway's own socket, with a real engine that works on one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio

from gateway.conftest import House
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.settings import ServerSettings

LONG = {"model": "complete", "prompt": "a card was lost", "max_tokens": 600, "ignore_eos": True}
SHORT = LONG | {"max_tokens": 2}


@pytest.fixture(scope="module")
def narrow(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house whose engine works on one request at a time, for at most six that wait."""
    schedule = Schedule(lambda ref: 1, most_waiting=6)
    house = House(tmp_path_factory.mktemp("narrow"), {"complete@1": tiny_llama}, ServerSettings(), schedule)
    try:
        house.release("complete")
        house.run(house.pool.ready("complete@1"))
        yield house
    finally:
        house.close()


@pytest_asyncio.fixture
async def client(narrow: House) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {narrow.secret}"}
    async with httpx.AsyncClient(base_url=narrow.server.address, headers=headers, timeout=60) as client:
        yield client


class Asker:
    """Asks, and notes the order in which answers end."""

    def __init__(self, client: httpx.AsyncClient, house: House) -> None:
        self.client, self.house = client, house
        self.ended: list[str] = []

    async def ask(self, name: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        answer = await self.client.post("/v1/completions", json=body, headers=headers)
        self.ended.append(name)
        return answer

    async def begin(self, name: str, body: dict[str, Any], **headers: str) -> asyncio.Task[httpx.Response]:
        """Ask, and return when the request has a slot or waits."""
        before = self._here()
        task = asyncio.create_task(self.ask(name, body, **headers))
        until = time.monotonic() + 60
        while self._here() == before and not task.done():
            assert time.monotonic() < until
            await asyncio.sleep(0.001)
        return task

    def _here(self) -> int:
        return sum(
            place.queue.in_flight + place.queue.waiting for place in self.house.gateway.schedule._places.values()
        )


async def test_who_is_more_urgent_goes_first(client: httpx.AsyncClient, narrow: House) -> None:
    asker = Asker(client, narrow)
    first = await asker.begin("first", LONG)
    tasks = [
        await asker.begin(name, SHORT, **{"x-tokenworks-priority": name})
        for name in ("flywheel", "batch", "standard", "interactive")
    ]
    answers = await asyncio.gather(first, *tasks)
    assert [answer.status_code for answer in answers] == [200] * 5
    assert asker.ended == ["first", "interactive", "standard", "batch", "flywheel"]


async def test_a_flood_does_not_hold_up_another_tenant(client: httpx.AsyncClient, narrow: House) -> None:
    other, _ = narrow.keys.create("quiet")
    asker = Asker(client, narrow)
    tasks = [await asker.begin("first", LONG)]
    tasks += [await asker.begin("flood", SHORT | {"max_tokens": 200}) for _ in range(4)]
    tasks.append(await asker.begin("quiet", SHORT, authorization=f"Bearer {other}"))
    await asyncio.gather(*tasks)
    assert asker.ended.index("quiet") <= 2


async def test_openais_service_tier_is_understood(client: httpx.AsyncClient, narrow: House) -> None:
    asker = Asker(client, narrow)
    first = await asker.begin("first", LONG)
    chat = {"model": "complete", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    flex = asyncio.create_task(client.post("/v1/chat/completions", json=chat | {"service_tier": "flex"}))
    flex.add_done_callback(lambda _: asker.ended.append("flex"))
    await asyncio.sleep(0.03)
    usual = await asker.begin("usual", SHORT)
    answers = await asyncio.gather(first, flex, usual)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert asker.ended == ["first", "usual", "flex"]


async def test_at_its_deadline_an_answer_ends_and_its_engine_with_it(client: httpx.AsyncClient, narrow: House) -> None:
    for stream in (False, True):
        body = LONG | {"max_tokens": 1900, "n": 4, "stream": stream}
        began_s = time.monotonic()
        answer = await client.post("/v1/completions", json=body, headers={"x-tokenworks-deadline-ms": "100"})
        assert (answer.status_code, "deadline_exceeded" in answer.text) == (200 if stream else 504, True)
        if not stream:
            assert answer.headers["x-should-retry"] == "false"
        entry = narrow.entry(answer.headers["x-request-id"])
        assert (entry.outcome, entry.status, entry.error) == ("failed", 504, "deadline_exceeded")
        assert entry.completion_tokens < 4 * 1900
        short = await client.post("/v1/completions", json=SHORT)
        assert short.status_code == 200
        assert time.monotonic() - began_s < 30
        narrow.wait_until(lambda: narrow.pool.status()["complete@1"].state == "ready")


async def test_who_would_wait_in_vain_is_told_at_once_and_when_to_come_back(
    client: httpx.AsyncClient, narrow: House
) -> None:
    asker = Asker(client, narrow)
    await asyncio.gather(*(client.post("/v1/completions", json=LONG) for _ in range(3)))  # so that it is known
    tasks = [await asker.begin("long", LONG) for _ in range(4)]
    refused = await client.post("/v1/completions", json=SHORT, headers={"x-tokenworks-deadline-ms": "20"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert 0 < int(refused.headers["retry-after-ms"]) <= 1000 * int(refused.headers["retry-after"])
    entry = narrow.entry(refused.headers["x-request-id"])
    assert (entry.outcome, entry.status, entry.completion_tokens) == ("refused", 503, 0)
    assert [(await task).status_code for task in tasks] == [200] * 4


async def test_more_than_may_wait_are_refused(client: httpx.AsyncClient, narrow: House) -> None:
    statuses = await asyncio.gather(*(client.post("/v1/completions", json=LONG) for _ in range(12)))
    counts = [answer.status_code for answer in statuses]
    assert counts.count(200) >= 7
    assert counts.count(503) == 12 - counts.count(200) > 0


async def test_who_hangs_up_leaves_the_queue(narrow: House) -> None:
    headers = {"authorization": f"Bearer {narrow.secret}"}
    async with httpx.AsyncClient(base_url=narrow.server.address, headers=headers, timeout=60) as client:
        asker = Asker(client, narrow)
        tasks = [await asker.begin("long", LONG | {"stream": True}) for _ in range(5)]
        for task in tasks:
            task.cancel()
    place = narrow.gateway.schedule._places["complete@1"]
    narrow.wait_until(lambda: place.queue.in_flight == place.queue.waiting == 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-tokenworks-priority", "urgent"),
        ("x-tokenworks-deadline-ms", "0"),
        ("x-tokenworks-deadline-ms", "-5"),
        ("x-tokenworks-deadline-ms", "1e3"),
        ("x-tokenworks-deadline-ms", "9" * 40),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_name(client: httpx.AsyncClient, name: str, value: str) -> None:
    answer = await client.post("/v1/completions", json=SHORT, headers={name: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == name


async def test_the_timeout_of_an_sdk_is_its_deadline(client: httpx.AsyncClient, narrow: House) -> None:
    """A client that would give up is refused instead of being made to wait."""
    asker = Asker(client, narrow)
    await asyncio.gather(*(client.post("/v1/completions", json=LONG) for _ in range(3)))
    tasks = [await asker.begin("long", LONG | {"max_tokens": 1900}) for _ in range(4)]
    common: dict[str, Any] = {"api_key": narrow.secret, "max_retries": 0, "timeout": 0.2}
    async with openai.AsyncOpenAI(base_url=f"{narrow.server.address}/v1", **common) as sdk:
        with pytest.raises(openai.InternalServerError, match="deadline"):
            await sdk.completions.create(model="complete", prompt="a", max_tokens=300)
    async with anthropic.AsyncAnthropic(base_url=narrow.server.address, **common) as other:
        with pytest.raises(anthropic.InternalServerError, match="deadline"):
            await other.messages.create(
                model="complete", max_tokens=300, messages=[{"role": "user", "content": "hello"}]
            )
    await asyncio.gather(*tasks)
