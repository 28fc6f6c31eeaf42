"""What a request claims of each limit that it is under, before anything is known of its answer."""

from __future__ import annotations

import calendar
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from tokenworks.governance.limits import Limit, Subject
from tokenworks.ledger.spending import day_of

Kind = Literal[
    "requests", "tokens", "concurrency", "day", "month", "money-day", "money-month",
    "total", "money-total", "requests-total",
]  # fmt: skip
MONEY = ("money-day", "money-month", "money-total")  # counted in millionths of the price list's unit
BUDGETS = ("day", "month", "total", *MONEY)  # what an answer without a bound of its own could overspend
ENTRIES = (*BUDGETS, "requests-total")  # what the ledger's entries are counted for
IN_ALL = "all"  # the window of what never begins anew


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """So much of one limit."""

    subject: Subject
    kind: Kind
    limit: int
    amount: int
    window: str = ""  # of a budget: 2026-11-21, or 2026-11, or all
    reset_s: float = 0.0  # of a budget: seconds until it begins anew, 0 for never
    currency: str = ""  # of a budget in money

    @property
    def name(self) -> str:
        """Where it is counted."""
        return _name(self.kind, self.window, self.subject)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a claim's limit stands after the claim was granted or refused."""

    claim: Claim
    remaining: int
    reset_s: float  # until it is whole again


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether all claims were granted, at once or none."""

    granted: bool
    standings: tuple[Standing, ...]
    blocked: Standing | None = None  # by which limit not
    retry_s: float | None = None  # when it may be; None: not in this window
    later: bool = False  # it may be as soon as a request under way has ended


def claims_of(
    limits: Sequence[Limit], *, at: float, likely: int, most: int, most_micro: int = 0, currency: str = ""
) -> list[Claim]:
    """Return the claims of a request that began at `at`: rates count likely tokens, budgets the most there can be."""
    claims: list[Claim] = []
    day, day_s, month_s = day_of(at), *_left(at)
    for limit in limits:
        subject = limit.subject
        if limit.requests_per_minute is not None:
            claims.append(Claim(subject=subject, kind="requests", limit=limit.requests_per_minute, amount=1))
        if limit.tokens_per_minute is not None:
            claims.append(Claim(subject=subject, kind="tokens", limit=limit.tokens_per_minute, amount=likely))
        if limit.concurrency is not None:
            claims.append(Claim(subject=subject, kind="concurrency", limit=limit.concurrency, amount=1))
        budgets: tuple[tuple[Kind, str, int | None, int, float], ...] = (
            ("day", day, limit.tokens_per_day, most, day_s),
            ("month", day[:7], limit.tokens_per_month, most, month_s),
            ("money-day", day, limit.money_per_day_micro, most_micro, day_s),
            ("money-month", day[:7], limit.money_per_month_micro, most_micro, month_s),
            ("total", IN_ALL, limit.tokens_in_all, most, 0.0),
            ("money-total", IN_ALL, limit.money_in_all_micro, most_micro, 0.0),
            ("requests-total", IN_ALL, limit.requests_in_all, 1, 0.0),
        )
        for kind, window, bound, amount, left_s in budgets:
            if bound is not None:
                claim = Claim(subject=subject, kind=kind, limit=bound, amount=amount, window=window, reset_s=left_s)
                claims.append(msgspec.structs.replace(claim, currency=currency) if kind in MONEY else claim)
    return claims


@lru_cache(maxsize=4096)
def _name(kind: Kind, window: str, subject: Subject) -> str:
    return f"{kind}|{window}|{subject}"


def _left(at: float) -> tuple[float, float]:
    """Return the seconds from `at` to the end of its UTC day and month."""
    day_s = 86400 - (at % 86400)
    return day_s, day_s + _days_left(int(at // 86400)) * 86400.0


@lru_cache(maxsize=4)
def _days_left(day: int) -> int:
    """Return the days of the month after `day`, counted from the epoch."""
    now = time.gmtime(day * 86400)
    return calendar.monthrange(now.tm_year, now.tm_mon)[1] - now.tm_mday
