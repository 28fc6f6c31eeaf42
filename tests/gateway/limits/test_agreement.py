"""Local and shared counters say the same of the same requests: tokens, money, and what a grant has in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.factory.limiting import spent_by
from tokenworks.gateway.limits.book import MemoryBook
from tokenworks.gateway.limits.claims import ENTRIES, Claim, Verdict, claims_of
from tokenworks.gateway.limits.counters import LocalCounters
from tokenworks.gateway.limits.redis_book import RedisBook
from tokenworks.gateway.limits.shared import SharedCounters
from tokenworks.governance.limits import Limit, Subject, applying, of_grant
from tokenworks.governance.prices import Price
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.spending import Spending, charged
from tokenworks.store.nouns import Budget

NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC
PRICE = Price(input_nano=1700, cached_nano=170, output_nano=3300)
GRANTS = ("", "tw-one", "tw-two")
BEAT_S = 0.005


class Asked(NamedTuple):
    """A request as it comes: of which grant, at which gateway, with how much; how much of it is used, and when."""

    grant: str
    gateway: int
    prompt: int
    answer: int
    used: float
    ends: int  # how many end before the next comes


class UnderWay(NamedTuple):
    asked: Asked
    claims: list[Claim]


amounts = st.none() | st.integers(1, 400)
budgets = st.builds(
    Budget, tokens=amounts, money_micro=st.none() | st.integers(1, 1200), requests=st.none() | st.integers(1, 8),
    concurrency=st.none() | st.integers(1, 3), requests_per_minute=st.none() | st.integers(1, 20),
)  # fmt: skip
stories = st.lists(
    st.builds(
        Asked, st.sampled_from(GRANTS), st.integers(0, 1), st.integers(0, 40), st.integers(0, 40), st.floats(0, 1),
        st.integers(0, 3),
    ),
    max_size=30,
)  # fmt: skip


def most(asked: Asked) -> dict[str, int]:
    micro = PRICE.most_micro(prompt=asked.prompt, completion=asked.answer)
    return {"likely": asked.prompt, "most": asked.prompt + asked.answer, "most_micro": micro}


def entry(asked: Asked) -> RequestEntry:
    return PRICE.of(
        RequestEntry(
            at=NOON, request_id="req-1", endpoint="completions", outcome="ok", status=200, tenant="acme", key_id="tw-a",
            grant=asked.grant, model="m", engine="e", prompt_tokens=int(asked.prompt * asked.used),
            cached_tokens=int(asked.prompt * asked.used / 2), completion_tokens=int(asked.answer * asked.used),
        )
    )  # fmt: skip


class Local:
    """One gateway that counts by itself."""

    def __init__(self) -> None:
        self.spending = Spending()
        self.counters = LocalCounters(spent_by(self.spending), now=lambda: 0.0)

    async def take(self, gateway: int, claims: list[Claim]) -> Verdict:
        return await self.counters.take(claims)

    async def end(self, one: UnderWay) -> None:
        await _end(self.spending, self.counters, one)


class Shared:
    """Two that count together, each with a ledger of its own."""

    def __init__(self, book: MemoryBook | RedisBook, other: MemoryBook | RedisBook) -> None:
        self.spendings = [Spending(), Spending()]
        self.gateways = [_gateway(book, 0, self.spendings[0]), _gateway(other, 1, self.spendings[1])]

    async def take(self, gateway: int, claims: list[Claim]) -> Verdict:
        return await self.gateways[gateway].take(claims)

    async def end(self, one: UnderWay) -> None:
        await _end(self.spendings[one.asked.gateway], self.gateways[one.asked.gateway], one)

    async def know(self, claims: list[Claim]) -> None:
        """Return when every gateway has told what it spent of these."""
        nothing = [claim for claim in claims if claim.kind in ENTRIES]
        nothing = [Claim(**{**_fields(claim), "amount": 0}) for claim in nothing]
        for gateway in self.gateways:
            while not (await gateway.take(nothing)).granted:
                await asyncio.sleep(BEAT_S)
            await gateway.settle(nothing, 0)

    async def close(self) -> None:
        for gateway in self.gateways:
            await gateway.close()


def _fields(claim: Claim) -> dict[str, object]:
    return {name: getattr(claim, name) for name in claim.__struct_fields__}


def _gateway(book: MemoryBook | RedisBook, number: int, spending: Spending) -> SharedCounters:
    def known(kind: str, window: str, subject: Subject) -> dict[str, int]:
        claim = Claim(subject=subject, kind=kind, limit=0, amount=0, window=window)
        return {f"log-{number}": spent_by(spending)(claim)}

    counters = SharedCounters(book, known, grace_s=0, beat_s=BEAT_S)
    counters.begin()
    return counters


async def _end(spending: Spending, counters: LocalCounters | SharedCounters, one: UnderWay) -> None:
    """Charge, then give back: as the layer does."""
    made = entry(one.asked)
    spending.add(made)
    await counters.settle(one.claims, charged(made))


@asynccontextmanager
async def sharing(kind: str, url: str) -> AsyncIterator[Shared]:
    if kind == "redis":
        books = [RedisBook(url, now=lambda: 0.0) for _ in range(2)]
        await books[0]._redis.flushdb()
        shared = Shared(*books)
    else:
        book = MemoryBook(now=lambda: 0.0)
        shared = Shared(book, book)
    try:
        yield shared
    finally:
        await shared.close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
@settings(max_examples=50, deadline=None)
@given(
    story=stories,
    day=amounts,
    month_micro=st.none() | st.integers(1, 2000),
    own=st.tuples(budgets, budgets),
)
async def test_two_gateways_that_share_say_what_one_alone_would(
    shared_redis: str, kind: str, story: list[Asked], day: int | None, month_micro: int | None, own: tuple[Budget, ...]
) -> None:
    limits = [Limit(subject=Subject("acme"), tokens_per_day=day, money_per_month_micro=month_micro)]

    def wanted(asked: Asked) -> list[Claim]:
        found = applying(limits, Subject("acme", "tw-a", "m", "", asked.grant))
        if asked.grant:
            found.append(of_grant(asked.grant, own[GRANTS.index(asked.grant) - 1]))
        return claims_of(found, at=NOON, currency="EUR", **most(asked))

    alone, under_way = Local(), list[UnderWay]()
    async with sharing(kind, shared_redis) as shared, asyncio.timeout(60):
        for grant in GRANTS:
            await shared.know(wanted(Asked(grant, 0, 0, 0, 0, 0)))
        for asked in story:
            one = UnderWay(asked, wanted(asked))
            said = await alone.take(asked.gateway, one.claims)
            assert shown(await shared.take(asked.gateway, one.claims)) == shown(said)
            if said.granted:
                under_way.append(one)
            for ended in under_way[: asked.ends]:
                await alone.end(ended)
                await shared.end(ended)
            del under_way[: asked.ends]
            within(alone.spending, day, month_micro, own)
        for ended in under_way:
            await alone.end(ended)
            await shared.end(ended)
        within(alone.spending, day, month_micro, own)
        assert alone.counters.held == {}
        assert [gateway.held for gateway in shared.gateways] == [{}, {}]


def shown(verdict: Verdict) -> tuple[object, ...]:
    blocked = verdict.blocked and (verdict.blocked.claim, verdict.blocked.remaining)
    return verdict.granted, verdict.later, blocked, [(one.claim.kind, one.remaining) for one in verdict.standings]


def within(spending: Spending, day: int | None, month_micro: int | None, own: tuple[Budget, ...]) -> None:
    whole = spending.spent("2026-11", "acme")
    assert day is None or whole.tokens <= day
    assert month_micro is None or whole.micro <= month_micro
    for grant, budget in zip(GRANTS[1:], own, strict=True):
        spent = spending.of_grant(grant)
        assert budget.tokens is None or spent.tokens <= budget.tokens
        assert budget.money_micro is None or spent.micro <= budget.money_micro
        assert budget.requests is None or spent.requests <= budget.requests
