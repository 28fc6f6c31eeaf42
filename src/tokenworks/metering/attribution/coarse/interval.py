"""One interval between two looks at a server, and how its seconds are split: floor by presence, work by its own cost.

The rule of single steps (`attribution.split`), for all steps of an interval at once: what nobody's tokens explain is
the floor of the steps, which at each moment all carry equally who are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tokenworks.metering.attribution.coarse.counters import Moved
from tokenworks.metering.attribution.coarse.slots import Taken


class Costs(NamedTuple):
    """Engine seconds of one token, beyond the floor of the step that it is in."""

    prompt_s: float = 0.0  # of a prompt, where no cache had it
    generated_s: float = 0.0


LEAST_S = 1e-9
LEAST = 1e-3  # tokens: below it is rounding
NO_COSTS = Costs()


class Part(NamedTuple):
    """What somebody had in an interval."""

    present_s: float  # its equal shares of all moments at which it was there
    computed: float = 0.0  # tokens of prompts that no cache had
    generated: float = 0.0


@dataclass
class Request:
    """One that has ended, until all intervals that it was in are settled."""

    taken: Taken
    read_s: float  # when its prompt had been read, monotonic
    due_j: float = 0.0
    due_s: float = 0.0
    lost: bool = False  # it was in a gap, or in an interval that was settled before it had ended


@dataclass
class Interval:
    """Between two looks. `joules` is None where nobody knows; else `idle_j + other_j + active_j`.

    Where it was not busy, `active_j` is 0.
    """

    began_s: float
    ended_s: float
    moved: Moved
    busy_s: float  # the engine had steps under way
    excess: float  # requests running beyond those of this house, on average
    joules: float | None
    idle_j: float = 0.0
    other_j: float = 0.0
    error: float = 0.0
    because: str = ""
    pending: bool = False  # the meter has not moved yet: `joules` is not known, and will be
    costs: Costs = NO_COSTS
    own: list[tuple[Request, Part]] = field(default_factory=list)
    own_prompt: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.ended_s - self.began_s

    @property
    def active_j(self) -> float:
        """What is due to requests, ours and others'."""
        return (self.joules or 0.0) - self.idle_j - self.other_j

    @property
    def step_s(self) -> float:
        """Mean length of a step; 0 where nobody knows."""
        return self.busy_s / self.moved.steps if self.moved.steps > 0 else 0.0

    def present_s(self, taken: Taken) -> float:
        """Return how long a request was under way in it."""
        ended_s = taken.ended_s or self.ended_s
        return max(min(ended_s, self.ended_s) - max(taken.began_s, self.began_s), 0.0)

    def add(self, request: Request) -> None:
        """Take in what an ended request had in it."""
        taken, read_s = request.taken, request.read_s
        present_s = self.present_s(taken)
        prompt = taken.prompt if self.began_s <= read_s < self.ended_s else 0.0
        writing_s = taken.ended_s - read_s
        within_s = max(min(taken.ended_s, self.ended_s) - max(read_s, self.began_s), 0.0)
        share = within_s / writing_s if writing_s > 0 else float(prompt > 0)
        if present_s > 0 or prompt:  # how much of it is shared with others is not known yet
            computed = prompt * (1 - taken.cached / taken.prompt) if prompt else 0.0
            self.own.append((request, Part(present_s, computed, taken.generated * share)))
            self.own_prompt += prompt

    @property
    def own_generated(self) -> float:
        """Tokens that requests of this house wrote in it."""
        return sum(part.generated for _, part in self.own)

    def foreign(self, prompt: float, generated: float) -> Part | None:
        """Return what others had in it who had so many tokens; None where there were none."""
        if prompt <= 0 and generated <= 0:
            return None
        present_s = max(self.excess * self.seconds, generated * self.step_s)
        return Part(present_s, prompt, generated)


def read_at(taken: Taken, costs: Costs, step_s: float) -> float:
    """Return when the prompt of an ended request had been read: as was seen, else as its tokens cost."""
    if taken.first_s:
        return taken.first_s
    reading_s = taken.prompt * costs.prompt_s
    writing_s = taken.generated * (costs.generated_s + step_s)
    whole_s = reading_s + writing_s
    return taken.began_s + (taken.ended_s - taken.began_s) * (reading_s / whole_s if whole_s > 0 else 0.0)


def split(interval: Interval, parts: Sequence[Part]) -> list[float]:
    """Return the engine seconds of each of `parts`; they add up to `busy_s`, where there is a part at all.

        e_i = F u_i / sum(u) + (a c_i + b g_i) (t - F) / (a C + b G),  F = max(t - a C - b G, 0)

    with u the integral of 1/n over the time that each was there, n requests in all; c and g its tokens, C and G what
    the server counted of them. What it counted and nobody claims falls to the floor.
    """
    if not parts:
        return []
    moved, costs = interval.moved, interval.costs
    of_prompt = _rate(moved.computed, [part.computed for part in parts]) * costs.prompt_s
    of_generated = _rate(moved.generated, [part.generated for part in parts]) * costs.generated_s
    works_s = [of_prompt * part.computed + of_generated * part.generated for part in parts]
    total_s, present_s = sum(works_s), sum(part.present_s for part in parts)
    floor_s = max(interval.busy_s - total_s, 0.0) if total_s > LEAST_S else interval.busy_s
    rate = (interval.busy_s - floor_s) / total_s if total_s > LEAST_S else 0.0
    if present_s > LEAST_S:
        floors_s = [floor_s * part.present_s / present_s for part in parts]
    else:
        floors_s = [floor_s / len(parts)] * len(parts)
    return [floor + work * rate for floor, work in zip(floors_s, works_s, strict=True)]


def _rate(counted: float, claimed: Sequence[float]) -> float:
    """Return what a claimed token stands for, of those that were counted."""
    total = sum(claimed)
    return counted / total if total > LEAST else 0.0
