"""What gateways are told: what a server's time and tokens cost now, and a little more or less for what was missed.

Requests end before the intervals that they were in are settled, so they are given joules as foreseen. What that misses
is carried to others by at most a tenth, as our own engines' books have it.
"""

from __future__ import annotations

import math

from tokenworks.metering.attribution.coarse.interval import Interval, Request
from tokenworks.metering.attribution.coarse.moments import Moments
from tokenworks.metering.attribution.coarse.rates import Rates

FADE = 0.8  # of what former intervals say about the next one
FADE_SPREAD = 0.9
MOST_CARRIED = 0.1  # of what a request is given may come from others


class Teller:
    """Belongs to the meter of one server."""

    def __init__(self) -> None:
        self.rates = Rates()
        self.carried_j = 0.0  # due to requests that have ended, and given to none
        self._spread = 0.25
        self._owed_s = 0.0  # tokens took more than an interval had: less floor in the next
        self._active_j = self._busy_s = self._floor_s = self._present_s = 0.0
        self._computed, self._prompt = 0.0, 0.0

    def told(
        self, interval: Interval, present_s: float, moments: Moments, error: float, *, grade: str, until_s: float
    ) -> Rates:
        """Return what to tell after an interval in which requests were under way for `present_s`, added up."""
        moved, costs = interval.moved, interval.costs
        work_s = costs.prompt_s * moved.computed + costs.generated_s * moved.generated
        floor_s = 0.0
        if present_s > 0:
            left_s = interval.busy_s - work_s - self._owed_s
            floor_s, self._owed_s = max(left_s, 0.0), max(-left_s, 0.0)
        grown_s = floor_s / moments.covered_s * moments.share_s[-1] if moments.covered_s > 0 else 0.0
        metered = interval.joules is not None and interval.busy_s > 0
        watts = interval.active_j / interval.busy_s if metered else self._ahead_w()
        if present_s > 0:
            self._floor_s = FADE * self._floor_s + floor_s
            self._present_s = FADE * self._present_s + present_s
        self._computed = FADE * self._computed + moved.computed
        self._prompt = FADE * self._prompt + moved.prompt
        known = self._busy_s > 0
        self.rates = Rates(
            0,
            interval.ended_s,
            self.rates.floor_s + grown_s,
            self.rates.floor_j + grown_s * watts,
            self._floor_s / self._present_s if self._present_s > 0 else 0.0,
            self._ahead_w(),
            costs.prompt_s,
            costs.generated_s,
            self._computed / self._prompt if self._prompt > 0 else 1.0,
            math.hypot(error or self.rates.error, self._spread),
            until_s if known else 0.0,
            grade,
        )
        return self.rates

    def take(self, active_j: float, busy_s: float) -> None:
        """Take in what busy time cost, between two readings of the meter."""
        if busy_s > 0:
            self._active_j = FADE * self._active_j + active_j
            self._busy_s = FADE * self._busy_s + busy_s

    def finish(self, request: Request) -> float:
        """Take in a request that nothing more becomes due to; return what of it stands on no entry.

        Of one that was lost it may be below zero: what it was given as foreseen, no meter has seen.
        """
        given_j = request.taken.given_j
        if given_j < 0:
            return request.due_j
        if request.lost:
            return request.due_j - given_j
        self.carried_j += request.due_j - given_j
        if request.due_j > 0:
            off = min(abs(given_j / request.due_j - 1), 1.0)
            self._spread += (1 - FADE_SPREAD) * (off - self._spread)
        return 0.0

    def _ahead_w(self) -> float:
        if not self._busy_s > 0:
            return 0.0
        carried = self.carried_j / self._active_j if self._active_j > 0 else 0.0
        return self._active_j / self._busy_s * (1 + min(max(carried, -MOST_CARRIED), MOST_CARRIED))
