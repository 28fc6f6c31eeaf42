"""How much a gate will be able to decide, said before anything is trained.

Paired designs: n = (z_a + z_b)^2 * discordant / margin^2 (Miller 2024, arXiv 2411.00640, section 5).
"""

from __future__ import annotations

import math

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.line.evaluate.intervals import z_of
from tokenworks.line.evaluate.paired import Paired, items_needed

SHARED_ERRORS = 0.5  # of the errors of one model the other one makes too, where nothing is known of the two
LEAST_DISCORDANT = 0.01


class SamplePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a set of items can decide."""

    name: str  # gold | fresh | general | ...
    margin: float
    discordant: float  # share of items on which one model is right and the other is not
    needed: int  # items for the margin
    have: int
    decidable: float  # the smallest margin that `have` items decide; 1 of none
    gain: float  # the smallest gain that is seen with probability `power`; 1 of none
    alpha: float
    power: float

    @property
    def enough(self) -> bool:
        """Whether the margin can be decided."""
        return self.have >= self.needed

    def story(self) -> list[str]:
        """Return the plan as a line."""
        terms = (
            f"a {_points(self.margin)} margin at {self.alpha * 100:.2g}%/{self.power:.0%} with {self.discordant:.0%}"
        )
        need = f"{self.name}: {self.needed:,} items needed for {terms} discordant; you have {self.have:,}"
        if self.have == 0:
            return [f"{need}: the gate can decide nothing on it"]
        if self.enough:
            return [f"{need}: enough, and a gain of {self.gain * 100:.2g} points or more will be seen"]
        return [f"{need}: the gate can only decide a {_points(self.decidable)} one, or see as large a gain"]


def plan_items(
    *,
    margin: float,
    have: int,
    accuracy: float | None = None,
    discordant: float | None = None,
    name: str = "gold",
    alpha: float = 0.05,
    power: float = 0.8,
    chances: int = 1,
) -> SamplePlan:
    """Return what `have` items of a set can decide.

    `discordant` is what an earlier turn showed (`Paired.spread`); without it, it is guessed from the incumbent's
    `accuracy`: 2 (1 - accuracy) (1 - 0.5), half of the errors being common to both. With several `chances` to show
    a gain (on all items, and on fresh ones), each has alpha / chances.
    """
    if margin <= 0:
        raise ConfigError(f"check.margin is {margin}; with 0 no number of items shows that an equal model is not worse")
    if discordant is None:
        wrong = 1.0 - (0.9 if accuracy is None else accuracy)
        discordant = 2.0 * wrong * (1.0 - SHARED_ERRORS)
    spread = min(1.0, max(discordant, LEAST_DISCORDANT))
    return SamplePlan(
        name=name,
        margin=margin,
        discordant=spread,
        needed=items_needed(margin, spread, alpha=alpha, power=power),
        have=have,
        decidable=_smallest(have, spread, alpha, power),
        gain=_smallest(have, spread, alpha / chances, power),
        alpha=alpha,
        power=power,
    )


def discordance_of(pair: Paired) -> float:
    """Return the discordance that an earlier comparison showed, for the next plan."""
    return pair.spread


def safety_bound(n: int, *, alpha: float = 0.05) -> float:
    """Return the rate that 0 failures of `n` exclude: 1 - alpha^(1/n), below 3/n (rule of three, Hanley 1983)."""
    return 1.0 if n == 0 else 1.0 - alpha ** (1.0 / n)


def safety_items(rate: float, *, alpha: float = 0.05) -> int:
    """Return how many items without a failure exclude a failure rate of `rate`."""
    return math.ceil(math.log(alpha) / math.log1p(-rate) - 1e-9) if 0 < rate < 1 else 1


def _smallest(n: int, spread: float, alpha: float, power: float) -> float:
    return min(1.0, (z_of(alpha) + z_of(1 - power)) * math.sqrt(spread / n)) if n else 1.0


def _points(share: float) -> str:
    return f"{share * 100:.2g}-point"
