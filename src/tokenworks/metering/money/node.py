"""What an hour of a machine costs: capital, interest, people, upkeep and electricity. In the file's currency."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from tokenworks.metering.money.costs_file import Node, Sheet

YEAR_H = 8760
HOUR_S = 3600
QUARTER_S = 900  # the clock of a place is off from UTC by some of these: by 5:30 in India, by 5:45 in Nepal


class HourCost(NamedTuple):
    """One hour's cost by kind, in units of the file's currency."""

    capital: Decimal
    interest: Decimal
    staff: Decimal
    upkeep: Decimal  # maintenance, licences, space
    rent: Decimal
    energy: Decimal

    @property
    def total(self) -> Decimal:
        """All together."""
        return sum(self, Decimal())

    @property
    def fixed(self) -> Decimal:
        """What it costs whatever it does."""
        return self.total - self.energy


def hour_cost(sheet: Sheet, node: Node, at: float, *, utilisation: float = 1.0) -> HourCost:
    """Return what the hour at a Unix time costs with the machine busy for a share `utilisation` of it.

    C_hour = price*(1-residual)/(life*8760) + interest*price*(1+residual)/2/8760 + kW*PUE*tariff
    + (staff+maintenance+licences+space)/8760, with kW = idle + utilisation*(busy-idle).
    Interest is on the mean of the price and what is left of it in the end: straight-line depreciation. After its life
    a machine is paid off: it costs interest on what is left, and no capital.
    """
    day = datetime.datetime.fromtimestamp(at, datetime.UTC).date()
    bought = sheet.rates.of(node.currency or sheet.file.currency, node.since)
    today = sheet.rates.of(node.currency or sheet.file.currency, day)
    price, residual = exact(node.price) * bought, exact(node.residual)
    capital = price * (1 - residual) / (exact(node.life_years) * YEAR_H)
    tied_up = price * (1 + residual) / 2
    if is_written_off(node, at):
        capital, tied_up = Decimal(), price * residual
    upkeep = exact(node.maintenance_per_year) + exact(node.licences_per_year) + exact(node.space_per_year)
    return HourCost(
        capital=capital,
        interest=exact(node.interest) * tied_up / YEAR_H,
        staff=exact(node.staff_per_year) * today / YEAR_H,
        upkeep=upkeep * today / YEAR_H,
        rent=exact(node.rent_per_hour) * today,
        energy=power_kw(node, utilisation) * exact(node.pue) * kwh_price(sheet, at),
    )


def kwh_price(sheet: Sheet, at: float) -> Decimal:
    """Return what a kilowatt hour costs at a Unix time; nothing where no machine draws power."""
    return sheet.tariffs.at(at) if sheet.tariffs else Decimal()


def mean_kwh_price(sheet: Sheet, at: float, seconds: float) -> Decimal:
    """Return what a kilowatt hour costs on average over so many seconds from a Unix time on, drawn evenly.

    An hour of UTC is parts of two hours where clocks are off by half an hour.
    """
    if not sheet.tariffs:
        return Decimal()
    end, total = at + max(seconds, 1.0), Decimal()
    begin = at
    while begin < end:
        until = min(end, (begin // QUARTER_S + 1) * QUARTER_S)
        total += sheet.tariffs.at(begin) * exact(until - begin)
        begin = until
    return total / exact(end - at)


def is_written_off(node: Node, at: float) -> bool:
    """Return whether the machine's life, counted from its first day, has ended at a Unix time."""
    since = datetime.datetime.combine(node.since, datetime.time(), datetime.UTC).timestamp()
    return at - since >= node.life_years * YEAR_H * HOUR_S


def power_kw(node: Node, utilisation: float) -> Decimal:
    """Return what a machine draws, linear between idle and busy."""
    share = exact(min(1.0, max(0.0, utilisation)))
    return exact(node.idle_kw) + share * (exact(node.busy_kw) - exact(node.idle_kw))


def hours_of(node: Node, begin: float, end: float) -> Iterator[float]:
    """Yield the Unix time of each hour from `begin` until `end` in which the machine counts; days are UTC's."""
    for number in range(int(begin // HOUR_S), int(-(-end // HOUR_S))):
        at = number * HOUR_S
        day = datetime.datetime.fromtimestamp(at, datetime.UTC).date()
        if node.since <= day and (node.until is None or day <= node.until):
            yield float(at)


def exact(value: float) -> Decimal:
    """Return the number as it was written."""
    return Decimal(str(value))
