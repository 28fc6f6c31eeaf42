"""The meter's side of attribution: what is due to each engine's requests, what they were given, and what is between.

Requests end between two readings, so they are given joules as foreseen. What that misses is carried into what is
foreseen next, by at most a tenth, until nothing is missing: the sums agree, and nobody pays much for another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tokenworks.metering.attribution.page import Told, Worked

FADE = 0.8  # of what former spans say about the next one
MOST_CARRIED = 0.1  # of what a request is given may come from others


@dataclass
class EngineBook:
    """One engine's account, seen from the meter."""

    last: Worked  # as of the last span; where it began to be metered, nothing is owed
    core_s: float = 0.0  # of processors, until then
    due_j: float = 0.0
    lapsed_j: float = 0.0  # of what is due: nobody was given it, since nobody knew
    settled_w: float = -1.0
    _recent_j: float = 0.0
    _recent_s: float = 0.0
    _spread: float = 0.25
    _given_before_j: float = field(init=False)
    _busy_before_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._given_before_j = self.last.given_j
        self._busy_before_s = busy_at(self.last, math.inf)

    @property
    def recent_w(self) -> float:
        """Joules for a second of engine time, of late."""
        return self._recent_j / self._recent_s if self._recent_s > 0 else 0.0

    @property
    def carried_j(self) -> float:
        """What is due and was not given to any request, nor will be when those under way settle the last span."""
        pending_s = max(self.last.busy_s - self.last.done_s, 0.0)
        waiting_j = pending_s * self.settled_w if self.settled_w > 0 else 0.0
        return self.due_j - (self.last.given_j - self._given_before_j) - self.lapsed_j - waiting_j

    def busy_s(self, worked: Worked, at_s: float) -> float:
        """Return the engine time since the last span."""
        return max(busy_at(worked, at_s) - self._busy_before_s, 0.0)

    def close(self, worked: Worked, at_s: float, due_j: float) -> None:
        """Close a span in which `due_j` became due."""
        busy_s = self.busy_s(worked, at_s)
        self.due_j += due_j
        if busy_s > 0:
            self.settled_w = due_j / busy_s
            if self.recent_w > 0:
                self._spread += (1 - FADE) * (min(abs(self.settled_w / self.recent_w - 1), 1.0) - self._spread)
            self._recent_j = FADE * self._recent_j + due_j
            self._recent_s = FADE * self._recent_s + busy_s
        self.lapsed_j += (worked.lapsed_s - self.last.lapsed_s) * self.recent_w
        self._take(worked, at_s)

    def close_gap(self, worked: Worked, at_s: float) -> float:
        """Close a span that nothing is known of; return what was due before and nobody was given.

        It may be below zero: what requests were given in the gap, as foreseen, no meter has seen.
        """
        self.settled_w = math.nan
        self._take(worked, at_s)
        left_j = self.carried_j
        self.due_j -= left_j
        return left_j

    def end(self, worked: Worked) -> float:
        """Close the book of an engine that has ended; return what nobody will be given any more."""
        self.last, self.settled_w = worked, -1.0
        return self.carried_j

    def told(self, *, error: float, grade: str, until_s: float) -> Told:
        """Return what to tell the engine after a span."""
        ahead_w = self.recent_w
        if self._recent_j > 0:
            ahead_w *= 1 + min(max(self.carried_j / self._recent_j, -MOST_CARRIED), MOST_CARRIED)
        return Told(0, self.settled_w, ahead_w, error, self._spread, until_s if ahead_w > 0 else 0.0, grade)

    def _take(self, worked: Worked, at_s: float) -> None:
        self.last = worked
        self._busy_before_s = busy_at(worked, at_s)


def busy_at(worked: Worked, at_s: float) -> float:
    """Return the engine time until `at_s`, with the part of a step that is under way."""
    under_way_s = at_s - worked.began_s if worked.began_s and math.isfinite(at_s) else 0.0
    return worked.busy_s + max(under_way_s, 0.0)
