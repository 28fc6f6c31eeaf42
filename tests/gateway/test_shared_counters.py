"""Gateways that count together: over a book in memory, as workers do, and over a real Redis, as hosts do."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from redis_server import RedisServer
from tokenworks.core.calls import Caller, answer_calls
from tokenworks.core.errors import ConfigError
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.limits.book import Ask, Beat, Book, Join, MemoryBook, Part, Work
from tokenworks.gateway.limits.claims import Claim, Verdict, claims_of
from tokenworks.gateway.limits.far_book import FarBook, answer_book
from tokenworks.gateway.limits.redis_book import RedisBook
from tokenworks.gateway.limits.shared import SharedCounters
from tokenworks.governance.limits import Limit, Subject

LEASE_S, BEAT_S = 0.6, 0.05
Open = Callable[[], Book]


class Gateway:
    """Counters with a ledger of its own."""

    def __init__(self, open_book: Open, name: str, *, spent: int = 0, grace_s: float = 0.0) -> None:
        self.spent = spent
        self.counters = SharedCounters(
            open_book(),
            lambda *budget: {name: self.spent},
            lease_s=LEASE_S,
            beat_s=BEAT_S,
            grace_s=grace_s,
            look_s=BEAT_S,
        )

    async def take(self, claims: list[Claim], patience_s: float = 10.0) -> Verdict:
        """Take as the gateway does: what may pass later is asked again."""
        until = time.monotonic() + patience_s
        while True:
            verdict = await self.counters.take(claims)
            if verdict.granted or not verdict.later or time.monotonic() > until:
                return verdict
            await asyncio.sleep(0.01)

    async def end(self, claims: list[Claim], tokens: int) -> None:
        self.spent += tokens
        await self.counters.settle(claims, tokens)

    def die(self) -> None:
        """End as kill -9 ends a process: nobody is told."""
        assert self.counters._task is not None
        self.counters._task.cancel()


def claims(budget: int, most: int, *, tenant: str = "acme") -> list[Claim]:
    return claims_of(
        [Limit(subject=Subject(tenant=tenant), tokens_per_day=budget)], at=time.time(), likely=0, most=most
    )


@pytest.fixture(params=["memory", "socket", "redis"])
async def opened(request: pytest.FixtureRequest, shared_redis: str, tmp_path: Path) -> AsyncIterator[Open]:
    """Return how a gateway opens the one book, which is empty."""
    memory = MemoryBook()
    if request.param == "memory":
        yield lambda: memory
    elif request.param == "redis":
        books = [RedisBook(shared_redis)]
        await books[0]._redis.flushdb()

        def another() -> RedisBook:
            books.append(RedisBook(shared_redis))
            return books[-1]

        yield another
        for book in books:  # also of those who died
            await book.close()
    else:
        server = await answer_calls(tmp_path / "calls", lambda name, said: answer_book(memory, name, said))
        callers: list[Caller] = []

        def far() -> FarBook:
            callers.append(Caller(tmp_path / "calls"))
            return FarBook(callers[-1].call)

        yield far
        for caller in callers:
            caller.close()
        await server.close()


async def test_two_gateways_never_overspend_a_budget_and_spend_it_all(opened: Open) -> None:
    budget, most, rng = 1000, 10, random.Random(0)
    gateways = [Gateway(opened, "a"), Gateway(opened, "b")]
    wanted = claims(budget, most)

    async def one(gateway: Gateway) -> int:
        verdict = await gateway.take(wanted)
        if not verdict.granted:
            assert verdict.blocked is not None
            return 0
        await asyncio.sleep(rng.random() / 100)
        tokens = rng.randint(1, most)
        await gateway.end(wanted, tokens)
        assert sum(one.spent for one in gateways) <= budget
        return tokens

    async with asyncio.timeout(30):
        served = await asyncio.gather(*(one(gateways[n % 2]) for n in range(400)))
    assert sum(served) == sum(one.spent for one in gateways)
    assert budget - most < sum(served) <= budget
    for gateway in gateways:
        await gateway.counters.close()


async def test_what_a_killed_gateway_held_is_free_when_its_lease_lapses(opened: Open) -> None:
    killed, living = Gateway(opened, "a"), Gateway(opened, "b")
    wanted = claims(100, 60)
    assert (await killed.take(wanted)).granted
    refused = await living.counters.take(wanted)
    assert not refused.granted
    assert refused.later
    killed.die()
    began = time.monotonic()
    assert (await living.take(wanted)).granted
    assert time.monotonic() - began > LEASE_S / 2  # not before
    await living.counters.close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_of_a_budget_what_a_killed_gateway_held_waits_for_who_knows_its_log(shared_redis: str, kind: str) -> None:
    """A start takes longer than a lease: what was delivered and not told yet must not be spent twice meanwhile."""
    clock = [0.0]
    book: RedisBook | MemoryBook = MemoryBook(now=lambda: clock[0])
    if kind == "redis":
        book = RedisBook(shared_redis, now=lambda: clock[0])
        await book._redis.flushdb()

    def of_it(amount: int) -> Part:
        return Part("budget", "budget", 100, amount)

    place = Part("place", "hold", 2, 1)

    async def take(*parts: Part) -> bool:
        (given,) = (await book.work(Work("living", {"budget": {}}, (), (Ask(1, parts),)))).given
        return given[0].granted

    async def later(seconds: int) -> None:
        for _ in range(seconds):
            clock[0] += 1
            await book.beat(Beat("living", 5.0, 0, {}))

    for member in ("living", "killed", "lost"):
        await book.join(Join(member, "", 5.0, 0.0, {}, {"budget": {}}, f"log-of-{member}"))
    for member in ("killed", "lost"):
        await book.work(Work(member, {}, (), (Ask(1, (of_it(20), place)),)))
    assert not await take(place)
    await later(10)
    assert await take(place)  # how many at a time is no matter of the ledger
    assert not await take(of_it(61))
    await book.join(Join("next", "", 600.0, 0.0, {}, {}, "log-of-killed"))
    assert not await take(of_it(1))  # it has told nothing yet
    await book.beat(Beat("next", 600.0, 0, {"budget": {"log-of-killed": 15}}))
    assert not await take(of_it(66))
    await later(50)
    assert not await take(of_it(66))
    await book.work(Work("next", {}, (), (Ask(1, (of_it(30), place)),)))
    await book.join(Join("soon", "", 600.0, 0.0, {}, {}, "log-of-killed"))  # before the lease of the next has ended
    assert await take(place)
    await book.beat(Beat("soon", 600.0, 0, {"budget": {"log-of-killed": 15}}))
    await later(10)  # nobody came in the place of the other
    assert not await take(of_it(86))
    assert await take(of_it(85))
    await book.close()


async def test_what_was_spent_before_anybody_counted_is_counted(opened: Open) -> None:
    before, now = Gateway(opened, "a", spent=95), Gateway(opened, "b")
    before.counters.begin()  # it serves, and nobody has asked it for this budget yet
    await asyncio.sleep(2 * BEAT_S)
    verdict = await now.take(claims(100, 10))
    assert not verdict.granted
    assert not verdict.later
    assert (await now.take(claims(100, 5))).granted
    for gateway in (before, now):
        await gateway.counters.close()


async def test_what_was_spent_while_no_limit_was_in_force_is_counted_as_soon_as_one_is_again(opened: Open) -> None:
    one, other = Gateway(opened, "a"), Gateway(opened, "b")
    wanted = claims(100, 10)
    for gateway in (one, other):
        assert (await gateway.take(wanted)).granted
        await gateway.end(wanted, 5)
    one.spent += 85  # by requests that claimed nothing: they began before the limit was set, or while it was dropped
    await asyncio.sleep(4 * BEAT_S)
    refused = await other.counters.take(wanted)
    assert not refused.granted
    assert not refused.later
    assert (await one.take(claims(100, 5))).granted
    for gateway in (one, other):
        await gateway.counters.close()


async def test_a_settlement_of_which_nobody_has_to_be_told_waits_for_nobody(opened: Open) -> None:
    gateway = Gateway(opened, "a")
    rate = claims_of([Limit(subject=Subject("acme"), requests_per_minute=9)], at=time.time(), likely=0, most=0)
    assert (await gateway.take(rate)).granted
    async with asyncio.timeout(10):
        await gateway.end(rate, 5)
        await gateway.end([], 5)
    await gateway.counters.close()


async def test_a_request_whose_caller_leaves_holds_nothing(opened: Open) -> None:
    gateway = Gateway(opened, "a")
    wanted = claims(10, 10)
    assert (await gateway.take(wanted)).granted
    await gateway.end(wanted, 0)
    for pause_s in (0.0, 0.0002, 0.0005, 0.001, 0.002):
        taking = asyncio.create_task(gateway.counters.take(wanted))
        await asyncio.sleep(pause_s)
        taking.cancel()
        if (await asyncio.gather(taking, return_exceptions=True))[0].__class__ is Verdict:
            await gateway.end(wanted, 0)
        assert (await gateway.take(wanted)).granted, pause_s
        await gateway.end(wanted, 0)
    await gateway.counters.close()


async def test_a_gateway_that_was_silent_too_long_comes_back_with_what_it_holds(opened: Open) -> None:
    slow, other = Gateway(opened, "a"), Gateway(opened, "b")
    wanted = claims(100, 60)
    assert (await slow.take(wanted)).granted
    slow.counters._beat_at = time.monotonic() + 3 * LEASE_S  # as one that is stopped
    await asyncio.sleep(LEASE_S * 1.3)
    slow.counters._beat_at = 0.0
    slow.counters._wake.set()
    await asyncio.sleep(4 * BEAT_S)
    refused = await other.counters.take(wanted)
    assert not refused.granted
    assert refused.later
    await slow.end(wanted, 30)
    assert (await other.take(wanted)).granted
    for gateway in (slow, other):
        await gateway.counters.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that may be killed."""
    server = RedisServer(tmp_path)
    yield server
    server.kill()


async def test_without_redis_what_is_limited_is_refused_and_afterwards_nothing_is_forgotten(
    own_redis: RedisServer,
) -> None:
    gateways = [Gateway(lambda: RedisBook(own_redis.url), name, grace_s=4 * BEAT_S) for name in "ab"]
    wanted = claims(100, 10)
    for gateway in gateways:
        assert (await gateway.take(wanted)).granted
    await gateways[0].end(wanted, 10)
    own_redis.kill()
    with pytest.raises(ApiError) as away:
        await gateways[0].counters.take(wanted)
    assert (away.value.status, away.value.code) == (503, "limits_unavailable")
    assert dict(away.value.headers)["retry-after"] == "1"
    await gateways[1].end(wanted, 10)  # delivered meanwhile: told later
    own_redis.start()  # and it remembers nothing
    await asyncio.sleep(3 * BEAT_S)
    granted = 0
    while (verdict := await gateways[granted % 2].take(wanted, patience_s=0.5)).granted:
        granted += 1
    assert granted == 8
    assert verdict.blocked is not None
    assert verdict.blocked.remaining == 0
    for gateway in gateways:
        await gateway.counters.close()


async def test_a_redis_that_hangs_is_away_and_grants_nothing_afterwards(own_redis: RedisServer) -> None:
    gateway = Gateway(lambda: RedisBook(own_redis.url), "a")
    wanted = claims(10, 10)
    assert (await gateway.take(wanted)).granted
    await gateway.end(wanted, 0)
    own_redis.process.send_signal(signal.SIGSTOP)
    with pytest.raises(ApiError, match="limits"):
        await gateway.counters.take(wanted)
    own_redis.process.send_signal(signal.SIGCONT)  # what was sent is done now, for nobody
    assert (await gateway.take(wanted)).granted
    await gateway.counters.close()


def test_an_address_that_is_none_of_redis_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"limits\.shared.*redis://host"):
        RedisBook("http://localhost")
