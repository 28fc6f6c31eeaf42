"""Depth by difficulty (after Snell et al. 2024, arXiv 2408.03314): sure answers cost one sample, hard ones a vote.

How hard a question is shows in how sure the model is of its first answer, and in whether the next ones agree with it.
"""

from __future__ import annotations

import msgspec

from tokenworks.serving.thinking.contract import Draw, Outcome, Plan
from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.voting import Poll, confidence, vote

PILOT = 3  # samples that say how hard it is


class Strategy:
    """`plan.easy` is the confidence from which on the first sample is the answer."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    async def think(self, desk: Desk) -> Outcome:
        """Return the first answer where it is sure, else the vote of half the samples, of all where none agree."""
        poll, draw = Poll(), Draw(logprobs=True)
        (first,) = await desk.draw(1, draw)
        answer = await desk.answer_of(first)
        if answer and first.logprobs and confidence(first) >= self._plan.easy:
            return Outcome(chosen=first, answer=answer, stopped="easy")
        poll.add(first, answer)
        most = self._plan.samples
        for sample in await desk.draw(max(0, min(PILOT, most) - 1), draw) if most > 1 else []:
            poll.add(sample, await desk.answer_of(sample))
        if poll.leading[0] > 1:
            most = max(min(PILOT, most), most // 2)
        if desk.stopped:
            most = len(desk.samples) + desk.failed
        outcome = await vote(desk, poll, msgspec.structs.replace(self._plan, samples=most), draw=draw)
        return msgspec.structs.replace(outcome, stopped=desk.stopped or outcome.stopped)
