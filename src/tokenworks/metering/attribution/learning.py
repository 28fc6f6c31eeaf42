"""What a token costs in a step, learned from the steps themselves: `t = floor + a * new tokens + b * tokens read`."""

from __future__ import annotations

import numpy as np

AGAIN = 64  # steps between two looks at what was learned
FORGET = 0.98  # of what was learned, at each look: a machine gets slower under load, and faster again
_SIZE = 3


class StepCost:
    """Least squares over the steps so far, with old ones fading. Until it has seen enough, only new tokens count."""

    def __init__(self) -> None:
        self._squares = np.zeros((_SIZE, _SIZE))
        self._products = np.zeros(_SIZE)
        self._rows: list[tuple[float, float, float]] = []
        self._seconds: list[float] = []
        self._new_s = self._read_s = 0.0

    def works_s(self, tokens: list[tuple[int, int]], seconds: float) -> list[float]:
        """Return what the tokens of each request took by themselves, from (new, read) of each; learn from the step."""
        new, read = map(sum, zip(*tokens, strict=True))
        self._rows.append((1.0, new, read))
        self._seconds.append(seconds)
        if len(self._rows) == AGAIN:
            self._learn()
        return self.known_s(tokens, seconds)

    def known_s(self, tokens: list[tuple[int, int]], seconds: float) -> list[float]:
        """Return the same by what was learned until now, and learn nothing."""
        if not self._new_s and not self._read_s:
            return [seconds * one / max(sum(new for new, _ in tokens), 1) for one, _ in tokens]
        new_s, read_s = self._new_s, self._read_s
        return [new_s * new + read_s * read for new, read in tokens]

    def _learn(self) -> None:
        rows, seconds = np.array(self._rows), np.array(self._seconds)
        self._rows, self._seconds = [], []
        usual = seconds < 8 * np.median(seconds)  # a step that lost the processor to others says nothing of tokens
        rows, seconds = rows[usual], seconds[usual]
        self._squares = FORGET * self._squares + rows.T @ rows
        self._products = FORGET * self._products + rows.T @ seconds
        _, self._new_s, self._read_s = not_negative(self._squares, self._products)


def not_negative(squares: np.ndarray, products: np.ndarray) -> tuple[float, float, float]:
    """Return the floor and the costs of two kinds of tokens, none of them below zero, from the normal equations."""
    kept = [0, 1, 2]
    while len(kept) > 1:
        found = np.linalg.lstsq(squares[np.ix_(kept, kept)], products[kept], rcond=1e-9)[0]
        worst = int(np.argmin(found))
        if found[worst] >= 0:
            costs = dict(zip(kept, map(float, found), strict=True))
            return costs.get(0, 0.0), costs.get(1, 0.0), costs.get(2, 0.0)
        del kept[worst]
    return 0.0, 0.0, 0.0
