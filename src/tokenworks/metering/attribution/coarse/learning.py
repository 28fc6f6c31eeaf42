"""What tokens cost a server, learned from intervals of which the busy time is known: `t = F steps + a c + b g`."""

from __future__ import annotations

import numpy as np

from tokenworks.metering.attribution.coarse.counters import Moved
from tokenworks.metering.attribution.coarse.interval import Costs
from tokenworks.metering.attribution.learning import not_negative

AGAIN = 8  # intervals between two looks at what was learned
FORGET = 0.99


class IntervalCosts:
    """Least squares over busy intervals, with old ones fading. Until it has seen enough all time is floor."""

    def __init__(self) -> None:
        self._squares, self._products = np.zeros((3, 3)), np.zeros(3)
        self._rows: list[tuple[float, float, float]] = []
        self._seconds: list[float] = []
        self.known = Costs()
        self.step_s = 0.0  # the floor of a step; 0: not known

    def learn(self, moved: Moved, seconds: float) -> None:
        """Take in an interval with so many busy `seconds`."""
        if moved.steps <= 0 or moved.anew or seconds <= 0:
            return
        self._rows.append((moved.steps, moved.computed, moved.generated))
        self._seconds.append(seconds)
        if len(self._rows) == AGAIN:
            rows, times = np.array(self._rows), np.array(self._seconds)
            self._rows, self._seconds = [], []
            self._squares = FORGET * self._squares + rows.T @ rows
            self._products = FORGET * self._products + rows.T @ times
            step_s, prompt_s, generated_s = not_negative(self._squares, self._products)
            self.step_s, self.known = step_s, Costs(prompt_s, generated_s)

    def busy_s(self, moved: Moved) -> float:
        """Return how long the server took for what it did, as far as was learned; 0 where nothing was."""
        return (
            self.step_s * moved.steps + self.known.prompt_s * moved.computed + self.known.generated_s * moved.generated
        )
