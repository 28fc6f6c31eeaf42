"""Limits at work over one home: what a gateway is held to, and how they stand."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tokenworks.factory.house import House
from tokenworks.gateway.layers.limit import Limit
from tokenworks.gateway.limits.claims import MONEY, Claim
from tokenworks.gateway.limits.counters import LocalCounters, Spent
from tokenworks.governance.limits import EACH
from tokenworks.governance.limits import Limit as Bound
from tokenworks.governance.prices import Price, Prices, per_million
from tokenworks.ledger.spending import Spending, day_of
from tokenworks.settings import PriceSettings


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A limit and what the ledger says was spent of it; nothing where it is one for each."""

    limit: Bound
    spent_today: int | None = None
    spent_this_month: int | None = None
    micro_today: int | None = None  # money, in millionths
    micro_this_month: int | None = None


def limiting(house: House) -> Limit:
    """Return the layer that limits, with what the ledger has spent so far."""
    spending, settings = house.spending(), house.settings.limits
    return Limit(
        house.limits,
        spending,
        LocalCounters(spent_by(spending)),
        wait_s=settings.wait_s,
        answer_tokens=settings.answer_tokens,
        prices=price_list(house.settings.prices),
    )


def standings(limits: Sequence[Bound], spending: Spending, *, now: float) -> list[Standing]:
    """Return each limit with what was spent on the UTC day and month of `now`."""
    day = day_of(now)
    return [
        Standing(limit=limit)
        if EACH in limit.subject
        else Standing(
            limit=limit,
            spent_today=spending.total(day, *limit.subject),
            spent_this_month=spending.total(day[:7], *limit.subject),
            micro_today=spending.spent(day, *limit.subject).micro,
            micro_this_month=spending.spent(day[:7], *limit.subject).micro,
        )
        for limit in limits
    ]


def spent_by(spending: Spending) -> Spent:
    """Return what a budget is measured by."""

    def spent(claim: Claim) -> int:
        found = spending.spent(claim.window, *claim.subject)
        return found.micro if claim.kind in MONEY else found.tokens

    return spent


def price_list(settings: PriceSettings) -> Prices:
    """Return the prices that the settings say."""
    prices = {
        name: Price(
            input_nano=per_million(one.input),
            cached_nano=per_million(one.input if one.cached is None else one.cached),
            output_nano=per_million(one.output),
        )
        for name, one in settings.models.items()
    }
    return Prices(prices, currency=settings.currency, batch_share=settings.batch_share)
