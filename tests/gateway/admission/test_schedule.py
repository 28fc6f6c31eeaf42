"""Requests that wait their turn, through the gateway's own socket, with a real engine that works on one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio

from gateway.conftest import House
from tokenworks.core.priority import Priority
from tokenworks.gateway.admission.predict import Expected
from tokenworks.gateway.admission.ticket import Ticket
from tokenworks.gateway.layers.schedule import Schedule
from tokenworks.ledger.entries import RequestEntry
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


@asynccontextmanager
async def engine_held(house: House) -> AsyncIterator[None]:
    """Hold the engine's only slot, so that all who ask meanwhile wait, however slow this machine is."""
    queue = house.gateway.schedule.place("complete@1").queue
    house.wait_until(lambda: queue.in_flight == queue.waiting == 0)
    holder = Ticket("holder", Priority.INTERACTIVE, Expected(0.0, 0.0, 0.0), time.monotonic(), float("inf"), 1.0)

    async def enter() -> None:
        assert queue.enter(holder)

    async def leave() -> None:
        queue.leave(holder, 0.0, time.monotonic())

    house.run(enter())
    yield
    house.run(leave())


class Asker:
    """Asks by names, and tells in which order the gateway was done with whom."""

    def __init__(self, client: httpx.AsyncClient, house: House) -> None:
        self.client, self.house = client, house
        self.names: dict[str, str] = {}

    async def ask(self, name: str, body: dict[str, Any], *, at: str = "completions", **headers: str) -> httpx.Response:
        answer = await self.client.post(f"/v1/{at}", json=body, headers=headers)
        self.names[answer.headers["x-request-id"]] = name
        return answer

    async def begin(
        self, name: str, body: dict[str, Any], *, at: str = "completions", **headers: str
    ) -> asyncio.Task[httpx.Response]:
        """Ask, and return when the request has a slot or waits."""
        before = self._here()
        task = asyncio.create_task(self.ask(name, body, at=at, **headers))
        until = time.monotonic() + 60
        while self._here() == before and not task.done():
            assert time.monotonic() < until
            await asyncio.sleep(0.001)
        return task

    @property
    def ended(self) -> list[str]:
        """Who was answered first, by the ledger: a busy client may read two answers in either order."""
        entries = [one for one in self.house.entries() if isinstance(one, RequestEntry)]
        return [self.names[one.request_id] for one in entries if one.request_id in self.names]

    def _here(self) -> int:
        return sum(
            place.queue.in_flight + place.queue.waiting for place in self.house.gateway.schedule._places.values()
        )


async def test_who_is_more_urgent_goes_first(client: httpx.AsyncClient, narrow: House) -> None:
    asker = Asker(client, narrow)
    async with engine_held(narrow):
        tasks = [
            await asker.begin(name, SHORT, **{"x-tokenworks-priority": name})
            for name in ("flywheel", "batch", "standard", "interactive")
        ]
    answers = await asyncio.gather(*tasks)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert asker.ended == ["interactive", "standard", "batch", "flywheel"]


async def test_a_flood_does_not_hold_up_another_tenant(client: httpx.AsyncClient, narrow: House) -> None:
    other, _ = narrow.keys.create("quiet")
    asker = Asker(client, narrow)
    async with engine_held(narrow):
        tasks = [await asker.begin("flood", SHORT | {"max_tokens": 200}) for _ in range(4)]
        tasks.append(await asker.begin("quiet", SHORT, authorization=f"Bearer {other}"))
    await asyncio.gather(*tasks)
    assert asker.ended.index("quiet") <= 1


async def test_openais_service_tier_is_understood(client: httpx.AsyncClient, narrow: House) -> None:
    asker = Asker(client, narrow)
    chat = {"model": "complete", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    async with engine_held(narrow):
        flex = await asker.begin("flex", chat | {"service_tier": "flex"}, at="chat/completions")
        usual = await asker.begin("usual", SHORT)
    answers = await asyncio.gather(flex, usual)
    assert [answer.status_code for answer in answers] == [200] * 2
    assert asker.ended == ["usual", "flex"]


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
    async with engine_held(narrow):
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
    common: dict[str, Any] = {"api_key": narrow.secret, "max_retries": 0, "timeout": 1.0}
    async with engine_held(narrow):
        tasks = [await asker.begin("long", LONG | {"max_tokens": 1900}) for _ in range(5)]
        async with openai.AsyncOpenAI(base_url=f"{narrow.server.address}/v1", **common) as sdk:
            with pytest.raises(openai.InternalServerError, match="deadline"):
                await sdk.completions.create(model="complete", prompt="a", max_tokens=300)
        async with anthropic.AsyncAnthropic(base_url=narrow.server.address, **common) as other:
            with pytest.raises(anthropic.InternalServerError, match="deadline"):
                await other.messages.create(
                    model="complete", max_tokens=300, messages=[{"role": "user", "content": "hello"}]
                )
    await asyncio.gather(*tasks)
