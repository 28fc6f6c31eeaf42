"""Who was in a step of a continuous batch, with how many tokens, and what of the step was whose.

The library does not say whom it scheduled, so its rule is followed: every answer that is being written gets one token,
and what is left of the step's tokens goes to prompts, the oldest first. An answer is being written as soon as it can
be read from, however much of its prompt was known already.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from tokenworks.metering.attribution.account import Account, Work
from tokenworks.metering.attribution.learning import StepCost
from tokenworks.metering.attribution.split import split


@dataclass(slots=True)
class _Member:
    work: Work
    length: int  # tokens that the next step reads
    left: int  # of the prompt
    begun: Callable[[], bool]  # whether there is a token of its answer

    def more(self) -> int:
        """Return how many tokens it has with the next one."""
        self.length += 1
        return self.length


class Steps:
    """The members of one batch, whose steps have at most `most_tokens`."""

    def __init__(self, most_tokens: int) -> None:
        self._most_tokens = most_tokens
        self._members: dict[Hashable, _Member] = {}
        self._account: Account | None = None
        self._cost = StepCost()
        self._reading = False  # whether any of them still has its prompt before it

    def add(self, key: Hashable, work: Work | None, prompt_tokens: int, begun: Callable[[], bool]) -> None:
        """Take in an answer; without `work` nobody wants to know."""
        if work is not None:
            self._account = work.account
            self._members[key] = _Member(work, 0, prompt_tokens, begun)
            self._reading = True

    def drop(self, key: Hashable) -> None:
        """The answer has ended."""
        self._members.pop(key, None)

    def run(self, step: Callable[[], object]) -> None:
        """Run one step; its time goes to the members."""
        if self._account is None or not self._members:
            step()
            return
        began_s = self._account.enter()
        try:
            step()
        finally:
            self._account.leave(began_s, self._shares)

    def _shares(self, seconds: float) -> list[tuple[Work, float]]:
        taken, works = self._tokens(), [member.work for member in self._members.values()]
        return list(zip(works, split(seconds, self._cost.works_s(taken, seconds)), strict=True))

    def _tokens(self) -> list[tuple[int, int]]:
        """Return (new, read) tokens of each member in the step that has ended."""
        if not self._reading:
            return [(1, member.more()) for member in self._members.values()]
        room = self._most_tokens - sum(not member.left for member in self._members.values())
        found = []
        for member in self._members.values():
            new = 1
            if member.left:
                new = max(min(member.left, room), 0)
                room -= new
                if new:
                    member.left = 0 if member.begun() else max(member.left - new, 1)
            member.length += new
            found.append((new, member.length if new else 0))
        self._reading = any(member.left for member in self._members.values())
        return found
