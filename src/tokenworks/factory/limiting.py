"""Limits at work over one home: what a gateway is held to, and how they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tokenworks.factory.house import House
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.limits.book import Book
from tokenworks.gateway.limits.claims import MONEY, Claim
from tokenworks.gateway.limits.counters import Counters, LocalCounters, Spent
from tokenworks.gateway.limits.redis_book import RedisBook
from tokenworks.gateway.limits.shared import Known, SharedCounters
from tokenworks.governance.limits import EACH, Subject
from tokenworks.governance.limits import Limit as Bound
from tokenworks.governance.prices import Price, Prices, per_million
from tokenworks.ledger.checkpoint import origin_of
from tokenworks.ledger.signing import open_key
from tokenworks.ledger.spending import Spending, day_of, load_by_writer
from tokenworks.settings import LimitSettings, ModelPrice, PriceSettings


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A limit and what the ledger says was spent of it; nothing where it is one for each."""

    limit: Bound
    spent_today: int | None = None
    spent_this_month: int | None = None
    micro_today: int | None = None  # money, in millionths
    micro_this_month: int | None = None


def limiting(house: House, book: Book | None = None) -> Limit:
    """Return the layer that limits, with what the ledger has spent so far.

    With `book` it counts together with others, from now on: call it on the loop that will serve.
    """
    settings = house.settings.limits
    counters: Counters
    if book is None:
        own = house.spending()
        counters = LocalCounters(spent_by(own))
    else:
        writer = house.ledger.writer  # opened, and so whole, before it is folded
        spendings = load_by_writer(house.ledger_root, house.home / "views" / "spending-by-writer.json")
        own = spendings.setdefault(writer, Spending())
        ledger = open_key(house.home / "keys", house.ledger_root).name
        counters = SharedCounters(book, _known(ledger, spendings), log=origin_of(ledger, writer))
        counters.begin()
    return Limit(
        house.limits,
        own,
        counters,
        wait_s=settings.wait_s,
        answer_tokens=settings.answer_tokens,
        prices=price_list(house.settings.prices),
    )


def shared_book(settings: LimitSettings) -> Book | None:
    """Return the book that several hosts share, if the settings name one."""
    return RedisBook(settings.shared) if settings.shared else None


def _known(ledger: str, spendings: Mapping[str, Spending]) -> Known:
    """Return what each log of the home of `ledger` says, under a name that no log of another home has."""

    def known(kind: str, window: str, subject: Subject) -> dict[str, int]:
        sums = {origin_of(ledger, log): _amount(one, kind, window, subject) for log, one in spendings.items()}
        return {log: amount for log, amount in sums.items() if amount}

    return known


def standings(limits: Sequence[Bound], spending: Spending, *, now: float) -> list[Standing]:
    """Return each limit with what was spent on the UTC day and month of `now`."""
    day = day_of(now)
    return [
        Standing(limit=limit)
        if EACH in limit.subject
        else Standing(
            limit=limit,
            spent_today=spending.total(day, *limit.subject[:-1]),
            spent_this_month=spending.total(day[:7], *limit.subject[:-1]),
            micro_today=spending.spent(day, *limit.subject[:-1]).micro,
            micro_this_month=spending.spent(day[:7], *limit.subject[:-1]).micro,
        )
        for limit in limits
    ]


def spent_by(spending: Spending) -> Spent:
    """Return what a budget is measured by."""

    def spent(claim: Claim) -> int:
        return _amount(spending, claim.kind, claim.window, claim.subject)

    return spent


def _amount(spending: Spending, kind: str, window: str, subject: Subject) -> int:
    """Return what was spent of one budget, in its own unit."""
    tenant, key, model, project, grant = subject
    found = spending.of_grant(grant) if grant else spending.spent(window, tenant, key, model, project)
    if kind == "requests-total":
        return found.requests
    return found.micro if kind in MONEY else found.tokens


def price_list(settings: PriceSettings) -> Prices:
    """Return the prices that the settings say."""
    return Prices(
        _prices(settings.models),
        currency=settings.currency,
        batch_share=settings.batch_share,
        tenants={tenant: _prices(models) for tenant, models in settings.tenants.items()},
    )


def _prices(models: Mapping[str, ModelPrice]) -> dict[str, Price]:
    return {
        name: Price(
            input_nano=per_million(one.input),
            cached_nano=per_million(one.input if one.cached is None else one.cached),
            output_nano=per_million(one.output),
            thinking_nano=None if one.thinking is None else per_million(one.thinking),
        )
        for name, one in models.items()
    }
