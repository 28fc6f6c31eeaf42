"""An e-process for two streams of bounded outcomes: is one worse than the other by more than a gap? Knows numbers only.

Safe two-sample tests: Turner, Ly, Gruenwald 2021 (arXiv 2106.02693), their linear form holding for any outcome in
[0, 1] as in Waudby-Smith & Ramdas 2023 (arXiv 2010.09686); anytime validity: Ville 1939.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

# Shares of the largest stake that cannot go broke, tried side by side: nobody knows the size of the effect before.
STAKES = (0.9, 0.6, 0.4, 0.25, 0.16, 0.1, 0.06, 0.04, 0.025, 0.015)
PLANNED = 0.5  # of the starting capital, on the stake that is best if the effect is as large as the gap
PURSE = (PLANNED, *((1 - PLANNED) / len(STAKES) for _ in STAKES))
LEAST_VARIANCE = 1e-4
SURE = 1e9  # proves at any alpha that can be meant; betting on would only overflow
Direction = Literal["above", "below"]


class Wealth(msgspec.Struct, kw_only=True):
    """Capital won by betting that the rate of the candidate lies `direction` the incumbent's plus `gap`.

    Outcomes are failures in [0, 1]. As long as the rates do not, no strategy of betting wins in expectation:
    P(capital ever reaches 1 / alpha) <= alpha, whenever and however often one looks.
    """

    direction: Direction
    gap: float = 0.0
    capital: list[float] = msgspec.field(default_factory=lambda: list(PURSE))
    best: float = 1.0  # the highest that the capital ever was

    def bet(self, candidate: Sequence[float], incumbent: Sequence[float], *, rate: float, variance: float) -> None:
        """Play one block. `rate` and `variance` of outcomes are guesses that may not depend on the block."""
        if self.best >= SURE:
            return
        stakes = self._stakes(len(candidate), len(incumbent), rate, variance)
        sign = 1.0 if self.direction == "above" else -1.0
        for number, stake in enumerate(stakes):
            won = self.capital[number]
            mine, theirs = sign * stake / len(candidate), sign * stake / len(incumbent)
            for outcome in candidate:
                won *= 1.0 + mine * (outcome - rate - self.gap)
            for outcome in incumbent:
                won *= 1.0 - theirs * (outcome - rate)
            self.capital[number] = won
        self.best = max(self.best, sum(self.capital))

    def proven(self, alpha: float) -> bool:
        """Return whether the bet has been won beyond what chance allows with probability `alpha`."""
        return self.best * alpha >= 1.0

    def _stakes(self, mine: int, theirs: int, rate: float, variance: float) -> list[float]:
        """Return the planned stake and the grid, as multiples of (outcome - rate), all short of going broke."""
        if self.direction == "above":
            largest = min(mine / (rate + self.gap), theirs / (1.0 - rate))
        else:
            largest = min(mine / (1.0 - rate - self.gap), theirs / rate)
        noise = max(variance, LEAST_VARIANCE) * (1.0 / mine + 1.0 / theirs)
        # Growth of a bet on a small effect e is stake * e - stake^2 * noise / 2, largest at e / noise (Kelly 1956).
        planned = min(STAKES[0] * largest, (self.gap or 0.02) / noise)
        return [planned, *(share * largest for share in STAKES)]
