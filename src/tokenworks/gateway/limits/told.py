"""What a caller is told of its limits: OpenAI's rate-limit headers, and refusals with an honest time to come back."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.limits.claims import ENTRIES, MONEY, Claim, Standing, Verdict

_AGAIN_NEVER: tuple[tuple[str, str], ...] = (("x-should-retry", "false"),)
JITTER = 0.25  # those refused together come back spread over so much more of their wait
_UNITS = {
    "requests": "requests per minute",
    "tokens": "tokens per minute",
    "concurrency": "requests at a time",
    "day": "tokens a day",
    "month": "tokens a month",
    "money-day": "a day",
    "money-month": "a month",
    "total": "tokens in all",
    "money-total": "in all",
    "requests-total": "requests in all",
}


# Kinds of which a caller is told the tightest alone, each under the name that they share.
_TOGETHER = {
    "requests": "requests",
    "tokens": "tokens",
    "day": "budget",
    "month": "budget",
    "money-day": "money",
    "money-month": "money",
    "total": "budget",
    "money-total": "money",
    "requests-total": "requests in all",
}


def headers(standings: Sequence[Standing]) -> tuple[tuple[str, str], ...]:
    """Return the headers for the tightest limit of each kind, under the names and in the forms that OpenAI sends."""
    told: list[tuple[str, str]] = []
    tightest: dict[str, Standing] = {}
    for one in standings:
        place = _TOGETHER.get(one.claim.kind, "")
        if place not in tightest or one.remaining < tightest[place].remaining:
            tightest[place] = one
    for kind in ("requests", "tokens"):
        found = tightest.get(kind)
        if found is not None:
            told += [
                (f"x-ratelimit-limit-{kind}", str(found.claim.limit)),
                (f"x-ratelimit-remaining-{kind}", str(found.remaining)),
                (f"x-ratelimit-reset-{kind}", duration(found.reset_s)),
            ]
    money = tightest.get("money")
    if money is not None:
        told += [
            ("x-tokenworks-budget-limit-money", amount_of(money.claim.limit, money.claim)),
            ("x-tokenworks-budget-remaining-money", amount_of(money.remaining, money.claim)),
        ]
    budget = tightest.get("budget")
    if budget is not None:
        told += [
            ("x-tokenworks-budget-limit-tokens", str(budget.claim.limit)),
            ("x-tokenworks-budget-remaining-tokens", str(budget.remaining)),
        ]
        if budget.claim.reset_s:
            told.append(("x-tokenworks-budget-reset", duration(budget.reset_s)))
    left = tightest.get("requests in all")
    if left is not None:
        told += [
            ("x-tokenworks-budget-limit-requests", str(left.claim.limit)),
            ("x-tokenworks-budget-remaining-requests", str(left.remaining)),
        ]
    return tuple(told)


def refused(verdict: Verdict) -> ApiError:
    """Return the 429 for a verdict that granted nothing."""
    assert verdict.blocked is not None, "a refusal has a reason"
    blocked = verdict.blocked
    claim, told = blocked.claim, headers(verdict.standings)
    what = f"{amount_of(claim.limit, claim)} {_UNITS[claim.kind]} for {claim.subject}"
    if claim.kind in ENTRIES and not verdict.later:
        left = f"the budget of {what} has {amount_of(blocked.remaining, claim)} left"
        left += f" and this request may need {amount_of(claim.amount, claim)}"
        less = "" if claim.kind == "requests-total" else "ask for less with max_tokens, or "
        after = f"again in {duration(blocked.reset_s)}" if claim.reset_s else "have a grant made for more"
        message = f"{left}; {less}{after}"
        again = _AGAIN_NEVER
        if claim.reset_s:
            again = (("retry-after", str(math.ceil(blocked.reset_s))), *again)
        return ApiError(429, message, code="insufficient_quota", kind="insufficient_quota", headers=(*again, *told))
    if verdict.retry_s is None and not verdict.later:
        message = f"the limit is {what} and this request needs {claim.amount}: it can never pass; ask for less"
        return ApiError(429, message, code="rate_limit_exceeded", kind=claim.kind, headers=(*_AGAIN_NEVER, *told))
    wait_s = (verdict.retry_s or 1.0) * random.uniform(1.0, 1.0 + JITTER)
    message = f"the limit of {what} is reached; ask again in {duration(wait_s)}"
    again = (("retry-after-ms", str(math.ceil(wait_s * 1000))), ("retry-after", str(math.ceil(wait_s))))
    return ApiError(429, message, code="rate_limit_exceeded", kind=claim.kind, headers=(*again, *told))


def amount_of(amount: int, claim: Claim) -> str:
    """Return an amount of what `claim` counts: money with its currency, in units."""
    return f"{amount / 1e6:.6f} {claim.currency}".strip() if claim.kind in MONEY else str(amount)


def duration(seconds: float) -> str:
    """Return seconds in the form of OpenAI's reset headers: `20ms`, `1.2s`, `6m0s`, `23h59m3s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{math.ceil(seconds * 1000) / 1000:g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
