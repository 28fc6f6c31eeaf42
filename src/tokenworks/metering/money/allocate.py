"""Who bears the cost of idle time: by the busiest hour of each, by use, or by what each has reserved."""

from __future__ import annotations

from collections.abc import Mapping

from tokenworks.core.errors import ConfigError
from tokenworks.metering.money.apportion import apportion
from tokenworks.metering.money.costs_file import IdleBy, Sheet
from tokenworks.metering.money.sums import HOUSE, Key, Sums

RESERVED_PARTS = 1_000_000


def allocated(idle_micro: int, table: Mapping[Key, Sums], by: IdleBy, sheet: Sheet | None = None) -> dict[str, int]:
    """Return each tenant's part of the cost of idle time; together they are all of it.

    Never by tokens: idle machines are there for the hours in which they are needed. Where nobody used anything, and
    for what nobody has reserved, the house bears it.
    """
    weights = _weights(table, by, sheet)
    if not any(weights.values()):
        weights = {HOUSE: 1}
    return apportion(idle_micro, dict(sorted(weights.items())))


def _weights(table: Mapping[Key, Sums], by: IdleBy, sheet: Sheet | None) -> dict[str, int]:
    if by == "reserved":
        if sheet is None or not sheet.file.reserved:
            raise ConfigError("idle time cannot be allocated by what is reserved: the costs file has no [reserved]")
        shares = {tenant: round(share * RESERVED_PARTS) for tenant, share in sheet.file.reserved.items()}
        shares[HOUSE] = shares.get(HOUSE, 0) + max(0, RESERVED_PARTS - sum(shares.values()))
        return shares
    hours: dict[tuple[str, int], int] = {}
    for key, sums in table.items():
        if not key.place:
            at = key.tenant, key.hour
            hours[at] = hours.get(at, 0) + sums.cost_micro
    found: dict[str, int] = {}
    for (tenant, _), cost in hours.items():
        before = found.get(tenant, 0)
        found[tenant] = max(before, cost) if by == "peak" else before + cost
    return found
