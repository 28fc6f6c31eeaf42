"""Short loads that show one cost of an engine each, through the very path that requests take.

Loads of different kinds follow each other in rounds and medians are taken, so that what else the machine does for a
second falls on all of them. Nothing here is taken from a trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tokenworks.factory.planning.asking import Answered, Server, at_a_time, on_time
from tokenworks.factory.planning.words import Words
from tokenworks.planning.batching import Cost, Scheduler
from tokenworks.planning.fitting import Decoded, Ended, Fitted, Joined, Read, fit, slowed
from tokenworks.planning.simulate import simulate_callers
from tokenworks.planning.trace import Trace

COUNTS = (1, 2, 4, 8, 16, 32)  # sequences at a time
SHORT, ANSWER = 16, 96  # tokens
AFTER, APART = 8, 2  # tokens of the shortest answer, and steps between two ends
JOINING = 5  # prompts that come to a running batch: far enough apart not to wait for each other
JOINED_ANSWER = 160  # tokens of those they come to


class Load(NamedTuple):
    """So many sequences alike, begun at once, and what they took."""

    callers: int
    prompt: int
    answer: int
    took_s: float

    def predicted_s(self, cost: Cost, scheduler: Scheduler) -> float:
        """Return what the simulation says of it."""
        trace = Trace(np.zeros(self.callers), np.full(self.callers, self.prompt), np.full(self.callers, self.answer))
        return simulate_callers(trace, cost, scheduler, self.callers).end_s


@dataclass
class Probes:
    """Loads for an engine with room for `room` tokens a sequence, and what they showed."""

    server: Server
    words: Words
    room: int
    most: int
    step_tokens: int
    decoded: list[Decoded] = field(default_factory=list)
    read: list[Read] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    joined: list[Joined] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)

    async def round(self) -> None:
        """Load the engine with everything once."""
        for count in (one for one in COUNTS if one <= self.most):
            self.decoded.append(await self._decoded(count, SHORT))
        for count, part in ((1, 2), (4, 2), (16, 4)):
            if count <= self.most:
                self.decoded.append(await self._decoded(count, self.room // part))
        for length in self._lengths():
            self.read += [await self._read(length) for _ in range(2)]
        for _ in range(3):
            self.ended.append(await self._ended(min(8, self.most)))
        for count, prompt, length in ((4, SHORT, SHORT), (16, 256, 128)):
            if count < self.most:
                part = min(prompt, self.room // 4)
                self.joined += await self._joined(count, part, min(length, self.room // 4))

    def fitted(self) -> Fitted:
        """Return the cost that what was seen so far makes."""
        found = fit(
            _steps_middle(self.decoded),
            _read_middle(self.read),
            self.step_tokens,
            step_tokens=self.step_tokens,
            ended=self.ended,
            joined=self.joined,
        )
        scheduler = Scheduler(sequences=self.step_tokens, step_tokens=self.step_tokens, rounds=found.rounds)
        predicted_s = sum(load.predicted_s(found.cost, scheduler) for load in self.loads)
        return slowed(found, sum(load.took_s for load in self.loads), predicted_s)

    def _lengths(self) -> list[int]:
        """Return lengths of prompts on both sides of where another step is needed."""
        step, near = self.step_tokens, SHORT
        found = (
            near,
            step // 4,
            step // 2,
            step - near,
            step + near,
            2 * step - near,
            2 * step + near,
            4 * step - near,
        )
        return [length for length in found if length < self.room - 1]

    async def _decoded(self, count: int, prompt: int) -> Decoded:
        """Return what the tokens between a short and a long answer took: no client's look at a first token is in it."""
        answer = min(ANSWER, (self.room - prompt) // 2)
        short = max(answer // 8, 1)
        took = [await self._took(count, prompt, [length] * count) for length in (short, answer)]
        self.loads.append(Load(count, prompt, answer, took[1]))
        step = max(took[1] - took[0], 1e-6) / (answer - short)
        return Decoded(running=count, context=prompt + (short + answer) / 2, step_s=step)

    async def _read(self, length: int) -> Read:
        (found,) = await at_a_time(self.server, self.words.questions([length], [2]), 1)
        return Read(tokens=length, ttft_s=found.ttft_s)

    async def _ended(self, count: int) -> Ended:
        lengths = [AFTER + APART * place for place in range(count)]
        together = await self._took(count, SHORT, [AFTER] * count)
        apart = await self._took(count, SHORT, lengths)
        context = SHORT + AFTER + APART * count / 2
        return Ended(running=count, apart=APART, context=context, more_s=apart - together)

    async def _joined(self, count: int, prompt: int, length: int) -> list[Joined]:
        """Return what prompts of `length` are like that come at any moment to `count` sequences being written."""
        answer = min(JOINED_ANSWER, self.room - prompt - 1)
        alone_s = await self._took(count, prompt, [answer] * count)
        self.loads.append(Load(count, prompt, answer, alone_s))
        written = asyncio.create_task(self._took(count, prompt, [answer] * count))
        begun_s = alone_s * 0.4  # by then all that are to be joined are being written
        await asyncio.sleep(begun_s)
        come = self.words.now_and_then(JOINING, (alone_s - begun_s) / (JOINING + 4), length, 1)
        found = await on_time(self.server, come)
        await written
        behind = prompt + answer * 0.7  # tokens, on average of that time
        return [Joined(running=count, context=behind, tokens=length, ttft_s=one.ttft_s) for one in found]

    async def _took(self, count: int, prompt: int, answers: Sequence[int]) -> float:
        return took(await at_a_time(self.server, self.words.questions([prompt] * count, answers), count))


def took(found: Sequence[Answered]) -> float:
    """Return the seconds from the first question to the end of the last answer."""
    return max(one.asked_s + one.latency_s for one in found) - min(one.asked_s for one in found)


def _steps_middle(found: Sequence[Decoded]) -> list[Decoded]:
    """Return one for each kind of load, with the median of what was measured."""
    kinds: dict[tuple[int, float], list[float]] = {}
    for one in found:
        kinds.setdefault((one.running, one.context), []).append(one.step_s)
    return [Decoded(running=n, context=c, step_s=float(np.median(took))) for (n, c), took in kinds.items()]


def _read_middle(found: Sequence[Read]) -> list[Read]:
    kinds: dict[int, list[float]] = {}
    for one in found:
        kinds.setdefault(one.tokens, []).append(one.ttft_s)
    return [Read(tokens=tokens, ttft_s=float(np.median(came))) for tokens, came in kinds.items()]
