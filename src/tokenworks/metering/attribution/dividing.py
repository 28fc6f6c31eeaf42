"""One metered span, divided: to the engines' requests, to other work of the machine, and to nobody (idle)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokenworks.metering.opening import Metered


@dataclass(frozen=True)
class Used:
    """What one engine used in a span."""

    busy_s: float  # with a step under way
    core_s: float  # of processors


@dataclass(frozen=True)
class Division:
    """Joules of a span. `idle_j + other_j + sum(due_j)` is what was metered."""

    idle_j: float  # while no engine had work
    other_j: float  # of other work on this machine
    due_j: dict[str, float]  # by engine


def divide(
    metered: Metered, engines: Mapping[str, Used], *, idle_w: float, machine_core_s: float, serving_core_s: float
) -> Division:
    """Divide what was metered. `serving_core_s`: processor time of whoever serves besides the engines.

    The power of the machine with nothing to do (`idle_w`) goes by time: to the engines while one of them has a step
    under way, else to nobody. What it draws above that goes by processor time to the engines or to other work; for a
    board, which has none, by the time of steps. Where `idle_w` is not known (0), all goes by time.
    """
    span = metered.span
    assert span.joules is not None, "a gap cannot be divided"
    busy_s, core_s = sum(one.busy_s for one in engines.values()), sum(one.core_s for one in engines.values())
    worked = min(1.0, busy_s / span.seconds)
    all_core_s = max(machine_core_s, core_s + serving_core_s)
    serving = (core_s + serving_core_s) / all_core_s if all_core_s > 0 else 1.0
    floor = min(1.0, idle_w * span.seconds / span.joules) if idle_w and span.joules else 1.0
    idle_j = other_j = 0.0
    due_j = dict.fromkeys(engines, 0.0)
    for part in metered.parts:
        floor_j = part.joules * floor
        above_j = part.joules - floor_j
        share = (serving if part.by_processor else worked) if busy_s else 0.0
        idle_j += floor_j * (1 - worked)
        other_j += above_j * (1 - share)
        engines_j = floor_j * worked + above_j * share
        by_core = part.by_processor and core_s > 0
        for name, one in engines.items():
            own, all_own = (one.core_s, core_s) if by_core else (one.busy_s, busy_s)
            due_j[name] += engines_j * own / all_own if busy_s else 0.0
    return Division(idle_j, other_j, due_j)
