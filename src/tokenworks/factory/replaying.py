"""Ways of thinking over samples that were drawn before: the code that answers callers, at a desk that replays.

What no sample says, how a thought goes on after a cue and what a judge thinks of a sample, is asked for and kept.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.factory.sampling import Question
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.openai.fields import Verification
from tokenworks.gateway.thinking.judging import JUDGE_TOKENS, TIMEOUT_S, asked_text, question_about
from tokenworks.gateway.thinking.wish import Wanted, verifier_of
from tokenworks.serving.thinking.answers import Read
from tokenworks.serving.thinking.budget import Budget, Purse
from tokenworks.serving.thinking.continuing import longer_prompt, more_turns
from tokenworks.serving.thinking.contract import Draw, DrawError, Outcome, Plan, Sample
from tokenworks.serving.thinking.desk import Ask as AskOne
from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.find import strategy_named
from tokenworks.serving.thinking.verifying import Judgement, Verifier, verdict_in
from tokenworks.serving.thinking.voting import Poll

VERIFIED = "best-of-n"
CONTINUED = "budget-forcing"
FIXED = "vote over all"  # no strategy, but what stopping early is held against
Ask = Callable[[Question, int], Awaitable[Sample]]  # (what, its number, from 1 on); raises `DataError`


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """A way of thinking, how many samples it may draw, and by what it verifies; without that by the question's own."""

    name: str
    most: int
    verifier: Verification | None = None

    @property
    def orders(self) -> int | None:
        """Over how many orders of the samples it is tried; None: all. What must be drawn live is tried over one."""
        return 1 if self.name == CONTINUED else None


class Thought(msgspec.Struct, frozen=True, kw_only=True):
    """What a way came to over one order of a question's samples."""

    answer: str
    stopped: str
    agreement: float | None
    samples: tuple[Sample, ...]
    verdicts: tuple[Sample, ...] = ()  # what judges were asked about them
    notes: tuple[str, ...] = ()

    @property
    def taken(self) -> tuple[Sample, ...]:
        """All that it takes to come to this."""
        return self.samples + self.verdicts


class Recorded:
    """One question with its samples, and what was asked beside them."""

    def __init__(self, question: Question, row: Sequence[Sample], read: Read, ask: Ask, version: str) -> None:
        self.question = question
        self.row = row
        self._read = read
        self._ask = ask
        self._wanted = msgspec.convert(question.body, Wanted)
        self._further: dict[tuple[str, str, int | None], Sample] = {}
        self._version = version
        self._judged: dict[bytes, _Judged] = {}
        self._answers: dict[tuple[str, bool], str] = {}

    async def think(self, way: Way, order: int) -> Thought:
        """Let the way think over the samples from the one at `order`, counted from 0, on and around."""
        if way.name == FIXED:
            return await self._vote(way, order)

        async def recorded(draw: Draw, most: int | None) -> Sample:
            if draw.after or draw.cue:
                return await self._going_on(draw, most)
            return self._at(order, draw)

        asked, by = self.question.asked, self._by(way)
        verifier = _InOrder.of(self._judged_by(by), self._indices(order)) if by is not None else None
        plan = Plan(
            samples=way.most, confidence=asked.confidence, rounds=asked.rounds, cue=asked.cue, verifier=verifier
        )
        desk = _Desk(recorded, way, self._wanted, self._read, self._answers)
        outcome: Outcome = await strategy_named(way.name, plan).think(desk)
        return Thought(
            answer=outcome.answer,
            stopped=outcome.stopped,
            agreement=outcome.agreement,
            samples=tuple(desk.samples),
            verdicts=verifier.told if verifier is not None else (),
            notes=outcome.notes,
        )

    async def _vote(self, way: Way, order: int) -> Thought:
        row = [self._at(order, Draw(number=number)) for number in range(1, way.most + 1)]
        poll, desk = Poll(), _Desk(_no_more, way, self._wanted, self._read, self._answers)
        for sample in row:
            poll.add(sample, await desk.answer_of(sample))
        _, answer, agreement = poll.chosen() if poll.voters else (None, "", None)
        return Thought(answer=answer, stopped="samples", agreement=agreement, samples=tuple(row))

    def _at(self, order: int, draw: Draw) -> Sample:
        return self.row[self._indices(order)[(draw.number - 1) % len(self.row)]]

    def _indices(self, order: int) -> list[int]:
        return [*range(order, len(self.row)), *range(order)]

    def _by(self, way: Way) -> Verification | None:
        return (way.verifier or self.question.asked.verifier) if way.name == VERIFIED else None

    async def _going_on(self, draw: Draw, most: int | None) -> Sample:
        key = (draw.after, draw.cue, draw.most_tokens)
        if key not in self._further:
            body: dict[str, Any] = dict(self.question.body)
            if "messages" in body:
                body["messages"] = more_turns(self._wanted.messages, draw)
            else:
                body["prompt"] = longer_prompt(self._wanted.prompt, draw)
            if most is not None:
                body["max_tokens"] = most
            asked = msgspec.structs.replace(self.question, body=body)
            self._further[key] = await _drawn(self._ask, asked, draw.number)
        return self._further[key]

    def _judged_by(self, asked: Verification) -> _Judged:
        by = msgspec.json.encode(asked)
        if by not in self._judged:
            self._judged[by] = _Judged(self.row, lambda said: self._verifier(asked, said))
        return self._judged[by]

    def _verifier(self, asked: Verification, said: list[Sample]) -> Verifier:
        if asked.type == "judge":
            return Verifier("judge", self._judging(asked, said), TIMEOUT_S, certain=False)
        try:
            return verifier_of(asked, self._wanted)
        except ApiError as error:
            raise DataError(f"the verifier of {self.question.body}: {error}") from None

    def _judging(self, asked: Verification, told: list[Sample]) -> Judgement:
        before = asked_text(self._wanted.prompt, self._wanted.messages)

        async def look(text: str) -> float:
            turn = {"role": "user", "content": question_about(before, text, asked)}
            body = {"model": asked.model or self._version, "messages": [turn], "max_tokens": JUDGE_TOKENS}
            said = await _drawn(self._ask, Question(body=body, expected=""), 1)
            told.append(said)
            return verdict_in(said.text)

        return look


class _Judged:
    """What a verifier says of each recorded sample: asked for once, whatever the order it is thought over in."""

    def __init__(self, row: Sequence[Sample], make: Callable[[list[Sample]], Verifier]) -> None:
        self.row = row
        self._said: list[Sample] = []  # what a judge has just said
        self.verifier = make(self._said)
        self._scores: dict[int, float | None] = {}
        self.told: dict[int, Sample] = {}

    async def score(self, index: int) -> float | None:
        """Return the score of a sample, by its place in the row."""
        if index not in self._scores:
            self._scores[index] = await self.verifier.score(self.row[index].text)
            if self._said:
                self.told[index] = self._said.pop()
        return self._scores[index]


@dataclass(frozen=True)
class _InOrder(Verifier):
    """Tells samples of the same text apart by the order they are thought over in: each was judged by itself."""

    judged: _Judged | None = None
    left: list[int] = field(default_factory=list)  # places in the row, of samples that were not asked about yet
    asked: list[int] = field(default_factory=list)

    @staticmethod
    def of(judged: _Judged, order: list[int]) -> _InOrder:
        """Return the verifier over the samples in this order."""
        by = judged.verifier
        return _InOrder(by.name, by.judge, by.timeout_s, by.certain, judged, order)

    async def score(self, text: str, *, within_s: float = math.inf) -> float | None:
        assert self.judged is not None, "made by `of`"
        index = next(index for index in self.left if self.judged.row[index].text == text)
        self.left.remove(index)
        self.asked.append(index)
        return await self.judged.score(index)

    @property
    def told(self) -> tuple[Sample, ...]:
        """What judges said of the samples that were asked about."""
        assert self.judged is not None, "made by `of`"
        return tuple(self.judged.told[index] for index in self.asked if index in self.judged.told)


class _Desk(Desk):
    """Bounds nothing but samples, and reads a text once, however often it is replayed."""

    def __init__(self, ask: AskOne, way: Way, wanted: Wanted, read: Read, known: dict[tuple[str, bool], str]) -> None:
        purse = Purse(Budget(samples=way.most), {}, prompt=0, most_tokens=wanted.max_tokens)
        super().__init__(ask, purse, cost=_nothing, read=read, alike=wanted.temperature == 0)
        self._known = known

    async def answer_of(self, sample: Sample) -> str:
        key = (sample.text, sample.whole)
        if key not in self._known:
            self._known[key] = await super().answer_of(sample)
        return self._known[key]


async def _drawn(ask: Ask, question: Question, number: int) -> Sample:
    try:
        return await ask(question, number)
    except DataError as error:  # the way makes do with what it has, as it does for callers
        raise DrawError(str(error), final=True) from None


async def _no_more(draw: Draw, most: int | None) -> Sample:
    raise DrawError("a vote over all draws nothing: all there is was drawn")


def _nothing(sample: Sample) -> dict[str, int]:
    return {}
