"""Each moment of an interval shared equally by who was there: exact for whom the gateway knows, even for others."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

Times = tuple[float, float]  # of one request: from, until


class Moments(NamedTuple):
    """`share_s` at `at_s` is what one request has had since the interval began, had it been there; linear between."""

    at_s: list[float]
    share_s: list[float]
    of_others: float = 0.0  # what those have had whom nobody here knows
    covered_s: float = 0.0  # anybody was there

    def until(self, at_s: float) -> float:
        """Return the integral at a moment."""
        number = bisect.bisect_right(self.at_s, at_s)
        if not number:
            return 0.0
        if number == len(self.at_s):
            return self.share_s[-1]
        part = (at_s - self.at_s[number - 1]) / (self.at_s[number] - self.at_s[number - 1])
        return self.share_s[number - 1] + part * (self.share_s[number] - self.share_s[number - 1])

    def of(self, times: Times) -> float:
        """Return the seconds that are one request's."""
        return max(self.until(times[1]) - self.until(times[0]), 0.0)


def share_moments(began_s: float, ended_s: float, every: Sequence[Times], others: float) -> Moments:
    """Return how the moments between two times are shared by `every` request, and on average so many `others`.

    Less than one other is one that was there for so much of the time.
    """
    changes: dict[float, int] = {}
    for since_s, until_s in every:
        since_s, until_s = max(since_s, began_s), min(until_s, ended_s)
        if since_s < until_s:
            changes[since_s] = changes.get(since_s, 0) + 1
            changes[until_s] = changes.get(until_s, 0) - 1
    at_s, share_s, there = [began_s], [0.0], changes.pop(began_s, 0)
    of_others = covered_s = 0.0
    often, many = min(others, 1.0), max(others, 1.0)
    for change_s in [*sorted(changes), *([] if ended_s in changes else [ended_s])]:
        seconds = change_s - at_s[-1]
        rate = (1 - often) / there + often / (there + many) if there else 0.0
        share_s.append(share_s[-1] + rate * seconds)
        of_others += often * many / (there + many) * seconds
        covered_s += seconds if there else often * seconds
        at_s.append(change_s)
        there += changes.get(change_s, 0)
    return Moments(at_s, share_s, of_others, covered_s)
