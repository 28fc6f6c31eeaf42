"""The limits of one caller on one day, put together once: what `LocalCounters.take` and `settle` do, in fewer steps.

The counters are the same, so that both ways may be used beside each other; tests/gateway/limits holds them equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tokenworks.gateway.limits.claims import Claim, Standing
from tokenworks.gateway.limits.counters import RATES, LocalCounters, whole_in_s
from tokenworks.gateway.limits.told import headers


class Amounts(NamedTuple):
    """What a request claims of each kind of limit."""

    likely: int  # tokens, of rates
    most: int  # tokens, of budgets
    most_micro: int  # money, of budgets
    one: int = 1  # requests, and places among those under way


_WHICH = {"tokens": 0, "day": 1, "month": 1, "money-day": 2, "money-month": 2, "requests": 3, "concurrency": 3}


class _Part:
    __slots__ = ("bucket", "claim", "limit", "name", "resets_at", "which")

    def __init__(self, claim: Claim, counters: LocalCounters, at: float) -> None:
        self.claim = claim
        self.name = claim.name
        self.limit = claim.limit
        self.which = _WHICH[claim.kind]
        self.bucket = counters.bucket(claim.name, claim.limit, counters.now()) if claim.kind in RATES else None
        self.resets_at = at + claim.reset_s


class Bundle:
    """`claims` are those of a request that began at `at`; their amounts do not matter."""

    def __init__(self, claims: Sequence[Claim], counters: LocalCounters, *, at: float) -> None:
        self._counters = counters
        self._parts = [_Part(claim, counters, at) for claim in claims]

    def take(self, amounts: Amounts, at: float) -> tuple[tuple[str, str], ...] | None:
        """Grant a request that begins at `at`; return what its caller is told, None where it has to wait or go."""
        counters = self._counters
        held, spent, now = counters.held, counters.spent, counters.now()
        lefts: list[float] = []
        for part in self._parts:
            amount = amounts[part.which]
            if part.bucket is not None:
                left = part.bucket.fill(part.limit, now) - amount
            else:
                used = spent(part.claim) if part.claim.window else 0
                left = part.limit - used - held.get(part.name, 0) - amount
            if left < 0:
                return None
            lefts.append(left)
        standings: list[Standing] = []
        for part, left in zip(self._parts, lefts, strict=True):
            if part.bucket is not None:
                part.bucket.level = left
                reset_s = whole_in_s(part.limit, left)
            else:
                held[part.name] = held.get(part.name, 0) + amounts[part.which]
                reset_s = part.resets_at - at if part.claim.window else 0.0
            standings.append(Standing(claim=part.claim, remaining=max(0, int(left)), reset_s=reset_s))
        return headers(standings)

    def give_back(self, amounts: Amounts, tokens: int) -> None:
        """End what `take` granted: `tokens` were delivered, and stand on the ledger."""
        held, now = self._counters.held, self._counters.now()
        for part in self._parts:
            if part.bucket is None:
                left = held.get(part.name, 0) - amounts[part.which]
                if left:
                    held[part.name] = left
                else:
                    held.pop(part.name, None)
            elif part.claim.kind == "tokens":
                level = part.bucket.fill(part.limit, now) + amounts.likely - tokens
                part.bucket.level = min(part.limit, level)
