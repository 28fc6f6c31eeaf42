"""What each of a few requests truly cost: its mean extra cost over all orders in which they could have come."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

MOST = 16  # of n requests, 2^n coalitions are tried


def shapley(count: int, cost: Callable[[frozenset[int]], float]) -> list[float]:
    """Return the Shapley value of each of `count` players, whose coalitions cost `cost(members)`; in its unit.

    Exact (Shapley 1953), so only for a few. The values add up to the cost of all. Raises `ValueError` for too many.
    """
    if count > MOST:
        raise ValueError(f"{count} players have {2**count} coalitions; the exact values can be had for {MOST} at most")
    costs = [cost(frozenset(at for at in range(count) if mask >> at & 1)) for mask in range(2**count)]
    weights = [factorial(size) * factorial(count - size - 1) / factorial(count) for size in range(count)]
    values = [0.0] * count
    for mask, without in enumerate(costs):
        weight = weights[mask.bit_count()] if mask.bit_count() < count else 0.0
        for at in range(count):
            if not mask >> at & 1:
                values[at] += weight * (costs[mask | 1 << at] - without)
    return values
