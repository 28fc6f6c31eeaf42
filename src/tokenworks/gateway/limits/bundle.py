"""The limits of one caller on one day, put together once: what `LocalCounters.take` and `settle` do, in fewer steps.

The counters are the same, so that both ways may be used beside each other; tests/gateway/limits holds them equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tokenworks.gateway.limits.bucket import Bucket, let_go, whole_in_s
from tokenworks.gateway.limits.claims import BUDGETS, Claim, Standing
from tokenworks.gateway.limits.counters import RATES, LocalCounters
from tokenworks.gateway.limits.told import duration, headers


class Amounts(NamedTuple):
    """What a request claims of each kind of limit."""

    likely: int  # tokens, of rates
    most: int  # tokens, of budgets
    most_micro: int  # money, of budgets
    one: int = 1  # requests, and places among those under way


Lefts = list[float]  # what each limit has left, in the order of the claims
_WHICH = {"tokens": 0, "day": 1, "month": 1, "money-day": 2, "money-month": 2, "requests": 3, "concurrency": 3}
_WHICH |= {"total": 1, "money-total": 2, "requests-total": 3}
_RATE = "x-ratelimit-limit-{0}: {1}\r\nx-ratelimit-remaining-{0}: %d\r\nx-ratelimit-reset-{0}: %s\r\n"
_BUDGET = (
    "x-tokenworks-budget-limit-tokens: {1}\r\nx-tokenworks-budget-remaining-tokens: %d\r\n"
    "x-tokenworks-budget-reset: %s\r\n"
)
_SHORT = {"requests": _RATE, "tokens": _RATE, "day": _BUDGET, "month": _BUDGET}  # in the order in which they are told


class _Part:
    __slots__ = ("bucket", "claim", "limit", "name", "resets_at", "which")

    def __init__(self, claim: Claim, counters: LocalCounters, at: float) -> None:
        self.claim = claim
        self.name = claim.name
        self.limit = claim.limit
        self.which = _WHICH[claim.kind]
        self.bucket: Bucket | None = None
        if claim.kind in RATES:
            self.bucket = counters.bucket(claim.name, claim.limit, counters.now())
        self.resets_at = at + claim.reset_s if claim.window else 0.0

    def reset_s(self, left: float, at: float) -> float:
        if self.bucket is not None:
            return whole_in_s(self.limit, left)
        return self.resets_at - at if self.claim.reset_s else 0.0


class Bundle:
    """`claims` are those of a request that began at `at`; their amounts do not matter."""

    def __init__(self, claims: Sequence[Claim], counters: LocalCounters, *, at: float) -> None:
        self._counters = counters
        self._parts = [_Part(claim, counters, at) for claim in claims]
        self._short = _short(self._parts)
        self.has_budget = any(claim.kind in BUDGETS for claim in claims)

    def take(self, amounts: Amounts) -> Lefts | None:
        """Grant a request; return what is left, None where it has to wait or go."""
        counters = self._counters
        held, now = counters.held, counters.now()
        lefts: list[float] = []
        left: float
        for part in self._parts:
            bucket = part.bucket
            if bucket is not None:
                left = bucket.fill(part.limit, now) - amounts[part.which]
            else:
                used = counters.spent(part.claim) if part.resets_at else 0
                left = float(part.limit - used - held.get(part.name, 0) - amounts[part.which])
            if left < 0:
                return None
            lefts.append(left)
        for part, left in zip(self._parts, lefts, strict=True):
            if part.bucket is not None:
                part.bucket.level = left
            else:
                held[part.name] = held.get(part.name, 0) + amounts[part.which]
        return lefts

    def give_back(self, amounts: Amounts, tokens: int) -> None:
        """End what `take` granted: `tokens` were delivered, and stand on the ledger."""
        held, now = self._counters.held, self._counters.now()
        for part in self._parts:
            if part.bucket is None:
                let_go(held, part.name, amounts[part.which])
            elif part.which == 0:
                level = part.bucket.fill(part.limit, now) + amounts.likely - tokens
                part.bucket.level = min(part.limit, level)

    def told(self, lefts: Lefts, at: float) -> tuple[tuple[str, str], ...]:
        """Return what a caller is told who was granted something at `at` and left `lefts`."""
        pairs = zip(self._parts, lefts, strict=True)
        return headers([Standing(claim=p.claim, remaining=int(left), reset_s=p.reset_s(left, at)) for p, left in pairs])

    def lines(self, lefts: Lefts, at: float) -> str:
        """Return the same as lines of HTTP."""
        if self._short is None:
            return "".join([f"{name}: {value}\r\n" for name, value in self.told(lefts, at)])
        text, order = self._short
        values: list[int | str] = []
        for number in order:
            left = lefts[number]
            values += (int(left), duration(self._parts[number].reset_s(left, at)))
        return text % tuple(values)


def _short(parts: Sequence[_Part]) -> tuple[str, tuple[int, ...]] | None:
    """Return the lines with gaps, and whose figures fill them; None where several limits compete for a line."""
    shown = {part.claim.kind: number for number, part in enumerate(parts) if part.claim.kind != "concurrency"}
    kinds = [part.claim.kind for part in parts if part.claim.kind != "concurrency"]
    if len(shown) < len(kinds) or {"day", "month"} <= shown.keys() or not shown.keys() <= _SHORT.keys():
        return None
    order = [kind for kind in _SHORT if kind in shown]
    text = "".join([_SHORT[kind].format(kind, parts[shown[kind]].limit) for kind in order])
    return text, tuple([shown[kind] for kind in order])


class Granted:
    """What was granted to one request, until its entry is written."""

    __slots__ = ("_at", "_bundle", "_lefts", "amounts")

    def __init__(self, bundle: Bundle, amounts: Amounts, lefts: Lefts, at: float) -> None:
        self._bundle = bundle
        self.amounts = amounts
        self._lefts = lefts
        self._at = at

    def told(self) -> tuple[tuple[str, str], ...]:
        """Return what the caller is told of its limits."""
        return self._bundle.told(self._lefts, self._at)

    def lines(self) -> str:
        """Return the same as lines of HTTP."""
        return self._bundle.lines(self._lefts, self._at)

    def give_back(self, tokens: int) -> None:
        """End it: so many tokens were delivered."""
        self._bundle.give_back(self.amounts, tokens)
