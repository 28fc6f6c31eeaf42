"""A request for a slot of an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tokenworks.core.priority import Priority
from tokenworks.gateway.admission.predict import Expected

FRESH_SHARE = 0.85  # of its time: so much may an answer be predicted to take and still be begun


def _heard(granted: bool) -> bool:
    """Take it."""
    return True


@dataclass(slots=True, eq=False)
class Ticket:
    """Who asks, for how much.

    `told` is called once if it has to wait: with True it has a slot, with False none. It returns whether it was heard.
    """

    tenant: str
    priority: Priority
    expected: Expected
    at_s: float
    deadline_s: float  # of the whole answer, on the clock of `at_s`
    weight: float = 1.0
    told: Callable[[bool], bool] = field(default=_heard)
    waiting: bool = False
    hopeless_s: float = field(init=False)  # begun later it would likely be cut off, and the slot's time be lost

    def __post_init__(self) -> None:
        allowed_s = self.deadline_s - self.at_s
        self.hopeless_s = self.deadline_s - min(self.expected.likely_s, allowed_s * FRESH_SHARE)
