"""One engine's continuous batching by events: what steps cost, how they are filled, and when each request is answered.

Steps between two events are taken at once. The scheduler is that of the common engines: running sequences first, then
prompts in order, in chunks, as room is; nothing is preempted. What steps wait for besides arithmetic (another shape, a
request's own handling, the way into the batch) costs what the cost says. Knows nothing of machines and models.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a step costs in seconds, linear in what grows: one entry per number of running sequences."""

    step_s: tuple[float, ...]  # [n]: a token for each of n sequences without any past; [0]: a step of prompts alone
    context_s: tuple[float, ...]  # [n]: more for each token of their past
    prompt_s: float  # for each prompt token in the step
    pair_s: float = 0.0  # for each pair of a prompt token and one before it
    change_s: float = 0.0  # more for a step of more or fewer tokens than the one before: its shapes are prepared anew
    serve_s: float = 0.0  # of the engine's own time, for each request that joins: everybody waits for it
    request_s: float = 0.0  # before a request's first step
    answer_s: float = 0.0  # after its last


class Scheduler(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine fills its steps."""

    sequences: int = 256  # at most so many run at once
    step_tokens: int = 8192  # at most so many tokens in a step
    cache_tokens: float = math.inf  # at most so many tokens have keys and values
    keeps: Literal["whole", "grown"] = "whole"  # room for an answer: all of it from the start, or as it is written
    rounds: int = 0  # a busy engine makes so many steps, after the one under way, before a request is in one


class BatchingEngine:
    """One engine in the simulation, which notes first and last tokens by request. Times are seconds of the trace."""

    def __init__(self, cost: Cost, scheduler: Scheduler, first: list[float], last: list[float]) -> None:
        self.first, self.last = first, last
        self.busy_s = 0.0
        self.ended: Callable[[float], None] = _nothing  # told when an answer has ended
        self._cost, self._scheduler = cost, scheduler
        self._most = min(scheduler.sequences, len(cost.step_s) - 1)
        self._now = 0.0
        self._step = 0  # steps made so far
        self._context = 0  # tokens that the running sequences have behind them
        self._held = 0  # tokens that room is kept for
        self._running: list[tuple[int, int, int]] = []  # by the step after which each ends: (step, request, tokens)
        self._size = 0  # tokens in the last step
        self._waiting: deque[tuple[int, int, int, int]] = deque()  # (request, prompt, answer, the step it may join)
        self._reading: list[list[int]] = []  # [request, prompt, answer, read]

    @property
    def under_way(self) -> int:
        """Return how many requests it has."""
        return len(self._running) + len(self._waiting) + len(self._reading)

    def take(self, number: int, now: float, prompt: int, answer: int) -> None:
        """Accept a request."""
        due = self._step
        if not self.under_way:
            self._now = max(self._now, now)
        elif self._scheduler.rounds:
            begun = now >= self._now  # a step that is not counted yet is under way
            due += self._scheduler.rounds + begun
        self._waiting.append((number, prompt, answer, due))

    def advance(self, until: float) -> None:
        """Work until `until`, finishing the step that is under way then."""
        while self._now < until and (self._running or self._reading or self._waiting):
            self._admit()
            if self._reading:
                self._mixed_step()
            else:
                self._decode_steps(until)

    def _admit(self) -> None:
        while self._waiting and len(self._running) + len(self._reading) < self._most:
            number, prompt, answer, due = self._waiting[0]
            if not self._fits(prompt, answer):
                return
            if due > self._step and (self._running or self._reading):
                return
            self._waiting.popleft()
            self._worked(self._cost.serve_s)
            self._held += prompt + answer
            self._reading.append([number, prompt, answer, 0])

    def _fits(self, prompt: int, answer: int) -> bool:
        if self._scheduler.keeps == "whole":
            return self._held + prompt + answer <= self._scheduler.cache_tokens
        taken = self._context + sum(one[1] for one in self._reading)
        return taken + prompt + 1 <= self._scheduler.cache_tokens

    def _mixed_step(self) -> None:
        """Make a token for all that run, and read as much of the prompts as there is room for."""
        cost, running = self._cost, len(self._running)
        room = max(self._scheduler.step_tokens - running, 1)
        seconds = cost.step_s[running] + cost.context_s[running] * self._context
        done, size = [], running
        for one in self._reading:
            part = min(one[1] - one[3], room)
            seconds += part * cost.prompt_s + part * (one[3] + part / 2) * cost.pair_s
            one[3] += part
            room -= part
            size += part
            if one[3] == one[1]:
                done.append(one)
            if not room:
                break
        self._passed(seconds + self._shape_s(size), 1)
        self._reading = self._reading[len(done) :]
        for number, prompt, answer, _ in done:
            self.first[number] = self._now
            if answer == 1:
                self._end(number, prompt + answer)
            else:
                heapq.heappush(self._running, (self._step + answer - 1, number, prompt + answer))
                self._context += prompt + 1

    def _decode_steps(self, until: float) -> None:
        """Make tokens until a sequence ends, another may join or `until` is reached: all these steps at once."""
        cost, running = self._cost, len(self._running)
        self._worked(self._shape_s(running))
        count = self._running[0][0] - self._step
        if self._waiting and self._waiting[0][3] > self._step:
            count = min(count, self._waiting[0][3] - self._step)
        base = cost.step_s[running] + cost.context_s[running] * self._context
        growth = cost.context_s[running] * running
        if self._now + _steps_s(count, base, growth) > until:
            count = _steps_until(max(until - self._now, 0.0), base, growth, count)
        self._passed(_steps_s(count, base, growth), count)

    def _shape_s(self, size: int) -> float:
        """Return what a step of `size` tokens costs more than one after its like; it is the last step from now on."""
        changed, self._size = size != self._size, size
        return self._cost.change_s if changed else 0.0

    def _worked(self, seconds: float) -> None:
        self._now += seconds
        self.busy_s += seconds

    def _passed(self, seconds: float, count: int) -> None:
        self._worked(seconds)
        self._step += count
        self._context += len(self._running) * count
        while self._running and self._running[0][0] <= self._step:
            _, number, tokens = heapq.heappop(self._running)
            self._context -= tokens
            self._end(number, tokens)

    def _end(self, number: int, tokens: int) -> None:
        self.last[number] = self._now
        self._held -= tokens
        self.ended(self._now)


def _nothing(now: float) -> None:
    """Let an answer end without telling anybody."""


def _steps_s(count: int, base: float, growth: float) -> float:
    """Return the seconds of `count` steps, the first of `base`, each longer by `growth` than the one before."""
    return count * base + growth * count * (count - 1) / 2


def _steps_until(seconds: float, base: float, growth: float, most: int) -> int:
    """Return the fewest steps, of `most` at most, that take `seconds`: the step under way then is finished."""
    rest = base - growth / 2
    guess = (math.sqrt(rest * rest + 2 * growth * seconds) - rest) / growth if growth else seconds / base
    count = min(max(math.ceil(guess), 1), most)
    while count > 1 and _steps_s(count - 1, base, growth) >= seconds:
        count -= 1
    while count < most and _steps_s(count, base, growth) < seconds:
        count += 1
    return count
