"""From samples to joules: counters are subtracted, power is integrated, and what cannot be known is a marked gap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenworks.metering.source import MeterError, Sample

LONGEST_SAMPLE_S = 3.0  # power between two samples further apart is not known (as InferenceX's power integration)
ZONE_W = 1000.0  # more than any processor package draws: how soon its counter may begin anew


@dataclass(frozen=True)
class Span:
    """A stretch of time and the energy metered in it. Times are monotonic."""

    began_s: float
    ended_s: float
    joules: float | None  # None: a gap
    because: str = ""  # why it is one

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.ended_s - self.began_s


class Integral:
    """Sums one source. `most_w`: a counter that ran faster has not counted energy."""

    def __init__(self, *, most_w: float) -> None:
        self._most_w = most_w
        self._at_s = 0.0
        self._last: dict[str, Sample] = {}

    def stands_still(self, samples: Sequence[Sample]) -> bool:
        """Return whether these are counters, none of which has moved since the last span."""
        return bool(samples) and all(not one.power and self._last.get(one.zone) == one for one in samples)

    def take(self, at_s: float, samples: Sequence[Sample]) -> Span | None:
        """Return the span since the samples before; None for the first. Counters that jumped are a gap, and begin anew.

        The samples were checked by `check`.
        """
        now = {one.zone: one for one in samples}
        before, began_s = self._last, self._at_s
        self._last, self._at_s = now, at_s
        if not before:
            return None
        if now.keys() != before.keys() or at_s <= began_s:
            return Span(began_s, at_s, None, _other_zones(before, now) or "the clock stood still")
        joules = 0.0
        for zone, one in now.items():
            found = self._between(before[zone], one, at_s - began_s)
            if isinstance(found, str):
                return Span(began_s, at_s, None, f"{zone} {found}")
            joules += found
        return Span(began_s, at_s, joules)

    def _between(self, before: Sample, now: Sample, seconds: float) -> float | str:
        """Return the joules of one counter between two samples, or why they cannot be known."""
        if now.power:
            if seconds > LONGEST_SAMPLE_S:
                return f"was not sampled for {seconds:.1f} s"
            return (before.value + now.value) / 2 * seconds
        joules = now.value - before.value
        if now.range_j:
            if seconds > now.range_j / ZONE_W:
                return f"was not read for {seconds:.0f} s: its counter may have begun anew more than once"
            joules %= now.range_j
        if joules < 0:
            return f"jumped back from {before.value:.6g} J to {now.value:.6g} J"
        if joules > self._most_w * max(seconds, 1.0):  # a counter with coarse ticks moves by one at a time
            return f"jumped by {joules:.6g} J in {seconds:.2f} s, more than {self._most_w:g} W"
        return joules


def check(samples: Sequence[Sample]) -> None:
    """Raise `MeterError` where no sum can be made of `samples`: nothing there, the same twice, or no number."""
    if not samples:
        raise MeterError("the meter has no counter at all")
    if len({one.zone for one in samples}) < len(samples):
        raise MeterError(f"the meter has the same counter twice: {', '.join(one.zone for one in samples)}")
    for one in samples:
        if not math.isfinite(one.value) or one.value < 0:
            raise MeterError(f"{one.zone} says {one.value}, which no meter can mean")


def _other_zones(before: Mapping[str, Sample], now: Mapping[str, Sample]) -> str:
    gone, new = sorted(before.keys() - now.keys()), sorted(now.keys() - before.keys())
    return "; ".join([f"{zone} vanished" for zone in gone] + [f"{zone} is new" for zone in new])
