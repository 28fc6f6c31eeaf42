"""What machines drew hour by hour: by the meter where one was read, and for the rest of the time by their power.

No joule is counted twice: work whose energy was metered adds nothing to what is modelled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from tokenworks.core.errors import ConfigError
from tokenworks.metering.money.costs_file import Node, Sheet
from tokenworks.metering.money.metered import Hours, MeteredHour
from tokenworks.metering.money.node import HOUR_S, exact, hours_of, power_kw
from tokenworks.metering.money.sums import MICRO, Key, Sums

UJ_PER_KWH = 3_600_000 * MICRO


class Drawn(NamedTuple):
    """What one machine drew in one hour, with the building's share."""

    at: float  # Unix time of the hour
    part_s: float  # of the hour that counts: one under way, as far as it has come
    metered_kwh: Decimal  # by the meter, with what that does not see
    modelled_kwh: Decimal

    @property
    def kwh(self) -> Decimal:
        """All together."""
        return self.metered_kwh + self.modelled_kwh


class Drawing:
    """The machines of a costs file under the load of a month's requests. `metered` are the hours of `own`."""

    def __init__(
        self, sheet: Sheet, table: Mapping[Key, Sums], *, begin: float, end: float, own: Node | None, metered: Hours
    ) -> None:
        self.sheet, self._begin, self._end = sheet, begin, end
        self._own, self._metered = own, metered if own is not None else {}
        self._engine_us = _engine_us(table, end)
        self._engines: dict[int, int] = {}
        for node in sheet.file.nodes:
            for at in hours_of(node, begin, end):
                hour = int(at // HOUR_S)
                self._engines[hour] = self._engines.get(hour, 0) + node.engines

    @property
    def busy(self) -> dict[int, float]:
        """For each hour with work the share of all engines' time that requests took; of one under way, so far."""
        return {
            hour: min(1.0, us / (self._engines[hour] * self._part_s(hour) * MICRO))
            for hour, us in self._engine_us.items()
            if hour in self._engines
        }

    @property
    def busy_share(self) -> float:
        """Of all engines' time the part that requests took; an hour cannot count for more than all of it."""
        time_s = {hour: count * self._part_s(hour) for hour, count in self._engines.items()}
        busy_s = sum(share * time_s[hour] for hour, share in self.busy.items())
        return busy_s / sum(time_s.values()) if time_s else 0.0

    def _part_s(self, hour: int) -> float:
        return min(HOUR_S, self._end - hour * HOUR_S)

    def of(self, node: Node) -> Iterator[Drawn]:
        """Yield the hours in which `node` counts."""
        busy, metered = self.busy, self._metered if node == self._own else {}
        for at in hours_of(node, self._begin, self._end):
            hour = int(at // HOUR_S)
            part_s = self._part_s(hour)
            if hour in metered:
                yield self._metered_hour(node, at, part_s, metered[hour])
            else:
                kwh = self._kwh(node, busy.get(hour, 0.0), part_s)
                yield Drawn(at, part_s, Decimal(), kwh)

    def _metered_hour(self, node: Node, at: float, part_s: float, found: MeteredHour) -> Drawn:
        """Return what was metered, and by the model only the time that was not, with only the work of that time."""
        left_s = max(0.0, part_s - found.seconds_us / MICRO)
        hour = int(at // HOUR_S)
        own_us = self._engine_us.get(hour, 0) * node.engines / self._engines[hour]
        busy = max(0.0, own_us - found.engine_us) / (node.engines * left_s * MICRO) if left_s else 0.0
        seen = Decimal(found.metered_uj) / UJ_PER_KWH / exact(node.metered_share) * exact(node.pue)
        return Drawn(at, part_s, seen, self._kwh(node, busy, left_s))

    def _kwh(self, node: Node, busy: float, seconds: float) -> Decimal:
        return power_kw(node, busy) * exact(node.pue) * exact(seconds) / HOUR_S


def metered_node(sheet: Sheet, name: str) -> Node | None:
    """Return the machine that the meter stands before: the one called `name`, else the only one; None: nobody says.

    Raises `ConfigError` for a name that the file does not have.
    """
    nodes = sheet.file.nodes
    if not name:
        return nodes[0] if len(nodes) == 1 else None
    found = next((node for node in nodes if node.name == name), None)
    if found is None and nodes:
        raise ConfigError(f"costs.node {name!r}: {sheet.where} has {', '.join(node.name for node in nodes)}")
    return found


def _engine_us(table: Mapping[Key, Sums], end: float) -> dict[int, int]:
    taken: dict[int, int] = {}
    for key, sums in table.items():
        if not key.place and sums.engine_us and key.hour * HOUR_S < end:
            taken[key.hour] = taken.get(key.hour, 0) + sums.engine_us
    return taken
