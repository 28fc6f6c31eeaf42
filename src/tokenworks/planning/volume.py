"""What a month costs at another usage: machines come in whole copies, people in whole servers, an API by the token."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from tokenworks.planning import money as costs
from tokenworks.planning.option import Option
from tokenworks.planning.options import Inputs, hosted_usd

FULL = 0.95  # of a copy's time in the busiest hour: more has no room for bursts
AROUND = 1000.0  # times more and less usage is looked at
STEPS = 1201


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """From `requests` a month on, `kind` is the cheapest (below it, where that is less than the plan's own)."""

    requests: float
    kind: str
    machine: str


def monthly(given: Inputs, one: Option, requests: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return USD a month of `one` at each of `requests` a month; the traffic keeps its shape."""
    counts = np.asarray(requests, float)
    if one.kind == "hosted API":
        return np.asarray(counts / given.volume.requests * hosted_usd(given))
    machine, workload = given.tables.machine(one.machine), given.workload
    each = given.volume.requests / (one.copies * min(one.peak_utilisation / FULL, 1.0))
    found = []
    for count in counts:
        copies = max(int(np.ceil(count / each)), 1)
        use = min(one.utilisation * count / given.volume.requests * one.copies / copies, 1.0)
        devices = copies * one.devices_per_copy
        if one.kind == "rented":
            found.append(costs.rented(machine, devices, use, workload.active_hours, workload.money).usd)
        else:
            found.append(costs.bought(machine, devices, use, workload.money).usd)
    return np.array(found)


def turns(given: Inputs, best: Option, allowed: Sequence[Option]) -> tuple[Turn | None, Turn | None]:
    """Return where another of `allowed` becomes cheaper than `best`, with less usage and with more; None: nowhere."""
    others = [one for one in allowed if one.kind != best.kind and one.kind not in ("hybrid", "this site")]
    if not others or best.kind in ("hybrid", "this site"):
        return None, None
    requests = given.volume.requests * np.geomspace(1 / AROUND, AROUND, STEPS)
    own = monthly(given, best, requests)
    prices = np.array([monthly(given, one, requests) for one in others])
    cheaper = prices.min(axis=0) < own
    middle = STEPS // 2

    def turn(place: int) -> Turn:
        other = others[int(np.argmin(prices[:, place]))]
        return Turn(requests=float(requests[place]), kind=other.kind, machine=other.machine)

    below, above = np.flatnonzero(cheaper[:middle]), np.flatnonzero(cheaper[middle:])
    return turn(int(below[-1])) if len(below) else None, turn(middle + int(above[0])) if len(above) else None
