"""Who was in a step of a continuous batch, with how many tokens, and what of the step was whose.

The library does not say whom it scheduled, so its rule is followed: every answer that is being written gets one token,
and what is left of the step's tokens goes to prompts, the oldest first. An answer is being written as soon as it can
be read from, however much of its prompt was known already.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tokenworks.metering.attribution.account import Account, Work
from tokenworks.metering.attribution.learning import StepCost
from tokenworks.metering.attribution.split import split
from tokenworks.metering.attribution.timeline import Timeline


class _Count(NamedTuple):
    """How many steps there were, with how many members in all."""

    steps: int
    members: int


@dataclass(slots=True)
class _Member:
    work: Work
    length: int  # tokens that the next step reads
    left: int  # of the prompt
    begun: Callable[[], bool]  # whether there is a token of its answer
    since: _Count | None = None  # when the phase that it is in began, where it is traced

    def more(self) -> int:
        """Return how many tokens it has with the next one."""
        self.length += 1
        return self.length

    def trace(self, timeline: Timeline, before: _Count, after: _Count, span_s: tuple[float, float]) -> None:
        """Tell of a step, from `span_s[0]` to `span_s[1]`, that read of the prompt; counts are those around it."""
        if self.since is None:
            timeline.taken(span_s[0])
            self.since = before
        if not self.left:
            timeline.read(span_s[1])
            timeline.prefill.add(after.steps - self.since.steps, after.members - self.since.members)
            self.since = after

    def end(self, timeline: Timeline, now: _Count, at_s: float) -> None:
        """Tell how many steps the phase had that it ended in."""
        timeline.written(at_s)
        if self.since is not None:
            phase = timeline.prefill if self.left else timeline.decode
            phase.add(now.steps - self.since.steps, now.members - self.since.members)


class Steps:
    """The members of one batch, whose steps have at most `most_tokens`."""

    def __init__(self, most_tokens: int) -> None:
        self._most_tokens = most_tokens
        self._members: dict[Hashable, _Member] = {}
        self._account: Account | None = None
        self._cost = StepCost()
        self._reading = False  # whether any of them still has its prompt before it
        self._made = self._seated = 0  # steps, and members of all of them together
        self._began_s = self._ended_s = 0.0  # of the last step

    def add(self, key: Hashable, work: Work | None, prompt_tokens: int, begun: Callable[[], bool]) -> None:
        """Take in an answer; without `work` nobody wants to know."""
        if work is not None:
            self._account = work.account
            self._account.share_held()
            self._members[key] = _Member(work, 0, prompt_tokens, begun)
            self._reading = True

    def drop(self, key: Hashable) -> None:
        """The answer has ended."""
        if self._account is not None:
            self._account.share_held()
        member = self._members.pop(key, None)
        if member is not None and member.work.timeline is not None:
            member.end(member.work.timeline, _Count(self._made, self._seated), self._ended_s)

    def run(self, step: Callable[[], object]) -> None:
        """Run one step; its time goes to the members."""
        if self._account is None or not self._members:
            step()
            return
        self._began_s = began_s = self._account.enter()
        try:
            step()
        finally:
            if self._reading:
                self._account.leave(began_s, self._shares)
            else:  # each has one token more, and nothing else will have changed when they are split
                self._ended_s = self._account.hold(began_s, self._shares_of)

    def _shares_of(self, held: Sequence[float]) -> list[tuple[Work, float]]:
        """Return what each member has of all the steps that took `held` seconds."""
        members, ended_s = list(self._members.values()), self._ended_s
        sums = [0.0] * len(members)
        for seconds in held:
            for place, (_, share_s) in enumerate(self._shares(seconds)):
                sums[place] += share_s
        self._ended_s = ended_s  # of the last of them, which is known better
        return [(member.work, share_s) for member, share_s in zip(members, sums, strict=True)]

    def _shares(self, seconds: float) -> list[tuple[Work, float]]:
        taken, works = self._tokens(seconds), [member.work for member in self._members.values()]
        return list(zip(works, split(seconds, self._cost.works_s(taken, seconds)), strict=True))

    def _tokens(self, seconds: float) -> list[tuple[int, int]]:
        """Return (new, read) tokens of each member in the step that has ended after `seconds`."""
        self._made += 1
        self._ended_s = self._began_s + seconds
        if not self._reading:
            self._seated += len(self._members)
            return [(1, member.more()) for member in self._members.values()]
        room = self._most_tokens - sum(not member.left for member in self._members.values())
        found = []
        traced: list[tuple[_Member, Timeline]] = []  # those whose prompt was read
        for member in self._members.values():
            new = 1
            if member.left:
                new = max(min(member.left, room), 0)
                room -= new
                if new:
                    if member.work.timeline is not None:
                        traced.append((member, member.work.timeline))
                    member.left = 0 if member.begun() else max(member.left - new, 1)
            member.length += new
            found.append((new, member.length if new else 0))
        self._reading = any(member.left for member in self._members.values())
        before = _Count(self._made - 1, self._seated)
        self._seated += sum(1 for new, _ in found if new)
        after = _Count(self._made, self._seated)
        for member, timeline in traced:
            member.trace(timeline, before, after, (self._began_s, self._ended_s))
        return found
