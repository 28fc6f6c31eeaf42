"""How long a request will keep its slot, from what requests of its model and tenant came to so far.

Work is counted in virtual tokens: one for each of the prompt, `OUTPUT_WEIGHT` for each of the answer (Sheng et al.,
"Fairness in Serving Large Language Models", OSDI 2024, section 4). Means are exponentially weighted; the spread is the
mean absolute error, as TCP estimates round trips (Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from tokenworks.core.usage import Usage

OUTPUT_WEIGHT = 2
LEARNING = 0.1  # weight of the newest request
LIKELY_SPREADS = 3.0  # an answer is likely over after its mean and so many mean errors
REMEMBERED = 4096  # tenants


class Expected(NamedTuple):
    """What a request will likely come to."""

    work: float  # virtual tokens
    service_s: float  # in a slot; 0 while nothing is known
    likely_s: float  # in which it will be over, more likely than not by far


class Predictor:
    """The requests of one destination."""

    def __init__(self) -> None:
        self._answer = _Mean()
        self._answers: OrderedDict[str, _Mean] = OrderedDict()
        self._work = _Mean()
        self._took_s = _Mean()
        self._error_s = _Mean()

    def expect(self, tenant: str, prompt_tokens: int, answer_most: int | None, answers: int = 1) -> Expected:
        """Return what a request of so many prompt tokens will likely come to; `answer_most` bounds each answer."""
        mean = self._answers.get(tenant, self._answer).value
        if answer_most is not None:
            mean = min(mean, answer_most * answers) if self._answer.known else answer_most * answers
        work = work_of(prompt_tokens, mean)
        service_s = work * self._took_s.value / self._work.value if self._work.value else 0.0
        return Expected(work, service_s, service_s + LIKELY_SPREADS * self._error_s.value)

    def learn(self, tenant: str, expected: Expected, *, usage: Usage, took_s: float) -> None:
        """Take in a request that came to its end."""
        self._answer.add(usage.completion_tokens)
        own = self._answers.get(tenant)
        if own is None:
            own = self._answers[tenant] = _Mean()
            if len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        own.add(usage.completion_tokens)
        self._work.add(work_of(usage.prompt_tokens, usage.completion_tokens))
        self._took(expected, took_s)

    def learn_cut(self, expected: Expected, took_s: float) -> None:
        """Take in a request that was ended before its time: it would have taken at least so long."""
        if took_s > expected.service_s:
            self._work.add(expected.work)
            self._took(expected, took_s)

    def _took(self, expected: Expected, took_s: float) -> None:
        if expected.service_s:
            self._error_s.add(abs(took_s - expected.service_s))
        self._took_s.add(took_s)


def work_of(prompt_tokens: int, answer_tokens: float) -> float:
    """Return virtual tokens."""
    return prompt_tokens + OUTPUT_WEIGHT * answer_tokens


class _Mean:
    """An exponentially weighted mean, of few values their plain one."""

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.count = 0

    @property
    def known(self) -> bool:
        return self.count > 0

    def add(self, value: float) -> None:
        self.count += 1
        self.value += (value - self.value) * (LEARNING if self.count * LEARNING > 1 else 1 / self.count)
