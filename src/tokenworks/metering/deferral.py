"""Whether work that nobody waits for may begin now, or better later: at a cheaper hour, or one with less carbon.

Embodied carbon is no part of it: what machines took to be made is there whenever they work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

HOUR_S = 3600.0
Value = Callable[[float], "float | None"]  # of an hour, by a Unix time within it; None: unknown
MayStart = Callable[[float, float, float], "Start"]


class Start(NamedTuple):
    """The answer: begin now, or ask again; `at` is when it looks best as of now."""

    now: bool
    at: float
    reason: str


def at_once(now: float, asked_at: float, begin_by: float) -> Start:
    """Let everything begin: what holds where nothing is deferred."""
    return Start(True, now, "nothing is deferred")


class Deferral:
    """Finds the hours in which `value`, averaged over the work's length, is least, and none after `begin_by`."""

    def __init__(self, value: Value, *, name: str, length_s: float, gain: float, look_s: float) -> None:
        if not (length_s > 0 and 0 <= gain < 1 and look_s >= 0):
            raise ValueError("the length must be above 0, the gain a share below 1, and looks not into the past")
        self._value, self._name = value, name
        self._length_s, self._gain, self._look_s = length_s, gain, look_s

    def __call__(self, now: float, asked_at: float, begin_by: float) -> Start:
        """Return whether work may begin at `now` that has to have begun by `begin_by`, and is asked again in a while.

        It begins where waiting would gain less than the share `gain`, where the present hour is unknown, and where the
        next look would come too late.
        """
        if now + self._look_s >= begin_by:
            return Start(True, now, "it has waited for as long as it may")
        here = self.mean(now)
        if here is None:
            return Start(True, now, f"the {self._name} of this hour is not known")
        best_at, best = now, here
        for at in _hours(now, begin_by - self._look_s):
            there = self.mean(at)
            if there is not None and there < best:
                best_at, best = at, there
        if best_at == now or here - best < self._gain * abs(here):
            return Start(True, now, f"no later hour has a {self._name} that is worth waiting for")
        return Start(False, best_at, f"the {self._name} falls from {here:.4g} to {best:.4g}")

    def mean(self, at: float) -> float | None:
        """Return the mean over the work's length from `at` on; None where an hour of it is unknown."""
        end, total = at + self._length_s, 0.0
        while at < end:
            until = min(end, (math.floor(at / HOUR_S) + 1) * HOUR_S)
            value = self._value(at)
            if value is None:
                return None
            total += value * (until - at)
            at = until
        return total / self._length_s


def _hours(now: float, last: float) -> Iterator[float]:
    at = (math.floor(now / HOUR_S) + 1) * HOUR_S
    while at <= last:
        yield at
        at += HOUR_S
