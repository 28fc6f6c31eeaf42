"""Limits put together once grant, tell and give back what the counters do claim by claim."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.gateway.limits.bundle import Amounts, Bundle, Granted
from tokenworks.gateway.limits.claims import MONEY, Claim, claims_of
from tokenworks.gateway.limits.counters import MINUTE_S, RATES, LocalCounters
from tokenworks.gateway.limits.told import headers
from tokenworks.governance.limits import Limit, Subject

AT = 1_790_000_000.0
BOUNDS = (
    "requests_per_minute", "tokens_per_minute", "concurrency", "tokens_per_day", "tokens_per_month", "tokens_in_all",
    "money_in_all_micro", "requests_in_all",
)  # fmt: skip
SUBJECTS = (Subject("acme"), Subject("acme", "key-1"), Subject("", "", "m"), Subject(grant="tw-one"))
limits = st.builds(
    Limit, subject=st.sampled_from(SUBJECTS), money_per_day_micro=st.none() | st.integers(0, 500),
    **{name: st.none() | st.integers(1, 300) for name in BOUNDS},
)  # fmt: skip
steps = st.lists(
    st.tuples(st.sampled_from(["take", "end", "later"]), st.integers(1, 60), st.integers(0, 60)), max_size=30
)


class World:
    """Counters with a clock and a ledger of their own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.spent: dict[str, int] = {}
        self.counters = LocalCounters(lambda claim: self.spent.get(claim.name, 0), now=lambda: self.now)
        self.under_way: list[Any] = []

    def level(self, claim: Claim) -> float:
        """Return what a bucket holds, without a look at it changing anything."""
        bucket = self.counters.buckets.get(claim.name)
        if bucket is None:
            return float(claim.limit)
        return min(claim.limit, bucket.level + (self.now - bucket.at_s) * claim.limit / MINUTE_S)

    def charge(self, claims: list[Claim], tokens: int, micro: int) -> None:
        for claim in claims:
            if claim.window:
                charge = 1 if claim.kind == "requests-total" else micro if claim.kind in MONEY else tokens
                self.spent[claim.name] = self.spent.get(claim.name, 0) + charge


def claims(bounds: list[Limit], amounts: Amounts) -> list[Claim]:
    return claims_of(bounds, at=AT, likely=amounts.likely, most=amounts.most, most_micro=amounts.most_micro)


@given(bounds=st.lists(limits, max_size=4, unique_by=lambda one: one.subject), story=steps)
async def test_both_ways_grant_and_tell_the_same_whatever_the_order(
    bounds: list[Limit], story: list[tuple[str, int, int]]
) -> None:
    one, other = World(), World()
    bundle = Bundle(claims(bounds, Amounts(0, 0, 0)), other.counters, at=AT)
    for what, first, second in story:
        if what == "later":
            one.now += first
            other.now += first
        elif what == "end" and one.under_way:
            asked, granted = one.under_way.pop(), other.under_way.pop()
            tokens = min(second, granted.amounts.most)
            one.charge(asked, tokens, tokens)
            other.charge(asked, tokens, tokens)
            await one.counters.settle(asked, tokens)
            granted.give_back(tokens)
        elif what == "take":
            amounts = Amounts(first, first + second, first * 2)
            verdict = await one.counters.take(claims(bounds, amounts))
            lefts = bundle.take(amounts)
            assert verdict.granted == (lefts is not None)
            if lefts is not None:
                granted = Granted(bundle, amounts, lefts, AT)
                told = headers(verdict.standings)
                assert granted.told() == told
                assert granted.lines() == "".join(f"{name}: {value}\r\n" for name, value in told)
                one.under_way.append(claims(bounds, amounts))
                other.under_way.append(granted)
        assert one.counters.held == other.counters.held
        for claim in claims(bounds, Amounts(0, 0, 0)):
            if claim.kind in RATES:
                assert one.level(claim) == pytest.approx(other.level(claim))
