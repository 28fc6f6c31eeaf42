"""What this house knows of its costs: the file, and the layer that tells each answer's."""

from __future__ import annotations

import time
from pathlib import Path

from tokenworks.gateway.layers.cost import Cost
from tokenworks.governance.prices import per_million
from tokenworks.metering.money.costs_file import NAME, Sheet, read_costs
from tokenworks.metering.money.request_cost import Costs, TokenRate
from tokenworks.settings import Settings


def costing(settings: Settings) -> Cost | None:
    """Return the layer that says what answers cost; None where there is neither a price list nor a costs file."""
    sheet = costs_sheet(settings)
    prices = settings.prices
    if sheet is None and not (prices.models or prices.tenants):
        return None
    return Cost(_costs(settings, sheet), currency=prices.currency, shown=settings.costs.shown)


def costs_sheet(settings: Settings) -> Sheet | None:
    """Return the costs file, None where there is none; raise `ConfigError` for one that is named and missing."""
    if settings.costs.file:
        return read_costs(Path(settings.costs.file).expanduser())
    path = settings.home_path / NAME
    return read_costs(path) if path.exists() else None


def _costs(settings: Settings, sheet: Sheet | None) -> Costs | None:
    if sheet is None:
        return None
    remotes = {
        one.name: TokenRate(
            per_million(one.price_in),
            per_million(one.price_in if one.price_cached is None else one.price_cached),
            per_million(one.price_out),
        )
        for one in settings.engines.remotes
        if one.price_in or one.price_out
    }
    costs = Costs(sheet, node=settings.costs.node, into=settings.prices.currency, remotes=remotes)
    costs.check(time.time())
    return costs
