"""What is read whole and used while it is fresh."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tokenworks.core.errors import StoreError
from tokenworks.governance.renewing import AHEAD, Renewed


class Source:
    """Says something, counts how often, and may be slow or away."""

    def __init__(self) -> None:
        self.says = ["first"]
        self.asked = 0
        self.away = False
        self.open = threading.Event()
        self.open.set()

    def read(self) -> list[str]:
        said = list(self.says)
        self.asked += 1
        if not self.open.wait(10):
            raise TimeoutError
        if self.away:
            raise StoreError("the catalog is away")
        return said


class Hand:
    """A clock that stands still."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def renewed(source: Source, hand: Hand) -> Renewed[list[str]]:
    return Renewed(source.read, fresh_s=1.0, now_s=hand)


async def test_it_is_read_once_while_it_is_fresh_and_by_many_at_once(
    renewed: Renewed[list[str]], source: Source, hand: Hand
) -> None:
    assert renewed.at_hand() is None
    found = await asyncio.gather(*(renewed.get() for _ in range(20)))
    assert found == [["first"]] * 20
    assert source.asked == 1
    hand.now_s += 1.0
    source.says = ["second"]
    assert await renewed.get() == ["second"]
    assert source.asked == 2


async def test_it_is_the_same_object_while_it_is_equal(renewed: Renewed[list[str]], source: Source, hand: Hand) -> None:
    first = await renewed.get()
    hand.now_s += 1.0
    assert await renewed.get() is first
    assert source.asked == 2


async def test_who_asks_late_has_it_read_while_nobody_waits(
    renewed: Renewed[list[str]], source: Source, hand: Hand
) -> None:
    await renewed.get()
    hand.now_s += AHEAD / 2
    assert renewed.at_hand() == ["first"]
    assert renewed._renewal is None
    source.says = ["second"]
    hand.now_s += AHEAD / 2
    assert renewed.at_hand() == renewed.at_hand() == ["first"]
    assert renewed._renewal is not None
    await renewed._renewal
    assert (renewed.at_hand(), source.asked) == (["second"], 2)
    hand.now_s += 1.0
    assert renewed.at_hand() is None


async def test_what_was_read_before_it_was_forgotten_does_not_count(
    renewed: Renewed[list[str]], source: Source
) -> None:
    source.open.clear()
    reading = asyncio.create_task(renewed.get())
    while not source.asked:
        await asyncio.sleep(0.001)
    source.says = ["second"]
    renewed.forget()
    source.open.set()
    assert await reading == ["second"]
    assert source.asked == 2


async def test_a_source_that_is_away_is_told_to_who_waits_and_to_nobody_else(
    renewed: Renewed[list[str]], source: Source, hand: Hand
) -> None:
    await renewed.get()
    source.away = True
    hand.now_s += AHEAD
    assert renewed.at_hand() == ["first"]
    assert renewed._renewal is not None
    await renewed._renewal
    assert renewed.at_hand() == ["first"]  # for the rest of its time
    hand.now_s += 1.0
    with pytest.raises(StoreError, match="away"):
        await renewed.get()
    assert renewed.last == ["first"]
