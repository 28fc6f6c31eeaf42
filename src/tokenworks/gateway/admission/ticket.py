"""A request for a slot of an engine."""

from __future__ import annotations

from collections.abc import Callable

from tokenworks.core.priority import Priority
from tokenworks.gateway.admission.predict import Expected

FRESH_SHARE = 0.85  # of its time: so much may an answer be predicted to take and still be begun


def _heard(granted: bool) -> bool:
    """Take it."""
    return True


class Ticket:
    """Who asks, for how much; `deadline_s` is that of the whole answer, on the clock of `at_s`.

    `told` is called once if it has to wait: with True it has a slot, with False none. It returns whether it was heard.
    """

    __slots__ = (
        "at_s", "deadline_s", "expected", "hopeless_s", "priority", "tenant", "told", "waiting", "weight",
    )  # fmt: skip

    def __init__(
        self,
        tenant: str,
        priority: Priority,
        expected: Expected,
        at_s: float,
        deadline_s: float,
        weight: float = 1.0,
        told: Callable[[bool], bool] = _heard,
    ) -> None:
        self.tenant = tenant
        self.priority = priority
        self.expected = expected
        self.at_s = at_s
        self.deadline_s = deadline_s
        self.weight = weight
        self.told = told
        self.waiting = False
        # Begun later it would likely be cut off, and the slot's time be lost.
        self.hopeless_s = deadline_s - min(expected.likely_s, (deadline_s - at_s) * FRESH_SHARE)
