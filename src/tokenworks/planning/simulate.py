"""Continuous batching on a trace, by events: what each request waits, when every step costs what the cost says.

Steps between two events are taken at once, so that a million requests are minutes of nobody's time. The scheduler is
that of the common engines: running sequences first, then prompts in order, in chunks, as room is. A sequence keeps
room for its whole length from the start, so nothing is preempted. Knows nothing of machines and models.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from tokenworks.core.errors import ConfigError
from tokenworks.planning.trace import Trace

MOST_REPLICAS = 8  # simulated side by side; more stand for themselves by thinning the trace


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a step costs in seconds, linear in what grows: one entry per number of running sequences."""

    step_s: tuple[float, ...]  # [n]: a token for each of n sequences without any past; [0]: a step of prompts alone
    context_s: tuple[float, ...]  # [n]: more for each token of their past
    prompt_s: float  # for each prompt token in the step
    pair_s: float = 0.0  # for each pair of a prompt token and one before it
    request_s: float = 0.0  # before a request's first step
    answer_s: float = 0.0  # after its last


class Scheduler(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine fills its steps."""

    sequences: int = 256  # at most so many run at once
    step_tokens: int = 8192  # at most so many tokens in a step
    cache_tokens: float = math.inf  # at most so many tokens have keys and values


@dataclass(frozen=True)
class Outcome:
    """What came of each request, and of the machines. Arrays are in the order of the trace."""

    ttft_s: npt.NDArray[np.float64]
    latency_s: npt.NDArray[np.float64]
    answer: npt.NDArray[np.int64]
    busy_s: float  # of all replicas together
    end_s: float
    replicas: int
    share: float = 1.0  # of the requests and replicas that were simulated for all of them

    @property
    def tpot_s(self) -> npt.NDArray[np.float64]:
        """Return seconds per token after the first, of answers that have one."""
        several = self.answer > 1
        return np.asarray((self.latency_s - self.ttft_s)[several] / (self.answer[several] - 1))

    @property
    def tokens_per_s(self) -> float:
        """Return tokens of answers per second, from the first request to the last answer."""
        return float(self.answer.sum()) / self.end_s / self.share

    @property
    def utilisation(self) -> float:
        """Return the share of the time in which a replica worked."""
        return self.busy_s / (self.end_s * self.replicas)

    def percentile(self, name: str, share: float) -> float:
        """Return a percentile of `ttft_s`, `tpot_s` or `latency_s`."""
        values = getattr(self, name)
        return float(np.quantile(values, share)) if len(values) else 0.0


def simulate(trace: Trace, cost: Cost, scheduler: Scheduler, replicas: int = 1, seed: int = 0) -> Outcome:
    """Return what `replicas` engines make of `trace`; each request goes to the one with the least to do.

    Beyond eight replicas, eight are simulated with their share of the requests.
    """
    if replicas < 1:
        raise ConfigError(f"{replicas} replicas: at least one must answer")
    share = min(1.0, MOST_REPLICAS / replicas)
    trace, replicas = trace.thinned(share, seed), min(replicas, MOST_REPLICAS)
    largest = int((trace.prompt + trace.answer).max())
    if largest > scheduler.cache_tokens:
        raise ConfigError(f"a request of {largest} tokens does not fit beside the weights; take more memory or devices")
    engines = [_Engine(cost, scheduler, len(trace)) for _ in range(replicas)]
    arrivals, prompts, answers = trace.arrival_s.tolist(), trace.prompt.tolist(), trace.answer.tolist()
    first, last = [0.0] * len(trace), [0.0] * len(trace)
    for engine in engines:
        engine.first, engine.last = first, last
    for number, now in enumerate(arrivals):
        for engine in engines:
            engine.advance(now)
        engine = engines[0] if replicas == 1 else min(engines, key=lambda one: one.under_way)
        engine.take(number, now, prompts[number], answers[number])
    for engine in engines:
        engine.advance(math.inf)
    came = np.array(arrivals)
    latency = np.array(last) - came + cost.request_s + cost.answer_s
    return Outcome(
        ttft_s=np.array(first) - came + cost.request_s,
        latency_s=latency,
        answer=trace.answer,
        busy_s=sum(engine.busy_s for engine in engines),
        end_s=max(float(came[-1]), max(last)) or 1.0,
        replicas=replicas,
        share=share,
    )


class _Engine:
    """One engine in the simulation. Times are seconds of the trace."""

    def __init__(self, cost: Cost, scheduler: Scheduler, count: int) -> None:
        self.first: list[float] = []
        self.last: list[float] = []
        self.busy_s = 0.0
        self._cost, self._scheduler = cost, scheduler
        self._most = min(scheduler.sequences, len(cost.step_s) - 1)
        self._now = 0.0
        self._step = 0  # steps made so far
        self._context = 0  # tokens that the running sequences have behind them
        self._held = 0  # tokens that room is kept for
        self._running: list[tuple[int, int, int]] = []  # by the step after which each ends: (step, request, tokens)
        self._waiting: deque[tuple[int, int, int]] = deque()  # (request, prompt, answer)
        self._reading: list[list[int]] = []  # [request, prompt, answer, read]

    @property
    def under_way(self) -> int:
        """Return how many requests it has."""
        return len(self._running) + len(self._waiting) + len(self._reading)

    def take(self, number: int, now: float, prompt: int, answer: int) -> None:
        """Accept a request."""
        if not self.under_way:
            self._now = max(self._now, now)
        self._waiting.append((number, prompt, answer))

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
            number, prompt, answer = self._waiting[0]
            if self._held + prompt + answer > self._scheduler.cache_tokens:
                return
            self._waiting.popleft()
            self._held += prompt + answer
            self._reading.append([number, prompt, answer, 0])

    def _mixed_step(self) -> None:
        """Make a token for all that run, and read as much of the prompts as there is room for."""
        cost, running = self._cost, len(self._running)
        room = max(self._scheduler.step_tokens - running, 1)
        seconds = cost.step_s[running] + cost.context_s[running] * self._context
        done = []
        for one in self._reading:
            part = min(one[1] - one[3], room)
            seconds += part * cost.prompt_s + part * (one[3] + part / 2) * cost.pair_s
            one[3] += part
            room -= part
            if one[3] == one[1]:
                done.append(one)
            if not room:
                break
        self._passed(seconds, 1)
        for number, prompt, answer, _ in done:
            self.first[number] = self._now
            if answer == 1:
                self.last[number] = self._now
                self._held -= prompt + answer
            else:
                heapq.heappush(self._running, (self._step + answer - 1, number, prompt + answer))
                self._context += prompt + 1
        self._reading = self._reading[len(done) :]

    def _decode_steps(self, until: float) -> None:
        """Make tokens until a sequence ends or `until` is reached: all these steps at once."""
        cost, running = self._cost, len(self._running)
        count = self._running[0][0] - self._step
        base = cost.step_s[running] + cost.context_s[running] * self._context
        growth = cost.context_s[running] * running
        if self._now + _steps_s(count, base, growth) > until:
            count = _steps_until(until - self._now, base, growth, count)
        self._passed(_steps_s(count, base, growth), count)

    def _passed(self, seconds: float, count: int) -> None:
        self._now += seconds
        self.busy_s += seconds
        self._step += count
        self._context += len(self._running) * count
        while self._running and self._running[0][0] <= self._step:
            _, number, tokens = heapq.heappop(self._running)
            self.last[number] = self._now
            self._context -= tokens
            self._held -= tokens


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
