"""Where a way of thinking works: it draws samples, and no draw goes beyond the purse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from tokenworks.core.errors import DataError
from tokenworks.serving.thinking.answers import Read, read_answer
from tokenworks.serving.thinking.budget import SMALLEST_TOKENS, Hold, Purse
from tokenworks.serving.thinking.samples import Draw, DrawError, NoLogprobsError, Sample

Ask = Callable[[Draw, int | None], Awaitable[Sample]]  # (what, the most tokens); raises `DrawError`
Cost = Callable[[Sample], Mapping[str, int]]  # what a sample came to, in the purse's units
CONTINUED_TOKENS = 64  # what goes around a text that is continued
READ_S = 0.1  # beyond the budget of seconds, for reading answers by a caller's own pattern: all of them together


class Desk:
    """Draws for one answer. Belongs to one event loop."""

    def __init__(
        self,
        ask: Ask,
        purse: Purse,
        *,
        cost: Cost,
        read: Read = read_answer,
        alike: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._purse = purse
        self._cost = cost
        self._read = read
        self._now = now
        self._number = 0
        self._logprobs = True
        self.alike = alike  # every sample is the same: nothing is drawn by chance
        self.samples: list[Sample] = []
        self.failed = 0
        self.notes: list[str] = []
        self.stopped = ""  # why nothing more can be drawn

    @property
    def tells_logprobs(self) -> bool:
        """Whether the engine has told probabilities, as far as it was asked."""
        return self._logprobs

    @property
    def seconds_left(self) -> float:
        """How long there is."""
        return self._purse.until_s - self._now()

    async def draw(self, count: int = 1, draw: Draw | None = None) -> list[Sample]:
        """Return up to `count` samples, drawn side by side: fewer where the purse has no more, or some failed.

        Raises `DrawError` where nothing at all was drawn for this answer, for the reason that the first one had.
        """
        draw = draw or Draw()
        holds = self._holds(count, draw)
        if not holds:
            self.stopped = self.stopped or f"budget:{self._purse.empty}"
            if not self.samples:
                raise DrawError(f"the budget of {self._purse.empty} ended before the first sample", code="budget_spent")
            return []
        drawn = await asyncio.gather(*[self._one(draw, hold) for hold in holds])
        good = [one for one in drawn if isinstance(one, Sample)]
        wrong = [one for one in drawn if isinstance(one, DrawError)]
        self.samples += good
        self.failed += len(wrong)
        if wrong and (not good or wrong[0].final):
            self.stopped = wrong[0].code
        if not self.samples:
            raise wrong[0]
        return good

    async def aside(self, prompt: int, tokens: int, work: Callable[[], Awaitable[int]]) -> None:
        """Do `work`, which makes up to `tokens` from a prompt of up to `prompt` and returns how many; it is no sample.

        Raises `DrawError` where the purse has not so much.
        """
        hold = self._purse.take_aside(prompt, tokens)
        if hold is None:
            raise DrawError(f"the budget of {self._purse.empty} has no room for a judge", code="budget_spent")
        made = await work()  # where it fails the hold stays spent
        self._purse.settle(hold, {"tokens": made} if "tokens" in hold.amounts else {})

    async def answer_of(self, sample: Sample) -> str:
        """Return what the sample's text comes to, "" where that is nothing, or its end was cut off."""
        if not sample.whole:
            return ""
        if self._read is read_answer:
            return read_answer(sample.text)
        left_s = self.seconds_left + READ_S
        try:
            async with asyncio.timeout(max(0.0, left_s) if left_s < 1e9 else None):
                return await asyncio.to_thread(self._read, sample.text)
        except TimeoutError:
            self._note("the time was up before every answer was read")
            return ""
        except DataError as error:
            self._note(str(error))
            return ""

    def _holds(self, count: int, draw: Draw) -> list[Hold]:
        """Take out as much as `count` samples may come to, fewer of them where it is not enough for all."""
        if self.alike and self.samples and not draw.after:
            self.stopped = "temperature-0"
            return []
        holds: list[Hold] = []
        extra = len((draw.after + draw.cue).encode()) + CONTINUED_TOKENS if draw.after or draw.cue else 0
        longest = max((one.completion_tokens for one in self.samples), default=0)
        usual = max(SMALLEST_TOKENS, longest)
        for _ in range(1 if self.alike else count):
            least = usual if draw.most_tokens is None else min(usual, draw.most_tokens)
            hold = self._purse.take(extra_prompt=extra, most=draw.most_tokens, least=least)
            if hold is None:
                break
            holds.append(hold)
        return holds

    async def _one(self, draw: Draw, hold: Hold) -> Sample | DrawError:
        self._number += 1
        number = self._number
        wanted = Draw(
            number=number,
            logprobs=draw.logprobs and self._logprobs,
            after=draw.after,
            cue=draw.cue,
            most_tokens=draw.most_tokens,
        )
        left_s = self.seconds_left
        try:
            async with asyncio.timeout(left_s if left_s < 1e9 else None):
                sample = await self._asked(wanted, hold.tokens)
        except TimeoutError:  # what it had made by then nobody knows: it counts as held
            self._purse.settle(hold, {})
            return DrawError("the time was up before the sample was complete", code="budget:seconds", final=True)
        except DrawError as error:
            if error.spent:
                self._purse.settle(hold, {})
            else:
                self._purse.put_back(hold)
            return error
        self._purse.settle(hold, self._spent(sample))
        return sample

    def _spent(self, sample: Sample) -> Mapping[str, int]:
        """Return what a sample came to; nothing, which counts as held, where its engine does not say what it made."""
        if sample.text and sample.completion_tokens <= 0:
            self._note("the engine did not say how many tokens a sample has: it counts as all that it might have made")
            return {}
        return self._cost(sample)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    async def _asked(self, draw: Draw, most: int | None) -> Sample:
        try:
            return await self._ask(draw, most)
        except NoLogprobsError:
            self._logprobs = False
            return await self._ask(Draw(number=draw.number, after=draw.after, cue=draw.cue), most)


def mean(values: Sequence[float]) -> float:
    """Return the mean, 0 of nothing."""
    return sum(values) / len(values) if values else 0.0
