"""A project's budget beside its tenant's: neither is overspent, whatever happens in whatever order."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.factory.limiting import spent_by
from tokenworks.gateway.limits.book import MemoryBook
from tokenworks.gateway.limits.claims import Claim, claims_of
from tokenworks.gateway.limits.counters import LocalCounters
from tokenworks.gateway.limits.redis_book import RedisBook
from tokenworks.gateway.limits.shared import SharedCounters
from tokenworks.governance.limits import Limit, Subject, applying
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.spending import Spending, charged

from .test_limits import CLAIM, ask, ask_many, limit

if TYPE_CHECKING:
    from .conftest import House

NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC
TODAY = "2026-11-21"
PROJECTS = ("", "web", "api")
Counters = LocalCounters | SharedCounters


class UnderWay(NamedTuple):
    """A request that was let in."""

    project: str
    most: int
    used: int
    claims: list[Claim]


@asynccontextmanager
async def counting(kind: str, url: str, spending: Spending) -> AsyncIterator[Counters]:
    if kind == "local":
        yield LocalCounters(spent_by(spending))
        return
    book = RedisBook(url) if kind == "redis" else MemoryBook()
    if isinstance(book, RedisBook):
        await book._redis.flushdb()
    counters = SharedCounters(
        book, lambda kind, window, subject: {"log": spending.total(window, *subject[:-1])}, grace_s=0
    )
    try:
        yield counters
    finally:
        await counters.close()


async def end(counters: Counters, spending: Spending, one: UnderWay) -> None:
    """Charge, then give back: as the layer does."""
    entry = RequestEntry(
        at=NOON,
        request_id="req-00000001",
        endpoint="completions",
        outcome="ok",
        status=200,
        tenant="acme",
        project=one.project,
        model="m",
        prompt_tokens=one.used,
    )
    spending.add(entry)
    await counters.settle(one.claims, one.used)


arrivals = st.lists(
    st.tuples(
        st.sampled_from(PROJECTS),
        st.integers(0, 60),  # the most it claims
        st.floats(0, 1),  # how much of that it uses
        st.integers(0, 3),  # how many end before the next comes
    ),
    max_size=40,
)


@pytest.mark.parametrize("kind", ["local", "book", "redis"])
@settings(max_examples=40, deadline=None)
@given(arrivals=arrivals, whole=st.integers(0, 300), each=st.integers(0, 200))
async def test_no_order_of_requests_overspends_a_project_or_its_tenant(
    shared_redis: str, kind: str, arrivals: list[tuple[str, int, float, int]], whole: int, each: int
) -> None:
    limits = [
        Limit(subject=Subject("acme"), tokens_per_day=whole),
        Limit(subject=Subject("*", project="*"), tokens_per_day=each),
    ]
    spending = Spending()
    under_way: list[UnderWay] = []

    def fits(project: str, most: int) -> bool:
        mine = [one for one in under_way if project and one.project == project]
        own = spending.total(TODAY, "acme", project=project) + sum(one.most for one in mine) + most
        all_of_it = spending.total(TODAY, "acme") + sum(one.most for one in under_way) + most
        return all_of_it <= whole and (not project or own <= each)

    async with counting(kind, shared_redis, spending) as counters:
        for project, most, share, ends in arrivals:
            found = applying(limits, Subject("acme", "tw-a", "m", project))
            claims = claims_of(found, at=NOON, likely=most, most=most)
            assert (await counters.take(claims)).granted == fits(project, most)
            if fits(project, most):
                under_way.append(UnderWay(project, most, int(most * share), claims))
            for one in under_way[:ends]:
                await end(counters, spending, one)
            del under_way[:ends]
            assert spending.total(TODAY, "acme") <= whole
            assert all(spending.total(TODAY, "acme", project=name) <= each for name in PROJECTS if name)
        for one in under_way:
            await end(counters, spending, one)


async def test_of_300_requests_at_once_a_project_gets_its_budget_and_the_other_projects_theirs(house: House) -> None:
    tenant = f"tenant-{time.monotonic_ns()}"
    secrets = {name: house.keys.create(tenant, project=name)[0] for name in ("web", "api")}
    cost = ask(house, secrets["api"]).parse().usage.total_tokens
    limit(house, Subject(tenant, project="web"), tokens_per_day=19 * cost + CLAIM)  # 20 fit
    try:
        web, api = await asyncio.gather(ask_many(house, secrets["web"], 150), ask_many(house, secrets["api"], 30))
    finally:
        house.limits.drop(Subject(tenant, project="web"))
    assert [status for status, _ in web].count(200) == 20
    assert {body["error"]["code"] for status, body in web if status != 200} == {"insufficient_quota"}
    assert [status for status, _ in api] == [200] * 30
    entries = [e for e in house.entries() if isinstance(e, RequestEntry) and e.tenant == tenant]
    spent = {name: sum(map(charged, of)) for name, of in itertools.groupby(sorted(entries, key=_project), key=_project)}
    assert spent == {"web": 20 * cost, "api": 31 * cost}


def _project(entry: RequestEntry) -> str:
    return entry.project


def test_a_caller_is_told_the_tightest_of_project_and_tenant(house: House) -> None:
    tenant = f"tenant-{time.monotonic_ns()}"
    secret, _ = house.keys.create(tenant, project="web")
    subjects = Subject(tenant), Subject(tenant, project="web")
    limit(house, subjects[0], tokens_per_day=100_000, requests_per_minute=50)
    limit(house, subjects[1], tokens_per_day=1000, requests_per_minute=2)
    try:
        told = ask(house, secret).headers
        assert told["x-ratelimit-limit-requests"] == "2"
        assert told["x-tokenworks-budget-limit-tokens"] == "1000"
        with pytest.raises(openai.RateLimitError, match=f"tokens a day for tenant={tenant} project=web"):
            ask(house, secret, max_tokens=2000)
    finally:
        for subject in subjects:
            house.limits.drop(subject)
