"""A continuous batch with chunked prefill, in simulated time: who was in each step, and how long it took.

Step time by roofline on H100 boards, with the constants of research/economics.md, section 0.1: the larger of memory
and arithmetic time, and a fixed part. Energy is taken to be proportional to busy time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BANDWIDTH = 3.35e12 * 0.8  # bytes a second
FLOPS = 989e12 * 0.6
FIXED_S = 2e-3
ALL_REDUCE_S = 8e-6
STEP_TOKENS = 512


@dataclass(frozen=True)
class Model:
    """What of a model decides how long a step takes."""

    name: str
    parameters: float
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    boards: int

    @property
    def kv_bytes(self) -> int:
        """Of one token."""
        return 2 * self.layers * self.kv_heads * self.head_size * 2

    @property
    def fixed_s(self) -> float:
        """Of a step, whatever is in it."""
        return FIXED_S + (2 * self.layers * ALL_REDUCE_S if self.boards > 1 else 0.0)


MODELS = (
    Model("8B", 8.03e9, 32, 32, 8, 128, 1),
    Model("70B tp4", 70.6e9, 80, 64, 8, 128, 4),
)


@dataclass(frozen=True)
class Request:
    """One of the trace."""

    at_s: float
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Part:
    """One request in one step."""

    request: int
    new: int  # tokens read or written
    context: int  # tokens of keys and values that were looked at


@dataclass(frozen=True)
class Step:
    """One step of the batch."""

    seconds: float
    parts: tuple[Part, ...]


def flop_s(model: Model, part: Part) -> float:
    """Return the arithmetic time of one request's tokens."""
    flops = 2 * model.parameters * part.new
    flops += 4 * model.layers * model.heads * model.head_size * part.new * (part.context - part.new / 2)
    return flops / (model.boards * FLOPS)


def read_s(model: Model, part: Part) -> float:
    """Return the time to read one request's keys and values."""
    return part.context * model.kv_bytes / (model.boards * BANDWIDTH)


def own_s(model: Model, part: Part) -> float:
    """Return what a request's tokens would take by themselves, without the weights."""
    return max(flop_s(model, part), read_s(model, part))


def step_s(model: Model, parts: Sequence[Part]) -> float:
    """Return how long a step takes."""
    memory_s = 2 * model.parameters / (model.boards * BANDWIDTH) + sum(read_s(model, part) for part in parts)
    return max(memory_s, sum(flop_s(model, part) for part in parts)) + model.fixed_s


def simulate(model: Model, requests: Sequence[Request], members: frozenset[int] | None = None) -> list[Step]:
    """Return the steps of a server that is asked `requests`, or only the `members` of them."""
    order = sorted(range(len(requests)) if members is None else members, key=lambda at: requests[at].at_s)
    prompt_left = {at: requests[at].prompt_tokens for at in order}
    answer_left = {at: requests[at].answer_tokens for at in order}
    context = dict.fromkeys(order, 0)
    running: list[int] = []
    steps: list[Step] = []
    now_s, arrived = 0.0, 0
    while running or arrived < len(order):
        if not running:
            now_s = max(now_s, requests[order[arrived]].at_s)
        while arrived < len(order) and requests[order[arrived]].at_s <= now_s:
            running.append(order[arrived])
            arrived += 1
        room = STEP_TOKENS - sum(not prompt_left[at] for at in running)
        parts = []
        for at in running:
            new = min(prompt_left[at], room) if prompt_left[at] else 1
            if not new:
                continue
            room -= new if prompt_left[at] else 0
            context[at] += new
            parts.append(Part(at, new, context[at]))
        step = Step(step_s(model, parts), tuple(parts))
        steps.append(step)
        now_s += step.seconds
        for part in parts:
            at = part.request
            if prompt_left[at]:
                prompt_left[at] -= part.new
                answer_left[at] -= not prompt_left[at]  # the last of the prompt gives the first of the answer
            else:
                answer_left[at] -= 1
        running = [at for at in running if prompt_left[at] or answer_left[at] > 0]
    return steps
