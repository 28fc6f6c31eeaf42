"""What the machines cost in a month, hour by hour, and how much of that the requests took: the rest is idle."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from tokenworks.metering.money.costs_file import Sheet
from tokenworks.metering.money.month import Month
from tokenworks.metering.money.node import HOUR_S, hour_cost, hours_of, power_kw
from tokenworks.metering.money.sums import MICRO, Key, Sums

KINDS = ("capital", "interest", "staff", "upkeep", "rent", "energy")


class Machines(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of this site's machines, in millionths. `used + idle == total`, always."""

    total_micro: int
    used_micro: int  # the sum over the entries that were answered here
    idle_micro: int  # negative where entries say more than the machines cost: then something in the file is wrong
    by_kind: dict[str, int]  # capital, interest, staff, upkeep, rent, energy; they add up to the total
    hours: int  # of all machines
    busy_share: float  # of the time of all engines, the part with work; an hour cannot count for more than all of it
    energy_kwh: float  # by the power of idle and busy machines, with the building's share


def machines(sheet: Sheet, table: Mapping[Key, Sums], month: Month, *, until: float, into: str) -> Machines | None:
    """Return what the machines cost from the month's beginning until `until`; None where the file names none."""
    if not sheet.file.nodes:
        return None
    end = min(month.end, until)
    share = busy_by_hour(sheet, table, month, end)
    kinds = dict.fromkeys(KINDS, Decimal())
    hours, energy_kwh = 0, Decimal()
    for node in sheet.file.nodes:
        for at in hours_of(node, month.begin, end):
            part = Decimal(str(min(HOUR_S, end - at))) / HOUR_S  # the hour under way counts as far as it has come
            busy = share.get(int(at // HOUR_S), 0.0)
            for kind, amount in zip(KINDS, hour_cost(sheet, node, at, utilisation=busy), strict=True):
                kinds[kind] += amount * part
            energy_kwh += power_kw(node, busy) * Decimal(str(node.pue)) * part
            hours += 1
    by_kind = {kind: _micro(sheet, amount, into, month) for kind, amount in kinds.items()}
    used = sum(sums.cost_micro for key, sums in table.items() if not key.place)
    total = sum(by_kind.values())
    return Machines(
        total_micro=total,
        used_micro=used,
        idle_micro=total - used,
        by_kind=by_kind,
        hours=hours,
        busy_share=sum(share.values()) / max(1, int(-(-(end - month.begin) // HOUR_S))),
        energy_kwh=float(energy_kwh),
    )


def busy_by_hour(sheet: Sheet, table: Mapping[Key, Sums], month: Month, end: float) -> dict[int, float]:
    """Return for each hour with work the share of all engines' time that requests took."""
    taken: dict[int, int] = {}
    for key, sums in table.items():
        if not key.place and sums.engine_us and key.hour * HOUR_S < end:
            taken[key.hour] = taken.get(key.hour, 0) + sums.engine_us
    engines: dict[int, int] = {}
    for node in sheet.file.nodes:
        for at in hours_of(node, month.begin, end):
            hour = int(at // HOUR_S)
            engines[hour] = engines.get(hour, 0) + node.engines
    return {hour: min(1.0, us / (engines[hour] * HOUR_S * MICRO)) for hour, us in taken.items() if hour in engines}


def _micro(sheet: Sheet, amount: Decimal, into: str, month: Month) -> int:
    converted = sheet.rates.convert(amount, sheet.file.currency, into, month.last_day)
    return int((converted * MICRO).to_integral_value(ROUND_HALF_EVEN))
