"""What the machines cost in a month, hour by hour, and how much of that the requests took: the rest is idle."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from tokenworks.metering.money.costs_file import Node, Sheet
from tokenworks.metering.money.drawn import Drawing
from tokenworks.metering.money.metered import Hours
from tokenworks.metering.money.month import Month
from tokenworks.metering.money.node import HOUR_S, exact, hour_cost, mean_kwh_price
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
    energy_kwh: float  # with the building's share
    metered_kwh: float  # of it, by the meter; the rest by the power of idle and busy machines


def machines(
    sheet: Sheet, table: Mapping[Key, Sums], month: Month, *, until: float, into: str, metered: Hours | None = None,
    own: Node | None = None,
) -> Machines | None:  # fmt: skip
    """Return what the machines cost from the month's beginning until `until`; None where the file names none.

    The energy of `own` is what was `metered` where something was, else what its power says.
    """
    if not sheet.file.nodes:
        return None
    end = min(month.end, until)
    drawing = Drawing(sheet, table, begin=month.begin, end=end, own=own, metered=metered or {})
    kinds = dict.fromkeys(KINDS, Decimal())
    hours, energy_kwh, metered_kwh = 0, Decimal(), Decimal()
    for node in sheet.file.nodes:
        for drawn in drawing.of(node):
            part = exact(drawn.part_s) / HOUR_S  # the hour under way counts as far as it has come
            fixed = hour_cost(sheet, node, drawn.at)
            for kind, amount in zip(KINDS[:-1], fixed[:-1], strict=True):
                kinds[kind] += amount * part
            kinds["energy"] += drawn.kwh * mean_kwh_price(sheet, drawn.at, drawn.part_s)
            energy_kwh, metered_kwh = energy_kwh + drawn.kwh, metered_kwh + drawn.metered_kwh
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
        busy_share=drawing.busy_share,
        energy_kwh=float(energy_kwh),
        metered_kwh=float(metered_kwh),
    )


def _micro(sheet: Sheet, amount: Decimal, into: str, month: Month) -> int:
    converted = sheet.rates.convert(amount, sheet.file.currency, into, month.last_day)
    return int((converted * MICRO).to_integral_value(ROUND_HALF_EVEN))
