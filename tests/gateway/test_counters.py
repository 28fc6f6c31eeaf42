"""The invariant of every kind of counter: whatever happens in whatever order, nothing is overspent or lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.gateway.limits.book import MemoryBook
from tokenworks.gateway.limits.claims import Claim, claims_of
from tokenworks.gateway.limits.counters import LocalCounters
from tokenworks.gateway.limits.redis_book import RedisBook
from tokenworks.gateway.limits.shared import SharedCounters
from tokenworks.governance.limits import Limit, Subject

NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC
WHO = Subject(tenant="acme")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


KINDS = ("local", "book", "redis")
every_kind = pytest.mark.parametrize("kind", KINDS)


@asynccontextmanager
async def counting(
    kind: str, url: str, spent: Callable[[], int] = lambda: 0, now: Clock | None = None
) -> AsyncIterator[LocalCounters | SharedCounters]:
    """Counters of a kind, empty."""
    if kind == "local":
        yield LocalCounters(lambda claim: spent(), now=now) if now else LocalCounters(lambda claim: spent())
        return
    book: MemoryBook | RedisBook
    if kind == "redis":
        book = RedisBook(url, now=now)
        await book._redis.flushdb()
    else:
        book = MemoryBook(now=now) if now else MemoryBook()
    counters = SharedCounters(book, lambda *budget: {"log": spent()}, grace_s=0)
    try:
        yield counters
    finally:
        await counters.close()


requests = st.lists(
    st.tuples(
        st.integers(0, 60),  # the most it claims
        st.floats(0, 1),  # how much of that it uses
        st.integers(0, 3),  # how many end before the next comes
    ),
    max_size=40,
)


@every_kind
@settings(max_examples=60, deadline=None)
@given(requests=requests, budget=st.integers(0, 300), at_once=st.integers(1, 4))
async def test_no_order_of_requests_overspends_a_budget(
    shared_redis: str, kind: str, requests: list[tuple[int, float, int]], budget: int, at_once: int
) -> None:
    sums = [0]
    async with counting(kind, shared_redis, lambda: sums[0]) as counters:
        await _spend(counters, sums, requests, budget, at_once)


async def _spend(
    counters: LocalCounters | SharedCounters,
    sums: list[int],
    requests: list[tuple[int, float, int]],
    budget: int,
    at_once: int,
) -> None:
    limit = Limit(subject=WHO, tokens_per_day=budget, concurrency=at_once)
    under_way: list[tuple[list[Claim], int]] = []
    for most, share, ends in requests:
        claims = claims_of([limit], at=NOON, likely=most, most=most)
        verdict = await counters.take(claims)
        held = sum(claimed[0].amount for claimed, _ in under_way if claimed[0].kind == "concurrency")
        reserved = sum(claim.amount for claimed, _ in under_way for claim in claimed if claim.kind == "day")
        fits = sums[0] + reserved + most <= budget and held < at_once
        assert verdict.granted == fits
        assert verdict.granted or verdict.later == (sums[0] + most <= budget)
        if verdict.granted:
            under_way.append((claims, int(most * share)))
        for claimed, tokens in under_way[:ends]:
            sums[0] += tokens
            await counters.settle(claimed, tokens)
        del under_way[:ends]
        assert sums[0] <= budget
    for claimed, tokens in under_way:
        sums[0] += tokens
        await counters.settle(claimed, tokens)
    assert sums[0] <= budget
    assert counters.held == {}


@settings(max_examples=200, deadline=None)
@given(requests=requests, budget=st.integers(0, 300), price=st.integers(0, 3), ends=st.permutations(range(6)))
async def test_no_order_of_ends_overspends_money_or_loses_any(
    requests: list[tuple[int, float, int]], budget: int, price: int, ends: list[int]
) -> None:
    """Answers end in any order, some by a cancel that delivered nothing: both kinds of budget hold and come back."""
    spent = {"day": 0, "money-day": 0}
    counters = LocalCounters(lambda claim: spent[claim.kind])
    limit = Limit(subject=WHO, tokens_per_day=budget, money_per_day_micro=budget)
    under_way: list[tuple[list[Claim], int]] = []

    async def end(place: int) -> None:
        claims, tokens = under_way.pop(place)
        spent["day"] += tokens
        spent["money-day"] += tokens * price
        await counters.settle(claims, tokens)

    for number, (most, share, _) in enumerate(requests):
        claims = claims_of([limit], at=NOON, likely=most, most=most, most_micro=most * price, currency="EUR")
        if (await counters.take(claims)).granted:
            under_way.append((claims, int(most * share)))
        if len(under_way) > 3:
            await end(ends[number % 6] % len(under_way))
        held = sum(claim.amount for claims, _ in under_way for claim in claims if claim.kind == "money-day")
        assert spent["money-day"] + held <= budget
    while under_way:
        await end(ends[len(under_way) % 6] % len(under_way))
    assert max(spent.values()) <= budget
    assert counters.held == {}


@every_kind
@settings(max_examples=40, deadline=None)
@given(pauses=st.lists(st.floats(0, 30), min_size=1, max_size=60), rate=st.integers(1, 20))
async def test_a_rate_lets_through_no_more_than_a_minute_and_what_time_brings(
    shared_redis: str, kind: str, pauses: list[float], rate: int
) -> None:
    clock = Clock()
    claims = claims_of([Limit(subject=WHO, requests_per_minute=rate)], at=NOON, likely=0, most=0)
    granted = 0
    async with counting(kind, shared_redis, now=clock) as counters:
        for pause_s in pauses:
            clock.now += pause_s
            verdict = await counters.take(claims)
            granted += verdict.granted
            assert granted <= rate + clock.now * rate / 60 + 1e-6
            if not verdict.granted:
                assert verdict.retry_s is not None
                clock.now += verdict.retry_s + 1e-6  # an honest answer: asked again then, it is granted
                assert (await counters.take(claims)).granted
                granted += 1


@every_kind
async def test_a_request_that_one_limit_refuses_takes_nothing_from_another(shared_redis: str, kind: str) -> None:
    narrow = Limit(subject=Subject(tenant="acme", model="m"), concurrency=0)
    wide = Limit(subject=WHO, requests_per_minute=5, tokens_per_day=100)
    async with counting(kind, shared_redis) as counters:
        for _ in range(10):
            assert not (await counters.take(claims_of([wide, narrow], at=NOON, likely=10, most=10))).granted
        verdict = await counters.take(claims_of([wide], at=NOON, likely=10, most=10))
    assert [(one.claim.kind, one.remaining) for one in verdict.standings] == [("requests", 4), ("day", 90)]


@every_kind
async def test_a_rate_of_tokens_is_corrected_to_what_was_used(shared_redis: str, kind: str) -> None:
    claims = claims_of([Limit(subject=WHO, tokens_per_minute=100)], at=NOON, likely=80, most=400)
    async with counting(kind, shared_redis, now=Clock()) as counters:
        assert (await counters.take(claims)).granted
        assert not (await counters.take(claims)).granted
        await counters.settle(claims, 20)
        verdict = await counters.take(claims)
    assert verdict.granted
    assert verdict.standings[0].remaining == 0


@pytest.mark.parametrize(
    ("at", "day", "month", "day_s", "month_s"),
    [
        (NOON, "2026-11-21", "2026-11", 43_200, 43_200 + 9 * 86_400),
        (NOON + 9 * 86_400, "2026-11-30", "2026-11", 43_200, 43_200),
    ],
)
def test_budgets_begin_anew_by_the_utc_calendar(at: float, day: str, month: str, day_s: float, month_s: float) -> None:
    limit = Limit(subject=WHO, tokens_per_day=1, tokens_per_month=1)
    by_day, by_month = claims_of([limit], at=at, likely=0, most=0)
    assert (by_day.window, by_month.window) == (day, month)
    assert (by_day.reset_s, by_month.reset_s) == (day_s, month_s)
