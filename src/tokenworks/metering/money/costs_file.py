"""The costs file: what machines, people and electricity cost here. Dated and edited by whoever runs the house."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Literal

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import read_toml
from tokenworks.metering.money.currency import Rate, Rates, check_currency
from tokenworks.metering.money.tariff import Tariff, Tariffs

IdleBy = Literal["peak", "usage", "reserved"]
NAME = "costs.toml"


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One machine. Money is in `currency`, by default the file's."""

    name: str
    since: datetime.date  # counted from then on, and the day whose rate its price is converted at
    until: datetime.date | None = None  # the last day
    price: float = 0.0  # 0: rented, see `rent_per_hour`
    residual: float = 0.0  # share of the price that is left at the end of its life
    life_years: float = 4.0
    interest: float = 0.0  # a year, on the capital that is tied up on average
    rent_per_hour: float = 0.0
    idle_kw: float = 0.0
    busy_kw: float = 0.0
    pue: float = 1.54  # Uptime Institute 2025, weighted mean; small server rooms are worse
    staff_per_year: float = 0.0
    maintenance_per_year: float = 0.0
    licences_per_year: float = 0.0
    space_per_year: float = 0.0
    engines: int = 1  # that work at full speed at a time: a second of one is so small a part of the machine's
    metered_share: float = 1.0  # of its power, what the meter sees: an accelerator's counter does not see the host
    embodied_kg: float = 0.0  # CO2e of making it
    currency: str = ""


class TokenCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a million tokens cost the house, where no engine says how long it took."""

    input: float = 0.0
    cached: float | None = None  # by default as input
    output: float = 0.0


class Carbon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the electricity comes from."""

    zone: str = ""  # FR, DE, world, ...: a row of the table
    table: str = ""  # a TOML file of one's own; empty: the one that comes along
    signal: str = ""  # a CSV file of time,g_per_kwh: what `carbon_aware` work begins by
    figures: Literal["average", "signal"] = "average"  # what figures are counted with


class CostFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that costs."""

    as_of: datetime.date
    currency: str
    source: str = ""
    zone: str = "UTC"  # whose hours the tariff's are
    idle_by: IdleBy = (
        "peak"  # how the cost of idle time is allocated: by the busiest hour, the use, or what is reserved
    )
    nodes: tuple[Node, ...] = ()
    tariffs: tuple[Tariff, ...] = ()
    tokens: dict[str, TokenCost] = {}  # by model; `*`: every other
    rates: tuple[Rate, ...] = ()
    reserved: dict[str, float] = {}  # tenant -> share of the machines; what is left is the house's
    compare: dict[str, str] = {}  # model -> hosted model, as `openai:gpt-5-mini`
    carbon: Carbon = Carbon()


class Sheet:
    """A costs file that was checked, with its rates and tariffs. `where` names it in errors."""

    def __init__(self, file: CostFile, where: str = NAME, folder: Path | None = None) -> None:
        self.file, self.where, self.folder = file, where, folder or Path()
        self.rates = Rates(file.currency, file.rates, where=where)
        self.tariffs = Tariffs(file.tariffs, zone=file.zone, where=where)
        names = [node.name for node in file.nodes]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"{where}: two nodes are called {twice!r}; give each a name of its own")
        for node in file.nodes:
            self._check_node(node)
        for model, one in file.tokens.items():
            _check_amounts(one, f"{where}: tokens {model!r}")
        if any(not 0 <= share <= 1 for share in file.reserved.values()) or sum(file.reserved.values()) > 1 + 1e-9:
            raise ConfigError(f"{where}: reserved: the shares must be between 0 and 1 and together at most 1")
        if file.idle_by == "reserved" and not file.reserved:
            raise ConfigError(f'{where}: idle_by = "reserved", and nobody has reserved anything; add [reserved]')

    def _check_node(self, node: Node) -> None:
        where = f"{self.where}: node {node.name!r}"
        _check_amounts(node, where)
        if node.currency:
            check_currency(node.currency, where)
            self.rates.of(node.currency, node.since)
        if node.residual > 1:
            raise ConfigError(f"{where}: residual {node.residual} is a share of the price: at most 1")
        if node.life_years <= 0 or node.engines < 1:
            raise ConfigError(f"{where}: life_years must be above 0 and engines at least 1")
        if node.pue < 1:
            raise ConfigError(f"{where}: pue {node.pue} is below 1: a building draws at least what its machines draw")
        if not 0 < node.metered_share <= 1:
            raise ConfigError(f"{where}: metered_share {node.metered_share} is not above 0 and at most 1")
        if node.busy_kw < node.idle_kw:
            raise ConfigError(f"{where}: busy_kw {node.busy_kw} is below idle_kw {node.idle_kw}")
        if node.until is not None and node.until < node.since:
            raise ConfigError(f"{where}: until {node.until} is before since {node.since}")
        if node.busy_kw and not self.tariffs:
            raise ConfigError(f"{where}: it draws power, and no tariff is given; add [[tariffs]]")


def read_costs(path: Path) -> Sheet:
    """Return the costs file at `path`; raise `ConfigError` naming what is wrong there and the way out."""
    return Sheet(read_toml(path, CostFile), str(path), path.parent)


def _check_amounts(one: Node | TokenCost, where: str) -> None:
    for name in one.__struct_fields__:
        value = getattr(one, name)
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{where}: {name} is {value}; it must be a number and not negative")
