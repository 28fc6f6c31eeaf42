"""Votes on answers: drawn in rounds that are as large as can be without costing a sample too many."""

from __future__ import annotations

import math
from collections.abc import Callable

from tokenworks.serving.thinking.contract import Draw, Outcome, Plan, Sample
from tokenworks.serving.thinking.desk import Desk, mean
from tokenworks.serving.thinking.stopping import UNLIKE_ALL, settled, votes_needed

Weigh = Callable[[Sample], float]


class Poll:
    """The votes so far. Weights are scaled to a mean of 1, so that the counts stay counts."""

    def __init__(self, weigh: Weigh | None = None) -> None:
        self._weigh = weigh
        self._by_answer: dict[str, list[Sample]] = {}
        self.voters: list[Sample] = []

    def add(self, sample: Sample, answer: str) -> None:
        """Take in a vote; a sample without an answer has none."""
        if answer:
            self._by_answer.setdefault(answer, []).append(sample)
            self.voters.append(sample)

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """The answers with their votes, the most first; of equals, who came first."""
        scale = 1.0
        if self._weigh is not None and self.voters:
            scale = 1.0 / (mean([self._weigh(one) for one in self.voters]) or 1.0)
        votes = [(answer, self._votes(samples) * scale) for answer, samples in self._by_answer.items()]
        return sorted(votes, key=lambda one: -one[1])

    @property
    def leading(self) -> tuple[float, float]:
        """The votes of the first and of the second answer."""
        first, second, *_ = [votes for _, votes in self.ranked] + [0.0, 0.0]
        return first, second

    @property
    def unlike(self) -> bool:
        """Whether so many answers have come, all of them different, that a vote is in vain."""
        return len(self.voters) >= UNLIKE_ALL and len(self._by_answer) == len(self.voters)

    def chosen(self) -> tuple[Sample, str, float | None]:
        """Return the surest sample of the leading answer, that answer, and its share of the votes."""
        ranked = self.ranked
        answer, votes = ranked[0]
        best = max(self._by_answer[answer], key=confidence)  # of equals the first
        return best, answer, votes / sum(share for _, share in ranked)

    def _votes(self, samples: list[Sample]) -> float:
        return float(len(samples)) if self._weigh is None else sum(map(self._weigh, samples))


def confidence(sample: Sample) -> float:
    """Return the geometric mean of the probabilities of the chosen tokens, 1 where the engine told none.

    DeepConf (arXiv 2508.15260) averages over the top alternatives; engines that tell only the chosen token's
    probability are the common case, so that is what is used everywhere.
    """
    return math.exp(mean(sample.logprobs)) if sample.logprobs else 1.0


async def vote(desk: Desk, poll: Poll, plan: Plan, *, draw: Draw | None = None) -> Outcome:
    """Draw until the leader would hardly change by `plan.samples`, and return the winner.

    Each round asks for the fewest votes that could end it (`votes_needed`), side by side.
    """
    stopped = ""
    while not stopped:
        first, second = poll.leading
        left = plan.samples - len(desk.samples) - desk.failed
        if left <= 0:
            stopped = "samples"
        elif desk.samples and settled(first, second, left, plan.confidence):
            stopped = "agreed"
        elif poll.unlike:
            stopped = "no-agreement"
        else:
            for sample in await desk.draw(votes_needed(first, second, left, plan.confidence), draw):
                poll.add(sample, await desk.answer_of(sample))
            stopped = desk.stopped
    if not poll.voters:
        notes = ("no sample had an answer to vote on",)
        return Outcome(chosen=desk.samples[0], stopped=stopped, notes=notes)
    sample, answer, agreement = poll.chosen()
    return Outcome(chosen=sample, answer=answer, agreement=agreement, stopped=stopped)
