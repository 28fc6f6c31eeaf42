"""What a way of thinking is, and what it works with: samples it draws, and the outcome it comes to.

A way is a file in `serving/reasoning/` with a class `Strategy`, made from a `Plan`. It draws from a `Desk`, which keeps
the budget: a way cannot overspend, whatever it does.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from tokenworks.serving.thinking.desk import Desk
from tokenworks.serving.thinking.samples import BudgetError, Draw, DrawError, NoLogprobsError, Sample
from tokenworks.serving.thinking.verifying import Verifier

__all__ = [
    "ROOM",
    "BudgetError",
    "Draw",
    "DrawError",
    "NoLogprobsError",
    "Outcome",
    "Plan",
    "Sample",
    "Strategy",
]
ROOM = "tokenworks.serving.reasoning"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How far a way may go."""

    samples: int = 16  # at most
    confidence: float = 0.95  # that more samples would not change the answer
    rounds: int = 2  # of thinking again
    easy: float = 0.98  # mean probability of a token from which on one sample is enough
    cue: str = "Wait"
    verifier: Verifier | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a way came to."""

    chosen: Sample
    answer: str = ""  # what was voted on
    agreement: float | None = None  # share of the votes that the answer has
    score: float | None = None  # what the verifier gave it
    stopped: str  # why no more was drawn, see docs/reasoning.md
    text: str | None = None  # where it is not the chosen sample's own
    notes: tuple[str, ...] = ()


class Strategy(Protocol):
    """A way of thinking."""

    def __init__(self, plan: Plan) -> None: ...

    async def think(self, desk: Desk) -> Outcome:
        """Draw until it is worth no more, and choose. Raises `DrawError` where not one sample was to be had."""
        ...
