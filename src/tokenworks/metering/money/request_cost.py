"""What one request costs the house, in whole millionths: by engine time and joules, else by tokens, else unknown."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

from tokenworks.core.destination import HERE
from tokenworks.core.errors import ConfigError
from tokenworks.core.usage import Spent, Usage
from tokenworks.metering.money.costs_file import Node, Sheet
from tokenworks.metering.money.node import HOUR_S, QUARTER_S, exact, hour_cost, kwh_price

NANO = 10**9
NANO_PER_MICRO = 1000
JOULES_PER_KWH = 3_600_000


class TokenRate(NamedTuple):
    """What a token costs, in billionths of the unit."""

    input_nano: int
    cached_nano: int
    output_nano: int

    def nano(self, usage: Usage) -> int:
        """Return what so many tokens cost."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        fresh = usage.prompt_tokens - cached
        return fresh * self.input_nano + cached * self.cached_nano + usage.completion_tokens * self.output_nano


class _Quarter(NamedTuple):
    """What holds during a quarter of an hour, in billionths of the unit."""

    number: int
    fixed_per_h: int  # of an engine at work, whatever it draws
    power_per_h: int  # of its power while busy, where nothing is metered
    per_kwh: int  # of what the meter says, with the building's share and what the meter does not see


class Costs:
    """The cost of requests that this process answers on `node`, in the currency `into`.

    Fractions of a millionth are carried from one request to the next: each is a whole number, and the sum over a
    process's requests is off by less than one millionth. Belongs to one thread.
    """

    def __init__(
        self, sheet: Sheet, *, node: str = "", into: str = "", remotes: Mapping[str, TokenRate] | None = None
    ) -> None:
        self._sheet = sheet
        self._into = into or sheet.file.currency
        self._node = _named(sheet, node)
        self._remotes = dict(remotes or {})
        self._tokens = {name: (one.input, one.cached, one.output) for name, one in sheet.file.tokens.items()}
        self._rates: dict[str, TokenRate | None] = {}
        self._quarter = _Quarter(-1, 0, 0, 0)
        self._rest_nano = 0

    @property
    def currency(self) -> str:
        """What figures are in."""
        return self._into

    def check(self, at: float) -> None:
        """Raise `ConfigError` where a rate or a tariff is missing at a Unix time: then none is missing later."""
        self._turn(at)
        for model in self._tokens:
            self._rate(model)

    def micro(self, *, at: float, model: str, place: str, usage: Usage, spent: Spent) -> int | None:
        """Return what a request cost at a Unix time; None where the costs file does not say how to tell.

        `place` is who answered: the name of a server elsewhere, else this site.
        """
        nano = self._nano(at, model, place, usage, spent)
        if nano is None:
            return None
        micro, self._rest_nano = divmod(nano + self._rest_nano, NANO_PER_MICRO)
        return micro

    def _nano(self, at: float, model: str, place: str, usage: Usage, spent: Spent) -> int | None:
        if place in self._remotes:
            return self._remotes[place].nano(usage)
        now = self._quarter if self._quarter.number == at // QUARTER_S else self._turn(at)
        if place == HERE and self._node is not None and 0 < spent.engine_s < math.inf:
            busy_us = round(spent.engine_s * 1e6)
            if spent.joules is None or not 0 <= spent.joules < math.inf:  # no meter, or one that says nonsense
                return busy_us * (now.fixed_per_h + now.power_per_h) // (HOUR_S * 10**6)
            drawn_uj = round(spent.joules * 1e6)
            return busy_us * now.fixed_per_h // (HOUR_S * 10**6) + drawn_uj * now.per_kwh // (JOULES_PER_KWH * 10**6)
        rate = self._rate(model)
        return rate.nano(usage) if rate is not None else None

    def _turn(self, at: float) -> _Quarter:
        """Work out what holds in the quarter of an hour of `at`; prices of tokens are converted anew as well."""
        node, sheet = self._node, self._sheet
        self._rates = {}
        if node is None:
            self._quarter = _Quarter(int(at // QUARTER_S), 0, 0, 0)
            return self._quarter
        cost = hour_cost(sheet, node, at)
        per_kwh = kwh_price(sheet, at) * exact(node.pue) / exact(node.metered_share)
        self._quarter = _Quarter(
            int(at // QUARTER_S),
            self._converted(cost.fixed / node.engines, at),
            self._converted(cost.energy / node.engines, at),
            self._converted(per_kwh, at),
        )
        return self._quarter

    def _rate(self, model: str) -> TokenRate | None:
        if model not in self._rates:
            found = self._tokens.get(model) or self._tokens.get("*")
            self._rates[model] = None if found is None else self._token_rate(*found)
        return self._rates[model]

    def _token_rate(self, input: float, cached: float | None, output: float) -> TokenRate:
        at = self._quarter.number * QUARTER_S
        per_million = (input, input if cached is None else cached, output)
        return TokenRate(*(self._converted(exact(one) / 1_000_000, at) for one in per_million))

    def _converted(self, amount: Decimal, at: float) -> int:
        day = datetime.datetime.fromtimestamp(at, datetime.UTC).date()
        into = self._sheet.rates.convert(amount, self._sheet.file.currency, self._into, day)
        return int((into * NANO).to_integral_value(ROUND_HALF_EVEN))


def _named(sheet: Sheet, name: str) -> Node | None:
    """Return the node called `name`; without a name the only one there is."""
    nodes = sheet.file.nodes
    if not name:
        if len(nodes) > 1:
            names = ", ".join(node.name for node in nodes)
            raise ConfigError(f"{sheet.where} has the nodes {names}; say which this machine is: costs.node")
        return nodes[0] if nodes else None
    found = next((node for node in nodes if node.name == name), None)
    if found is None:
        raise ConfigError(f"costs.node {name!r} is not in {sheet.where}; there is: {[one.name for one in nodes]}")
    return found
