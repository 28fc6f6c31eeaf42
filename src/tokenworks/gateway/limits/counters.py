"""The counters of one process. All claims of a request are granted at once or none; nothing is granted in between.

Rates are token buckets (a minute's worth, refilled continuously). A budget is what the ledger says was spent, and what
requests under way hold: a request is granted only if both and its own most fit, so no concurrency can overspend it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from tokenworks.gateway.limits.bucket import MINUTE_S, Bucket, let_go, whole_in_s
from tokenworks.gateway.limits.claims import Claim, Standing, Verdict

Spent = Callable[[Claim], int]
RATES = ("requests", "tokens")


class Counters(Protocol):
    """Who grants claims."""

    async def take(self, claims: Sequence[Claim]) -> Verdict:
        """Grant all of `claims`, or none and say why."""
        ...

    async def settle(self, claims: Sequence[Claim], tokens: int) -> None:
        """End claims that were granted: `tokens` were delivered, and stand on the ledger with their price."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class LocalCounters:
    """Counters in memory. `spent` says what the ledger has for a budget."""

    def __init__(self, spent: Spent, *, now: Callable[[], float] = time.monotonic) -> None:
        self.spent = spent
        self.now = now
        self.buckets: dict[str, Bucket] = {}
        self.held: dict[str, int] = {}

    async def take(self, claims: Sequence[Claim]) -> Verdict:
        """Grant all of `claims`, or none and say why."""
        now = self.now()
        later: Verdict | None = None
        for claim in claims:
            refused = self._refusal(claim, now)
            if refused is not None and not refused.later:
                return refused
            later = later or refused
        if later is not None:
            return later
        return Verdict(granted=True, standings=tuple([self._granted(claim) for claim in claims]))

    async def settle(self, claims: Sequence[Claim], tokens: int) -> None:
        """Give back what was held; of a rate of tokens, what was not needed."""
        self.give_back(claims, tokens)

    def give_back(self, claims: Sequence[Claim], tokens: int) -> None:
        """Do what `settle` does, at once."""
        now = self.now()
        for claim in claims:
            if claim.kind == "tokens":
                bucket = self._bucket(claim, now)
                bucket.level = min(claim.limit, bucket.level + claim.amount - tokens)
            elif not _is_rate(claim):
                let_go(self.held, claim.name, claim.amount)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _refusal(self, claim: Claim, now: float) -> Verdict | None:
        if _is_rate(claim):
            level = self._bucket(claim, now).level
            if claim.amount <= level:
                return None
            standing = self._standing(claim, now)
            wait_s = (claim.amount - level) * MINUTE_S / claim.limit if 0 < claim.amount <= claim.limit else None
            return Verdict(granted=False, standings=(standing,), blocked=standing, retry_s=wait_s)
        spent = self._spent_of(claim)
        held = self.held.get(claim.name, 0)
        if spent + held + claim.amount <= claim.limit:
            return None
        standing = self._standing(claim, now)
        return Verdict(
            granted=False, standings=(standing,), blocked=standing, later=spent + claim.amount <= claim.limit
        )

    def _granted(self, claim: Claim) -> Standing:
        """Take what `claim` asks for; its bucket was filled up a moment ago."""
        name = claim.name
        if _is_rate(claim):
            bucket = self.buckets[name]
            bucket.level -= claim.amount
            return _of_rate(claim, bucket.level)
        self.held[name] = self.held.get(name, 0) + claim.amount
        return self._of_held(claim)

    def _standing(self, claim: Claim, now: float) -> Standing:
        if _is_rate(claim):
            return _of_rate(claim, self._bucket(claim, now).level)
        return self._of_held(claim)

    def _of_held(self, claim: Claim) -> Standing:
        left = claim.limit - self._spent_of(claim) - self.held.get(claim.name, 0)
        return Standing(claim=claim, remaining=max(0, left), reset_s=claim.reset_s)

    def _spent_of(self, claim: Claim) -> int:
        return self.spent(claim) if claim.window else 0

    def _bucket(self, claim: Claim, now: float) -> Bucket:
        """Return the bucket, filled up to now."""
        bucket = self.bucket(claim.name, claim.limit, now)
        bucket.fill(claim.limit, now)
        return bucket

    def bucket(self, name: str, limit: int, now: float) -> Bucket:
        """Return the bucket of a rate; a new one is full."""
        bucket = self.buckets.get(name)
        if bucket is None:
            bucket = self.buckets[name] = Bucket(float(limit), now)
        return bucket


def _of_rate(claim: Claim, level: float) -> Standing:
    return Standing(claim=claim, remaining=max(0, int(level)), reset_s=whole_in_s(claim.limit, level))


def _is_rate(claim: Claim) -> bool:
    return claim.kind in RATES
