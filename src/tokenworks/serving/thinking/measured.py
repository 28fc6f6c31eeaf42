"""What long thinking was measured to bring for a model, and what is done by default because of it.

Knows numbers only. The figure is the cost of a right answer, E[cost of an attempt] / P(right) (cost of pass, Erol et
al., arXiv 2504.13359).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

KIND = "reasoning"  # of the objects in which it is kept, by model
PLAIN = "none"


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One way on the same questions as all others; `gain` is its share of right answers less that of one sample."""

    strategy: str
    verifier: str = ""  # of what type, where it verifies
    most: int  # samples that it may draw
    samples: float  # drawn for an answer, on average
    accuracy: float
    low: float
    high: float
    tokens: float  # made for an answer, on average
    joules: float | None = None
    cost: float | None = None  # in the price list's unit
    gain: float = 0.0
    gain_low: float = 0.0  # of the paired interval
    gain_high: float = 0.0
    eligible: bool = True  # whether it may become the default

    @property
    def spent(self) -> float:
        """What an answer takes: joules where they were metered, else money, else tokens."""
        return self.joules if self.joules is not None else self.cost if self.cost is not None else self.tokens

    @property
    def per_right(self) -> float:
        """What a right answer takes, in the unit of `spent`."""
        return self.spent / self.accuracy if self.accuracy > 0 else float("inf")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep over the ways of thinking of one model."""

    model: str
    version: str
    at: float
    questions: int
    points: tuple[Point, ...]
    chosen: str
    samples: int  # that it may draw
    why: str
    worth: float
    joules_per_token: float | None = None  # the most of any sample, of prompt and answer together
    verifier: dict[str, Any] | None = None  # by which best-of-n was measured, where it was the same for all questions
    cue: str = ""  # by which budget-forcing was


def choose(points: Sequence[Point], worth: float) -> tuple[Point, str]:
    """Return the way with the highest `worth * accuracy - spent`, and why; `none` where more does not pay.

    `worth` is what one more right answer is worth, in plain answers. A way whose gain may be nothing, as its paired
    interval says, is not taken.
    """
    plain = next(point for point in points if point.strategy == PLAIN)
    better = [one for one in points if one.eligible and one.strategy != PLAIN and one.gain_low > 0]
    if not better:
        return plain, "no way of thinking was shown to be right more often than one sample"
    base = plain.spent or 1.0

    def net(point: Point) -> float:
        return worth * point.accuracy - point.spent / base

    best = max(better, key=net)
    price = (best.spent / base - 1) / best.gain
    says = (
        f"{best.strategy} with up to {best.most} samples is right {100 * best.gain:.1f} points more often "
        f"[{100 * best.gain_low:.1f}, {100 * best.gain_high:.1f}] for {best.spent / base:.1f} times what one sample "
        f"takes: one more right answer costs {max(0.0, price):.1f} plain answers, and counts as worth {worth:g}"
    )
    return (best, says) if net(best) > net(plain) else (plain, f"more does not pay: {says}")
