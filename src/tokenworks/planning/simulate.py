"""Continuous batching on a trace: what each request waits, when every step costs what the cost says.

Events, not steps, so that a million requests are minutes of nobody's time. Knows nothing of machines and models.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tokenworks.core.errors import ConfigError
from tokenworks.planning.batching import BatchingEngine, Cost, Scheduler
from tokenworks.planning.trace import Trace

MOST_REPLICAS = 8  # simulated side by side; more stand for themselves by thinning the trace


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
    _refuse_what_never_fits(trace, scheduler)
    first, last = [0.0] * len(trace), [0.0] * len(trace)
    engines = [BatchingEngine(cost, scheduler, first, last) for _ in range(replicas)]
    arrivals, prompts, answers = trace.arrival_s.tolist(), trace.prompt.tolist(), trace.answer.tolist()
    for number, now in enumerate(arrivals):
        for engine in engines:
            engine.advance(now)
        engine = engines[0] if replicas == 1 else min(engines, key=lambda one: one.under_way)
        engine.take(number, now, prompts[number], answers[number])
    for engine in engines:
        engine.advance(math.inf)
    return _outcome(engines, trace.answer, np.array(arrivals), cost, share)


def simulate_callers(trace: Trace, cost: Cost, scheduler: Scheduler, callers: int) -> Outcome:
    """Return what one engine makes of the requests of `trace` when `callers` ask them one after the other.

    Each asks its next when its last is answered; when the trace says that they came does not matter.
    """
    if callers < 1:
        raise ConfigError(f"{callers} callers: at least one must ask")
    _refuse_what_never_fits(trace, scheduler)
    engine = BatchingEngine(cost, scheduler, [0.0] * len(trace), [0.0] * len(trace))
    asked = [0.0] * len(trace)
    left = deque(zip(range(len(trace)), trace.prompt.tolist(), trace.answer.tolist(), strict=True))

    def ask(now: float) -> None:
        if left:
            number, prompt, answer = left.popleft()
            asked[number] = now + cost.answer_s
            engine.take(number, asked[number], prompt, answer)

    for _ in range(callers):
        ask(-cost.answer_s)
    engine.ended = ask
    engine.advance(math.inf)
    return _outcome([engine], trace.answer, np.array(asked), cost)


def _refuse_what_never_fits(trace: Trace, scheduler: Scheduler) -> None:
    largest = int((trace.prompt + trace.answer).max())
    if largest > scheduler.cache_tokens:
        raise ConfigError(f"a request of {largest} tokens does not fit beside the weights; take more memory or devices")


def _outcome(
    engines: Sequence[BatchingEngine],
    answer: npt.NDArray[np.int64],
    came: npt.NDArray[np.float64],
    cost: Cost,
    share: float = 1.0,
) -> Outcome:
    first, last = np.array(engines[0].first), np.array(engines[0].last)
    return Outcome(
        ttft_s=first - came + cost.request_s,
        latency_s=last - came + cost.request_s + cost.answer_s,
        answer=answer,
        busy_s=sum(engine.busy_s for engine in engines),
        end_s=max(float(came[-1]), float(last.max())) or 1.0,
        replicas=len(engines),
        share=share,
    )
