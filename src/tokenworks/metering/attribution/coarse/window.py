"""Intervals wait here until every request that was in them has ended: what it had in them is known only then.

Then each is settled, the oldest first: what is due to each request of this house, and what is due to others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from tokenworks.metering.attribution.coarse.interval import LEAST, Costs, Interval, Part, Request, read_at, split
from tokenworks.metering.attribution.coarse.moments import share_moments
from tokenworks.metering.attribution.coarse.slots import Taken

LONGEST_S = 3600.0  # a request that is under way for longer is settled as far as it has come


class Settled(msgspec.Struct, kw_only=True):
    """Sums of settled intervals. `metered_j` is `requests_j + foreign_j + idle_j + other_j`."""

    seconds: float = 0.0
    metered_j: float = 0.0
    requests_j: float = 0.0
    foreign_j: float = 0.0
    idle_j: float = 0.0
    other_j: float = 0.0
    untold_j: float = 0.0  # of `requests_j`, what no entry has
    engine_s: float = 0.0  # of requests of this house
    foreign_s: float = 0.0
    prompt_tokens: float = 0.0  # by the server's counters
    generated_tokens: float = 0.0
    foreign_prompt: float = 0.0  # of them, of others
    foreign_generated: float = 0.0
    error_j: float = 0.0
    gap_s: float = 0.0
    because: str = ""


class Window:
    """What is not settled yet."""

    def __init__(self, began_s: float) -> None:
        self.until_s = began_s  # all before that is settled
        self.sums = Settled()  # whoever writes them down begins anew
        self.ended: list[Request] = []  # and not all of their intervals are settled
        self._held: deque[Interval] = deque()
        self._claims = _Claims(), _Claims()

    def close(self, interval: Interval, ended: Iterable[Taken], costs: Costs, step_s: float) -> None:
        """Take in the newest interval, and the requests that ended in it."""
        self._held.append(interval)
        for request in self.ended:
            interval.add(request)
        for taken in ended:
            request = Request(taken, read_at(taken, costs, step_s), lost=taken.began_s < self.until_s)
            self.ended.append(request)
            for one in self._held:
                one.add(request)

    def settle(self, running: Sequence[Taken]) -> list[Request]:
        """Settle what can be; return the requests that nothing more becomes due to.

        The interval after one has to be known as well: a token may be claimed a moment later than it was counted.
        """
        oldest_s = min((taken.began_s for taken in running), default=float("inf"))
        while len(self._held) > 1:
            known = self._held[1].ended_s <= oldest_s
            if self._held[0].pending:
                break
            if not known and self._held[-1].ended_s - self._held[0].ended_s < LONGEST_S:
                break
            self._settle_first(running)
        return self._done()

    def finish(self) -> list[Request]:
        """Settle everything: nothing comes any more."""
        while self._held:
            self._settle_first(())
        return self._done()

    def _settle_first(self, running: Sequence[Taken]) -> None:
        first = self._held[0]
        self._settle(first, [taken for taken in running if first.present_s(taken) > 0])
        self._held.popleft()
        self.until_s = first.ended_s

    def _done(self) -> list[Request]:
        done = [one for one in self.ended if one.taken.ended_s <= self.until_s]
        self.ended = [one for one in self.ended if one.taken.ended_s > self.until_s]
        return done

    def _settle(self, interval: Interval, still: Sequence[Taken]) -> None:
        sums = self.sums
        unended = [_so_far(interval, taken) for taken in still]
        foreign = interval.foreign(*self._foreign(interval, sum(part.generated for part in unended)))
        sums.prompt_tokens += interval.moved.prompt
        sums.generated_tokens += interval.moved.generated
        if foreign is not None:
            sums.foreign_prompt += foreign.computed
            sums.foreign_generated += foreign.generated
        parts = [part for _, part in interval.own] + unended
        times = [_times(request.taken) for request, _ in interval.own] + [_times(taken) for taken in still]
        moments = share_moments(
            interval.began_s,
            interval.ended_s,
            times,
            foreign.present_s / interval.seconds if foreign is not None else 0.0,
        )
        parts = [part._replace(present_s=moments.of(one)) for part, one in zip(parts, times, strict=True)]
        if foreign is not None:
            foreign = foreign._replace(present_s=moments.of_others)
        if foreign is None and not parts and interval.busy_s > 0:
            foreign = Part(interval.seconds)  # somebody was running there, and has no token yet
        shares_s = split(interval, [*parts, foreign] if foreign is not None else parts)
        foreign_s = shares_s.pop() if foreign is not None else 0.0
        sums.foreign_s += foreign_s
        sums.engine_s += sum(shares_s)
        sums.because = sums.because or interval.because
        if interval.joules is None:
            sums.gap_s += interval.seconds
            for request, _ in interval.own:
                request.lost = True
            return
        watts = interval.active_j / interval.busy_s if interval.busy_s > 0 else 0.0
        for (request, _), share_s in zip(interval.own, shares_s, strict=False):
            request.due_s += share_s
            request.due_j += share_s * watts
        sums.seconds += interval.seconds
        sums.metered_j += interval.joules
        sums.idle_j += interval.idle_j
        sums.foreign_j += foreign_s * watts
        sums.requests_j += sum(shares_s) * watts
        sums.untold_j += sum(shares_s[len(interval.own) :]) * watts
        sums.other_j += interval.other_j
        sums.error_j += interval.joules * interval.error

    def _foreign(self, interval: Interval, unended: float) -> tuple[float, float]:
        """Return the tokens of prompts and answers in an interval that are others'."""
        prompt, generated = self._claims
        quiet = not interval.own and not unended
        written = [one.moved.generated - one.own_generated for one in self._held]
        written[0] -= unended
        return (
            prompt.foreign([one.moved.prompt - one.own_prompt for one in self._held], quiet),
            generated.foreign(written, quiet),
        )


class _Claims:
    """Which tokens on a server's counter are others': those that no request of this house claims, now or soon.

    Requests are placed in intervals by guess, a little early or late. So what others have had is the largest sum that
    never falls and never is more than what is unclaimed: where a later claim is too many for its interval, it was one
    of these tokens that it meant.
    """

    def __init__(self) -> None:
        self._left = 0.0  # unclaimed and not others' (above 0), or claimed and not counted (below)

    def foreign(self, unclaimed: Sequence[float], quiet: bool) -> float:
        """Return others' tokens of the first of some intervals, from what is unclaimed in each of them.

        In a quiet interval nobody claims anything: what was claimed in vain before it is forgotten.
        """
        total = here = self._left
        least = float("inf")
        for number, one in enumerate(unclaimed):
            total += one
            least = min(least, total)
            if not number:
                here = total
        found = max(least, 0.0)
        self._left = max(here - found, 0.0) if quiet else here - found
        return found if found > LEAST else 0.0


def _times(taken: Taken) -> tuple[float, float]:
    return taken.began_s, taken.ended_s or math.inf


def _so_far(interval: Interval, taken: Taken) -> Part:
    """Return what a request that is still under way had in an interval: a token of each step, for all one knows."""
    present_s = interval.present_s(taken)
    return Part(present_s, 0.0, interval.moved.steps * present_s / interval.seconds)
