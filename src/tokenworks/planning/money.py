"""What a machine costs in an hour, what it draws, and where its own price meets another's. Formulas only.

The node cost that metering charges by is its own (hours, tariffs by the hour); this is what a plan knows before.
"""

from __future__ import annotations

import math

import msgspec

from tokenworks.planning.machine import Machine
from tokenworks.planning.trace import MONTH_S
from tokenworks.planning.workload import Money

HOURS_YEAR = 8766.0
HOURS_MONTH = MONTH_S / 3600
BUSY_SHARE = 0.75  # of TDP while a model decodes: 0.60 to 0.96 measured on H100, median 0.77 (economics page, 0.1)
IDLE_SHARE = 0.12  # of TDP with nothing to do
SERVER = 8  # devices in a server, for staff


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What some devices cost and draw in a month."""

    capital_usd: float  # what they lose in worth, and interest
    upkeep_usd: float
    energy_usd: float
    staff_usd: float
    rent_usd: float
    kwh: float  # at the meter of the building
    embodied_kg: float

    @property
    def usd(self) -> float:
        """Return all of it."""
        return self.capital_usd + self.upkeep_usd + self.energy_usd + self.staff_usd + self.rent_usd


def draw_kw(machine: Machine, utilisation: float) -> float:
    """Return what a device with its share of the server draws on average."""
    share = IDLE_SHARE + utilisation * (BUSY_SHARE - IDLE_SHARE)
    return (share * machine.tdp_w + machine.host_w) / 1000


def bought(machine: Machine, devices: int, utilisation: float, money: Money) -> Running:
    """Return the month of `devices` of one's own, working or not (economics page, 1.3)."""
    price = machine.price_usd or 0.0
    year = price * (1 - money.residual) / money.life_years  # what it loses
    year += price * (1 + money.residual) / 2 * money.interest  # on what is tied up on average
    kwh = draw_kw(machine, utilisation) * money.pue * devices * HOURS_MONTH
    return Running(
        capital_usd=year / 12 * devices,
        upkeep_usd=price * money.maintenance / 12 * devices,
        energy_usd=kwh * money.tariff_usd_kwh,
        staff_usd=staff_usd(devices, money),
        rent_usd=0.0,
        kwh=kwh,
        embodied_kg=machine.embodied_kg * devices / (money.life_years * 12),
    )


def rented(machine: Machine, devices: int, utilisation: float, hours: float, money: Money) -> Running:
    """Return the month of `devices` rented for `hours` of it; their energy is in the rent."""
    return Running(
        capital_usd=0.0,
        upkeep_usd=0.0,
        energy_usd=0.0,
        staff_usd=staff_usd(devices, money) * money.rented_staff,
        rent_usd=(machine.rent_usd_h or 0.0) * devices * hours,
        kwh=draw_kw(machine, utilisation) * money.pue * devices * hours,
        embodied_kg=machine.embodied_kg * devices * hours / (money.life_years * HOURS_YEAR),
    )


def staff_usd(devices: int, money: Money) -> float:
    """Return the month of the people who keep the servers of `devices` running."""
    return math.ceil(devices / SERVER) * money.staff_usd_year / 12


def break_even_utilisation(usd_month: float, most_tokens_month: float, other_usd_million: float) -> float | None:
    """Return the share of full use at which machines cost what the other does; above 1: they never do."""
    if not other_usd_million or not most_tokens_month:
        return None
    return usd_month / (most_tokens_month / 1e6 * other_usd_million)


def break_even_months(price_usd: float, other_usd_month: float, own_usd_month: float) -> float | None:
    """Return after how many months a purchase is paid by what it saves; None: never.

    `own_usd_month` is what running it costs, upkeep included, without what it loses in worth (economics page, 1.3).
    """
    saved = other_usd_month - own_usd_month
    return price_usd / saved if saved > 0 else None
