"""Background work by id: once at a time, begun and ended from any thread, and gone when all of it is closed."""

from __future__ import annotations

import asyncio

import pytest

from tokenworks.gateway.platform.errands import Errands


class Work:
    """Notes what was begun and what was stopped; goes on until it is let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.stopped: list[str] = []
        self.let_go = asyncio.Event()

    async def __call__(self, id: str) -> None:
        self.begun.append(id)
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.stopped.append(id)
            raise


@pytest.fixture
async def work() -> Work:
    return Work()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_under_way_is_not_begun_again_and_what_is_done_may_be(work: Work) -> None:
    errands = Errands("thing", work)
    await asyncio.to_thread(errands.begin, "a")
    errands.start("b")
    errands.start("a")
    await turns()
    assert sorted(work.begun) == ["a", "b"]
    work.let_go.set()
    await turns()
    errands.start("a")
    await turns()
    assert sorted(work.begun) == ["a", "a", "b"]


async def test_one_is_ended_from_another_thread_and_the_others_at_the_close(work: Work) -> None:
    errands = Errands("thing", work)
    for id in "abc":
        errands.start(id)
    await turns()
    await asyncio.to_thread(errands.end, "b")
    await asyncio.to_thread(errands.end, "never begun")
    await turns()
    assert work.stopped == ["b"]
    await errands.close()
    assert sorted(work.stopped) == ["a", "b", "c"]
